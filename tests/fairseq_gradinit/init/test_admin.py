"""Admin: the profiling chain, and what the paper says of the variance that it makes."""

import math

import pytest
import torch
from torch import nn

from fairseq_gradinit.init import admin, admin_closed, residual

# Transformer-Clinic's chain, repeated in float64 on two given branch outputs.
X0 = [[-1.624, -0.102, -1.81], [0.263, 0.26, -0.381]]
BRANCHES = [
    [[-0.311, 0.178, 0.331], [-0.154, -0.08, -0.485]],
    [[-0.092, -0.14, -1.183], [-0.556, 1.07, 1.565]],
]
OMEGA, OMEGA_AFTER = [1.0, 0.8891948], 1.291072


class Chain(nn.Module):
    """x ← LN(ω ⊙ x + f), with each f given."""

    def __init__(self, count):
        super().__init__()
        self.encoder = nn.ModuleList(
            residual.ScaledResidualNorm(nn.LayerNorm(3), torch.ones(3), trained=True)
            for _ in range(count)
        )

    def forward(self, x, branches):
        for norm, branch in zip(self.encoder, branches):
            x = norm(residual.Branch(branch, x))
        return x


def test_the_chain_has_the_known_values():
    last = torch.zeros(2, 3)
    given = {"x": torch.tensor(X0), "branches": [*map(torch.tensor, BRANCHES), last]}
    found = admin.profile(Chain(3), {"net_input": given})
    assert list(found.values()) == pytest.approx([*OMEGA, OMEGA_AFTER], rel=1e-5)


@pytest.fixture
def seen(build, batch):
    """seen(name, depth, profiled): variances by side and branch, a row (Var[ωx], Var[f],
    Var[ωx + f]), on a batch that was not profiled."""

    def measure(name, depth, profiled=True):
        model = build(name, (depth, depth), width=32)
        if name == "admin" and profiled:
            admin.profile(model, batch(0))
        rows = {"encoder": [], "decoder": []}

        def look(side):
            def hook(module, inputs):
                scaled, f = module.residual_scale * inputs[0].residual, inputs[0].output
                rows[side].append([float(t.var(unbiased=False)) for t in (scaled, f, scaled + f)])

            return hook

        for side, _, module in residual.scaled_residual_norms(model):
            module.register_forward_pre_hook(look(side))
        model.eval()
        with torch.no_grad():
            model(**batch(1)["net_input"])
        return rows

    return measure


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_the_variance_adds_up_layer_by_layer(seen, side):
    """Var[ω_i x_i + f_i] ≈ Var[x₀] + Σ_{j≤i} Var[f_j], with Var[x₀] in."""
    rows = seen("admin", 6)[side]
    start = rows[0][0]
    assert abs(start - 1) > 0.2  # embedding and positions: not 1, so that leaving it out shows
    for i, (scaled, _, _) in enumerate(rows):
        assert scaled == pytest.approx(start + sum(f for _, f, _ in rows[:i]), rel=0.15)


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_the_branches_shares_add_up_to_a_logarithm_instead_of_a_depth(seen, side):
    """The output moves by Σ Var[f_i]/Var[ωx + f] (Liu et al. 2020, Theorem 2): log D, not D."""

    def shares(name, depth, profiled=True):
        rows = seen(name, depth, profiled)[side]
        return sum(f / (scaled + f) for scaled, f, _ in rows), rows

    few, _ = shares("admin", 2)
    many, rows = shares("admin", 16)
    total = rows[0][0] + sum(f for _, f, _ in rows)
    assert many < 1.15 * math.log(total / rows[0][0])
    closed_few, closed_many = (shares("admin_closed", depth)[0] for depth in (2, 16))
    post_ln_few, post_ln_many = (shares("admin", depth, False)[0] for depth in (2, 16))
    # 8 times as many layers.
    assert many / few < 4.5 and closed_many / closed_few < 4.5
    assert post_ln_many / post_ln_few > 6


def output_change(model, sample):
    """‖Δ‖/‖x‖ of the encoder's output when every matrix moves by a tenth of its spread."""

    def encoded():
        with torch.no_grad():
            lengths = sample["net_input"]["src_lengths"]
            return model.encoder(sample["net_input"]["src_tokens"], lengths)["encoder_out"][0]

    model.eval()
    before = encoded()
    torch.manual_seed(0)
    with torch.no_grad():
        for layer in residual.all_layers(model):
            for parameter in layer.parameters():
                if parameter.dim() == 2:
                    parameter.add_(0.1 * parameter.std() * torch.randn_like(parameter))
    return float((encoded() - before).norm() / before.norm())


