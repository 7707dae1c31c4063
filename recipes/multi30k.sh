#!/usr/bin/env bash
# Over which learning rates and β₂ (Adam) or momenta (SGD) does a small Post-LN Transformer train:
# without warmup, without warmup but with GradInit, and (Adam) with warmup?
#
#   recipes/multi30k.sh --out outputs/multi30k_adam
#   recipes/multi30k.sh --optimizer sgd --out outputs/multi30k_sgd
#
#   --out DIR     where everything goes (run again to continue); --data DIR: data-bin made before
#   --jobs N      cells at a time (default: the cores there are); --raw-dir DIR: local corpus
#   --cluster C   local, slurm or debug; --gpus, --partition, --minutes, --cpus as the engine's
#   --dry-run     print cells, commands and an estimate
#
# 36 cells (Adam) or 24 (SGD) on Multi30k de-en, 300 updates at an lr that decays linearly. Time: 1 to
# 3 minutes of one core a cell. Seen (results/multi30k_adam, results/multi30k_sgd), one seed, margin 1,
# embeddings free, BLEU nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0: Adam, best of 12
# cells: GradInit 8.9 (lr 4e-3), warmup 4.3, none 2.9, nothing trains at 1.6e-2; SGD: GradInit trains in
# five cells (4.4 at best), none in two (2.4), nothing trains at lr 3.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
recipe "grid optimizer=adam|sgd" "$@"
CORPUS=(multi30k_de_en.sh --sentencepiece 1000)

model=(
  --task translation --source-lang de --target-lang en
  --arch transformer --encoder-layers 3 --decoder-layers 3 --share-all-embeddings
  --encoder-embed-dim 64 --encoder-ffn-embed-dim 128 --encoder-attention-heads 2
  --decoder-embed-dim 64 --decoder-ffn-embed-dim 128 --decoder-attention-heads 2
)
case "${OPTIMIZER}" in
adam)
  optimizer=(--optimizer adam --adam-betas '(0.9, 0.98)')
  axes=(--axis lr=2e-3,4e-3,8e-3,1.6e-2 --axis beta2=0.9,0.98,0.999 --axis init=none,gradinit,warmup) ;;
sgd)
  optimizer=(--optimizer sgd)
  axes=(--axis lr=0.1,0.3,1,3 --axis momentum=0,0.5,0.9 --axis init=none,gradinit) ;;
esac
training=(
  --clip-norm 0 --dropout 0.1 --criterion label_smoothed_cross_entropy --label-smoothing 0.1
  --max-tokens 1024 --max-update 300 --seed 1
  --lr-scheduler polynomial_decay --total-num-update 300  # linearly to 0
)
saving=(
  --validate-interval-updates 150 --save-interval-updates 150 --keep-interval-updates 1
  --no-epoch-checkpoints --log-interval 50 --num-workers 0
)
generate=(--beam 1 --remove-bpe sentencepiece --max-tokens 4000 --max-len-a 1 --max-len-b 9)

grid "${axes[@]}" \
  --init none="" \
  --init gradinit="--user-dir fairseq_gradinit --gradinit --gradinit-max-tokens 512" \
  --init warmup="--warmup-updates 80" \
  --generate-flags "${generate[*]}" --cell-seconds 60 \
  -- "${model[@]}" "${optimizer[@]}" "${training[@]}" "${saving[@]}"
