#!/usr/bin/env bash
# Multi30k task 1 (image captions, 29,000 pairs), German to English, as data-bin for fairseq.
#
#   bash data_prep/multi30k_de_en.sh --out DIR
#
# One minute on 2 cores, 0.5 GB. Expect 29,000 / 1,014 / 1,000 pairs, full vocabulary coverage
# of train, one joined dictionary. Licence: non-commercial research and education (Flickr30k).

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/prep.sh"

prep multi30k --source-lang de --target-lang en --sentencepiece 4000 --joined-dictionary -- "$@"
