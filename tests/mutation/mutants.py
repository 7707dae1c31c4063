"""The mutants of a module: what cosmic-ray's operators and ours make of its source."""

from __future__ import annotations

import difflib
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import parso  # before cosmic-ray, whose own import of it is circular  # noqa: F401
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.provider import OperatorProvider

from .operators import OWN

# They need the names of variables to put in.
LEFT_OUT = ("VariableReplacer", "VariableInserter")


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Attributes:
        line: where, from 1.
        operator: that made the change.
        before, after: the changed lines.
        source: of the whole module.
    """

    line: int
    operator: str
    before: str
    after: str
    source: str

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from the module's others."""
        return self.before, self.after, self.line


def mutants_of(module: Path, rng: random.Random) -> list[Mutant]:
    """One mutant for every place and kind of operator: of the eleven other operators that may
    stand for a `+`, one by chance. None of type hints, which nothing reads, and none that does
    not compile."""
    source = module.read_text(encoding="utf-8")
    by_place: dict[Any, list[tuple[Any, str, int]]] = {}
    for operator, name, occurrence, place in _changes(source):
        by_place.setdefault((place, name.split("_")[0]), []).append((operator, name, occurrence))
    found = []
    for _, choices in sorted(by_place.items()):
        mutant = _made(source, *rng.choice(choices))
        if mutant is not None:
            found.append(mutant)
    return found


def _changes(source: str) -> Iterator[tuple[Any, str, int, Any]]:
    provider = OperatorProvider()
    operators = {name: provider[name] for name in provider if name not in LEFT_OUT}
    operators |= {operator.__name__: operator for operator in OWN}
    nodes = list(ast_nodes(get_ast(source)))
    for name, kind in operators.items():
        operator, occurrence = kind(), 0
        for node in nodes:
            for place in operator.mutation_positions(node):
                if not _is_no_code(node, name):
                    yield operator, name, occurrence, place
                occurrence += 1


def _is_no_code(node: Any, operator: str) -> bool:
    """Whether the node is part of a type hint or of a decorator's arguments (a dataclass that is
    no longer frozen changes no result)."""
    if "_BitOr_" in operator and node.get_first_leaf().value == "|":
        around = (node.get_previous_leaf(), node.get_next_leaf())
        if any(leaf is not None and leaf.value == "None" for leaf in around):
            return True
    while node.parent is not None:
        parent = node.parent
        if parent.type == "annassign" and node is parent.children[1]:
            return True
        if parent.type in ("param", "funcdef") and node is parent.annotation:
            return True
        if parent.type in ("tfpdef", "decorator"):
            return True
        node = parent
    return False


def _made(source: str, operator: Any, name: str, occurrence: int) -> Mutant | None:
    changed = mutate_code(source, operator, occurrence)
    try:
        if changed is None or changed == source:
            return None
        with warnings.catch_warnings():  # of `is` with a number, for instance
            warnings.simplefilter("ignore")
            compile(changed, "mutant", "exec")
    except SyntaxError:
        return None
    old, new = source.splitlines(), changed.splitlines()
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    edits = [block for block in blocks if block[0] != "equal"]
    (_, first, _, first_new, _), (_, _, last, _, last_new) = edits[0], edits[-1]
    before, after = _text(old[first:last]), _text(new[first_new:last_new])
    return Mutant(first + 1, name, before, after, changed)


def _text(lines: list[str]) -> str:
    return " ".join(line.strip() for line in lines).strip()