def test_the_output_moves_less_with_depth_than_that_of_post_ln(build, batch):
    def growth(name):
        changes = []
        for depth in (2, 18):
            model = build(name, (depth, 1), width=32)
            if name == "admin":
                admin.profile(model, batch())
            changes.append(output_change(model, batch()))
        return changes[1] / changes[0]

    assert growth("admin") < 0.75 * growth("xavier")
    assert growth("admin_closed") < 0.75 * growth("xavier")


def test_profiling_leaves_nothing_but_omega(build, batch):
    model = build("admin", dropout=0.3)
    model.encoder.eval()
    before = {n: p.clone() for n, p in model.state_dict().items()}
    state = torch.get_rng_state()
    admin.profile(model, batch())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training and not model.encoder.training
    assert not any(m._forward_pre_hooks for m in model.modules())
    changed = {n for n, p in model.state_dict().items() if not torch.equal(p, before[n])}
    first = {f"{side}.layers.0.self_attn_layer_norm.residual_scale" for side in residual.SIDES}
    every = {n for n in before if n.endswith("residual_scale")}
    assert changed == every - first


def test_dropout_and_padding_count(build, batch):
    """In train mode f is larger; the elements of padding are among those of the batch."""
    plain, dropped = (build("admin", dropout=rate) for rate in (0.0, 0.5))
    without, within = admin.profile(plain, batch()), admin.profile(dropped, batch())
    name = "encoder.layers.0.final_layer_norm"
    assert within[name] > 1.05 * without[name]
    tokens = batch()["net_input"]["src_tokens"]
    x = plain.encoder.forward_embedding(tokens)[0] * (tokens != 1).unsqueeze(-1)
    f = plain.encoder.layers[0].self_attn(*[x.transpose(0, 1)] * 3, tokens == 1)[0]
    assert without[name] ** 2 == pytest.approx(float(x.var(False) + f.var(False)), rel=1e-5)


def test_every_layer_is_measured_under_layer_drop(build, batch):
    model = build("admin", encoder_layerdrop=0.9)
    assert len(admin.profile(model, batch())) == 2 * 2 + 2 * 3


def test_a_16_bit_model_is_measured_in_32(build, batch):
    whole, half = build("admin"), build("admin").to(torch.bfloat16)
    expected, found = admin.profile(whole, batch()), admin.profile(half, batch())
    assert list(found.values()) == pytest.approx(list(expected.values()), rel=0.02)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


def _profile_on(rank, store, model, sample, results):
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.FileStore(store, 2), rank=rank, world_size=2
    )
    results.put((rank, list(admin.profile(model, sample).values())))
    torch.distributed.destroy_process_group()


def test_all_processes_take_the_weights_of_the_first(build, batch, tmp_path):
    """Each sees another batch, as the ranks of a data-parallel run may."""
    context = torch.multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    arguments = [(r, str(tmp_path / "store"), build("admin"), batch(r), results) for r in (0, 1)]
    processes = [context.Process(target=_profile_on, args=given) for given in arguments]
    for process in processes:
        process.start()
    found = dict(results.get() for _ in processes)
    for process in processes:
        process.join()
    alone = [list(admin.profile(build("admin"), batch(r)).values()) for r in (0, 1)]
    assert found[0] == found[1] == pytest.approx(alone[0])
    assert alone[0] != pytest.approx(alone[1], rel=1e-3)


@pytest.mark.parametrize(("branches", "known"), [(10, 1.894032), (12, 2.02), (18, 2.34)])
def test_the_closed_form_has_the_known_values(branches, known):
    """admin_torch 0.1.0, `O(logn)`, and the values that its documentation prints."""
    assert admin_closed.omega(branches) == pytest.approx(
        known, rel=5e-7 if branches == 10 else 3e-3
    )


def test_the_closed_form_counts_branches_by_stack(build):
    model = build("admin_closed", (3, 2))
    for side, count in (("encoder", 6), ("decoder", 6)):
        scale = model.state_dict()[f"{side}.layers.1.final_layer_norm.residual_scale"]
        assert float(scale) == pytest.approx(admin_closed.omega(count))
    assert not [n for n, _ in model.named_parameters() if "residual_scale" in n]
