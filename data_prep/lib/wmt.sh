# Sourced by the WMT scripts: wmt CORPUS OPTION...

wmt() {
    local corpus=$1
    shift
    SENTENCEPIECE=32000 BPE='' SEPARATE_DICTIONARIES=''
    options "$SHARED sentencepiece bpe separate-dictionaries!" "$@"
    local get=(get "$corpus" ${RAW_DIR:+--raw-dir "$RAW_DIR"} --limit "$LIMIT" --drop-empty)
    local clean=(--most 250 --ratio 1.5) joined=(--joined-dictionary)
    [[ -z $SEPARATE_DICTIONARIES ]] || joined=()

    if [[ -n $BPE ]]; then
        prep "${get[@]}" --to work/source
        prep text --normalise --aggressive --apostrophes
        prep learn bpe --from tokenized --size "$BPE"
        prep segment bpe --from tokenized "${clean[@]}"
    else
        prep "${get[@]}" --to raw
        prep learn sentencepiece --size "$SENTENCEPIECE"
        prep segment sentencepiece "${clean[@]}"
    fi
    prep binarise "${joined[@]}"
    prep card
}
