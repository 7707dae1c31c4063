"""Attention entropy and token spread against plain loops, on random weights and in a model."""

import math

import pytest
import torch
from fairseq.modules import MultiheadAttention

from fairseq_gradinit.probes.attention import attention_entropy, watched
from fairseq_gradinit.probes.batch import in_32_bit, part_of


def loop(weights, visible, queries):
    """The definition, number by number."""
    found = []
    for head in weights.tolist():
        for sentence, rows in enumerate(head):
            for query, row in enumerate(rows):
                keys = int(visible[sentence, query].sum())
                if keys > 1 and queries[sentence, query]:
                    entropy = -sum(a * math.log(a) for a in row if a > 0)
                    found.append(entropy / math.log(keys))
    return sum(found) / len(found)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_loop(seed):
    generator = torch.Generator().manual_seed(seed)
    heads, batch, length, keys = 2, 3, 4, 5
    visible = torch.rand(batch, length, keys, generator=generator) < 0.6
    visible[..., 0] = True
    queries = torch.rand(batch, length, generator=generator) < 0.7
    queries[0, 0], visible[0, 0, 1] = True, True
    logits = 3 * torch.randn(
        heads, batch, length, keys, generator=generator, dtype=torch.float64
    ).masked_fill(~visible, -math.inf)
    weights = logits.softmax(-1)
    assert attention_entropy(weights, visible, queries) == pytest.approx(
        loop(weights, visible, queries)
    )


def test_uniform_is_1_and_a_single_key_is_0():
    visible = torch.ones(1, 2, 4, dtype=torch.bool)
    assert attention_entropy(torch.full((1, 1, 2, 4), 0.25), visible) == pytest.approx(1)
    assert attention_entropy(torch.eye(4)[:2][None, None], visible) == 0


def test_uniform_over_the_words_before_is_1_though_the_first_sees_only_itself():
    causal = torch.ones(3, 3).tril()
    weights = (causal / causal.sum(-1, keepdim=True))[None, None]
    assert attention_entropy(weights, causal.bool()[None]) == pytest.approx(1)


def test_queries_that_can_choose_nothing_have_no_entropy():
    visible = torch.ones(1, 1, 1, dtype=torch.bool)
    assert attention_entropy(torch.ones(1, 1, 1, 1), visible) is None


@pytest.fixture(scope="module")
def setting(build):
    return build("--encoder-attention-heads=2", "--seed=3", double=True)


@pytest.fixture(scope="module")
def watched_pass(setting):
    """What was seen, and what went into each attention and came out of each layer."""
    _, model, criterion, sample = setting
    model.eval()
    inputs, outputs, handles = {}, {}, []
    for name, module in model.named_modules():
        if isinstance(module, MultiheadAttention):
            handles.append(
                module.register_forward_pre_hook(
                    lambda _, args, kwargs, name=name: inputs.update({name: kwargs}),
                    with_kwargs=True,
                )
            )
        if name.rpartition(".")[0].endswith("layers"):
            handles.append(
                module.register_forward_hook(
                    lambda _, args, output, name=name: outputs.update({name: output})
                )
            )
    with watched(model, sample, criterion.padding_idx) as seen:
        watched_loss = criterion(model, sample)[0].item()
    for handle in handles:
        handle.remove()
    return seen, inputs, outputs, watched_loss


def padding(setting, name):
    given = setting.sample["net_input"]
    ids = given["src_tokens"] if name.startswith("encoder") else given["prev_output_tokens"]
    return ids.eq(setting.criterion.padding_idx)


def test_entropy_of_each_attention_of_a_model(setting, watched_pass):
    seen, inputs, _, _ = watched_pass
    assert len(seen.entropy) == 2 + 2 * 2 and seen.entropy.keys() == inputs.keys()
    for name, given in inputs.items():
        module = setting.model.get_submodule(name)
        query, key = given["query"].transpose(0, 1), given["key"].transpose(0, 1)
        padded_keys = padding(setting, "encoder" if "encoder_attn" in name else name)
        batch, length = query.shape[:2]
        visible = ~padded_keys[:, None].expand(batch, length, key.shape[1])
        if name.startswith("decoder") and "self_attn" in name:
            visible = visible & torch.ones(length, length, dtype=torch.bool).tril()
        heads = []
        for q, k in zip(
            module.q_proj(query).chunk(module.num_heads, -1),
            module.k_proj(key).chunk(module.num_heads, -1),
        ):
            logits = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
            heads.append(logits.masked_fill(~visible, -math.inf).softmax(-1).detach())
        wanted = loop(torch.stack(heads), visible, ~padding(setting, name))
        # fairseq takes its softmax in 32 bit, whatever the model.
        assert seen.entropy[name] == pytest.approx(wanted, rel=1e-6), name


def test_spread_of_each_layer_of_a_model(setting, watched_pass):
    seen, _, outputs, _ = watched_pass
    assert len(seen.spread) == 4 and seen.spread.keys() == outputs.keys()
    for name, output in outputs.items():
        states = output[0] if isinstance(output, tuple) else output
        rows = [
            states[position, sentence]
            for sentence, row in enumerate(padding(setting, name).tolist())
            for position, padded in enumerate(row)
            if not padded
        ]
        mean = sum(rows) / len(rows)
        left = sum(float(((row - mean) ** 2).sum()) for row in rows)
        wanted = left / sum(float((row**2).sum()) for row in rows)
        assert seen.spread[name] == pytest.approx(wanted, rel=1e-9), name


def test_watching_changes_no_loss_and_leaves_nothing_behind(setting, watched_pass):
    model, criterion, sample = setting.model, setting.criterion, setting.sample
    assert criterion(model, sample)[0].item() == pytest.approx(watched_pass[-1], rel=1e-6)
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
        assert not getattr(module, "skip_embed_dim_check", False)


def test_part_of_a_sample_is_a_sample(setting):
    model, criterion, sample = setting.model, setting.criterion, setting.sample
    part = part_of(sample, criterion.padding_idx, part=3)
    rows = range(0, sample["nsentences"], 3)
    assert part["nsentences"] == len(rows) == part["target"].size(0)
    assert torch.equal(part["target"], sample["target"][list(rows)])
    kept = [sample["target"][row].ne(criterion.padding_idx).sum() for row in rows]
    assert part["ntokens"] == sum(kept)
    with torch.no_grad():
        loss, size, _ = criterion(model, part)
    assert size == part["ntokens"] and torch.isfinite(loss)
    assert sample["target"].size(0) == sample["nsentences"]  # the whole one is as it was


def test_part_of_a_single_sentence_is_all_of_it():
    sample = {"nsentences": 1, "target": torch.ones(1, 3)}
    assert part_of(sample, None) is sample


def test_16_bit_inputs_are_widened_and_ids_are_not():
    widened = in_32_bit({"net_input": {"audio": torch.ones(2).half(), "ids": torch.ones(2).long()}})
    assert widened["net_input"]["audio"].dtype == torch.float32
    assert widened["net_input"]["ids"].dtype == torch.int64
