#!/usr/bin/env bash
# Does the picture of IWSLT'14 hold on WMT'14 en-de, 4.5 M pairs and transformer_wmt_en_de: over
# which learning rates and momenta does Post-LN train with SGD and no warmup, with GradInit or not?
#
#   recipes/wmt14_sgd.sh --out outputs/wmt14_sgd --cluster slurm --gpus 8 --partition gpu
#
#   --out DIR     where everything goes (run again to continue); --data DIR: data-bin made before
#   --jobs N      cells at a time; --cluster C: local, slurm or debug; --gpus, --partition,
#   --minutes, --cpus as the engine's; --raw-dir DIR: local corpus; --dry-run: print, run nothing
#
# 36 cells (4 lr × 3 momenta × 3 inits, one seed) of 100,000 updates, 8 GPUs a cell.
# Time and score: not yet run here (no GPU). GradInit refuses several processes as of 0.1.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
recipe "$@"
prepare wmt14_en_de.sh

model=(
  --task translation --source-lang en --target-lang de
  --arch transformer_wmt_en_de --share-all-embeddings
)
# fairseq's Adam recipe for WMT in batch, dropout, decoding; the decay of the authors' script.
training=(
  --optimizer sgd --weight-decay 0 --clip-norm 0
  --lr-scheduler polynomial_decay --total-num-update 100000 --end-learning-rate 0
  --dropout 0.1
  --criterion label_smoothed_cross_entropy --label-smoothing 0.1
  --max-tokens 4096 --max-update 100000 --fp16 --seed 1
)
saving=(--keep-last-epochs 10 --save-interval-updates 2000 --keep-interval-updates 1)
multistep=(
  --user-dir fairseq_gradinit --gradinit --gradinit-preset multistep
  --gradinit-lookahead 10 --gradinit-branch-scale 0.03 --gradinit-encoder-scale 0.3 --gradinit-max-change 1.2
  --gradinit-margin 2 --gradinit-iters 40 --gradinit-lr 0.1
)
generate=(--beam 4 --lenpen 0.6 --remove-bpe sentencepiece)

grid \
  --axis lr=0.03,0.1,0.3,1 --axis momentum=0,0.9,0.99 \
  --axis init=none,gradinit,warmup \
  --init none="--warmup-updates 0" \
  --init gradinit="--warmup-updates 0 ${multistep[*]}" \
  --init warmup="--warmup-updates 4000" \
  --average 10 --generate-flags "${generate[*]} --batch-size 128" \
  -- "${model[@]}" "${training[@]}" "${saving[@]}"
