"""∂F/∂α of a value whose graph runs through θ = α∘θ⁰, without ∂F/∂W of the matrices.

What is wanted of a matrix is one number, ∂F/∂α = ⟨∂F/∂W, W⁰⟩ = ⟨∂F/∂W, W⟩/α. Where W stands in a
product Y = A·W,

    ⟨∂F/∂W, W⟩ = ⟨Aᵀ·∂F/∂Y, W⟩ = ⟨A, ∂F/∂Y·Wᵀ⟩,

and the backward pass takes ∂F/∂Y·Wᵀ in any case, to hand it on to A: the product that would make
a matrix of ∂F/∂W is spared. The exact derivative of a gradient norm takes nine products for each
that the model has; two of them are of this kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

Node = Any  # torch.autograd.graph.Node, whose attributes depend on what it stands for


class Product(NamedTuple):
    """Where a node that stands for a product A·W has A and W among its inputs, and the name under
    which it keeps A."""

    a: int
    w: int
    saved: str


# As the graph calls A·W and C + A·W. Whatever else a parameter is in goes the plain way.
PRODUCTS = {
    "MmBackward0": Product(0, 1, "_saved_self"),
    "AddmmBackward0": Product(1, 2, "_saved_mat1"),
}
EMBEDDING, TRANSPOSE, LEAF = "EmbeddingBackward0", "TBackward0", "AccumulateGrad"


def derivative_by_scale(
    value: Tensor, parameters: Sequence[Tensor], initial: Sequence[Tensor], scales: Tensor
) -> Tensor:
    """∂F/∂α [blocks] at θ = α∘θ⁰, equal to every ⟨∂F/∂θ_m, θ_m⁰⟩ up to rounding.

    Args:
        value: F, a scalar; its graph is used up.
        parameters, initial: θ and θ⁰, one tensor a block.
        scales: α, [blocks].
    """
    zero = value.new_zeros(())
    if value.grad_fn is None:  # the same at every θ
        return zero.expand(len(parameters)).clone()
    alpha = scales.tolist()
    graph = _Graph(value)
    short = graph.short([p for p, a in zip(parameters, alpha) if a != 0])
    totals = {p: zero.clone() for p in short}
    rows, handles = [], []
    for p in short:
        for node, _ in graph.uses[p]:
            if _kind(node) == EMBEDDING:
                rows.append((p, node))
            else:
                handles.append(node.register_hook(_adding(totals, p, node)))
    plain = [i for i, p in enumerate(parameters) if p not in totals]
    wanted: list[Any] = [parameters[i] for i in plain]
    wanted += [GradientEdge(node, 0) for _, node in rows]
    try:
        found = torch.autograd.grad(value, wanted, allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    for (p, node), derivative in zip(rows, found[len(plain) :]):
        if derivative is not None:
            totals[p] += _over_rows(node, p.detach(), derivative)
    numbers = [totals[p] / a if p in totals else None for p, a in zip(parameters, alpha)]
    for i, derivative in zip(plain, found):
        if derivative is not None:
            numbers[i] = torch.dot(derivative.flatten(), initial[i].flatten())
    return torch.stack([zero if n is None else n.to(zero) for n in numbers])


class _Graph:
    """The graph behind a value.

    uses: by parameter, what takes it or its transpose, and as which of its inputs.
    above: by node, those that it is an input of.
    """

    def __init__(self, value: Tensor) -> None:
        self.uses: dict[Tensor, list[tuple[Node, int]]] = {}
        self.above: dict[Node, list[Node]] = {}
        self.leaves: dict[Tensor, Node] = {}
        stack: list[Node] = [value.grad_fn]
        while stack:
            node = stack.pop()
            for place, (below, _) in enumerate(node.next_functions):
                if below is None:
                    continue
                if below not in self.above:
                    self.above[below] = []
                    stack.append(below)
                self.above[below].append(node)
                source = _untransposed(below)
                if _kind(source) == LEAF:
                    self.leaves[source.variable] = source
                    if _kind(node) != TRANSPOSE:
                        self.uses.setdefault(source.variable, []).append((node, place))

    def short(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Those of the parameters that are in products and embeddings only, where the backward
        pass to the others comes by every A."""
        candidates = {
            p: None for p in parameters if p in self.uses and all(_known(*u) for u in self.uses[p])
        }
        others = [leaf for p, leaf in self.leaves.items() if p not in candidates]
        rows = [n for p in candidates for n, _ in self.uses[p] if _kind(n) == EMBEDDING]
        passed = self._above_of([*others, *rows])
        return [p for p in candidates if all(_passes(n, passed) for n, _ in self.uses[p])]

    def _above_of(self, nodes: Sequence[Node]) -> set[Node]:
        """These and every node that has one of them somewhere below."""
        found, stack = set(nodes), list(nodes)
        while stack:
            for node in self.above.get(stack.pop(), ()):
                if node not in found:
                    found.add(node)
                    stack.append(node)
        return found


def _kind(node: Node) -> str:
    return type(node).__name__


def _untransposed(node: Node) -> Node:
    while _kind(node) == TRANSPOSE:
        node = node.next_functions[0][0]
    return node


def _known(node: Node, place: int) -> bool:
    """Whether the node takes a parameter, as its input `place`, in a way that is known here."""
    if _kind(node) == EMBEDDING:
        return not (node._saved_sparse or node._saved_scale_grad_by_freq)
    product = PRODUCTS.get(_kind(node))
    return product is not None and place == product.w


def _passes(node: Node, passed: set[Node]) -> bool:
    """Whether the backward pass hands a derivative on to A."""
    if _kind(node) == EMBEDDING:
        return True
    return node.next_functions[PRODUCTS[_kind(node)].a][0] in passed


def _adding(totals: dict[Tensor, Tensor], parameter: Tensor, node: Node) -> Callable[..., None]:
    """A hook that adds ⟨A, ∂F/∂Y·Wᵀ⟩ when the backward pass comes by."""
    product = PRODUCTS[_kind(node)]

    def add(to_inputs: Sequence[Tensor | None], to_output: Sequence[Tensor | None]) -> None:
        onward = to_inputs[product.a]
        if onward is not None:
            a = getattr(node, product.saved).detach()
            totals[parameter] += (a * onward).sum()

    return add


def _over_rows(node: Node, weight: Tensor, derivative: Tensor) -> Tensor:
    """⟨∂F/∂W, W⟩ of rows W[i] that were looked up, from ∂F/∂(rows) [..., width]."""
    indices = node._saved_indices
    used = (indices != node._saved_padding_idx).unsqueeze(-1)
    return (derivative * weight[indices] * used).sum()
