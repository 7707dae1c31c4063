#!/usr/bin/env bash
# Anyone's parallel text, a sentence a line (plain, .gz or .xz), as data-bin for fairseq.
#
#   bash data_prep/own_text.sh --out DIR --source-lang de --target-lang en --src FILE --tgt FILE
#
#   --valid-src FILE --valid-tgt FILE   validation text; else about 1,000 pairs are held out
#   --test-src FILE --test-tgt FILE     test text; else about 1,000 pairs are held out
#   --sentencepiece N                   size of the joint vocabulary (default 8000)
#   --bpe N                             instead: Moses tokens and N joint merges
#   --lowercase                         lower-case everything
#   --most N --ratio R                  drop pairs of train above N tokens or length ratio R
#   --drop-empty                        drop and count pairs of train with an empty side (else: error)
#   --separate-dictionaries             one dictionary for each language
#   --licence TEXT                      kept in provenance.json
#   --limit N  --workers N  --dry-run
#
# One minute per 50,000 pairs on 2 cores. The card at the end says what came out.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

SOURCE_LANG='' TARGET_LANG='' SRC='' TGT='' VALID_SRC='' VALID_TGT='' TEST_SRC='' TEST_TGT=''
SENTENCEPIECE=8000 BPE='' LOWERCASE='' MOST=0 RATIO=0 DROP_EMPTY='' SEPARATE_DICTIONARIES=''
LICENCE='not stated (own text)'
options "out limit workers dry-run! source-lang target-lang src tgt valid-src valid-tgt test-src \
    test-tgt sentencepiece bpe lowercase! most ratio drop-empty! separate-dictionaries! licence" "$@"
[[ -n $SOURCE_LANG ]] || die "--source-lang is missing: the language code of --src, such as de"
[[ -n $TARGET_LANG ]] || die "--target-lang is missing: the language code of --tgt, such as en"
[[ -n $SRC && -n $TGT ]] || die "--src FILE and --tgt FILE are both needed"
together() { # together FLAG VALUE FLAG VALUE
    [[ (-n $2 && -n $4) || -z $2$4 ]] || die "$1 and $3 go together: give both or neither"
}
together --valid-src "$VALID_SRC" --valid-tgt "$VALID_TGT"
together --test-src "$TEST_SRC" --test-tgt "$TEST_TGT"

files=(--train "$SRC" "$TGT") held_out=()
if [[ -n $VALID_SRC ]]; then files+=(--valid "$VALID_SRC" "$VALID_TGT"); else held_out+=(valid); fi
if [[ -n $TEST_SRC ]]; then files+=(--test "$TEST_SRC" "$TEST_TGT"); else held_out+=(test); fi
text=(--most "$MOST" --ratio "$RATIO" ${LOWERCASE:+--lowercase})
text+=(${held_out[0]:+--hold-out "${held_out[@]}"})

prep get own --to work/source "${files[@]}" --licence "$LICENCE" --limit "$LIMIT" \
    ${DROP_EMPTY:+--drop-empty}
if [[ -n $BPE ]]; then
    prep text "${text[@]}"
    prep learn bpe --from tokenized --size "$BPE"
    prep segment bpe --from tokenized
else
    prep text "${text[@]}" --no-tokens
    prep learn sentencepiece --size "$SENTENCEPIECE"
    prep segment sentencepiece
fi
if [[ -n $SEPARATE_DICTIONARIES ]]; then prep binarise; else prep binarise --joined-dictionary; fi
prep card
