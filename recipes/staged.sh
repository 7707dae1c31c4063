# Sourced, after common.sh and its options, by the recipes that compare ways to do without warmup:
# the model they share, their rows, and the stages of their grid.

U="${UPDATES}" on="--user-dir fairseq_gradinit" adam='--optimizer adam --adam-betas (0.9,0.98)'
case "${SIZE}" in
tiny | small)
  U="${U:-400}" width=128 layers=6 tokens=1024 rates=5e-4,1e-3,2e-3,4e-3,8e-3,1.6e-2 SECONDS_A_CELL=200
  [[ "${SIZE}" == small ]] || width=16 layers=1 tokens=300
  CORPUS=(multi30k_de_en.sh)
  common=(
    --arch transformer --share-all-embeddings --gradinit-cpu-bf16 --num-workers 0 --dropout 0.1
  )
  for side in encoder decoder; do
    common+=("--${side}-layers" "${layers}" "--${side}-embed-dim" "${width}")
    common+=("--${side}-ffn-embed-dim" "$((2 * width))" "--${side}-attention-heads" 2)
  done
  generate='--beam 5 --max-tokens 4000 --max-len-a 1 --max-len-b 20' ;;
iwslt14)
  U="${U:-20000}" tokens=4096 rates=2.5e-4,5e-4,1e-3,2e-3,4e-3 SECONDS_A_CELL=2400
  CORPUS=(iwslt14_de_en.sh)
  common=(
    --arch transformer_iwslt_de_en --share-decoder-input-output-embed --fp16
    --dropout 0.3 --attention-dropout 0.1 --relu-dropout 0.1
  )
  generate='--beam 5 --batch-size 128' ;;
esac
[[ "${U}" =~ ^[0-9]+$ && "${U}" -ge 8 ]] || die "--updates ${U}: give a whole number from 8 on"
common+=(
  ${on} --gradinit-watch "$((U / 8))" --task translation --source-lang de --target-lang en
  --criterion label_smoothed_cross_entropy --label-smoothing 0.1 --clip-norm 0
  --max-tokens "${tokens}" --max-update "${U}"
  --validate-interval-updates "$((U / 4))" --save-interval-updates "$((U / 4))"
  --keep-interval-updates 1 --no-epoch-checkpoints --log-interval "$((U / 8))"
)
rates="${LRS:-${rates}}" warmups="${WARMUPS:-$((U / 4)),$((U / 2))}"
decay="--lr-scheduler polynomial_decay --total-num-update ${U}" # linearly to 0
catapult="--lr-scheduler catapult --catapult-decay polynomial_decay --total-num-update ${U}"
names=() inits=() screen=() lrs='' lengths='' inference=() asked=()

# row NAME RATES WARMUPS DECODING FLAG...: a row of the table. DECODING: what its checkpoints need,
# '' where stock fairseq decodes them.
row() {
  names+=("$1") inits+=(--init "$1=${*:5}") lrs+="$2," lengths+="$3,"
  [[ -z "$4" ]] || inference+=(--inference "$1=$4")
  [[ -n "${ROWS}" && ",${ROWS}," != *",$1,"* ]] && return
  asked+=("$1") screen+=(--only "init=$1 lr=$2 warmup=$3 seed=${SEEDS%%,*}")
}

# each_once LIST: the values of a list by commas, each once.
each_once() { tr ',' '\n' <<<"${1%,}" | awk 'NF && !seen[$0]++' | paste -sd,; }

# stages WANT BASELINE: every row over its learning rates with the first seed, then what WANT names
# (see no_warmup.py) with every seed, until nothing is wanted; then the table.
stages() {
  local code=0 said parts shared name
  for name in ${ROWS//,/ }; do
    [[ " ${names[*]} " == *" ${name} "* ]] || die "--rows ${name}: not one of: ${names[*]}"
  done
  shared=(
    --axis "init=$(IFS=,; echo "${names[*]}")" --axis "lr=$(each_once "${lrs}")"
    --axis "warmup=$(each_once "${lengths}")" --axis "seed=${SEEDS}"
    "${inits[@]}" --cell-seconds "${SECONDS_A_CELL}" --generate-flags "${generate}"
  )
  cells "${shared[@]}" "${screen[@]}" -- "${common[@]}" || code=$?
  [[ "${code}" -le 1 ]] || return "${code}"
  if [[ -n "${DRY_RUN}" ]]; then
    said="${SEEDS//[^,]/}"
    said="$((${#asked[@]} * ${#said} * $(wc -w <<<"${1//,/ }")))"
    echo "then at most ${said} cells more: ${1//,/, } of each of ${#asked[@]} rows with the other seeds"
    return
  fi
  while true; do
    said="$("${PYTHON}" -m recipes.no_warmup seeds "${OUT}/grid" --want "$1")" || return
    [[ -n "${said}" ]] || break
    mapfile -t parts <<<"${said}"
    code=0
    cells "${shared[@]}" "${screen[@]}" "${parts[@]/#/--only=}" -- "${common[@]}" || code=$?
    [[ "${code}" -le 1 ]] || return "${code}"
  done
  engine report "${OUT}/grid" --to "${OUT}/report" || return
  "${PYTHON}" -m recipes.no_warmup table "${OUT}/grid" --to "${OUT}/report" --baseline "$2" \
    "${inference[@]}" || return
  return "${code}"
}
