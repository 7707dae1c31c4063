"""The algebra of the modular norm: how a network's step is shared out among its weights.

Large et al., "Scalable Optimization in the Modular Norm", NeurIPS 2024 (arXiv 2405.14813), §3. A
module has a mass m (its share of the change) and a sensitivity s (how much its output moves with
its input). A step of size t in the modular norm gives each weight its target:

    M₁∘M₀       mass m₀ + m₁    sensitivity s₀·s₁    t₀ = t·m₀/m / s₁,  t₁ = t·m₁/m
    (M₁, M₂)    mass m₁ + m₂    sensitivity s₁ + s₂  tᵢ = t·mᵢ/m

A weight whose update has exactly its target in its own norm moves the network's output by at most
t to first order, if all weights have norm ≤ 1. Plain Python: no torch here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace


class Module:
    """A node of the algebra; immutable. `@` composes as in the paper: (second @ first)."""

    @property
    def mass(self) -> float:
        """m, ≥ 0; a module of mass 0 is not trained."""
        raise NotImplementedError

    @property
    def sensitivity(self) -> float:
        """s > 0, change of the output per change of the input."""
        raise NotImplementedError

    def times(self, factor: float) -> Module:
        """The same with every mass in it multiplied."""
        raise NotImplementedError

    def walk(self, target: float) -> Iterator[tuple[Atom, float]]:
        """Each atom from input to output with its target when the whole has `target`."""
        raise NotImplementedError

    def __matmul__(self, first: Module) -> Module:
        return Composition(first, self)

    def weighing(self, mass: float) -> Module:
        """The same with its masses scaled so that they add up to `mass` (the paper's tare)."""
        return self.times(mass / self.mass)

    def targets(self, target: float = 1.0) -> dict[str, float]:
        """Target of each atom by name, in units of the learning rate if `target` is 1."""
        return {atom.name: share for atom, share in self.walk(target)}

    def __str__(self) -> str:
        rows = [(atom.name, atom.mass, share) for atom, share in self.walk(1.0)]
        width = max([len(name) for name, _, _ in rows] + [len("weight")])
        lines = [f"mass {self.mass:.4g}, sensitivity {self.sensitivity:.4g}"]
        lines.append(f"{'weight':<{width}}      mass  target/lr")
        lines += [f"{name:<{width}}  {mass:8.4f}  {share:9.4f}" for name, mass, share in rows]
        return "\n".join(lines)


@dataclass(frozen=True, repr=False)
class Atom(Module):
    """A module with one weight: a matrix or an embedding. Sensitivity 1."""

    name: str
    own_mass: float = 1.0

    @property
    def mass(self) -> float:
        return self.own_mass

    @property
    def sensitivity(self) -> float:
        return 1.0

    def times(self, factor: float) -> Atom:
        return replace(self, own_mass=self.own_mass * factor)

    def walk(self, target: float) -> Iterator[tuple[Atom, float]]:
        yield self, target


@dataclass(frozen=True, repr=False)
class Bond(Module):
    """A module without weights: an activation, a LayerNorm, a multiplication. Mass 0."""

    own_sensitivity: float = 1.0

    @property
    def mass(self) -> float:
        return 0.0

    @property
    def sensitivity(self) -> float:
        return self.own_sensitivity

    def times(self, factor: float) -> Bond:
        return self

    def walk(self, target: float) -> Iterator[tuple[Atom, float]]:
        return iter(())


@dataclass(frozen=True, repr=False)
class Composition(Module):
    """second∘first."""

    first: Module
    second: Module

    @property
    def mass(self) -> float:
        return self.first.mass + self.second.mass

    @property
    def sensitivity(self) -> float:
        return self.first.sensitivity * self.second.sensitivity

    def times(self, factor: float) -> Composition:
        return Composition(self.first.times(factor), self.second.times(factor))

    def walk(self, target: float) -> Iterator[tuple[Atom, float]]:
        yield from _share(self.first, self.mass, target / self.second.sensitivity)
        yield from _share(self.second, self.mass, target)


@dataclass(frozen=True, repr=False)
class Tuple(Module):
    """Several modules side by side on the same or on different inputs."""

    parts: tuple[Module, ...]

    @property
    def mass(self) -> float:
        return sum(part.mass for part in self.parts)

    @property
    def sensitivity(self) -> float:
        return sum(part.sensitivity for part in self.parts)

    def times(self, factor: float) -> Tuple:
        return Tuple(tuple(part.times(factor) for part in self.parts))

    def walk(self, target: float) -> Iterator[tuple[Atom, float]]:
        for part in self.parts:
            yield from _share(part, self.mass, target)


def residual(branch: Module, weight: float) -> Module:
    """(1 − weight)·x + weight·branch(x)."""
    return Bond() @ Tuple((Bond(1 - weight), Bond(weight) @ branch))


def stack(modules: list[Module]) -> Module:
    """The modules one after another, the first in the list first."""
    whole: Module = Bond()
    for module in modules:
        whole = module @ whole
    return whole


def _share(part: Module, whole: float, target: float) -> Iterator[tuple[Atom, float]]:
    # A mass of 0 is a target of 0, whatever the sensitivities.
    return part.walk(part.mass / whole * target if whole else 0.0)
