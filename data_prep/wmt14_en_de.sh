#!/usr/bin/env bash
# WMT'14 English to German, 4.5 M pairs: Europarl v7, Common Crawl, News Commentary v9, in the
# order of fairseq's recipe (--icml17); newstest2013 is valid, newstest2014 (3,003 lines) is test. Joint
# sentencepiece of 32,000 on raw text, or with --bpe N (40000 in the field) Moses tokens (normalised,
# -a) and N merges; pairs of train above 250 pieces or ratio 1.5 are dropped, as fairseq does.
#
#   bash data_prep/wmt14_en_de.sh --out DIR
#
# --raw-dir may hold the archives, their files, or train.*, valid.*, test.* (plain or packed).
# bench/data_prep_wmt.md has time and memory of a run on 4.5 M generated pairs. Needs 2 GB of
# downloads and 12 GB of disk. Licence: research use (WMT).

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/prep.sh"

prep wmt14 --source-lang en --target-lang de --sentencepiece 32000 --joined-dictionary --drop-empty \
    --normalise --aggressive --apostrophes tokens --most-pieces 250 --piece-ratio 1.5 -- "$@"
