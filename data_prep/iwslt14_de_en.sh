#!/usr/bin/env bash
# IWSLT'14 German to English in the field's standard form (fairseq's prepare-iwslt14.sh): Moses
# tokens, cleaned at 175 tokens and ratio 1.5, lower-cased, every 23rd pair to valid, test =
# dev2010 + dev2012 + tst2010-2012, joint BPE of 10,000 merges, separate dictionaries.
#
#   bash data_prep/iwslt14_de_en.sh --out DIR
#
#   --from STAGE   what the local files are: archive (default: de-en.tgz or its files), text
#                  (train, test), tokenized or segmented (train or train-sub, valid, test)
#
# With the published --bpe-codes and --dict, segmented/{valid,test} and data-bin are the published
# ones to the byte. Two minutes on 2 cores from tokenized. Expect 160,239 / 7,283 / 6,750 pairs,
# dictionaries of 8,844 and 6,628 types. Licence: CC BY-NC-ND 3.0 (TED).

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/prep.sh"

prep iwslt14 --source-lang de --target-lang en --tokens --lowercase --apostrophes always \
    --drop-empty --most 175 --ratio 1.5 --hold-out valid --every 23 --bpe 10000 -- "$@"
