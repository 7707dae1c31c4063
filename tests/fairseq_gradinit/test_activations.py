"""--ffn-activation: what fairseq's own --activation-fn cannot give."""

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq_runs import USER_DIR, checkpoint, command, train
from torch import nn
from torch.nn import functional as F

from fairseq_gradinit.activations import replace_activations


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.activation_fn = F.relu


@pytest.mark.parametrize("name, wanted", [("swish", lambda x: x * x.sigmoid()), ("prelu", None)])
def test_each_layer_gets_its_own(name, wanted):
    model, x = nn.Sequential(Layer(), nn.Linear(2, 2), Layer()), torch.randn(50)
    assert replace_activations(model, name) == 2
    assert model[0].activation_fn is not model[2].activation_fn
    found = model[0].activation_fn(x)
    assert torch.allclose(found, torch.where(x > 0, x, x / 4) if wanted is None else wanted(x))


def test_prelu_is_trained_and_decoded_with_the_user_dir(grammar, tmp_path):
    train(grammar, tmp_path, "--ffn-activation=prelu", "--max-update=2")
    slopes = {
        name: float(weight)
        for name, weight in checkpoint(tmp_path)["model"].items()
        if "activation_fn" in name
    }
    assert len(slopes) == 4 and all(slope != 0.25 for slope in slopes.values())
    assert generate(grammar, tmp_path, *USER_DIR).returncode == 0


def test_swish_is_decoded_as_swish_or_not_at_all(grammar, tmp_path):
    """Its checkpoint has no tensor that would tell."""
    train(grammar, tmp_path, "--ffn-activation=swish")
    model = checkpoint(tmp_path)["cfg"]["model"]
    assert model.activation_fn == "swish"
    assert generate(grammar, tmp_path).returncode != 0


def generate(data, save_dir, *flags):
    return command(
        "generate",
        *(str(data), *flags, f"--path={save_dir / 'checkpoint_last.pt'}", "--task=translation"),
        *("--cpu", "--beam=1", "--max-tokens=300", "--max-len-b=5"),
        TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD="1",
    )


def test_a_checkpoint_says_the_activation_to_build_it_with(grammar, tmp_path):
    train(grammar, tmp_path, "--ffn-activation=swish")
    (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task(
        [str(tmp_path / "checkpoint_last.pt")], arg_overrides={"data": str(grammar)}
    )
    assert isinstance(model.decoder.layers[1].activation_fn, nn.SiLU)


def test_an_unknown_one_is_refused(grammar, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train(grammar, tmp_path, "--ffn-activation=relu6")
    assert "--ffn-activation" in capsys.readouterr().err
