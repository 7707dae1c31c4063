"""Every --init through fairseq-train and fairseq-generate, which is given no --init."""

import io
import json
import re
from contextlib import redirect_stdout

import pytest
import torch
from corpus import binarise_target, write_corpus
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq_cli import eval_lm, generate
from fairseq_runs import USER_DIR, checkpoint, command, run, train

from fairseq_gradinit.init import DEFAULT, NAMES, VARIANTS, admin
from fairseq_gradinit.init import fold as folding

PRE_LN = ["--encoder-normalize-before", "--decoder-normalize-before"]
UPDATES = 4


@pytest.fixture(scope="session")
def trained(grammar, tmp_path_factory):
    """trained(name): the SAVE_DIR of a few updates with --init NAME; each is trained once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            flags = [f"--init={name}", f"--max-update={UPDATES}", "--lr=5e-3"]
            train(grammar, made[name], *flags, *(PRE_LN if name == "small" else []))
        return made[name]

    return get


def hypotheses(data, *checkpoints):
    """Scores and texts that fairseq-generate, in this process, gives with the user-dir."""
    arguments = [str(data), *USER_DIR, f"--path={':'.join(map(str, checkpoints))}", "--cpu"]
    parser = options.get_generation_parser()
    args = options.parse_args_and_arch(parser, [*arguments, "--beam=2", "--max-len-b=10"])
    output = io.StringIO()
    with redirect_stdout(output):
        generate.main(convert_namespace_to_omegaconf(args))
    return lines(output.getvalue())


def lines(output):
    found = re.findall(r"^H-(\d+)\t(\S+)\t(.*)$", output, re.MULTILINE)
    return {int(number): (float(score), text) for number, score, text in found}


@pytest.mark.parametrize("name", NAMES)
def test_trains_and_decodes_by_what_the_checkpoint_says(grammar, trained, name):
    save_dir = trained(name)
    state = checkpoint(save_dir)
    assert state["cfg"]["model"].init == name
    assert state["optimizer_history"][-1]["num_updates"] == UPDATES
    found = hypotheses(grammar, save_dir / "checkpoint_last.pt")
    assert found and all(score < 0 for score, _ in found.values())


def test_an_ensemble_may_mix_variants(grammar, trained):
    names = ("default", "admin", "deepnorm", "peri_ln")
    found = hypotheses(grammar, *(trained(name) / "checkpoint_last.pt" for name in names))
    assert found and all(score < 0 for score, _ in found.values())


@pytest.mark.parametrize("name", [name for name, v in VARIANTS.items() if v.folds])
def test_a_folded_checkpoint_decodes_alike_as_a_plain_model(grammar, trained, tmp_path, name):
    whole = trained(name) / "checkpoint_last.pt"
    folding.main([str(whole), str(tmp_path / "folded.pt")])
    assert checkpoint(tmp_path, "folded.pt")["cfg"]["model"].init == DEFAULT
    expected, found = (hypotheses(grammar, p) for p in (whole, tmp_path / "folded.pt"))
    assert found.keys() == expected.keys()
    for number, (score, text) in expected.items():
        assert found[number] == (pytest.approx(score, rel=1e-4), text)


def test_stock_fairseq_decodes_a_folded_checkpoint_and_refuses_the_unfolded(
    grammar, trained, tmp_path
):
    whole = trained("admin") / "checkpoint_last.pt"
    folding.main([str(whole), str(tmp_path / "folded.pt")])
    stock = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    decoding = ["--cpu", "--beam=2", "--max-len-b=10", str(grammar)]
    done = command("generate", *decoding, f"--path={tmp_path / 'folded.pt'}", **stock)
    assert done.returncode == 0, done.stderr
    expected = hypotheses(grammar, whole)
    assert {n: text for n, (_, text) in lines(done.stdout).items()} == {
        n: text for n, (_, text) in expected.items()
    }
    refused = command("generate", *decoding, f"--path={whole}", **stock)
    assert refused.returncode != 0
    assert "residual_scale" in refused.stderr


@pytest.fixture
def profiled(monkeypatch):
    """The ω of each profiling, while really profiling."""
    record = []
    real = admin.profile
    monkeypatch.setattr(admin, "profile", lambda *args: record.append(real(*args)))
    return record


def test_admin_is_profiled_once_and_not_when_a_run_goes_on(grammar, tmp_path, profiled):
    train(grammar, tmp_path, "--init=admin", "--lr=1e-9")
    (omega,) = profiled
    assert max(omega.values()) > 1.1
    weights = checkpoint(tmp_path)["model"]
    for name, value in omega.items():  # in force at update 1, one number for all features
        expected = torch.full((16,), value)
        torch.testing.assert_close(weights[f"{name}.residual_scale"], expected)
    train(grammar, tmp_path, "--init=admin", "--max-update=2", "--reset-optimizer")
    train(
        grammar,
        tmp_path / "fine",
        "--init=admin",
        f"--finetune-from-model={tmp_path}/checkpoint_last.pt",
    )
    assert len(profiled) == 1


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("admin", "common.bf16=true"),
        ("admin", "--memory-efficient-fp16"),
        ("sigma_reparam", "--memory-efficient-fp16"),
        ("sigma_reparam", "--store-ema"),
    ],
)
def test_16_bits_and_ema(grammar, tmp_path, name, flag):
    train(grammar, tmp_path, f"--init={name}", "--max-update=2", flag)
    weights = checkpoint(tmp_path)["model"]
    assert all(value.isfinite().all() for value in weights.values())
    marks = [n for n in weights if n.endswith(("residual_scale", "gain"))]
    assert len(marks) in (10, 32)


def test_gradinit_goes_on_top(grammar, tmp_path, profiled):
    """Admin's ω are measured first, then GradInit scales blocks, ω among them."""
    gradinit = ["--gradinit", "--gradinit-iters=2", "--gradinit-lr=0.5", "--gradinit-max-change=3"]
    fast = ["--gradinit-lookahead=2", "--gradinit-trial=0", "--lr=1e-6"]
    train(grammar, tmp_path, "--init=admin", *gradinit, *fast)
    blocks = json.loads((tmp_path / "gradinit" / "scales.json").read_text())["blocks"]
    by_name = {block["name"]: block for block in blocks}
    (omega,) = profiled
    for name, value in omega.items():
        block = by_name[f"{name}.residual_scale"]
        assert block["norm_before"] == pytest.approx(value * 4, rel=1e-4)  # √16 features


