"""The algebra: its rules, the published GPT, and that a step is shared out without remainder."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_gradinit.optim.modular_norm import (
    Atom,
    Bond,
    Composition,
    Module,
    Tuple,
    residual,
    stack,
)
from fairseq_gradinit.optim.modular_tree import Outline, storage_factor, transformer


def published_gpt(blocks: int) -> Module:
    """The GPT of Large et al. 2024: halves of two embeddings, √2·GELU, 1/3 in attention."""
    embeddings = Tuple(
        (Bond(0.5) @ Atom("token_embedding"), Bond(0.5) @ Atom("position_embedding"))
    )
    initial = (Bond() @ embeddings).weighing(1)
    layers = []
    for i in range(blocks):
        qkv = Tuple(tuple(Atom(f"{i}.{name}") for name in "qkv"))
        layers.append(residual(Atom(f"{i}.out") @ Bond(1 / 3) @ qkv, 1 / (2 * blocks)))
        activation = Bond(math.sqrt(2)) @ Bond(1 / math.sqrt(2))
        mlp = Atom(f"{i}.fc2") @ activation @ Atom(f"{i}.fc1")
        layers.append(residual(mlp, 1 / (2 * blocks)))
    return Atom("output") @ stack(layers).weighing(5) @ initial


# From package modula 0.0.0.0.0.2 (PyPI) in float64: GPT with 4 blocks, target_norm 1.
MODULA_GPT_TARGETS = {
    **{"token_embedding": 0.1428571, "position_embedding": 0.1428571, "output": 0.1428571},
    **{f"{i}.{name}": 0.7142857 for i in range(4) for name in "qkv"},
    **{f"{i}.{name}": 0.2380952 for i in range(4) for name in ("out", "fc1", "fc2")},
}


def test_the_published_gpt():
    gpt = published_gpt(4)
    assert gpt.mass == pytest.approx(7.0)
    assert gpt.sensitivity == pytest.approx(1.0)
    assert gpt.targets() == pytest.approx(MODULA_GPT_TARGETS, rel=1e-6)
    masses = {atom.name: atom.mass for atom, _ in gpt.walk(1.0)}
    assert masses["token_embedding"] == 0.5
    assert masses["3.fc2"] == pytest.approx(0.2083333, rel=1e-6)


@pytest.mark.parametrize("blocks", [1, 3, 12])
def test_its_targets_do_not_depend_on_depth(blocks):
    assert published_gpt(blocks).targets()["0.q"] == pytest.approx(5 / 7)


modules = st.recursive(
    st.one_of(st.floats(0.1, 3).map(lambda mass: Atom("w", mass)), st.floats(0.2, 2).map(Bond)),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: pair[1] @ pair[0]),
        st.tuples(inner, inner).map(Tuple),
        st.tuples(inner, st.floats(0.1, 0.9)).map(lambda pair: residual(*pair)),
    ),
    max_leaves=12,
)


def change(module: Module, target: float) -> float:
    """The most that the output moves when each atom moves by its target: rules of §3 unrolled."""
    if isinstance(module, Atom):
        return target
    if isinstance(module, Composition):
        first, second = module.first, module.second
        to_first = target * first.mass / module.mass / second.sensitivity if module.mass else 0.0
        to_second = target * second.mass / module.mass if module.mass else 0.0
        return change(first, to_first) * second.sensitivity + change(second, to_second)
    if isinstance(module, Tuple):
        mass = module.mass or 1.0
        return sum(change(part, target * part.mass / mass) for part in module.parts)
    return 0.0


@given(modules)
def test_a_step_is_shared_out_without_remainder(module):
    expected = 0.7 if module.mass else 0.0
    assert change(module, 0.7) == pytest.approx(expected)


@given(modules, modules, modules)
def test_composition_is_associative(a, b, c):
    def walked(module):
        return [share for _, share in module.walk(1.0)]

    assert walked((c @ b) @ a) == pytest.approx(walked(c @ (b @ a)))
    assert ((c @ b) @ a).sensitivity == pytest.approx((c @ (b @ a)).sensitivity)


@given(modules, st.floats(0.1, 10))
def test_weighing_sets_the_mass_and_keeps_the_shares(module, mass):
    if not module.mass:
        return
    weighed = module.weighing(mass)
    assert weighed.mass == pytest.approx(mass)
    shares = [share for _, share in module.walk(1.0)]
    assert [share for _, share in weighed.walk(1.0)] == pytest.approx(shares)


def test_no_mass_is_no_step():
    targets = (Atom("trained") @ Atom("frozen", 0.0)).targets()
    assert targets == {"frozen": 0.0, "trained": 1.0}


def test_it_prints_itself_as_a_table():
    lines = str(Atom("second") @ Atom("first", 3.0)).splitlines()
    assert lines[0] == "mass 4, sensitivity 1"
    assert lines[1].split() == ["weight", "mass", "target/lr"]
    assert [line.split() for line in lines[2:]] == [
        ["first", "3.0000", "0.7500"],
        ["second", "1.0000", "0.2500"],
    ]


def outline(name: str, **changes: object) -> Outline:
    options = {"cross": False, "positions": False, "head_dim": 16, "pre_ln": True}
    return Outline(**{"name": name, "layers": 3, "activation": "relu", **options, **changes})


def test_a_language_model_has_the_targets_of_the_published_gpt():
    targets = transformer((outline("decoder"),)).targets()
    assert targets["decoder.embed_tokens"] == pytest.approx(1 / 7)
    assert targets["decoder.output_projection"] == pytest.approx(1 / 7)
    for layer in range(3):
        name = f"decoder.layers.{layer}"
        for which in "qkv":
            assert targets[f"{name}.self_attn.{which}_proj"] == pytest.approx(5 / 7)
        for which in ("self_attn.out_proj", "fc1", "fc2"):
            assert targets[f"{name}.{which}"] == pytest.approx(5 / 21)


def test_learned_positions_share_the_embedding_s_target():
    targets = transformer((outline("decoder", positions=True),)).targets()
    assert targets["decoder.embed_positions"] == pytest.approx(1 / 14)
    assert targets["decoder.embed_tokens"] == pytest.approx(1 / 14)


@pytest.mark.parametrize("layers", [1, 6])
def test_an_encoder_decoder_shares_by_mass_whatever_its_depth(layers):
    stacks = outline("encoder", layers=layers), outline("decoder", layers=layers, cross=True)
    tree = transformer(stacks, blocks_mass=5.0)
    targets = tree.targets()
    assert tree.mass == pytest.approx(1 + 5 + 1 + 5 + 1)
    for side in ("encoder", "decoder"):
        assert targets[f"{side}.embed_tokens"] == pytest.approx(1 / 13)
    # n branches of weight 1/n; 4 of 6 matrices of an encoder layer are attention's, 4 of 10 are
    # each attention's of a decoder layer.
    assert targets["encoder.layers.0.self_attn.out_proj"] == pytest.approx(5 / 13 / 3)
    assert targets["decoder.layers.0.encoder_attn.out_proj"] == pytest.approx(5 / 13 * 3 / 10)
    ratio = targets["decoder.layers.0.encoder_attn.k_proj"]
    assert ratio == pytest.approx(3 * targets["decoder.layers.0.encoder_attn.out_proj"])


def test_stock_units_leave_all_but_the_activation():
    for atom, factor in (("fc1", math.sqrt(2)), ("fc2", 1.0), ("self_attn.q_proj", 1.0)):
        found = storage_factor(outline("decoder"), f"decoder.layers.2.{atom}", "stock")
        assert found == pytest.approx(factor)
    assert storage_factor(outline("decoder"), "decoder.output_projection") == 1.0
    assert storage_factor(outline("decoder"), "encoder.layers.0.fc1") == 1.0
