#!/usr/bin/env bash
# Does a Post-LN Transformer train without learning-rate warmup, and does GradInit mend it?
#
#   recipes/quickstart.sh --out outputs/quickstart
#
#   --out DIR       where everything goes (run again to continue a stopped run)
#   --raw-dir DIR   use local corpus files, no download; another one begins anew
#   --data DIR      use a data-bin made before; it is only read
#   --jobs N        trainings at a time (default: the cores there are); --dry-run: print, run nothing
#   --cluster C     local, slurm or debug; --gpus, --partition, --minutes, --cpus as the engine's
#
# A grid of four cells: the same 6+6-layer Transformer, data and seed, trained as Post-LN without
# warmup, the same with GradInit, with warmup, and as Pre-LN without warmup. Ends with a table and a
# report. Time and scores to expect: README.md.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
recipe grid "$@"
CORPUS=(quickstart_de_en.sh)

model=(
  --task translation --source-lang de --target-lang en
  --arch transformer --encoder-layers 6 --decoder-layers 6 --share-all-embeddings
  --encoder-embed-dim 64 --encoder-ffn-embed-dim 128 --encoder-attention-heads 2
  --decoder-embed-dim 64 --decoder-ffn-embed-dim 128 --decoder-attention-heads 2
)
training=(
  --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 0 --dropout 0.1
  --lr 4e-3 --lr-scheduler polynomial_decay --total-num-update 800  # linearly to 0
  --criterion label_smoothed_cross_entropy --label-smoothing 0.1
  --max-tokens 1024 --max-update 800 --seed 1
)
saving=(
  --validate-interval-updates 100 --save-interval-updates 200 --keep-interval-updates 1
  --no-epoch-checkpoints --log-interval 50 --num-workers 0
)
# What has not learned to end a sentence is cut off.
generate=(--beam 5 --remove-bpe sentencepiece --max-tokens 4000 --max-len-a 1 --max-len-b 20)

# Each at the learning rate and warmup with the lowest validation loss of those tried (docs/start.md).
grid \
  --axis init=gradinit,none,warmup,preln \
  --init none="--lr 1e-3 --warmup-updates 0" \
  --init gradinit="--warmup-updates 0 --user-dir fairseq_gradinit --gradinit" \
  --init warmup="--warmup-updates 300" \
  --init preln="--warmup-updates 0 --encoder-normalize-before --decoder-normalize-before" \
  --generate-flags "${generate[*]}" \
  -- "${model[@]}" "${training[@]}" "${saving[@]}"
