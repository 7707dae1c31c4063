#!/usr/bin/env bash
# WMT'14 English to German, 4.5 M pairs: Europarl v7, Common Crawl, News Commentary v9, in the order
# of fairseq's recipe (--icml17); newstest2013 is valid, newstest2014 (3,003 lines) is test. Joint
# sentencepiece of 32,000 on raw text, or Moses tokens and BPE; pairs of train above 250 pieces or
# ratio 1.5 are dropped, as fairseq does.
#
#   bash data_prep/wmt14_en_de.sh --out DIR
#
#   --raw-dir DIR             use local files, no download (default: $GRADINIT_RAW_DIR): the archives,
#                             their files, or train.*, valid.*, test.* (plain, .gz or .xz)
#   --sentencepiece N         size of the joint vocabulary (default 32000)
#   --bpe N                   instead: Moses tokens (normalised, -a) and N merges (40000 in the field)
#   --separate-dictionaries   one dictionary for each language
#   --limit N  --workers N  --dry-run
#
# bench/data_prep_wmt.md has time and memory of a run on 4.5 M generated pairs. Needs 2 GB of
# downloads and 12 GB of disk. Licence: research use (WMT).

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/lib/wmt.sh"

SOURCE_LANG=en TARGET_LANG=de
wmt wmt14 "$@"
