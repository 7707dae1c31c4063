#!/usr/bin/env bash
# The paper's central claim with Adam, on IWSLT'14 de-en: over which learning rates and β₂ does
# Post-LN transformer_iwslt_de_en train without warmup, with GradInit and without, and what BLEU?
#
#   recipes/iwslt14_adam.sh --out outputs/iwslt14_adam --cluster slurm --gpus 1 --partition gpu
#
#   --out DIR     where everything goes (run again to continue); --data DIR: data-bin made before
#   --jobs N      cells at a time; --cluster C: local, slurm or debug; --gpus, --partition,
#   --minutes, --cpus as the engine's; --raw-dir DIR: local corpus; --dry-run: print, run nothing
#
# 144 cells (4 lr × 3 β₂ × 4 inits × 3 seeds) of 100,000 updates.
# Time and score: not yet run here (no GPU). Published by others: tokenized lower-cased BLEU about
# 35.6 ± 0.2 with warmup (joined dictionary, average of 10, beam 5).

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
recipe "$@"
prepare iwslt14_de_en.sh

model=(
  --task translation --source-lang de --target-lang en
  --arch transformer_iwslt_de_en --share-decoder-input-output-embed
)
# The authors' script for IWSLT'14, but for warmup, which is what the inits are about.
training=(
  --optimizer adam --adam-betas '(0.9, 0.98)' --weight-decay 1e-4 --clip-norm 0
  --lr-scheduler polynomial_decay --total-num-update 100000 --end-learning-rate 0
  --dropout 0.3 --attention-dropout 0.1 --relu-dropout 0.1
  --criterion label_smoothed_cross_entropy --label-smoothing 0.1
  --max-tokens 4096 --max-update 100000 --fp16
)
saving=(--keep-last-epochs 10 --save-interval-updates 2000 --keep-interval-updates 1)
paper=(
  --user-dir fairseq_gradinit --gradinit --gradinit-preset paper --gradinit-iters 780
  --gradinit-lr 2.5e-3 --gradinit-eta 1e-3 --gradinit-gamma 1000 --gradinit-min-scale 0.01
  --gradinit-max-layernorm-scale 100 --gradinit-max-tokens 6000
)
multistep=(
  --user-dir fairseq_gradinit --gradinit --gradinit-preset multistep
  --gradinit-lookahead 10 --gradinit-branch-scale 0.03 --gradinit-encoder-scale 0.3 --gradinit-max-change 1.2
  --gradinit-margin 2 --gradinit-iters 40 --gradinit-lr 0.1
)
# The published comparison is of lower-cased tokens; sacreBLEU of detokenized text is the score.
generate=(--beam 5 --remove-bpe --tokenizer moses --source-lang de --target-lang en)

grid \
  --axis lr=2.5e-4,5e-4,1e-3,2e-3 --axis beta2=0.9,0.98,0.999 \
  --axis init=none,gradinit-paper,gradinit,warmup --axis seed=1,2,3 \
  --init none="--warmup-updates 0" \
  --init gradinit-paper="--warmup-updates 0 ${paper[*]}" \
  --init gradinit="--warmup-updates 0 ${multistep[*]}" \
  --init warmup="--warmup-updates 4000" \
  --average 10 --tokenized --generate-flags "${generate[*]} --batch-size 128" \
  -- "${model[@]}" "${training[@]}" "${saving[@]}"
