"""The run's loss at any weights, and steps that are undone: exact, and nothing is left behind."""

import io

import pytest
import torch
from fairseq import optim
from fairseq_runs import build

from fairseq_gradinit.live_optimizer import Layout, clipped, innermost, step, undone
from fairseq_gradinit.run_loss import RunLoss
from fairseq_gradinit.run_readings import source_worth, token_spread

ADAM = ["--optimizer=adam", "--adam-betas=(0.9, 0.98)", "--lr=0.01"]
DROPOUT = ["--dropout=0.3"]


@pytest.fixture
def run(grammar, tmp_path):
    """Task, trainer, loss, samples."""

    def make(*flags):
        task, criterion, trainer = build(grammar, tmp_path, "--dropout=0", *flags)
        it = task._train_iterator
        samples = [it.collate_fn([it.dataset[i] for i in batch]) for batch in it.frozen_batches[:2]]
        return trainer, RunLoss(trainer.model, criterion), samples, criterion

    return make


def in_bytes(model, optimizer):
    file = io.BytesIO()
    torch.save((model.state_dict(), [p.grad for p in model.parameters()], optimizer), file)
    return file.getvalue()


def test_gradient_is_that_of_plain_backward_passes(run):
    trainer, loss, samples, criterion = run(*ADAM)
    model = trainer.get_model().eval()
    total = size = 0.0
    for sample in samples:
        value, n, _ = criterion(model, sample)
        value.backward()
        total, size = total + float(value.detach()), size + n
    expected = [p.grad / size for p in model.parameters()]
    model.zero_grad(set_to_none=True)
    value, gradient = loss.gradient([p.detach() for p in loss.parameters], samples)
    assert value == pytest.approx(total / size)
    assert loss.loss([p.detach() for p in loss.parameters], samples) == pytest.approx(value)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-8)


def test_loss_is_at_the_weights_given_and_shared_ones_stay_shared(run):
    trainer, loss, samples, _ = run(*ADAM)
    model = trainer.get_model()
    weights = [p.detach().clone() for p in loss.parameters]
    here = loss.loss(weights, samples)
    moved = [w * 1.1 for w in weights]
    there = loss.loss(moved, samples)
    assert abs(there - here) > 1e-3
    with torch.no_grad():
        for p, w in zip(loss.parameters, moved):
            p.copy_(w)
    assert loss.loss(moved, samples) == there == loss.loss(list(model.parameters()), samples)
    assert model.decoder.output_projection.weight is model.encoder.embed_tokens.weight


@pytest.mark.parametrize("precision", [[], ["--fp16", "--fp16-no-flatten-grads"]], ids=str)
def test_nothing_of_the_run_is_touched(run, precision):
    trainer, loss, samples, _ = run(*ADAM, *DROPOUT, *precision)
    model = trainer.get_model().train()
    model.encoder.eval()  # a mode of one part alone
    optimizer = trainer.optimizer
    layout = Layout(optimizer, loss.parameters)
    state = innermost(optimizer).optimizer.state_dict()
    before, draws = in_bytes(model, state), torch.get_rng_state()
    modes = [m.training for m in model.modules()]
    _, gradient = loss.gradient(layout.weights(), samples, dropout=True)
    with undone(optimizer):
        for _ in range(2):
            step(optimizer, layout, gradient, 0.1)
        assert loss.loss(layout.weights(), samples) > 0
        assert innermost(optimizer).optimizer.state
    assert in_bytes(model, innermost(optimizer).optimizer.state_dict()) == before
    assert torch.equal(torch.get_rng_state(), draws)
    assert [m.training for m in model.modules()] == modes


def test_16_bit_weights_are_measured_in_32(run):
    _, half, samples, _ = run(*ADAM, "--fp16", "--fp16-no-flatten-grads")
    _, whole, _, _ = run(*ADAM)
    values = [loss.loss([p.float() for p in loss.parameters], samples) for loss in (half, whole)]
    assert values[0] == pytest.approx(values[1], rel=1e-3)
    gradients = [
        loss.gradient([p.detach().float() for p in loss.parameters], samples)[1]
        for loss in (half, whole)
    ]
    assert all(g.dtype == torch.float32 for g in gradients[0])
    norms = [float(torch.stack([g.norm() for g in gradient]).norm()) for gradient in gradients]
    assert norms[0] == pytest.approx(norms[1], rel=0.01)


def test_flat_masters_are_cut_as_fairseq_joined_them(run, monkeypatch):
    # fairseq asks for the GPU's number only to name the one flat tensor.
    monkeypatch.setattr(torch.cuda, "current_device", lambda: None)
    trainer, loss, _, _ = run(*ADAM, "--fp16")
    optimizer = trainer.optimizer
    assert isinstance(optimizer, optim.FP16Optimizer) and optimizer.has_flat_params
    layout = Layout(optimizer, loss.parameters)
    assert len(layout.stepped) == 1
    for weight, p in zip(layout.weights(), loss.parameters, strict=True):
        assert torch.equal(weight, p.detach().float())
    (flat,) = layout.gather([p.detach() for p in loss.parameters])
    assert torch.equal(flat, layout.stepped[0].detach())


def test_clipping_is_fairseqs():
    gradient = [torch.tensor([3.0, 0.0]), torch.tensor([4.0])]
    assert all(torch.equal(a, b) for a, b in zip(clipped(gradient, 0), gradient))
    parameters = [torch.nn.Parameter(torch.zeros_like(g)) for g in gradient]
    for p, g in zip(parameters, gradient):
        p.grad = g.clone()
    from fairseq.utils import clip_grad_norm_

    clip_grad_norm_(parameters, 0.5)
    torch.testing.assert_close(clipped(gradient, 0.5), [p.grad for p in parameters])
    assert all(torch.equal(a, b) for a, b in zip(clipped(gradient, 10.0), gradient))


def test_a_source_that_is_not_read_is_worth_nothing(run):
    trainer, loss, samples, _ = run(*ADAM)
    weights = [p.detach().clone() for p in loss.parameters]
    assert source_worth(loss, weights, samples) != 0
    names = [name for name, _ in trainer.get_model().named_parameters()]
    unread = [
        torch.zeros_like(w) if "encoder_attn.out_proj" in name else w
        for name, w in zip(names, weights)
    ]
    # The two sums are over the same targets in another order.
    assert abs(source_worth(loss, unread, samples)) < 1e-5
    assert source_worth(loss, weights, []) is None
    spread = token_spread(loss, weights, samples)
    assert spread is not None and 0 < spread <= 1
