"""The watch: what it reads is right, it is cheap in traces, and it never ends a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from corpus import binarise_target, write_corpus
from fairseq_runs import USER_DIR, build, checkpoint, run, train

from fairseq_gradinit.reading import reading, swapped
from fairseq_gradinit.watch import _spread, some_samples


def looks(save_dir: Path) -> list[dict]:
    text = (save_dir / "gradinit" / "watch.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def samples_of(task) -> list:
    dataset = task.dataset("train")
    lists = task.get_batch_iterator(dataset, max_tokens=300, max_positions=(99, 99)).frozen_batches
    return some_samples(dataset, lists, tokens=200)


def test_a_reading_is_what_it_says(grammar, tmp_path):
    """Loss and source worth by hand, sentence by sentence, with the target given to each source."""
    task, _, trainer = build(grammar, tmp_path)
    model, samples = trainer.model.eval(), samples_of(task)
    found = reading(model, samples)

    def nll(sample, row, target_row):
        inputs = {
            "src_tokens": sample["net_input"]["src_tokens"][row : row + 1],
            "src_lengths": sample["net_input"]["src_lengths"][row : row + 1],
            "prev_output_tokens": sample["net_input"]["prev_output_tokens"][target_row][None],
        }
        with torch.no_grad():
            log_p = model.get_normalized_probs(model(**inputs), log_probs=True)[0]
        target = sample["target"][target_row]
        kept = target.ne(task.target_dictionary.pad())
        return -float(log_p.gather(1, target[:, None])[:, 0][kept].sum()), int(kept.sum())

    own = other = tokens = 0.0
    for sample in samples:
        rows = len(sample["target"])
        for row in range(rows):
            loss, count = nll(sample, row, row)
            own, tokens = own + loss, tokens + count
            other += nll(sample, row, (row - 1) % rows)[0]
    assert found.loss == pytest.approx(own / tokens, rel=1e-4)
    assert found.source_worth == pytest.approx((other - own) / tokens, abs=2e-4)
    assert 0 < found.encoder_spread < 1 and 0 < found.decoder_spread < 1


def test_a_model_that_does_not_read_has_a_worthless_source_and_no_spread(grammar, tmp_path):
    task, _, trainer = build(grammar, tmp_path)
    model, samples = trainer.model, samples_of(task)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "encoder_attn.out_proj" in name or name.startswith("encoder.layers.1.final_layer"):
                parameter.zero_()
        model.encoder.layers[-1].final_layer_norm.bias.fill_(1.0)
    found = reading(model, samples)
    assert found.source_worth == pytest.approx(0, abs=1e-5)
    assert found.encoder_spread == pytest.approx(0, abs=1e-9)
    assert found.collapsed == ("encoder",)


def test_one_sentence_has_no_other_source():
    sample = {"net_input": {"src_tokens": torch.ones(1, 3), "prev_output_tokens": torch.ones(1, 3)}}
    assert swapped(sample) is None
    assert swapped({"net_input": {"src_tokens": torch.ones(4, 3)}}) is None  # a language model


def test_watched_training_is_the_same_training(grammar, tmp_path):
    flags = ["--max-update=5", "--update-freq=2"]
    train(grammar, tmp_path / "off", *flags)
    train(grammar, tmp_path / "on", *flags, "--gradinit-watch=2")
    off, on = (checkpoint(tmp_path / name)["model"] for name in ("off", "on"))
    assert all(torch.equal(off[name], on[name]) for name in off)
    assert [look["update"] for look in looks(tmp_path / "on")] == [0, 2, 4]
    assert not (tmp_path / "off" / "gradinit").exists()


def test_sentences_longer_than_a_batch_are_not_looked_at(grammar, tmp_path):
    """A valid split that fairseq itself would refuse to batch does not end training."""
    flags = ["--max-tokens-valid=6", "--disable-validation", "--max-update=1"]
    train(grammar, tmp_path, *flags, "--gradinit-watch=1")


def test_a_language_model_is_watched_without_a_source(grammar, tmp_path):
    flags = ["--task=language_modeling_gradinit", "--arch=transformer_lm", "--decoder-layers=1"]
    flags += ["--decoder-embed-dim=16", "--decoder-ffn-embed-dim=32", "--tokens-per-sample=20"]
    write_corpus(tmp_path, {"train": 100, "valid": 30})
    data = binarise_target(tmp_path)
    given = [str(data), *USER_DIR, f"--save-dir={tmp_path}", *flags, "--decoder-attention-heads=2"]
    given += ["--optimizer=adam", "--lr=1e-3", "--max-tokens=200", "--max-update=2", "--cpu"]
    run([*given, "--gradinit-watch=1", "--no-progress-bar", "--num-workers=0", "--no-save"])
    assert [look["source_worth"] for look in looks(tmp_path)] == [None, None]
    assert all(0 < look["decoder_spread"] < 1 for look in looks(tmp_path))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
def test_any_first_few_batches_are_spread_over_the_whole(count):
    order = _spread(count)
    assert sorted(order) == list(range(count))
    if count == 100:
        assert order[:3] == [50, 25, 75]
