#!/usr/bin/env bash
# The paper's central claim on IWSLT'14 de-en: over which learning rates and β₂ (Adam) or momenta
# (SGD) does Post-LN transformer_iwslt_de_en train without warmup, with GradInit or not, at what BLEU?
#
#   recipes/iwslt14.sh --out outputs/iwslt14_adam --cluster slurm --gpus 1 --partition gpu
#   recipes/iwslt14.sh --optimizer sgd --out outputs/iwslt14_sgd --cluster slurm --gpus 1
#
#   --out DIR     where everything goes (run again to continue); --data DIR: data-bin made before
#   --jobs N      cells at a time; --cluster C: local, slurm or debug; --gpus, --partition,
#   --minutes, --cpus as the engine's; --raw-dir DIR: local corpus; --dry-run: print, run nothing
#
# 144 cells (4 lr × 3 β₂ or momenta × 4 inits × 3 seeds) of 100,000 updates.
# Time: `--dry-run --trial-seconds 60` where it will run. Score: not yet run here (no GPU). Published
# by others, Adam: tokenized lower-cased BLEU about 35.6 ± 0.2 with warmup (joined dictionary, average of
# 10, beam 5). SGD's lr axis is a guess from small models on Multi30k (results/multi30k_sgd): look at
# one seed before paying for three.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
recipe "grid optimizer=adam|sgd" "$@"
CORPUS=(iwslt14_de_en.sh)

model=(
  --task translation --source-lang de --target-lang en
  --arch transformer_iwslt_de_en --share-decoder-input-output-embed
)
on="--user-dir fairseq_gradinit --gradinit"
paper="${on} --gradinit-preset paper --gradinit-max-tokens 6000"
case "${OPTIMIZER}" in
adam)
  optimizer=(--optimizer adam --adam-betas '(0.9, 0.98)')
  axes=(--axis lr=2.5e-4,5e-4,1e-3,2e-3 --axis beta2=0.9,0.98,0.999)
  paper+=" --gradinit-eta 1e-3" ;; # at every learning rate, as in the authors' script
sgd)
  optimizer=(--optimizer sgd)
  axes=(--axis lr=0.03,0.1,0.3,1 --axis momentum=0,0.9,0.99) ;;
esac
# The authors' script for IWSLT'14, but for optimizer and warmup, which is what the inits are about.
training=(
  --weight-decay 1e-4 --clip-norm 0
  --lr-scheduler polynomial_decay --total-num-update 100000 --end-learning-rate 0
  --dropout 0.3 --attention-dropout 0.1 --relu-dropout 0.1
  --criterion label_smoothed_cross_entropy --label-smoothing 0.1
  --max-tokens 4096 --max-update 100000 --fp16
)
saving=(--keep-last-epochs 10 --save-interval-updates 2000 --keep-interval-updates 1)
# The published comparison is of lower-cased tokens; sacreBLEU of detokenized text is the score.
generate=(--beam 5 --remove-bpe --tokenizer moses --source-lang de --target-lang en)

grid "${axes[@]}" \
  --axis init=none,gradinit-paper,gradinit,warmup --axis seed=1,2,3 \
  --init none="--warmup-updates 0" \
  --init gradinit-paper="--warmup-updates 0 ${paper}" \
  --init gradinit="--warmup-updates 0 ${on}" \
  --init warmup="--warmup-updates 4000" \
  --average 10 --tokenized --generate-flags "${generate[*]} --batch-size 128" \
  -- "${model[@]}" "${optimizer[@]}" "${training[@]}" "${saving[@]}"
