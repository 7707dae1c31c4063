"""fairseq-hydra-train, which knows the flags where this package is on the path."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from fairseq_runs import ROOT

CONFIG = """
common: {{cpu: true, no_progress_bar: true}}
task: {{_name: translation, data: {data}, gradinit: true, gradinit_trial: 2}}
model:
  _name: transformer
  share_all_embeddings: true
  encoder: {{layers: 1, embed_dim: 16, ffn_embed_dim: 32, attention_heads: 2}}
  decoder:
    {{layers: 1, embed_dim: 16, input_dim: 16, output_dim: 16, ffn_embed_dim: 32,
     attention_heads: 2}}
criterion: {{_name: label_smoothed_cross_entropy}}
optimizer: {{_name: adam, lr: [1e-3]}}
lr_scheduler: {{_name: fixed, lr: [1e-3]}}
dataset: {{max_tokens: 300, num_workers: 0}}
optimization: {{max_update: 1, lr: [1e-3]}}
checkpoint: {{save_dir: {save_dir}}}
hydra: {{run: {{dir: {run_dir}}}}}
"""
PROGRAM = "from fairseq_cli.hydra_train import cli_main; cli_main()"


@pytest.fixture
def hydra_train(grammar, tmp_path):
    """fairseq-hydra-train of a config file and overrides."""
    (tmp_path / "mine.yaml").write_text(
        CONFIG.format(data=grammar, save_dir=tmp_path / "run", run_dir=tmp_path / "hydra")
    )

    def run(*overrides):
        config = [f"--config-dir={tmp_path}", "--config-name=mine"]
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *config, *overrides],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            check=False,
        )

    return run


@pytest.mark.parametrize("user_dir", [True, False])
def test_a_configuration_file_asks_for_gradinit(hydra_train, tmp_path, user_dir):
    given = [f"common.user_dir={ROOT / 'fairseq_gradinit'}"] if user_dir else []
    done = hydra_train("task.gradinit_trial=0", *given)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    record = json.loads((tmp_path / "run" / "gradinit" / "scales.json").read_text())
    assert record["config"]["trial"] == 0 and any(b["scale"] != 1 for b in record["blocks"])


def test_bad_input_is_one_line(hydra_train):
    done = hydra_train("task.gradinit_trial=-1")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "gradinit-trial: found -1" in done.stderr
