"""Blocks: one per tensor, told apart by module, and the only writer of parameters."""

import torch
from torch import nn
from toy_models import ToyTransformer

from fairseq_gradinit.gradinit import Blocks, Settings
from fairseq_gradinit.gradinit.scales import starting_scales


def kinds(model):
    return {block.name: block.kind for block in Blocks(model).blocks}


def test_kinds_come_from_modules_not_names():
    class Misleading(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer_norm_bias_embedding = nn.Linear(2, 2)
            self.a = nn.LayerNorm(2)
            self.b = nn.Embedding(3, 2)
            self.c = nn.RMSNorm(2)
            self.d = nn.MultiheadAttention(2, 1)
            self.free = nn.Parameter(torch.ones(2))

    assert kinds(Misleading()) == {
        "layer_norm_bias_embedding.weight": "weight",
        "layer_norm_bias_embedding.bias": "bias",
        "a.weight": "layer_norm",
        "a.bias": "bias",
        "b.weight": "embedding",
        "c.weight": "layer_norm",
        "d.in_proj_weight": "weight",
        "d.in_proj_bias": "bias",
        "d.out_proj.weight": "branch_output",
        "d.out_proj.bias": "bias",
        "free": "weight",
    }


def test_only_branches_between_layernorms_start_turned_down():
    class Convolutional(nn.Module):  # fairseq's fconv has an fc2, and no LayerNorm
        def __init__(self):
            super().__init__()
            self.encoder = nn.ModuleDict({"fc1": nn.Linear(2, 2), "fc2": nn.Linear(2, 2)})

    settings = Settings.of("multistep", eta=1e-3, start="fixed")
    assert set(starting_scales(Blocks(Convolutional()), settings).tolist()) == {1.0}
    branches = (settings.branch_scale, settings.encoder_scale)
    assert set(starting_scales(Blocks(ToyTransformer(seed=1)), settings).tolist()) == {
        1.0,
        *branches,
    }


def test_tied_tensors_are_one_block_with_aliases():
    tied, untied = (Blocks(ToyTransformer(seed=1, tied=tied)) for tied in (True, False))
    assert len(untied) == len(tied) + 1
    embedding = next(b for b in tied.blocks if b.name == "embedding.weight")
    assert embedding.aliases == ("output.weight",)
    assert embedding.kind == "embedding"


def test_integer_and_frozen_parameters_are_no_blocks():
    model = nn.Linear(2, 2)
    model.count = nn.Parameter(torch.ones(2, dtype=torch.int64), requires_grad=False)
    model.bias.requires_grad_(False)
    assert list(kinds(model)) == ["weight"]


def test_writing_does_not_drift():
    model = ToyTransformer(seed=1).float()
    blocks = Blocks(model)
    scales = torch.rand(len(blocks), dtype=torch.float64) + 0.5
    blocks.write(scales)
    once = [p.detach().clone() for p in blocks.parameters]
    for _ in range(100):
        blocks.write(scales)
    assert all(torch.equal(a, b) for a, b in zip(once, blocks.parameters))
    blocks.write(torch.ones_like(scales))
    assert all(torch.equal(a, b) for a, b in zip(blocks.theta0, blocks.parameters))


def test_shadows_share_storage_but_not_gradients():
    parameter = nn.Parameter(torch.ones(2))
    parameter.param_group = "slow"
    model = nn.Module()
    model.register_parameter("p", parameter)
    (shadow,) = Blocks(model).shadows()
    shadow.grad = torch.ones(2)
    torch.optim.SGD([shadow], lr=0.5).step()
    assert parameter.tolist() == [0.5, 0.5]
    assert parameter.grad is None
    assert shadow.param_group == "slow"


def test_norms_are_of_the_parameters_as_they_stand():
    model = nn.Linear(1, 1, bias=False)
    blocks = Blocks(model)
    nn.init.constant_(model.weight, -3.0)
    assert blocks.norms() == [3.0]
