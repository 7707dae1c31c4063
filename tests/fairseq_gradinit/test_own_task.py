"""A task of a user's own, with the mixin and without it, and what counts as fresh."""

from __future__ import annotations

import json

import pytest
from fairseq_runs import ROOT, command, run, train_arguments

WITH = """
from dataclasses import dataclass
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask
import fairseq_gradinit.plugin
from fairseq_gradinit.tasks import GradInitFlags, GradInitMixin

@dataclass
class MyConfig(TranslationConfig, GradInitFlags):
    shout: bool = False

@register_task("with_it", dataclass=MyConfig)
class MyTask(GradInitMixin, TranslationTask):
    def train_step(self, sample, model, *args, **kwargs):
        if self.cfg.shout:
            print("A STEP OF MINE")
        return super().train_step(sample, model, *args, **kwargs)
"""
WITHOUT = """
from dataclasses import dataclass
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask
import fairseq_gradinit.plugin

@dataclass
class MyConfig(TranslationConfig):
    pass

@register_task("without_it", dataclass=MyConfig)
class MyTask(TranslationTask):
    pass
"""
PRETRAINED = """
from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer import TransformerModel
import fairseq_gradinit.plugin

@register_model("pretrained")
class Pretrained(TransformerModel):
    @classmethod
    def build_model(cls, args, task):
        model = super().build_model(args, task)
        model.encoder.load_state_dict(model.encoder.state_dict())
        return model

@register_model_architecture("pretrained", "pretrained")
def pretrained(args):
    pass
"""


def user_dir(tmp_path, name, text):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text(text)
    return str(folder)


def arguments(grammar, tmp_path, own, *flags):
    given = train_arguments(grammar, tmp_path / "run", "--gradinit", *flags, user_dir=False)
    return [*given, f"--user-dir={own}"]


def test_a_task_with_the_mixin_has_gradinit(grammar, tmp_path):
    own = user_dir(tmp_path, "my_task", WITH)
    given = arguments(grammar, tmp_path, own, "--task=with_it", "--shout", "--gradinit-trial=2")
    done = command("train", *given, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "A STEP OF MINE" in done.stdout
    record = json.loads((tmp_path / "run" / "gradinit" / "scales.json").read_text())
    assert any(block["scale"] != 1 for block in record["blocks"])


def test_a_task_without_it_is_told_how(grammar, tmp_path):
    own = user_dir(tmp_path, "my_other", WITHOUT)
    given = arguments(grammar, tmp_path, own, "--task=without_it", "--gradinit-iters=3")
    done = command("train", *given, PYTHONPATH=str(ROOT))
    assert done.returncode != 0 and "usage:" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "--gradinit: this --task knows nothing of GradInit" in last and "GradInitMixin" in last


def test_a_flag_that_nobody_has_is_fairseqs_own_complaint(grammar, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(train_arguments(grammar, tmp_path, "--gradinit-itres=3", "--gradinit"))
    assert "unrecognized arguments: --gradinit-itres=3" in capsys.readouterr().err


def test_a_model_built_of_trained_weights_is_left_alone(grammar, tmp_path):
    own = user_dir(tmp_path, "my_model", PRETRAINED)
    given = arguments(grammar, tmp_path, own, "--arch=pretrained", "--task=translation")
    done = command("train", *given, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "built of trained weights; it is left alone" in done.stdout + done.stderr
    assert not (tmp_path / "run" / "gradinit" / "scales.json").exists()
