#!/usr/bin/env bash
# Over which learning rates and β₂ does a small Post-LN Transformer train with Adam: without
# warmup, without warmup but with GradInit, and with warmup?
#
#   recipes/multi30k_adam.sh --out outputs/multi30k_adam
#
#   --out DIR     where everything goes (run again to continue); --data DIR: data-bin made before
#   --jobs N      cells at a time (default: the cores there are); --raw-dir DIR: local corpus
#   --cluster C   local, slurm or debug; --gpus, --partition, --minutes, --cpus as the engine's
#   --dry-run     print cells, commands and an estimate
#
# 36 cells on Multi30k de-en, 300 updates at an lr that decays linearly. Time: 1 to 3 minutes of one core
# a cell. Seen (results/multi30k_adam), one seed, BLEU nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0,
# best of 12 cells: GradInit (with margin 1, embeddings free) 8.9 (lr 4e-3), warmup 4.3, none 2.9; nothing trains at 1.6e-2.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
recipe "$@"
prepare multi30k_de_en.sh --sentencepiece 1000

model=(
  --task translation --source-lang de --target-lang en
  --arch transformer --encoder-layers 3 --decoder-layers 3 --share-all-embeddings
  --encoder-embed-dim 64 --encoder-ffn-embed-dim 128 --encoder-attention-heads 2
  --decoder-embed-dim 64 --decoder-ffn-embed-dim 128 --decoder-attention-heads 2
)
training=(
  --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 0 --dropout 0.1
  --criterion label_smoothed_cross_entropy --label-smoothing 0.1
  --max-tokens 1024 --max-update 300 --seed 1
  --lr-scheduler polynomial_decay --total-num-update 300  # linearly to 0
)
saving=(
  --validate-interval-updates 150 --save-interval-updates 150 --keep-interval-updates 1
  --no-epoch-checkpoints --log-interval 50 --num-workers 0
)
gradinit=(
  --user-dir fairseq_gradinit --gradinit --gradinit-preset multistep --gradinit-lookahead 10
  --gradinit-branch-scale 0.03 --gradinit-encoder-scale 0.3 --gradinit-max-change 1.2
  --gradinit-margin 2 --gradinit-iters 40 --gradinit-lr 0.1 --gradinit-max-tokens 512
)
generate=(--beam 1 --remove-bpe sentencepiece --max-tokens 4000 --max-len-a 1 --max-len-b 9)

grid \
  --axis lr=2e-3,4e-3,8e-3,1.6e-2 --axis beta2=0.9,0.98,0.999 --axis init=none,gradinit,warmup \
  --init none="" \
  --init gradinit="${gradinit[*]}" \
  --init warmup="--warmup-updates 80" \
  --generate-flags "${generate[*]}" \
  --cell-seconds 60 \
  -- "${model[@]}" "${training[@]}" "${saving[@]}"
