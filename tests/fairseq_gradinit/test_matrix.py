"""What stock fairseq trains, --gradinit starts: architectures, precisions and flags."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from corpus import binarise_target, write_corpus
from fairseq_runs import checkpoint, run, train_arguments

# Flags added to the tiny Transformer's; a name with ! takes away those that begin so.
HEADS = ("!--encoder-ffn", "!--decoder-ffn", "!--encoder-attention", "!--decoder-attention")
KERNELS = ("--encoder-kernel-size-list=[3,3]", "--decoder-kernel-size-list=[3,3]")
ARCHITECTURES = {
    "post-ln": (),
    "pre-ln": ("--encoder-normalize-before", "--decoder-normalize-before"),
    "untied": ("!--share-all-embeddings",),
    "adaptive-softmax": (
        *("!--share-all-embeddings", "!--label-smoothing", "--criterion=adaptive_loss"),
        *("--adaptive-softmax-cutoff=10,20", "--ddp-backend=legacy_ddp"),
    ),
    "lstm": ("--arch=lstm", "--decoder-out-embed-dim=16", *HEADS),
    "fconv": (
        *("--arch=fconv_iwslt_de_en", "!--share-all-embeddings", *HEADS),
        *("!--encoder-layers", "!--decoder-layers"),
    ),
    "lightconv": (
        *("--arch=lightconv_iwslt_de_en", *KERNELS),
        *("--encoder-conv-dim=16", "--decoder-conv-dim=16"),
    ),
}
FLAGS = {
    "plain": (),
    "update-freq": ("--update-freq=3", "--clip-norm=0.1"),
    "ema": ("--store-ema", "--ema-decay=0.5"),
}
PRECISIONS = {"fp32": (), "fp16": ("--fp16", "--fp16-no-flatten-grads")}
TRANSFORMERS_OWN = {
    "checkpoint-activations": ("--checkpoint-activations",),
    "offload-activations": ("--offload-activations",),
    "layerdrop": ("--encoder-layerdrop=0.5", "--decoder-layerdrop=0.5"),
    "quant-noise": ("--quant-noise-pq=0.1", "--quant-noise-pq-block-size=4"),
    "memory-efficient-fp16": ("--memory-efficient-fp16",),
    "layernorm-embedding": ("--layernorm-embedding", "--no-scale-embedding"),
    "searched": ("--gradinit-iters=2", "--gradinit-lookahead=2"),
    "paper": ("--gradinit-preset=paper", "--gradinit-iters=2"),
}
# What fairseq cannot do without --gradinit either: copy these for an EMA, sum in 16 bit on a CPU,
# initialise lightconv's biases, which fp16 makes infinite.
STOCK_FAILS = {
    *(("adaptive-softmax", "ema"), ("fconv", "ema")),
    *(("lstm", "fp16"), ("fconv", "fp16"), ("lightconv", "fp16")),
}
CASES = {
    f"{names[0]}-{names[1]}-{names[2]}": (*ARCHITECTURES[names[0]], *FLAGS[names[1]])
    + PRECISIONS[names[2]]
    for names in itertools.product(ARCHITECTURES, FLAGS, PRECISIONS)
    if (names[0], names[1]) not in STOCK_FAILS and (names[0], names[2]) not in STOCK_FAILS
} | TRANSFORMERS_OWN


@pytest.mark.parametrize("flags", CASES.values(), ids=CASES)
def test_it_starts_what_stock_fairseq_trains(grammar, tmp_path, flags):
    gradinit = ["--gradinit", "--gradinit-trial=2", "--gradinit-watch=1", "--max-update=2"]
    added = [flag for flag in flags if not flag.startswith("!")]
    removed = tuple(flag[1:] for flag in flags if flag.startswith("!"))
    given = train_arguments(grammar, tmp_path, *gradinit, *added)
    run([flag for flag in given if not (removed and flag.startswith(removed))])
    weights = checkpoint(tmp_path)["model"]
    assert all(torch.isfinite(w.float()).all() for w in weights.values())
    losses = [float(line.split(",")[0].split(":")[1]) for line in watched(tmp_path)]
    assert len(losses) == 2 and all(math.isfinite(loss) for loss in losses)


@pytest.mark.parametrize("mode", ["none", "complete", "complete_doc", "eos"])
def test_it_starts_language_models_however_their_text_is_cut(tmp_path, mode):
    write_corpus(tmp_path, {"train": 300, "valid": 60})
    data = binarise_target(tmp_path)
    gradinit = ["--gradinit", "--gradinit-trial=2", "--gradinit-watch=1", "--max-update=2"]
    cut = ["--tokens-per-sample=40", f"--sample-break-mode={mode}"]
    model = ["--arch=transformer_lm", "--task=language_modeling_gradinit", "--max-tokens=400"]
    without = ("--arch", "--share-all", "--encoder")
    given = train_arguments(data, tmp_path / "run", *gradinit, *cut)
    run([*(flag for flag in given if not flag.startswith(without)), *model])
    losses = [float(line.split(",")[0].split(":")[1]) for line in watched(tmp_path / "run")]
    assert len(losses) == 2 and all(math.isfinite(loss) for loss in losses)


def watched(save_dir) -> list[str]:
    return (save_dir / "gradinit" / "watch.jsonl").read_text().splitlines()


def test_checkpointed_activations_change_no_scale(grammar, tmp_path):
    scales = []
    for name, flags in (("plain", []), ("checkpointed", ["--checkpoint-activations"])):
        run(train_arguments(grammar, tmp_path / name, "--gradinit", "--gradinit-trial=0", *flags))
        text = (tmp_path / name / "gradinit" / "scales.json").read_text()
        scales.append([line for line in text.splitlines() if '"scale"' in line])
    assert scales[0] == scales[1]
