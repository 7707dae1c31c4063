"""The two presets, γ in units that travel, and what is refused."""

import json
import math

import pytest

from fairseq_gradinit.gradinit import GradInitError, Settings


def test_paper_is_the_published_setting():
    """γ = 1000 at η = 1e-3 in the released Transformer script."""
    paper = Settings.of("paper", eta=1e-3)
    assert paper.norm_bound == pytest.approx(1000)
    assert (paper.iters, paper.lr, paper.betas, paper.lookahead) == (780, 2.5e-3, (0.9, 0.98), 1)
    assert (paper.min_scale, paper.max_scale, paper.max_layernorm_scale) == (0.01, math.inf, 100)
    assert (paper.algorithm, paper.normalize_gradient) == ("adam", False)
    # One step at η itself, from 1, with no bound but those above.
    assert paper.start == "none" and not paper.log_space and paper.lookahead_lr == 1
    assert paper.max_change == math.inf and paper.min_embedding_scale == 0
    assert (paper.weight_decay, paper.clip_norm) == (0, 0)


@pytest.mark.parametrize(
    "name, good, bad",
    [
        ("lookahead", [1, 1000], [0, 1001]),
        ("iters", [0], [-1]),
        ("trial", [0], [-1]),
        ("max_change", [1, math.inf], [0.99]),
        ("min_embedding_scale", [0, 1], [-1e-9, 1.001]),
        ("weight_decay", [0.0], [-1e-9]),
        ("clip_norm", [0.0], [-1e-9]),
        ("betas", [(0.0, 0.999), [0.9, 0.0]], [(-0.1, 0.9), (0.9, 1), (0.9, 0.9, 0.9), "ab", 0.9]),
        ("gamma", [1e-9, math.inf], [0.0]),
        ("eta", [1e-9, 1e9], [0.0, math.inf, "1"]),
    ],
)
def test_a_range_ends_where_it_says(name, good, bad):
    for value in good:
        assert getattr(Settings.of(**{name: value}), name) == value
    for value in bad:
        with pytest.raises(GradInitError, match=f"`{name}`"):
            Settings.of(**{name: value})


def test_multistep_has_no_constraint_unless_asked():
    assert Settings.of().norm_bound is None
    assert Settings.of(gamma=5.0).norm_bound == 5.0
    assert Settings.of(predicted_drop=0.5, eta=1e-3).norm_bound == pytest.approx(500)


@pytest.mark.parametrize("eta", [1e-4, 1e-2])
@pytest.mark.parametrize("drop", [0.1, 1.0])
def test_gamma_is_the_norm_at_which_the_first_step_predicts_the_drop(eta, drop):
    def bound(**given):
        return Settings.of("paper", eta=eta, predicted_drop=drop, **given).norm_bound

    assert eta * bound(algorithm="adam") == pytest.approx(drop)  # η‖g‖₁
    assert eta * bound(algorithm="sgd") ** 2 == pytest.approx(drop)  # η‖g‖₂²
    normalised = bound(algorithm="sgd", normalize_gradient=True)
    assert eta * normalised == pytest.approx(drop)  # η‖g‖₂


def test_none_means_default_and_json_holds_it_all():
    assert Settings.of("paper", iters=None) == Settings.of("paper")
    assert json.loads(json.dumps(Settings.of("paper").as_dict()))["max_scale"] is None


@pytest.mark.parametrize(
    "given",
    [
        {"preset": "papr"},
        {"algorithm": "adm"},
        {"constraint": "exactly"},
        {"eta": 0.0},
        {"eta": -1e-3},
        {"eta": math.nan},
        {"lr": -1.0},
        {"lr": math.inf},
        {"gamma": 0.0},
        {"predicted_drop": -1.0},
        {"iters": -1},
        {"lookahead": 0},
        {"lookahead": 10**9},
        {"iters": "many"},
        {"lookahead_lr": 0.0},
        {"lookahead_lr": math.inf},
        {"preset": "paper", "lookahead": 2},
        {"betas": (0.9, 1.0)},
        {"betas": (0.9,)},
        {"min_scale": 0.0},
        {"min_scale": 2.0},
        {"max_scale": 0.5},
        {"branch_scale": 0.001},
        {"branch_scale": math.nan},
        {"branch_scale": math.inf},
        {"encoder_scale": 0.001, "start": "fixed"},
        {"trial": -1},
        {"min_embedding_scale": 1.5},
        {"min_embedding_scale": -1.0},
        {"max_change": 0.5},
        {"max_change": math.nan},
        {"max_layernorm_scale": 0.5},
        {"weight_decay": -0.1},
        {"clip_norm": -1.0},
    ],
    ids=str,
)
def test_bad_value_is_one_line_with_setting_value_and_remedy(given):
    with pytest.raises(GradInitError) as caught:
        Settings.of(**given)
    message = str(caught.value)
    assert "\n" not in message and "; give " in message
    named = [f"`{name}`" for name in given]
    if {"max_scale", "max_layernorm_scale"} & set(given):  # bounds are refused together
        named = ["`min_scale`"]
    assert any(message.startswith(name) for name in named), message
    assert "found" in message
