"""docs/reference/flags.md, made from what declares the flags; `python docs/hooks/flags_page.py`.

A page in the repository, so that the site is built without torch; a test holds it to the flags.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args

from fairseq import optim
from fairseq.optim import lr_scheduler

import fairseq_gradinit.plugin  # noqa: F401  (registers optimizers and schedules)
from fairseq_gradinit.flags import FLAG_GROUPS, GradInitConfig, all_options
from fairseq_gradinit.lr_range import _parser as lr_range_parser

PAGE = Path(__file__).parents[1] / "reference" / "flags.md"
HEAD = """\
# Flags

<!-- Written by docs/hooks/flags_page.py from the flags' own declarations; change those. -->

`fairseq-train --user-dir "$(python -m fairseq_gradinit)" --help` shows them too. With
[Hydra](../how-to/hydra.md) a flag of the task is a key of `task`, that of an optimizer or a
schedule one of `optimizer` or `lr_scheduler`, with underscores. "Paper" is what the preset
`paper` has in its place.
"""
SECTIONS = {
    "Initialisers": "What each is: [initialisers](../initialisers.md).",
    "Fixed sparse masks": "[What they are for](../probes.md#sparse-against-dense).",
    "Activations": "",
    "Probes": "What is logged: [probes](../probes.md).",
}


def entry(flag: str, facts: dict[str, str], meaning: str) -> str:
    """A flag's heading, what is known of it in a line, and its meaning."""
    told = "; ".join(f"{name} {fact}".strip() for name, fact in facts.items() if fact)
    return f"### `{flag}`\n\n" + (f"*{told}*\n\n" if told else "") + meaning + "\n"


def gradinit() -> Iterator[str]:
    """The flags made from `gradinit.settings` and those beside them."""
    for one in all_options():
        facts = {
            "default": one.default, "paper": one.paper, "": one.may_be,
            "unit": one.unit, "as in": one.source,
        }  # fmt: skip
        yield entry("--" + one.name.replace("_", "-"), facts, sentence(one.help))


def of_dataclass(config: Any) -> Iterator[str]:
    """The flags that fairseq makes of a dataclass."""
    for one in dataclasses.fields(config):
        if "help" not in one.metadata:
            continue
        facts = {"default": shown(one.default), "": choices(one.type)}
        flag = "--" + one.name.replace("_", "-")
        yield entry(flag, facts, sentence(one.metadata["help"]))


def registered() -> Iterator[str]:
    """The optimizers and schedules of this package."""
    optimizers = optim.OPTIMIZER_REGISTRY, optim.OPTIMIZER_DATACLASS_REGISTRY
    schedules = lr_scheduler.LR_SCHEDULER_REGISTRY, lr_scheduler.LR_SCHEDULER_DATACLASS_REGISTRY
    for what, (classes, configs) in (("--optimizer", optimizers), ("--lr-scheduler", schedules)):
        for name, made in sorted(classes.items()):
            if made.__module__.startswith("fairseq_gradinit."):
                yield f"## `{what} {name}`\n"
                # Of several that share a flag, such as --adam-betas, each has its own default.
                yield from (one.replace("### ", "#### ", 1) for one in of_dataclass(configs[name]))


def lr_range() -> Iterator[str]:
    """Of `python -m fairseq_gradinit.lr_range`, beside those of fairseq-train."""
    yield "## `python -m fairseq_gradinit.lr_range`\n\nBeside all flags of fairseq-train.\n"
    for one in lr_range_parser()._actions:
        if one.dest != "help":
            default = "" if one.default is None else str(one.default)
            facts = {"default": default, "": "required" if one.required else ""}
            yield entry(one.option_strings[0], facts, sentence(one.help or ""))


def shown(value: Any) -> str:
    """A default as a reader knows it."""
    if value is dataclasses.MISSING or value is None or value == "???":
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    text = str(value.value if isinstance(value, Enum) else value)
    if text.startswith("${"):
        return "the run's `--" + text[2:-1].split(".")[-1].replace("_", "-") + "`"
    return text


def choices(kind: Any) -> str:
    """The values that may be given, where they are words."""
    for one in (kind, *get_args(kind)):
        if isinstance(one, type) and issubclass(one, Enum):
            return "one of " + ", ".join(str(member.value) for member in one)
    return ""


def sentence(help: str) -> str:
    """Help as a sentence; * and _ are no Markdown here."""
    text = " ".join(help.split()).replace("*", r"\*").replace("_", r"\_").replace("<", "&lt;")
    word = text[:2].isalpha()  # and no symbol, such as K or m
    first = text[:1].upper() if word else text[:1]
    return first + text[1:] + "."


def page() -> str:
    """The whole page."""
    parts = [HEAD, "## GradInit\n", *gradinit()]
    for name, config in FLAG_GROUPS.items():
        if config is not GradInitConfig:
            parts += [f"## {name}\n", *filter(None, [SECTIONS[name] + "\n"])]
            parts += of_dataclass(config)
    return "\n".join([*parts, *registered(), *lr_range()])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
