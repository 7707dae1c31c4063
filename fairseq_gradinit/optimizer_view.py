"""What fairseq's optimizers hold: the weights they step, Adam's second moments, and their
gradients' pending factor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn


def stepped_weights(optimizer: Any, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The tensors that `optimizer.step()` changes, one for each of the model's `parameters`.

    With 16 bit these are its fp32 masters, or views of the one flat vector that holds them; the
    model's own weights are only copies. Otherwise they are the parameters themselves.

    Args:
        optimizer: a FairseqOptimizer.
        parameters: some of the model's trainable parameters.
    """
    return _of_each(optimizer, parameters, lambda held: held.detach())


def second_moments(optimizer: Any, parameters: Sequence[nn.Parameter]) -> list[Tensor] | None:
    """Adam's v of each of the model's `parameters`; None where the optimizer keeps none yet."""
    state = optimizer.optimizer.state
    try:
        # `state[…]` would make an entry, and an optimizer that has one has begun.
        return _of_each(optimizer, parameters, lambda held: state.get(held, {})["exp_avg_sq"])
    except KeyError:
        return None


def gradient_factor(optimizer: Any) -> float | Tensor:
    """What the gradients in the model's `.grad` have still to be multiplied by.

    Between fairseq's `multiply_grads` and `clip_grad_norm` this undoes the loss scale and divides
    by the batch's tokens; 16-bit optimizers do both only in `step`. 1 with 32 bit.
    """
    if hasattr(optimizer, "_multiply_factor"):
        return optimizer._multiply_factor
    scaler = getattr(optimizer, "scaler", None)
    if scaler is not None:  # --amp, whose clip_grad_norm begins by dividing by the loss scale
        return 1.0 / scaler.get_scale()
    return 1.0


def _of_each(
    optimizer: Any, parameters: Sequence[nn.Parameter], pick: Callable[[nn.Parameter], Tensor]
) -> list[Tensor]:
    """`pick` of what the optimizer holds in each parameter's place, of the parameter's shape."""
    masters = getattr(optimizer, "fp32_params", None)
    if masters is None:
        return [pick(parameter) for parameter in parameters]
    found: dict[nn.Parameter, Tensor] = {}
    if isinstance(masters, dict):  # flattened, one vector a device
        flat = {device: pick(master) for device, master in masters.items()}
        offsets = dict.fromkeys(masters, 0)
        for parameter in optimizer.fp16_params:
            device, size = parameter.device.index, parameter.numel()
            part = flat[device][offsets[device] : offsets[device] + size]
            found[parameter] = part.view_as(parameter)
            offsets[device] += size
    else:
        wanted = set(parameters)
        for parameter, master in zip(optimizer.fp16_params, masters):
            if parameter in wanted:
                found[parameter] = pick(master)
    return [found[parameter] for parameter in parameters]
