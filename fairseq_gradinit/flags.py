"""The --gradinit-* flags, their help, their part of --help and README's table of them, all made
from `gradinit.settings`."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from dataclasses import Field, field, fields, make_dataclass
from enum import Enum
from typing import Any, NamedTuple, Optional, get_type_hints

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from .activations import ActivationConfig
from .gradinit import GradInitError, Settings
from .gradinit.ranges import Choice
from .init import InitConfig
from .probes.config import ProbesConfig
from .sparse_config import SparseConfig

PREFIX = "gradinit_"
WATCH = 200  # updates between looks, with --gradinit
# What the run gives where the flag does not.
FROM_RUN = {"eta": "the run's `--lr`", "algorithm": "that of `--optimizer`"}
# Settings without a flag of their own: the run's flag, or the preset alone.
NO_FLAG = {
    "weight_decay": "--weight-decay",
    "clip_norm": "--clip-norm",
    "seed": "--seed",
    "log_space": "--gradinit-preset",
}


class Option(NamedTuple):
    """A flag as README shows it: its name without dashes, type, and what is said of it."""

    name: str
    type: Any
    help: str
    default: str = ""
    paper: str = ""
    may_be: str = ""
    unit: str = ""
    source: str = ""

    @property
    def text(self) -> str:
        """The line of --help."""
        facts = {"": self.may_be, "default": self.default, "paper": self.paper, "as": self.source}
        told = [f"{name}: {fact}" if name else fact for name, fact in facts.items() if fact]
        unit = f" [{self.unit}]" if self.unit else ""
        return (self.help + unit + (f" ({'; '.join(told)})" if told else "")).replace("`", "")


def flag_of(name: str) -> str:
    """The flag of a setting: `max_scale` → `--gradinit-max-scale`."""
    return NO_FLAG.get(name, "--" + (PREFIX + name).replace("_", "-"))


def with_flags(message: str) -> str:
    """A message of `gradinit` with each `setting` replaced by its flag."""
    known = {one.name: flag_of(one.name) for one in fields(Settings)}
    known["eta"] = f"--lr or {known['eta']}"
    return re.sub(r"`(\w+)`", lambda found: known.get(found[1], found[0]), message)


def all_options() -> Iterator[Option]:
    """Every flag, in the order of --help."""
    yield Option(
        "gradinit",
        bool,
        "give a fresh model, before its first update, word frequencies and one scale per parameter "
        "tensor, so that Post-LN Transformers train without learning-rate warmup (GradInit)",
        "off",
    )
    for one in fields(Settings):
        if one.name not in NO_FLAG:
            yield _option(one)
    yield Option(
        "gradinit_unigram",
        ChoiceEnum(["on", "off"]),
        "give the softmax layer the word frequencies of the train split before anything else",
        "on",
        "off",
    )
    yield Option(
        "gradinit_watch",
        int,
        "measure what the source is worth to the model, and its token spread, every so many "
        "updates of training, into the log and SAVE_DIR/gradinit/watch.jsonl; 0: never",
        f"{WATCH} with `--gradinit`",
        "",
        "",
        "updates",
    )
    yield Option(
        "gradinit_cpu_bf16",
        bool,
        "on a CPU, compute what training and GradInit compute in bf16 autocast: weights and their "
        "updates stay fp32; 1.2 (width 64) to 2 (width 512) times as fast where the CPU has bf16 "
        "instructions",
        "off",
    )
    max_tokens = "most tokens in a batch of GradInit"
    yield Option("gradinit_max_tokens", int, max_tokens, "the run's `--max-tokens`")
    yield Option(
        "gradinit_scales",
        str,
        "apply the scales of this scales.json, learned before on a model of the same shape, and "
        "learn nothing",
        "none",
    )


def _option(one: Field[Any]) -> Option:
    facts, may_be = one.metadata, one.metadata["may_be"]
    kind = get_type_hints(Settings)[one.name]
    if isinstance(may_be, Choice):
        kind = ChoiceEnum(list(may_be.words))
    elif kind not in (bool, int, str):
        kind = str if one.name == "betas" else float
    name_paper = "paper" in facts and one.name != "preset"
    return Option(
        PREFIX + one.name,
        kind,
        with_flags(facts["help"]),
        FROM_RUN.get(one.name) or _shown(one.default),
        _shown(facts["paper"]) if name_paper else "",
        "" if may_be is None else str(may_be),
        facts["unit"],
        facts["source"],
    )


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None or value == math.inf:
        return "none" if value is None else "no bound"
    return f"{value:g}" if isinstance(value, float) else str(value)


def options_table() -> str:
    """README's table of the flags, in Markdown."""
    rows = ["| flag | default | paper | may be | meaning |", "|---|---|---|---|---|"]
    for one in all_options():
        flag = "--" + one.name.replace("_", "-")
        meaning = one.help + (f" ({one.unit})" if one.unit else "")
        cells = (f"`{flag}`", one.default, one.paper, one.may_be, meaning)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _fields() -> Iterator[tuple[str, Any, Any]]:
    for one in all_options():
        off = one.type is bool
        # fairseq reads these types itself and knows Optional only.
        kind = bool if off else Optional[one.type]
        yield one.name, kind, field(default=False if off else None, metadata={"help": one.text})


# Mixed into a task's own configuration. None stands for the preset's value or the run's.
GradInitConfig: Any = make_dataclass(
    "GradInitConfig", _fields(), bases=(FairseqDataclass,), namespace={"__module__": __name__}
)


FLAG_GROUPS = {
    "GradInit": GradInitConfig,
    "Initialisers": InitConfig,
    "Fixed sparse masks": SparseConfig,
    "Activations": ActivationConfig,
    "Probes": ProbesConfig,
}


def given_settings(flags: Any) -> dict[str, Any]:
    """The flags that are settings, by the settings' names; None where not given.

    Raises:
        GradInitError: --gradinit-betas is no pair of numbers.
    """
    named = {one.name: getattr(flags, PREFIX + one.name, None) for one in fields(Settings)}
    # A choice arrives as an Enum of fairseq's, which JSON does not know.
    given = {name: str(v) if isinstance(v, Enum) else v for name, v in named.items()}
    given = {name: None if value is False else value for name, value in given.items()}
    if given["betas"] is not None:
        given["betas"] = _numbers("betas", given["betas"])
    return given


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        wanted = next(one.metadata["may_be"] for one in fields(Settings) if one.name == name)
        raise GradInitError(f"`{name}`: found {text[:80]}; give {wanted}") from error
