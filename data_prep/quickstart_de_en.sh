#!/usr/bin/env bash
# Real German-English text for the quickstart, whatever can be had here, as data-bin for fairseq:
# --raw-dir (Multi30k's files, or the dictionary de-en), else Multi30k's download, else phrases of
# the dictionary in Debian's package trans-de-en (apt-get download, unpacked without root).
#
#   bash data_prep/quickstart_de_en.sh --out DIR
#
#   --raw-dir DIR       use local files, no download (default: $GRADINIT_RAW_DIR)
#   --sentencepiece N   size of the joint sentencepiece vocabulary (default 4000)
#   --limit N           only the first N pairs of each split
#   --workers N         processes (default: all cores)
#   --dry-run           say what would be done
#
# One minute on 2 cores, 0.5 GB. Expect 29,000 / 1,014 / 1,000 pairs from Multi30k, about 55,000 /
# 1,000 / 1,000 from the dictionary. The licence of the one used is printed and kept in
# provenance.json.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

SOURCE_LANG=de TARGET_LANG=en SENTENCEPIECE=4000
options "$SHARED sentencepiece" "$@"

prep get quickstart --to raw ${RAW_DIR:+--raw-dir "$RAW_DIR"} --limit "$LIMIT"
prep learn sentencepiece --size "$SENTENCEPIECE"
prep segment sentencepiece
prep binarise --joined-dictionary
prep card
