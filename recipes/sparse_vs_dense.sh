#!/usr/bin/env bash
# With as many active weights and the same initial weights, does a wide sparse model train as well as a
# narrow dense one, and does its gradient flow tell how well (SC-SDC, Tessera et al. 2021)?
#
#   recipes/sparse_vs_dense.sh --out outputs/sparse_vs_dense
#
#   --optimizers O  adam, sgd or both (default); --seeds S, --updates N (1; 300)
#   --pairs P       DENSE:WIDE widths, several by commas (32:64)
#   --activations A of relu, gelu, swish, prelu (all); --lrs, --decays, --dropouts: by commas
#   --inits I       none, gradinit or both by a comma (both)
#   --out DIR       where everything goes (run again to continue); --data DIR: data-bin made before
#   --jobs N        cells at a time (default: the cores there are); --raw-dir DIR: local corpus
#   --cluster C     local, slurm or debug; --gpus, --partition, --minutes, --cpus; --dry-run: show cells only
#
# 3+3 Post-LN layers on Multi30k de-en, no warmup, lr falls linearly to 0; BLEU on the validation set. The
# report has BLEU and mean EGF of every cell, and Kendall's τ with BLEU of EGF and of the plain gradient
# norm, with 95 % bootstrap intervals. Every model starts from its own --seed; embeddings, LayerNorms and
# biases grow with the width and are counted apart in each sparse cell's gradinit/sparse.json.
# Time: 64 cells of 1 to 3 minutes of one core. Scores: not run yet.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
recipe "grid optimizers=adam,sgd seeds=1 updates=300 pairs=32:64 activations=relu,gelu,swish,prelu lrs= decays=0 dropouts=0.1 inits=none,gradinit" "$@"
CORPUS=(multi30k_de_en.sh --sentencepiece 1000)

# of WIDTH: every width of a model, feed-forward twice as wide.
of() {
  echo "--encoder-embed-dim $1 --encoder-ffn-embed-dim $((2 * $1))" \
    "--decoder-embed-dim $1 --decoder-ffn-embed-dim $((2 * $1))"
}

common=(
  --user-dir fairseq_gradinit --gradient-flow-interval 20
  --task translation --source-lang de --target-lang en --arch transformer
  --encoder-layers 3 --decoder-layers 3 --share-all-embeddings
  --encoder-attention-heads 2 --decoder-attention-heads 2
  --clip-norm 0 --criterion label_smoothed_cross_entropy --label-smoothing 0.1
  --max-tokens 1024 --max-update "${UPDATES}" --lr-scheduler polynomial_decay --total-num-update "${UPDATES}"
  --validate-interval-updates 150 --save-interval-updates 150 --keep-interval-updates 1
  --no-epoch-checkpoints --log-interval 50 --num-workers 0
)
inits=() names=()
for pair in ${PAIRS//,/ }; do
  [[ "${pair}" =~ ^([0-9]+):([0-9]+)$ ]] || die "--pairs ${pair}: give DENSE:WIDE widths, as 32:64"
  dense="${BASH_REMATCH[1]}" wide="${BASH_REMATCH[2]}"
  for init in ${INITS//,/ }; do
    case "${init}" in none) on='' ;; gradinit) on='--gradinit' ;; *) die "--inits ${init}: not one of: none gradinit" ;; esac
    names+=("dense-${dense}-${init}" "sparse-${wide}-like-${dense}-${init}")
    inits+=(--init "dense-${dense}-${init}=$(of "${dense}") ${on}")
    inits+=(--init "sparse-${wide}-like-${dense}-${init}=$(of "${wide}") --sparse-like-width ${dense} ${on}")
  done
done

for optimizer in ${OPTIMIZERS//,/ }; do # before the first of them has its grid
  [[ " adam sgd " == *" ${optimizer} "* ]] || die "--optimizers ${optimizer}: not one of: adam sgd"
done

code=0
ALL="${OUT}"
for optimizer in ${OPTIMIZERS//,/ }; do
  case "${optimizer}" in
  adam) lrs=2e-3,4e-3 flags=(--optimizer adam --adam-betas '(0.9, 0.98)') ;;
  sgd) lrs=0.1,0.3 flags=(--optimizer sgd --momentum 0.9) ;;
  esac
  OUT="${ALL}/${optimizer}"
  grid --axis "seed=${SEEDS}" --axis "lr=${LRS:-${lrs}}" --axis "ffn_activation=${ACTIVATIONS}" \
    --axis "weight_decay=${DECAYS}" --axis "dropout=${DROPOUTS}" --axis "init=$(IFS=,; echo "${names[*]}")" \
    "${inits[@]}" --subset valid --cell-seconds 90 \
    --generate-flags "--beam 1 --remove-bpe sentencepiece --max-tokens 4000 --max-len-a 1 --max-len-b 9" \
    -- "${common[@]}" "${flags[@]}" || code=$?
  [[ "${code}" -le 1 ]] || exit "${code}"
done
[[ -n "${DRY_RUN}" ]] || "${PYTHON}" -m recipes.sparse_vs_dense "${ALL}"
exit "${code}"
