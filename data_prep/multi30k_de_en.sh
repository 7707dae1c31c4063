#!/usr/bin/env bash
# Multi30k task 1 (image captions, 29,000 pairs), German to English, as data-bin for fairseq.
#
#   bash data_prep/multi30k_de_en.sh --out DIR
#
#   --raw-dir DIR       use local files, no download (default: $GRADINIT_RAW_DIR)
#   --sentencepiece N   size of the joint sentencepiece vocabulary (default 4000)
#   --limit N           only the first N pairs of each split
#   --workers N         processes (default: all cores)
#   --dry-run           say what would be done
#
# One minute on 2 cores, 0.5 GB. Expect 29,000 / 1,014 / 1,000 pairs, full vocabulary coverage
# of train, one joined dictionary. Licence: non-commercial research and education (Flickr30k).

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

SOURCE_LANG=de TARGET_LANG=en SENTENCEPIECE=4000
options "$SHARED sentencepiece" "$@"

prep get multi30k --to raw ${RAW_DIR:+--raw-dir "$RAW_DIR"} --limit "$LIMIT"
prep learn sentencepiece --size "$SENTENCEPIECE"
prep segment sentencepiece
prep binarise --joined-dictionary
prep card
