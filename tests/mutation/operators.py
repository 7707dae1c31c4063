"""Changes that cosmic-ray does not make: another statistic, a setting left out, a call left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cosmic_ray.operators.operator import Example, Operator
from parso.python.tree import Keyword, Name

Position = tuple[tuple[int, int], tuple[int, int]]

OTHER = {
    "all": "any",
    "any": "all",
    "min": "max",
    "max": "min",
    "mean": "max",
    "sum": "max",
    "median_high": "max",
    "double": "float",
    "sqrt": "abs",
    "sign": "abs",
    "abs": "sqrt",
    "ones_like": "zeros_like",
    "zeros_like": "ones_like",
    "clamp_min": "clamp_max",
    "clamp_max": "clamp_min",
    "search": "match",
    "sorted": "list",
}


class OtherFunction(Operator):
    """A function or method in place of another that takes the same: mean → max, all → any."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        if isinstance(node, Name) and node.value in OTHER and _is_called(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.value = OTHER[node.value]
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return Example("x = a.mean()", "x = a.max()"), Example("all(x)", "any(x)")


class WithoutKeyword(Operator):
    """A call without one of its keyword arguments."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        if node.type == "argument" and node.children[1] == "=":
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        # Nothing, spelled as an argument: the commas around it stay.
        return Name("**{}", node.start_pos, node.get_first_leaf().prefix)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (Example("f(a, b=1, c=2)", "f(a, **{}, c=2)"),)


class WithoutCall(Operator):
    """A function without one of the calls that it makes for their effect."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        # A statement that is a call and nothing else; of an assignment, or a with, the parent
        # is another.
        if (
            node.type == "atom_expr"
            and node.parent.type == "simple_stmt"
            and node.children[-1].type == "trailer"
            and node.children[-1].children[0] == "("
        ):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        return Keyword("pass", node.start_pos, node.get_first_leaf().prefix)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (Example("x.step()", "pass"),)


def _is_called(name: Any) -> bool:
    following = name.get_next_leaf()
    return following is not None and following.value == "("


OWN = (OtherFunction, WithoutKeyword, WithoutCall)
