"""The residual branches of a Transformer, found by their structure."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from .blocks import BRANCH_OUTPUT, Blocks

# What an attention's values are called in fairseq, torch and Hugging Face. Queries and keys weigh
# the values and cancel in how far their mean moves.
VALUES = frozenset({"v_proj.weight", "in_proj_weight", "value.weight", "v.weight"})


@dataclass(frozen=True)
class Branch:
    """An attention or a feed-forward part, whose output is added to a residual stream.

    Attributes:
        name: of the module whose output is added.
        stack: the name before the layer's number, such as `encoder.layers`; one residual stream.
        output: the index of its last matrix among the blocks.
        feeding: those of the matrices that give what it is applied to: an attention's values, the
            first layers of a feed-forward part.
        module: gives the branch's output, [..., width].
        entry: is given the residual stream, [..., width], first.
    """

    name: str
    stack: str
    output: int
    feeding: tuple[int, ...]
    module: nn.Module
    entry: nn.Module


def find_branches(model: nn.Module, blocks: Blocks) -> list[Branch]:
    """Every branch whose last matrix is trained, in the order of the model's modules."""
    index = {id(parameter): at for at, parameter in enumerate(blocks.parameters)}
    modules = dict(model.named_modules())
    branches = []
    for name, module in modules.items():
        output = index.get(id(getattr(module, "weight", None)))
        if output is None or blocks.blocks[output].kind != BRANCH_OUTPUT:
            continue
        parent_name = name.rpartition(".")[0]
        parent = modules[parent_name]
        local = dict(parent.named_parameters())
        values = [index[id(p)] for n, p in local.items() if n in VALUES and id(p) in index]
        if values:
            feeding, branch_name, whole, entry = values, parent_name, parent, parent
        else:
            before = [
                child
                for child in parent.children()
                if isinstance(child, nn.Linear)
                and child is not module
                and id(child.weight) in index
                and child.out_features == module.weight.shape[1]
            ]
            feeding = [index[id(child.weight)] for child in before]
            branch_name, whole, entry = name, module, before[0] if before else module
        branches.append(Branch(branch_name, _stack(name), output, tuple(feeding), whole, entry))
    return branches


def _stack(name: str) -> str:
    """The part of a module's name before the first number in it."""
    parts = name.split(".")
    numbers = [at for at, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: numbers[0]]) if numbers else ""
