#!/usr/bin/env bash
# Does the picture of IWSLT'14 hold on WMT'14 en-de, 4.5 M pairs and transformer_wmt_en_de: over which
# learning rates and β₂ (Adam) or momenta (SGD) does Post-LN train without warmup, with GradInit or not?
#
#   recipes/wmt14.sh --out outputs/wmt14_adam --cluster slurm --gpus 1 --partition gpu
#   recipes/wmt14.sh --optimizer sgd --out outputs/wmt14_sgd --cluster slurm --gpus 1
#
#   --out DIR     where everything goes (run again to continue); --data DIR: data-bin made before
#   --jobs N      cells at a time; --cluster C: local, slurm or debug; --gpus, --partition,
#   --minutes, --cpus as the engine's; --raw-dir DIR: local corpus; --dry-run: print, run nothing
#
# 36 cells (4 lr × 3 β₂ or momenta × 3 inits, one seed) of 100,000 updates, one GPU a cell, which
# takes the batches of eight in turn. Time: `--dry-run --trial-seconds 60` where it will run. Score:
# not yet run here (no GPU).

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
recipe "grid optimizer=adam|sgd" "$@"
CORPUS=(wmt14_en_de.sh)

model=(
  --task translation --source-lang en --target-lang de
  --arch transformer_wmt_en_de --share-all-embeddings
)
case "${OPTIMIZER}" in
adam)
  optimizer=(--optimizer adam --adam-betas '(0.9, 0.98)')
  axes=(--axis lr=2.5e-4,5e-4,1e-3,2e-3 --axis beta2=0.9,0.98,0.999) ;;
sgd)
  optimizer=(--optimizer sgd)
  axes=(--axis lr=0.03,0.1,0.3,1 --axis momentum=0,0.9,0.99) ;;
esac
# fairseq's WMT recipe in batch, dropout and decoding; the decay of the authors' IWSLT script.
training=(
  --weight-decay 0 --clip-norm 0
  --lr-scheduler polynomial_decay --total-num-update 100000 --end-learning-rate 0
  --dropout 0.1
  --criterion label_smoothed_cross_entropy --label-smoothing 0.1
  --max-tokens 4096 --update-freq 8 --max-update 100000 --fp16 --seed 1
)
saving=(--keep-last-epochs 10 --save-interval-updates 2000 --keep-interval-updates 1)
generate=(--beam 4 --lenpen 0.6 --remove-bpe sentencepiece)

grid "${axes[@]}" \
  --axis init=none,gradinit,warmup \
  --init none="--warmup-updates 0" \
  --init gradinit="--warmup-updates 0 --user-dir fairseq_gradinit --gradinit" \
  --init warmup="--warmup-updates 4000" \
  --average 10 --generate-flags "${generate[*]} --batch-size 128" \
  -- "${model[@]}" "${optimizer[@]}" "${training[@]}" "${saving[@]}"