def test_another_init_does_not_go_on_with_a_checkpoint(grammar, trained):
    save_dir = trained("deepnorm")
    with pytest.raises(SystemExit, match=r"--init default: .*checkpoint has .*residual_scale"):
        train(grammar, save_dir, "--init=default", "--max-update=9")
    with pytest.raises(SystemExit, match=r"--init tfixup: .*layer_norm.*other --save-dir$"):
        train(grammar, save_dir, "--init=tfixup", "--max-update=9")


def test_another_depth_is_no_other_init(grammar, trained):
    with pytest.raises(Exception, match="architectures match"):
        train(grammar, trained("deepnorm"), "--init=deepnorm", "--encoder-layers=3")


def test_a_pre_ln_model_gets_one_line(grammar, tmp_path):
    with pytest.raises(SystemExit, match=r"fairseq-train: error: --init admin: .*Post-LN"):
        train(grammar, tmp_path, "--init=admin", *PRE_LN)


@pytest.fixture(scope="session")
def english(tmp_path_factory):
    """The data-bin of a small monolingual corpus."""
    folder = tmp_path_factory.mktemp("english")
    write_corpus(folder, {"train": 300, "valid": 100})
    return binarise_target(folder)


@pytest.mark.parametrize("name", ["admin", "tfixup"])
def test_language_models(english, tmp_path, name):
    model = ["--arch=transformer_lm", "--decoder-layers=2", "--decoder-attention-heads=2"]
    widths = [f"--decoder-{what}=16" for what in ("embed-dim", "input-dim", "output-dim")]
    arguments = [
        *(str(english), *USER_DIR, "--task=language_modeling_gradinit", *model, *widths),
        *("--decoder-ffn-embed-dim=32", "--share-decoder-input-output-embed"),
        *("--tokens-per-sample=32", "--max-tokens=256", "--optimizer=adam", "--lr=5e-3"),
        *(f"--save-dir={tmp_path}", f"--init={name}", "--max-update=3", "--cpu"),
        *("--num-workers=0", "--no-progress-bar"),
    ]
    run(arguments)
    assert checkpoint(tmp_path)["cfg"]["model"]["init"] == name
    whole = tmp_path / "checkpoint_last.pt"
    expected = perplexity(english, whole)
    assert 1 < expected < 1000
    if VARIANTS[name].folds:
        folding.main([str(whole), str(tmp_path / "folded.pt")])
        assert perplexity(english, tmp_path / "folded.pt") == pytest.approx(expected, rel=1e-4)


def perplexity(data, path):
    """As fairseq-eval-lm finds it with the user-dir."""
    arguments = [
        *(str(data), *USER_DIR, f"--path={path}", "--cpu", "--gen-subset=valid"),
        "--task=language_modeling_gradinit",
    ]
    parser = options.get_eval_lm_parser()
    args = options.parse_args_and_arch(parser, [*arguments, "--tokens-per-sample=32"])
    return float(eval_lm.main(convert_namespace_to_omegaconf(args))["perplexity"])


@pytest.mark.parametrize(
    ("name", "reason"),
    [("xavier", "is a stock checkpoint already"), ("rezero", "decode with --user-dir")],
)
def test_what_does_not_fold_gets_one_line(trained, tmp_path, name, reason):
    whole = trained(name) / "checkpoint_last.pt"
    with pytest.raises(SystemExit, match=rf"--init {name} .*{reason}"):
        folding.main([str(whole), str(tmp_path / "folded.pt")])
    (tmp_path / "there.pt").touch()
    with pytest.raises(SystemExit, match=r"there\.pt: exists"):
        folding.main([str(whole), str(tmp_path / "there.pt")])
