"""The measured start: what it measures, and that the bound holds afterwards."""

from __future__ import annotations

import contextlib
import copy
import math

import pytest
import torch
from torch import nn
from toy_models import ToyTransformer, random_batches

from fairseq_gradinit.gradinit import Blocks, GradInitError, Settings, learn_scales
from fairseq_gradinit.gradinit.branches import find_branches
from fairseq_gradinit.gradinit.gradient import Parts
from fairseq_gradinit.gradinit.start import measure_drift, measured_scales, stacks


def adam(params):
    return torch.optim.Adam(params, lr=1.0, betas=(0.9, 0.98))


def sgd(params):
    return torch.optim.SGD(params, lr=1.0)


class Layer(nn.Module):
    """A Post-LN feed-forward part, gated or not."""

    def __init__(self, width: int, inner: int, gated: bool) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.gate = nn.Linear(width, inner) if gated else None
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        h = torch.relu(self.fc1(x))
        if self.gate is not None:
            h = h * self.gate(x)
        return self.norm(x + self.fc2(h))


class Stack(nn.Module):
    def __init__(self, depth=4, width=32, inner=512, gated=False, seed=1) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(40, width)
        self.layers = nn.ModuleList([Layer(width, inner, gated) for _ in range(depth)])
        self.output = nn.Linear(width, 40)

    def forward(self, batch):
        x = self.embedding(batch)
        for layer in self.layers:
            x = layer(x)
        return nn.functional.cross_entropy(self.output(x).flatten(0, 1), batch.flatten())


def token_batches(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(40, (8, 12), generator=generator) for _ in range(count)]


def drifts(model, settings, make_optimizer, scales, batch):
    blocks = Blocks(model)
    return measure_drift(
        find_branches(model, blocks), blocks, scales, model, batch, settings, make_optimizer
    )


def test_drift_is_what_a_real_update_does_to_the_mean_output():
    """Against a copy that is trained by hand, one layer's output at a time."""
    model, batch = Stack(depth=2).eval(), token_batches(1)[0]
    settings = Settings.of("multistep", eta=3e-3)
    found = drifts(model, settings, adam, torch.ones(len(Blocks(model))).double(), batch)

    def outputs_and_streams(network):
        x, outputs, streams = network.embedding(batch), [], []
        for layer in network.layers:
            branch = layer.fc2(torch.relu(layer.fc1(x)))
            outputs.append(branch)
            streams.append(x)
            x = layer.norm(x + branch)
        return outputs, streams

    with torch.no_grad():
        before, streams = outputs_and_streams(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.9, 0.98))
    model(batch).backward()
    optimizer.step()
    with torch.no_grad():
        after, _ = outputs_and_streams(model)
    for at, name in enumerate(("layers.0.fc2", "layers.1.fc2")):
        moved = after[at].mean((0, 1)) - before[at].mean((0, 1))
        rms = moved.pow(2).mean().sqrt() / streams[at].pow(2).mean().sqrt()
        assert found[name] == pytest.approx(float(rms), rel=1e-3)


class SecondHalf:
    """Another process, as `Others` has it: takes every second part, on a model of its own."""

    own = slice(0, None, 2)

    def __init__(self, model, batches, shares) -> None:
        self.model, self.batches, self.shares = model, batches[1::2], shares[1::2]

    @contextlib.contextmanager
    def asked(self, parameters, along=None):
        twin = copy.deepcopy(self.model)
        losses = [share * twin(batch) for batch, share in zip(self.batches, self.shares)]
        self.found = sum(losses), torch.autograd.grad(sum(losses), list(twin.parameters()))
        yield self

    def added(self, loss, gradient):
        return loss + self.found[0], [a + b for a, b in zip(gradient, self.found[1])]


def test_drift_is_of_all_parts_of_a_batch_whoever_takes_them():
    model, batches, shares = Stack(depth=2).eval(), token_batches(4), [0.25] * 4
    settings, ones = Settings.of("multistep", eta=3e-3), torch.ones(len(Blocks(model))).double()
    alone = drifts(model, settings, adam, ones, Parts(batches, shares))
    others = SecondHalf(model, batches, shares)
    shared = drifts(model, settings, adam, ones, Parts(batches, shares, others))
    assert shared == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("make_optimizer, eta", [(adam, 3e-3), (sgd, 1.0)])
