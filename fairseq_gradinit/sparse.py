"""Fixed random masks on a model's weight matrices, for sparse-against-dense comparisons.

SC-SDC (Tessera et al. 2021, arXiv 2102.01670) compares a narrow dense network with a wide one that
has the same number of active weights in each layer, with the same initial distribution.

A masked weight is exactly zero in the parameter itself, so a checkpoint is one of the plain model.
Its gradient is zero by a hook, so that norms, clipping and an elementwise optimizer's state know
nothing of it; `remask` after each step covers optimizers that mix a matrix's entries.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from .gradinit import GradInitError
from .layers import Layer, other_parameters, weight_matrices
from .optimizer_view import stepped_weights


@torch.no_grad()
def mask_like(model: nn.Module, dense: nn.Module, seed: int) -> None:
    """Masks `model` as the wide partner of the narrow `dense`.

    Each weight matrix keeps as many active weights as the matrix of that name has in `dense`, at
    random places, and those are the weights of `dense`: its very initial distribution, whatever
    the initialiser made of its fan-in and fan-out. All other parameters stay the model's own.

    Args:
        seed: of the places; the same layer name and seed give the same mask anywhere.

    Raises:
        GradInitError: the two have other layers, or `dense` has the larger matrix.
    """
    wide, narrow = _by_name(model), _by_name(dense)
    if wide.keys() != narrow.keys():
        differing = sorted(wide.keys() ^ narrow.keys())[0]
        raise GradInitError(
            f"--sparse-like-width: {differing} is a layer at one of the two widths only; this "
            "architecture has no partner of another width"
        )
    for name, layer in wide.items():
        values = narrow[name].weight.detach().flatten()
        size = layer.weight.numel()
        if values.numel() > size:
            raise GradInitError(
                f"--sparse-like-width: {name} has {values.numel()} weights in the dense model and "
                f"{size} in the sparse one; give a smaller width"
            )
        places = _places(name, size, values.numel(), seed)
        weight = torch.zeros(size, dtype=layer.weight.dtype)
        weight[places] = values.to(weight)
        layer.weight.copy_(weight.view_as(layer.weight))
        _fix(layer, places)


@torch.no_grad()
def mask_fraction(model: nn.Module, sparsity: float, seed: int) -> None:
    """Masks a fraction of each weight matrix, at least one weight left; the rest stay as they are.

    One model alone, with fewer weights than before: no SC-SDC, which compares equal capacities.

    Args:
        sparsity: masked over all weights of a matrix, in [0, 1).
    """
    for name, layer in _by_name(model).items():
        size = layer.weight.numel()
        active = max(1, round((1 - sparsity) * size))
        _fix(layer, _places(name, size, active, seed))
        layer.weight.mul_(_mask(layer))


def masked_layers(model: nn.Module) -> list[tuple[Layer, Tensor]]:
    """Each layer that has a mask, with it: bool, of the weight's shape, true where active."""
    layers = weight_matrices(model)
    return [(layer, _mask(layer)) for layer in layers if hasattr(layer.module, _buffer(layer))]


@torch.no_grad()
def remask(model: nn.Module, optimizer: Any = None) -> None:
    """Sets masked weights to exactly zero, and with a fairseq optimizer its fp32 masters too."""
    masked = masked_layers(model)
    weights = [layer.weight for layer, _ in masked]
    held = [] if optimizer is None else stepped_weights(optimizer, weights)
    for (layer, mask), master in zip(masked, held or weights):
        layer.weight.mul_(mask)
        if master.data_ptr() != layer.weight.data_ptr():
            master.mul_(mask)


@contextlib.contextmanager
def kept_masked(model: nn.Module) -> Iterator[None]:
    """Within, every step of any optimizer is followed by `remask`, as GradInit's look-ahead needs
    it with an optimizer that mixes a matrix's entries."""
    if not masked_layers(model):
        yield
        return
    handle = register_optimizer_step_post_hook(lambda *_: remask(model))
    try:
        yield
    finally:
        handle.remove()


def check_masked(model: nn.Module, flag: str, seed: int) -> None:
    """Are all masked weights zero, after a checkpoint was loaded?

    Raises:
        GradInitError: they are not, so the checkpoint is of other masks or of none.
    """
    for layer, mask in masked_layers(model):
        outside = int(((layer.weight != 0) & ~mask).sum())
        if outside:
            raise GradInitError(
                f"{flag}: the loaded checkpoint has {outside} weights outside the mask of "
                f"{layer.name} by seed {seed}; give the --mask-seed and width it was trained "
                "with, or another --save-dir"
            )


def summary(model: nn.Module) -> dict[str, Any]:
    """Active and all weights by layer, and how many parameters are outside the comparison.

    JSON-ready: `active`, `of`, `layers` (name to shape, active, density) and `unmasked`, the
    parameters of embeddings, LayerNorms, biases and others, which grow with the width.
    """
    layers = {
        layer.name: {
            "shape": list(mask.shape),
            "active": int(mask.sum()),
            "density": float(mask.float().mean()),
        }
        for layer, mask in masked_layers(model)
    }
    others = other_parameters(model)
    return {
        "active": sum(int(mask.sum()) for _, mask in masked_layers(model)),
        "of": sum(mask.numel() for _, mask in masked_layers(model)),
        "layers": layers,
        "unmasked": {kind: sum(p.numel() for p in group) for kind, group in others.items()},
    }


def _fix(layer: Layer, places: Tensor) -> None:
    """Hangs the mask on the layer's module, outside its state dict, and on the gradient."""
    mask = torch.zeros(layer.weight.numel(), dtype=torch.bool)
    mask[places] = True
    mask = mask.view(layer.weight.shape).to(layer.weight.device)
    # A buffer moves to the device with its module, and stays bool in 16 bit.
    layer.module.register_buffer(_buffer(layer), mask, persistent=False)
    layer.weight.register_hook(lambda gradient: gradient * _mask(layer))


def _places(name: str, size: int, active: int, seed: int) -> Tensor:
    """`active` random indices below `size`, in random order."""
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7]))
    return torch.randperm(size, generator=generator)[:active]


def _by_name(model: nn.Module) -> dict[str, Layer]:
    return {layer.name: layer for layer in weight_matrices(model)}


def _buffer(layer: Layer) -> str:
    return f"{layer.attribute}_mask"


def _mask(layer: Layer) -> Tensor:
    return getattr(layer.module, _buffer(layer))
