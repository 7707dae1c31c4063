#!/usr/bin/env bash
# IWSLT'14 German to English in the field's standard form (fairseq's prepare-iwslt14.sh): Moses
# tokens, cleaned at 175 tokens and ratio 1.5, lower-cased, every 23rd pair to valid, test =
# dev2010 + dev2012 + tst2010-2012, joint BPE of 10,000 merges, separate dictionaries.
#
#   bash data_prep/iwslt14_de_en.sh --out DIR
#
#   --raw-dir DIR         use local files, no download (default: $GRADINIT_RAW_DIR)
#   --from STAGE          what the local files are: archive (default: de-en.tgz or its files), text
#                         (train, test), tokenized or segmented (train or train-sub, valid, test)
#   --bpe N               merges to learn (default 10000); --bpe-codes FILE: use these instead
#   --sentencepiece N     sentencepiece of size N on lower-cased text in place of Moses and BPE
#   --dict DIR            use dict.de.txt and dict.en.txt of DIR
#   --joined-dictionary   one dictionary for both languages
#   --limit N  --workers N  --dry-run
#
# With the published codes and dictionaries, segmented/{valid,test} and data-bin are the published
# ones to the byte. Two minutes on 2 cores from tokenized. Expect 160,239 / 7,283 / 6,750 pairs,
# dictionaries of 8,844 and 6,628 types. Licence: CC BY-NC-ND 3.0 (TED).

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

SOURCE_LANG=de TARGET_LANG=en
FROM=archive BPE=10000 BPE_CODES='' SENTENCEPIECE='' DICT='' JOINED_DICTIONARY=''
options "$SHARED from bpe bpe-codes sentencepiece dict joined-dictionary!" "$@"
use_local=(${RAW_DIR:+--raw-dir "$RAW_DIR"} --limit "$LIMIT" --drop-empty)
standard=(--lowercase --apostrophes --most 175 --ratio 1.5 --hold-out valid --every 23)

case $FROM in
archive) prep get iwslt14 --to work/source "${use_local[@]}"
         prep text "${standard[@]}" ;;
text)    prep get iwslt14-text --to work/source "${use_local[@]}"
         prep text "${standard[@]}" ;;
tokenized | segmented)
         prep get iwslt14-splits --to work/source "${use_local[@]}"
         prep text --form "$FROM" ;;
*)       die "--from $FROM: not a stage; give archive, text, tokenized or segmented" ;;
esac

if [[ -n $SENTENCEPIECE ]]; then
    prep learn sentencepiece --size "$SENTENCEPIECE"
    prep segment sentencepiece
else
    prep learn bpe --from tokenized --size "$BPE" ${BPE_CODES:+--bpe-codes "$BPE_CODES"}
    prep segment bpe --from tokenized
fi
prep binarise ${JOINED_DICTIONARY:+--joined-dictionary} ${DICT:+--dict "$DICT"}
prep card
