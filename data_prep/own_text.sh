#!/usr/bin/env bash
# Anyone's parallel text, a sentence a line (plain, gzip, xz or bzip2), as data-bin for fairseq.
#
#   bash data_prep/own_text.sh --out DIR --source-lang de --target-lang en --src FILE --tgt FILE
#
# Without --valid-* and --test-* about 1,000 pairs each are held out. --bpe N gives Moses tokens and
# N joint merges in place of sentencepiece. Text that is tokenized or cut by BPE already is refused
# unless --from says so; raw/ then has it undone.
#
# One minute per 50,000 pairs on 2 cores. The card at the end says what came out.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/prep.sh"

prep own --sentencepiece 8000 --joined-dictionary -- "$@"
