#!/usr/bin/env bash
# Which ingredient of GradInit's default removes the need for warmup, and up to which learning rate?
#
#   recipes/objective.sh --out outputs/objective
#
#   --out DIR     where everything goes (run again to continue); --data DIR: data-bin made before
#   --jobs N      cells at a time (default: the cores there are); --raw-dir DIR: local corpus
#   --cluster C   local, slurm or debug; --gpus, --partition, --minutes, --cpus as the engine's
#   --dry-run     print cells, commands and an estimate
#
# 54 cells on Multi30k de-en: 3 lr × 3 seeds × {none, warmup, branches turned down by hand, learned from
# 1, learned from there, learned near there (the default)}. Validation loss after 400 updates, and
# BLEU on the validation set, since settings are chosen here.
# Time: about 2.5 minutes of one core a cell. Score: not yet run.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
recipe "$@"
prepare multi30k_de_en.sh

model=(
  --task translation --source-lang de --target-lang en
  --arch transformer --encoder-layers 6 --decoder-layers 6 --share-all-embeddings
  --encoder-embed-dim 64 --encoder-ffn-embed-dim 128 --encoder-attention-heads 4
  --decoder-embed-dim 64 --decoder-ffn-embed-dim 128 --decoder-attention-heads 4
)
training=(
  --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 0 --dropout 0.1
  --lr-scheduler fixed --criterion label_smoothed_cross_entropy --label-smoothing 0.1
  --max-tokens 1024 --max-update 400
)
saving=(
  --validate-interval-updates 200 --save-interval-updates 200 --keep-interval-updates 1
  --no-epoch-checkpoints --log-interval 50 --num-workers 0
)
learn="--user-dir fairseq_gradinit --gradinit --gradinit-iters 40 --gradinit-lr 0.1"
generate=(--beam 1 --remove-bpe sentencepiece --max-tokens 4000 --max-len-a 1 --max-len-b 9)

grid \
  --axis seed=1,2,3 --axis lr=2e-3,4e-3,8e-3 --axis init=none,warmup,hand,from-1,from-0.1,default \
  --init none="" \
  --init warmup="--warmup-updates 150" \
  --init hand="--user-dir fairseq_gradinit --gradinit --gradinit-iters 1 --gradinit-max-change 1" \
  --init from-1="${learn} --gradinit-branch-scale 1 --gradinit-max-change 100" \
  --init from-0.1="${learn} --gradinit-branch-scale 0.1 --gradinit-max-change 100" \
  --init default="${learn} --gradinit-branch-scale 0.1 --gradinit-max-change 3" \
  --generate-flags "${generate[*]}" --subset valid \
  --cell-seconds 150 \
  -- "${model[@]}" "${training[@]}" "${saving[@]}"
