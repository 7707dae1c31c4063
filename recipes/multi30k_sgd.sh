#!/usr/bin/env bash
# Over which learning rates and momenta does a small Post-LN Transformer train with plain SGD,
# without warmup: at its own initial scales, and with GradInit?
#
#   recipes/multi30k_sgd.sh --out outputs/multi30k_sgd
#
#   --out DIR     where everything goes (run again to continue); --data DIR: data-bin made before
#   --jobs N      cells at a time (default: the cores there are); --raw-dir DIR: local corpus
#   --cluster C   local, slurm or debug; --gpus, --partition, --minutes, --cpus as the engine's
#   --dry-run     print cells, commands and an estimate
#
# 24 cells on Multi30k de-en, 300 updates at an lr that decays linearly. Time: 1 to 2 minutes of one core
# a cell. Seen (results/multi30k_sgd), one seed, BLEU nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0:
# GradInit (with margin 1, embeddings free) trains in five cells (4.4 at best), none in two (2.4 at best); nothing trains at lr 3.

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
  --optimizer sgd --clip-norm 0 --dropout 0.1
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
  --axis lr=0.1,0.3,1,3 --axis momentum=0,0.5,0.9 --axis init=none,gradinit \
  --init none="" \
  --init gradinit="${gradinit[*]}" \
  --generate-flags "${generate[*]}" \
  --cell-seconds 60 \
  -- "${model[@]}" "${training[@]}" "${saving[@]}"
