"""The data-parallel processes of a run, as GradInit talks to them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from fairseq.distributed import utils as distributed
from torch import Tensor

from .gradinit import GradInitError


class Network:
    """All of a run's processes.

    Every method is called by each of them, in the same order, and raises GradInitError in those
    that are left where one has ended or cannot be reached.

    Args:
        device: of the tensors that are sent.

    Attributes:
        rank: this process's, from 0.
        size: how many there are.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._group = distributed.get_data_parallel_group()
        self.rank = distributed.get_data_parallel_rank()
        self.size = distributed.get_data_parallel_world_size()

    def told(self, content: bytes, source: int = 0) -> bytes:
        """The `content` of the process `source`, in every one."""
        own = self.rank == source
        length = torch.tensor([len(content) if own else 0], device=self._device)
        self.broadcast([length], source)
        if not int(length):
            return b""
        given = list(content) if own else [0] * int(length)
        sent = torch.tensor(given, dtype=torch.uint8, device=self._device)
        self.broadcast([sent], source)
        return bytes(sent.tolist())

    def broadcast(self, tensors: Iterable[Tensor], source: int = 0) -> None:
        """Writes those of the process `source` into everybody's, in place."""
        with self._reached():
            for tensor in tensors:
                distributed.broadcast(tensor, src=source, group=self._group)

    def summed(self, tensor: Tensor) -> Tensor:
        """The sum over the processes, in place."""
        with self._reached():
            return distributed.all_reduce(tensor, group=self._group)

    def largest(self, numbers: list[int]) -> list[int]:
        """The largest of each over the processes."""
        tensor = torch.tensor(numbers, dtype=torch.int64, device=self._device)
        with self._reached():
            distributed.all_reduce(tensor, group=self._group, op="max")
        return tensor.tolist()

    def leave(self) -> None:
        """For a process that is to end before the others: gloo's threads would abort it."""
        if torch.distributed.get_backend() == "gloo":
            with contextlib.suppress(RuntimeError):
                torch.distributed.destroy_process_group()

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            words = str(error).strip() or type(error).__name__
            raise GradInitError(
                "--gradinit: another process of this run has ended or cannot be reached "
                f"({words.splitlines()[0][:120]}); look at what the others said last, and start "
                "all of them again"
            ) from error


def network_of(device: torch.device) -> Network | None:
    """The run's, or None where there is but one process."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return None
    found = Network(device)
    return found if found.size > 1 else None
