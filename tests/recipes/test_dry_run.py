"""--dry-run: what a cell costs, by a real trial of its training, and what Slurm would be given."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.engine.steps.cost import Cost

ROOT = Path(__file__).parents[2]
MODEL = shlex.split(
    "--user-dir fairseq_gradinit --task translation --source-lang de --target-lang en "
    "--arch transformer --encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 16 "
    "--decoder-embed-dim 16 --encoder-attention-heads 2 --decoder-attention-heads 2 "
    "--optimizer adam --max-tokens 200 --num-workers 0"
)


def dry_run(data: Path, out: Path, *arguments: str, **environment: str):
    command = [sys.executable, "-m", "recipes.engine", "run", "--data", str(data), "--dry-run"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    command += ["--out", str(out), "--axis", "lr=1e-3,2e-3", "--axis", "init=none,start"]
    command += ["--init", "none=", "--init", "start=--gradinit --gradinit-trial 0", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def refused():
    """The one line of a dry run that is refused."""

    def run(*arguments, **environment) -> str:
        done = dry_run(*arguments, **environment)
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
        return done.stderr.splitlines()[-1]

    return run


def test_a_trial_tells_what_each_cell_costs(phrases, tmp_path):
    out = tmp_path / "grid"
    given = ["--jobs", "2", "--", *MODEL, "--max-update", "100000"]
    done = dry_run(phrases, out, "--trial-seconds", "2", *given)
    assert done.returncode == 0, done.stderr
    costs = re.findall(
        r"init-(\w+): missing, about .* \((\d+) s to .*, then ([\d.e-]+) s", done.stdout
    )
    assert [name for name, _, _ in costs] == ["none", "start"] * 2 and costs[:2] == costs[2:]
    assert all(1 <= int(before) < 300 and 1e-4 < float(each) < 5 for _, before, each in costs)
    total = sum(Cost(float(before), float(each), 100_000).seconds for _, before, each in costs)
    assert "4 cells, 4 to run; about" in done.stdout
    number, unit = re.search(r"about ([\d.]+) (\w+) with --jobs 2", done.stdout).groups()
    seconds = float(number) * {"s": 1, "min": 60, "h": 3600}[unit]
    assert seconds == pytest.approx(total / 2, rel=0.1)  # what is printed is rounded
    assert not out.exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--max-update", "9", "--criterion", "nonsense"], "invalid choice"),
        (["--max-update", "9", "--max-source-positions", "1"], "fairseq-train: "),
        ([], "a training without --max-update has no known length"),
    ],
)
def test_a_trial_that_comes_to_nothing_is_one_line(phrases, tmp_path, refused, flags, said):
    assert said in refused(phrases, tmp_path, "--trial-seconds", "1", "--", *MODEL, *flags)


def test_a_trial_needs_the_data_and_a_dry_run(phrases, tmp_path, refused):
    given = ["--trial-seconds", "1", "--", *MODEL]
    assert "data-bin" in refused(tmp_path / "none", tmp_path / "out", *given)
    command = [sys.executable, "-m", "recipes.engine", "run", "--out", str(tmp_path), *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--trial-seconds is for --dry-run" in done.stderr
    command = ["bash", "recipes/iwslt14.sh", "--out", str(tmp_path), "--trial-seconds", "9"]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "--trial-seconds is for --dry-run" in done.stderr


def test_what_slurm_would_be_given(phrases, tmp_path):
    given = ["--cluster", "slurm", "--jobs", "3", "--gpus", "1", "--partition", "gpu"]
    given += ["--minutes", "90", "--cpus", "4", "--setup", "module load cuda", "--", *MODEL]
    none = tmp_path / "empty"
    none.mkdir()
    if not any(Path(folder, "srun").exists() for folder in os.environ["PATH"].split(os.pathsep)):
        assert "on a machine that has srun" in dry_run(phrases, tmp_path / "out", *given).stdout
    (none / "srun").write_text("#!/bin/sh\n")  # submitit looks no further for a dry run
    (none / "srun").chmod(0o755)
    path = os.pathsep.join([str(none), os.environ["PATH"]])
    done = dry_run(phrases, tmp_path / "out", *given, PATH=path)
    assert done.returncode == 0, done.stderr
    for line in ("--array=0-3%3", "--time=90", "--cpus-per-task=4", "--partition=gpu"):
        assert f"#SBATCH {line}" in done.stdout
    assert "--gpus-per-node=1" in done.stdout and "module load cuda" in done.stdout
    assert "submitit.core._submit" in done.stdout and not (tmp_path / "out").exists()
