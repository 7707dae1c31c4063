#!/usr/bin/env bash
# One cell from text to BLEU, every step by hand: prepare, train, average, generate, score.
# What does a single run of this model give, and what does the engine do for every cell?
#
#   recipes/one_run.sh --out outputs/one_run
#   recipes/one_run.sh --out outputs/one_run --init warmup
#
#   --out DIR     where everything goes (run again to continue); --data DIR: data-bin made before
#   --init I      gradinit (default), none or warmup; --raw-dir DIR: local corpus
#   --updates N   default 800
#   --lr X        default 4e-3
#
# Time: 4 minutes on one of two cores. Seen at commit a33d9f2, seed 1, Multi30k test: BLEU 25.3 (15.4 with
# --updates 400), nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
recipe "init=gradinit|none|warmup updates=800 lr=4e-3" "$@"
[[ "${UPDATES}" =~ ^[1-9][0-9]*$ ]] || die "--updates ${UPDATES}: give a whole number above 0"
[[ "${LR}" =~ ^[0-9.]+(e-?[0-9]+)?$ ]] || die "--lr ${LR}: give a number above 0"
prepare multi30k_de_en.sh

case "${INIT}" in
none) start=() ;;
gradinit) start=(--gradinit) ;;
warmup) start=(--warmup-updates 300) ;;
esac
run="${OUT}/${INIT}"
mkdir -p "${run}"

# --user-dir also lets torch 2.6 and later load fairseq's checkpoints.
child "${PYTHON}" -m fairseq_cli.train "${DATA}/data-bin" --user-dir fairseq_gradinit \
  --task translation --source-lang de --target-lang en \
  --arch transformer --encoder-layers 6 --decoder-layers 6 --share-all-embeddings \
  --encoder-embed-dim 64 --encoder-ffn-embed-dim 128 --encoder-attention-heads 2 \
  --decoder-embed-dim 64 --decoder-ffn-embed-dim 128 --decoder-attention-heads 2 \
  --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 0 \
  --lr "${LR}" --lr-scheduler polynomial_decay --total-num-update "${UPDATES}" "${start[@]}" \
  --dropout 0.1 --criterion label_smoothed_cross_entropy --label-smoothing 0.1 \
  --max-tokens 1024 --max-update "${UPDATES}" --seed 1 --num-workers 0 \
  --save-interval-updates 50 --keep-interval-updates 3 --no-epoch-checkpoints \
  --validate-interval-updates 200 --save-dir "${run}/checkpoints"

"${PYTHON}" -m recipes.engine.steps.average "${run}/checkpoints" 3 "${run}/averaged.pt"

child "${PYTHON}" -m fairseq_cli.generate "${DATA}/data-bin" --user-dir fairseq_gradinit \
  --path "${run}/averaged.pt" --gen-subset test --beam 5 --remove-bpe sentencepiece \
  --max-tokens 4000 --max-len-a 1 --max-len-b 20 \
  --required-batch-size-multiple 1 >"${run}/generate.log" # 8 drops sentences at the end

# D- lines are detokenized hypotheses, in the order they were decoded in.
grep '^D-' "${run}/generate.log" | sed 's/^D-//' | sort -n | cut -f3 >"${run}/hypotheses.txt"
"${PYTHON}" -m sacrebleu "${DATA}/raw/test.en" -i "${run}/hypotheses.txt" -m bleu chrf
