"""Several processes: the first does the work, and all have what came of it, to the bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from fairseq.distributed import utils as distributed
from torch import Tensor, nn

from .files import FileError
from .gradinit import GradInitError


def on_the_first_rank(model: nn.Module, work: Callable[[], None]) -> None:
    """Does `work`, which changes the model in place, on the first data-parallel rank, and gives
    every rank the parameters and buffers that it left.

    The others wait. What the first rank refuses, all refuse, with its words.

    Raises:
        GradInitError: `work` raised one, or a FileError; or a rank has other weights in the end.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        work()
        return
    group = distributed.get_data_parallel_group()
    first = distributed.get_data_parallel_rank() == 0
    device = next(model.parameters()).device
    refusal = ""
    if first:
        try:
            work()
        except (GradInitError, FileError) as error:
            refusal = str(error)
        except BaseException as error:
            # The others must not wait for ever for one that has crashed.
            _told(f"the first process ended with {type(error).__name__}", first, device, group)
            raise
    refusal = _told(refusal, first, device, group)
    if refusal:
        raise GradInitError(refusal)
    for tensor in (*model.parameters(), *model.buffers()):
        distributed.broadcast(tensor.data, src=0, group=group)
    _check_equal(model, device, group)


def _told(message: str, first: bool, device: torch.device, group: object) -> str:
    """The first rank's message, on every rank."""
    encoded = torch.tensor(list(message.encode()), dtype=torch.uint8, device=device)
    length = torch.tensor([len(encoded)], device=device)
    distributed.broadcast(length, src=0, group=group)
    if not int(length):
        return ""
    content = encoded if first else encoded.new_zeros(int(length))
    distributed.broadcast(content, src=0, group=group)
    return bytes(content.tolist()).decode()


def _check_equal(model: nn.Module, device: torch.device, group: object) -> None:
    own = torch.tensor(list(_digest(model)), dtype=torch.int64, device=device)
    largest, smallest = own.clone(), -own
    distributed.all_reduce(largest, group=group, op="max")
    distributed.all_reduce(smallest, group=group, op="max")
    if not torch.equal(largest, -smallest):
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