def test_the_branches_of_a_stack_together_come_under_the_bound(gated, make_optimizer, eta):
    model = Stack(gated=gated).eval()
    settings = Settings.of("multistep", eta=eta)
    ones = torch.ones(len(Blocks(model))).double()
    before = drifts(model, settings, make_optimizer, ones, token_batches(1, seed=9)[0])
    bound = sum(before.values()) / 4
    settings = Settings.of("multistep", eta=eta, drift=bound)
    blocks = Blocks(model)
    scales = measured_scales(model, blocks, model, iter(token_batches(3)), settings, make_optimizer)
    after = drifts_in_force(model, blocks, scales, settings, make_optimizer)
    assert sum(after.values()) < 2 * bound  # on another batch


def drifts_in_force(model, blocks, scales, settings, make_optimizer):
    branches = find_branches(model, blocks)
    batch = token_batches(1, seed=9)[0]
    return measure_drift(branches, blocks, scales, model, batch, settings, make_optimizer)


def test_a_small_learning_rate_needs_nothing_turned_down_but_the_branches():
    model = Stack().eval()
    blocks = Blocks(model)
    settings = Settings.of("multistep", eta=1e-6)
    scales = measured_scales(model, blocks, model, iter(token_batches(3)), settings, adam)
    by_name = {b.name: s for b, s in zip(blocks.blocks, scales.tolist())}
    assert {s for name, s in by_name.items() if name.endswith("fc2.weight")} == {0.03}
    assert {s for name, s in by_name.items() if not name.endswith("fc2.weight")} == {1.0}


def test_deeper_stacks_give_each_branch_a_smaller_share():
    feeding = {}
    for depth in (2, 8):
        model = Stack(depth=depth).eval()
        blocks = Blocks(model)
        settings = Settings.of("multistep", eta=3e-3, drift=0.2)
        scales = measured_scales(model, blocks, model, iter(token_batches(3)), settings, adam)
        first = [b.name for b in blocks.blocks].index("layers.0.fc1.weight")
        feeding[depth] = float(scales[first])
    assert feeding[8] < feeding[2] / 2


def test_branches_are_found_by_structure():
    model = nn.Transformer(16, 2, 2, 1, 32)
    blocks = Blocks(model)
    found = find_branches(model, blocks)
    names = [(b.name, [blocks.blocks[i].name.split(".")[-2:] for i in b.feeding]) for b in found]
    assert stacks(found) == ["encoder.layers", "decoder.layers"]
    assert names[:2] == [
        ("encoder.layers.0.self_attn", [["self_attn", "in_proj_weight"]]),
        ("encoder.layers.0.linear2", [["linear1", "weight"]]),
    ]
    assert [name for name, _ in names[4:]] == [
        "decoder.layers.0.self_attn",
        "decoder.layers.0.multihead_attn",
        "decoder.layers.0.linear2",
    ]


def test_only_the_scales_are_left_behind():
    model = ToyTransformer(seed=1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    settings = Settings.of("multistep", eta=1e-2)
    assert settings.iters == 0 and settings.start == "measured"
    learned = learn_scales(model, model, random_batches(5), settings)
    for block, scale in zip(learned.blocks, learned.scales):
        torch.testing.assert_close(model.state_dict()[block.name], before[block.name] * scale)
    assert all(p.grad is None for p in model.parameters()) and model.training
    assert min(learned.scales) < 1 == max(learned.scales)


def test_no_batch_and_no_finite_step_are_refused():
    model = Stack().eval()
    settings = Settings.of("multistep", eta=1e-2)
    with pytest.raises(GradInitError, match="no batch"):
        measured_scales(model, Blocks(model), model, iter([]), settings, adam)
    settings = Settings.of("multistep", eta=1e37)
    with pytest.raises(GradInitError, match=r"layers\.\d\.fc2"):
        measured_scales(model, Blocks(model), model, iter(token_batches(3)), settings, adam)
    assert all(math.isfinite(float(p.detach().sum())) for p in model.parameters())
