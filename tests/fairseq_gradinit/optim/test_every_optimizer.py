"""What holds of every optimizer of the package; a new one is one row of `optimizer_rows.ROWS`."""

from __future__ import annotations

import io
import json

import pytest
import torch
from fairseq_runs import checkpoint, train
from optimizer_rows import Named

UPDATES = 20


def nothing(gradient: Named) -> Named:
    return {name: torch.zeros_like(g) for name, g in gradient.items()}


def test_steps_as_its_textbook_on_random_gradients(bench, row):
    run = bench(row)
    weights, gradients = run.weights(), run.gradients(UPDATES)
    row.textbook(
        run.model,
        weights,
        [{name: g.double() for name, g in gradient.items()} for gradient in gradients],
        run.first,
        row.lr,
    )
    for gradient in gradients:
        run.step(gradient)
    for name, found in run.weights().items():
        scale = float(weights[name].abs().max())
        torch.testing.assert_close(
            found, weights[name], rtol=0, atol=row.rtol * max(scale, row.lr), msg=name
        )


def test_zero_gradients_move_nothing(bench, row):
    run = bench(row)
    before, zeros = run.weights(), nothing(run.gradients(1)[0])
    for _ in range(3):
        run.step(zeros)
    for name, found in run.weights().items():
        assert bool(found.isfinite().all()), name
        if row.still:
            assert torch.equal(found, before[name]), name


def test_embedding_rows_without_a_gradient_stay(bench, row):
    run = bench(row)
    before, gradient = run.weights(), run.gradients(1)[0]
    embedding = next(name for name in gradient if "embed_tokens" in name)
    gradient[embedding][5:] = 0
    run.step(gradient)
    after = run.weights()[embedding]
    assert bool(after.isfinite().all())
    assert not torch.equal(after[4], before[embedding][4])
    if row.still:
        assert torch.equal(after[5:], before[embedding][5:])


def test_parameter_groups_step_as_one(bench, row):
    one, two = bench(row), bench(row)
    groups = two.trainer.optimizer.param_groups
    for group in list(groups):
        half = len(group["params"]) // 2
        groups.append({**group, "params": group["params"][half:]})
        group["params"] = group["params"][:half]
    for gradient in one.gradients(3):
        one.step(gradient)
        two.step(gradient)
    for name, found in two.weights().items():
        torch.testing.assert_close(found, one.weights()[name], rtol=1e-6, atol=1e-7, msg=name)


def test_state_comes_back_from_a_file_to_the_bit(bench, row):
    one, two = bench(row), bench(row)
    gradients = one.gradients(6)
    for gradient in gradients[:3]:
        one.step(gradient)
    file = io.BytesIO()
    torch.save((one.trainer.optimizer.state_dict(), one.model.state_dict()), file)
    file.seek(0)
    optimizer, model = torch.load(file, weights_only=True)
    two.model.load_state_dict(model)
    two.trainer.optimizer.load_state_dict(optimizer)
    for gradient in gradients[3:]:
        one.step(gradient)
        two.step(gradient)
    for name, found in two.weights().items():
        assert torch.equal(found, one.weights()[name]), name


def test_resumes_to_the_bit(grammar, trained, tmp_path, row):
    through = trained(*row.arguments, "--max-update=4")
    for updates in (2, 4):
        train(grammar, tmp_path, "--dropout=0", *row.arguments, f"--max-update={updates}")
    expected, found = checkpoint(through), checkpoint(tmp_path)
    for name, weight in expected["model"].items():
        assert torch.equal(found["model"][name], weight), name
    states = [c["last_optimizer_state"]["state"] for c in (expected, found)]
    torch.testing.assert_close(states[1], states[0], rtol=0, atol=0)


PRECISIONS = {
    "fp16": ["--fp16", "--fp16-no-flatten-grads", "--fp16-init-scale=4"],
    "bf16": ["common.bf16=true"],
    "memory-efficient-fp16": ["--memory-efficient-fp16", "--fp16-init-scale=4"],
}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_16_bits_train_as_32(trained, row, precision):
    if precision.startswith("memory") and not row.memory_efficient:
        pytest.skip("refuses it")
    plain = checkpoint(trained(*row.arguments, "--max-update=4"))
    half = checkpoint(trained(*row.arguments, "--max-update=4", *PRECISIONS[precision]))
    moved = {name: w.float() for name, w in half["model"].items()}
    assert all(bool(w.isfinite().all()) for w in moved.values())
    # Rounding, about 2^-8 of a weight in bf16, and not another algorithm.
    for name, weight in plain["model"].items():
        if name.endswith("k_proj.bias"):
            continue  # softmax does not see it: its gradient is rounding alone
        error = (moved[name] - weight).norm() / (weight.norm() + 1e-3)
        # A step of Adam's kind is all sign at first, and of the 16 entries of a bias that starts
        # at 0 one whose gradient is near 0 may turn.
        assert error < (0.1 if weight.dim() > 1 else 0.5), (name, float(error))
    for state in half["last_optimizer_state"]["state"].values():
        for name, value in state.items():
            if torch.is_tensor(value) and value.is_floating_point():
                assert value.dtype == torch.float32, name


def test_flat_masters_are_stepped_or_refused(bench, row):
    supported = bench(row).trainer.optimizer.supports_flat_params
    assert supported == row.flat


def test_micro_batches_are_one_update(trained, row):
    whole = checkpoint(trained(*row.arguments, "--update-freq=2", "--max-update=2"))
    assert whole["optimizer_history"][-1]["num_updates"] == 2
    assert all(bool(w.isfinite().all()) for w in whole["model"].values())


def test_gradinit_before_it(trained, row):
    fast = ["--gradinit-iters=1", "--gradinit-lookahead=2", "--gradinit-trial=2"]
    folder = trained(*row.arguments, "--gradinit", *fast, "--max-update=2")
    scales = json.loads((folder / "gradinit" / "scales.json").read_text())
    assert any(block["scale"] != 1 for block in scales["blocks"])
    weights = checkpoint(folder)["model"]
    assert all(bool(w.isfinite().all()) for w in weights.values())
