#!/usr/bin/env bash
# Which ingredient of GradInit's default removes the need for warmup, and how far does it carry?
#
#   recipes/ablations.sh --out outputs/ablations [--question QUESTION]
#
#   --question Q  one or more of QUESTIONS below; default: all
#   --seeds S     default 1,2,3
#   --updates, --depths, --lrs, --inits: in place of the question's own
#   --out DIR     where everything goes (run again to continue); --data DIR: data-bin made before
#   --jobs N      cells at a time (default: the cores there are); --raw-dir DIR: local corpus
#   --cluster C   local, slurm or debug; --gpus, --partition, --minutes, --cpus; --dry-run: show cells only
#
# Small Post-LN models on Multi30k de-en, or on what --data holds; the lr decays linearly to 0. BLEU is
# that of the validation set, since settings are chosen here. Seen: results/objective/README.md. Time:
# 2 to 4 minutes of one core a cell, 6 to 10 when deeper and with the paper's 780 iterations.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
QUESTIONS='candidates paper none warmup default sgd beta2 momentum depth width long-warmup long'
AXIS=''
recipe "grid question= seeds=1,2,3 updates= depths= lrs= inits=" "$@"
QUESTION="${QUESTION:-${QUESTIONS}}"
CORPUS=(multi30k_de_en.sh)
for question in ${QUESTION}; do # before the corpus is prepared for it
  [[ " ${QUESTIONS} " == *" ${question} "* ]] || die "--question ${question}: not one of: ${QUESTIONS}"
done

# ask UPDATES DEPTHS LRS INITS FLAG...: one grid, in a folder named after the question.
ask() {
  local OUT="${OUT}/${question}" updates="${UPDATES:-$1}" on="--user-dir fairseq_gradinit --gradinit"
  grid --axis "seed=${SEEDS}" --axis "depth=${DEPTHS:-$2}" \
    --axis "lr=${LRS:-$3}" ${AXIS:+--axis "${AXIS}"} --axis "init=${INITS:-$4}" \
    --init none="" \
    --init warmup="--warmup-updates 150" \
    --init paper="${on} --gradinit-preset paper" \
    --init paper-0.1="${on} --gradinit-preset paper --gradinit-predicted-drop 0.1" \
    --init from-1="${on} --gradinit-branch-scale 1 --gradinit-encoder-scale 1 --gradinit-max-change 100" \
    --init branches-0.1="${on} --gradinit-branch-scale 0.1 --gradinit-encoder-scale 1 --gradinit-max-change 3" \
    --init branches-0.03="${on} --gradinit-encoder-scale 1" \
    --init wide="${on} --gradinit-max-change 3" \
    --init start="${on} --gradinit-iters 1 --gradinit-max-change 1" \
    --init lookahead-lr-1="${on} --gradinit-lookahead-lr 1" \
    --init default="${on}" \
    --generate-flags "--beam 1 --remove-bpe sentencepiece --max-tokens 4000 --max-len-a 1 --max-len-b 9" \
    --subset valid --cell-seconds 200 \
    -- --task translation --source-lang de --target-lang en --arch transformer --share-all-embeddings \
    --encoder-attention-heads 2 --decoder-attention-heads 2 \
    --clip-norm 0 --dropout 0.1 --criterion label_smoothed_cross_entropy --label-smoothing 0.1 \
    --lr-scheduler polynomial_decay --total-num-update "${updates}" --max-update "${updates}" \
    --max-tokens 1024 --validate-interval-updates 200 --save-interval-updates 200 \
    --keep-interval-updates 1 --no-epoch-checkpoints --log-interval 50 --num-workers 0 "${@:5}"
}

adam=(--optimizer adam --adam-betas '(0.9, 0.98)') sgd=(--optimizer sgd)
width() {
  echo --encoder-embed-dim "$1" --encoder-ffn-embed-dim $((2 * $1)) \
    --decoder-embed-dim "$1" --decoder-ffn-embed-dim $((2 * $1))
}

for question in ${QUESTION}; do
  case "${question}" in
  candidates)
    ask 400 6 4e-3 none,warmup,from-1,branches-0.1,branches-0.03,wide,start,lookahead-lr-1,default $(width 64) "${adam[@]}" ;;
  paper) ask 400 6 1e-3,2e-3,4e-3 paper,paper-0.1 $(width 64) "${adam[@]}" ;;
  none) ask 400 6 1e-3,1.4e-3,2e-3,2.8e-3 none $(width 64) "${adam[@]}" ;;
  warmup) ask 400 6 2e-3,2.8e-3,4e-3,5.6e-3 warmup $(width 64) "${adam[@]}" ;;
  default) ask 400 6 2e-3,4e-3,5.6e-3,8e-3 default $(width 64) "${adam[@]}" ;;
  sgd) ask 400 6 0.1,0.3 none,warmup,default $(width 64) "${sgd[@]}" --momentum 0.9 ;;
  beta2)
    AXIS=beta2=0.9,0.98,0.999 ask 400 6 1e-3,2e-3,4e-3,8e-3 none,warmup,default $(width 64) "${adam[@]}" ;;
  momentum) AXIS=momentum=0,0.5,0.9 ask 400 6 0.1,0.3,1 none,default $(width 64) "${sgd[@]}" ;;
  depth) ask 400 12,18 1e-3,2e-3 none,warmup,default $(width 64) "${adam[@]}" ;;
  width) ask 200 6 1e-3,2e-3 none,warmup,default $(width 256) "${adam[@]}" ;;
  long-warmup) ask 1000 6 2e-3,2.8e-3 warmup $(width 64) "${adam[@]}" ;;
  long) ask 1000 6 4e-3 default $(width 64) "${adam[@]}" ;;
  esac
done
