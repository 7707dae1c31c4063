"""Several processes: the first does the work, with the others' help, and all have what came of it,
to the bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .files import FileError
from .gradinit import GradInitError
from .gradinit.gradient import LossFn
from .network import Network, network_of
from .sharing import Collate, Leader, follow


def on_the_first_rank(
    model: nn.Module,
    work: Callable[[Leader | None], None],
    loss_fn: LossFn,
    collate: Collate,
) -> None:
    """Does `work`, which changes the model in place, on the first data-parallel rank, and gives
    every rank the parameters and buffers that it left.

    What the first rank refuses, all refuse, with its words.

    Args:
        work: given the leader of the others, or None where there are none.
        loss_fn, collate: with which the others help, see `follow`.

    Raises:
        GradInitError: `work` raised one, or a FileError; another process ended; or one has other
            weights in the end.
    """
    device = next(model.parameters()).device
    network = network_of(device)
    if network is None:
        work(None)
        return
    try:
        if network.rank == 0:
            refusal = _led(Leader(model, network), work)
        else:
            refusal = follow(model, loss_fn, collate, network)
        if refusal:
            raise GradInitError(refusal)
        network.broadcast([tensor.data for tensor in (*model.parameters(), *model.buffers())])
        _check_equal(model, network)
    except GradInitError:
        network.leave()
        raise


def _led(leader: Leader, work: Callable[[Leader | None], None]) -> str:
    refusal = ""
    try:
        work(leader)
    except (GradInitError, FileError) as error:
        refusal = str(error)
    except BaseException as error:
        # The others must not wait for ever for one that has crashed.
        leader.end(f"the first process ended with {type(error).__name__}")
        raise
    leader.end(refusal)
    return refusal


def _check_equal(model: nn.Module, network: Network) -> None:
    own = list(_digest(model))
    largest = network.largest([*own, *(-part for part in own)])
    if largest[: len(own)] != [-part for part in largest[len(own) :]]:
        raise GradInitError(
            "--gradinit: the processes have different weights after the first one's were given to "
            "all; check that all run the same command, and the network between them"
        )


def _digest(model: nn.Module) -> bytes:
    found = hashlib.sha256()
    for parameter in model.parameters():
        found.update(_bits(parameter.detach()).numpy().tobytes())
    return found.digest()


def _bits(tensor: Tensor) -> Tensor:
    """The tensor's bytes, whatever its type."""
    return tensor.cpu().contiguous().flatten().view(torch.uint8)
