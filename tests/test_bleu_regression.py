"""BLEU: Post-LN at a high learning rate fails without warmup and trains with GradInit.

On generated phrases in `make test`, with two more seeds in `make test-slow`, and there on
Multi30k over three seeds.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sacrebleu
from corpus import binarise, phrase_pair, write_corpus
from fairseq_runs import ADAM, ROOT, USER_DIR, command, run

SHARED = os.environ.get("GRADINIT_SHARED_DATA")


def train_and_score(data, save_dir, *flags, lr, updates, tokens, decode=()):
    """Test BLEU of a 6+6-layer Post-LN model, d = 64, Adam, fixed lr, no warmup."""
    sides = [
        f"--{side}-{what}"
        for side in ("encoder", "decoder")
        for what in ("layers=6", "embed-dim=64", "ffn-embed-dim=128", "attention-heads=2")
    ]
    run(
        [
            str(data),
            *USER_DIR,
            *sides,
            *ADAM,
            f"--save-dir={save_dir}",
            "--arch=transformer",
            "--share-all-embeddings",
            "--dropout=0.1",
            "--criterion=label_smoothed_cross_entropy",
            "--label-smoothing=0.1",
            f"--lr={lr}",
            "--lr-scheduler=fixed",
            f"--max-update={updates}",
            f"--max-tokens={tokens}",
            "--cpu",
            "--num-workers=0",
            "--no-progress-bar",
            "--no-epoch-checkpoints",
            "--disable-validation",
            *flags,
        ]
    )
    result = command(
        "generate",
        str(data),
        *USER_DIR,
        f"--path={save_dir / 'checkpoint_last.pt'}",
        "--cpu",
        "--beam=1",
        "--max-tokens=4000",
        "--max-len-a=1",
        "--max-len-b=10",
        "--required-batch-size-multiple=1",
        *decode,
    )
    assert result.returncode == 0, result.stderr
    sides = {letter: {} for letter in "HT"}
    for line in result.stdout.splitlines():
        head, _, text = line.partition("\t")
        letter, _, number = head.partition("-")
        if letter in sides and number.isdigit():
            sides[letter][int(number)] = text.split("\t")[-1]
    order = sorted(sides["T"])
    assert order == list(range(len(order))) and set(sides["H"]) == set(order)
    hypotheses, references = ([sides[letter][i] for i in order] for letter in "HT")
    return sacrebleu.corpus_bleu(hypotheses, [references]).score


@pytest.mark.parametrize(
    "seed", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)]
)
def test_generated_phrases(tmp_path, seed):
    write_corpus(tmp_path, {"train": 8000, "valid": 10, "test": 200}, phrase_pair)
    data, flags = binarise(tmp_path), [f"--seed={seed}"]
    training = {"lr": 4e-3, "updates": 300, "tokens": 400}
    search = ["--gradinit", "--gradinit-max-tokens=300"]
    none = train_and_score(data, tmp_path / "none", *flags, **training)
    gradinit = train_and_score(data, tmp_path / "gradinit", *search, *flags, **training)
    print(f"BLEU, seed {seed}: none {none:.2f}, GradInit {gradinit:.2f}")
    assert none < 1
    assert gradinit > 50  # 98 seen with each seed


@pytest.mark.slow
@pytest.mark.skipif(SHARED is None, reason="GRADINIT_SHARED_DATA names no folder of real corpora")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_multi30k(tmp_path, seed):
    """The quickstart's model and learning rate, half as long; about 8 minutes a seed."""
    subprocess.run(
        ["bash", ROOT / "data_prep" / "multi30k_de_en.sh", "--out", tmp_path / "data"],
        env={**os.environ, "PYTHON": sys.executable, "GRADINIT_RAW_DIR": str(Path(SHARED))},
        check=True,
    )
    training = {"lr": 4e-3, "updates": 400, "tokens": 1024}
    training["decode"] = ["--remove-bpe=sentencepiece"]
    data, flags = tmp_path / "data" / "data-bin", [f"--seed={seed}"]
    none = train_and_score(data, tmp_path / "none", *flags, **training)
    gradinit = train_and_score(data, tmp_path / "gradinit", "--gradinit", *flags, **training)
    print(f"BLEU, seed {seed}: none {none:.2f}, GradInit {gradinit:.2f}")
    assert none < 1
    assert gradinit > 10  # 16 to 18 seen; a model that does not read its source reaches 4
