"""Start cells through submitit: on this machine, on Slurm, or in this very process."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from ..cells.errors import GridError
from .worker import Worker

YEAR = 60 * 24 * 365  # minutes; submitit's local default would end a job after two
QUEUE_SECONDS = 5.0


@dataclass
class Cluster:
    """Where cells run.

    Attributes:
        kind: local, slurm or debug.
        jobs: cells at a time.
        gpus: GPUs of this machine (local: shared out over the jobs) or of a job (slurm).
        partition, minutes, cpus, setup: Slurm's partition, time limit, cores a cell, and shell
            lines before the job (module load, activation of an environment).
    """

    kind: str = "local"
    jobs: int = 1
    gpus: int = 0
    partition: str = ""
    minutes: int = 60
    cpus: int = 1
    setup: list[str] = field(default_factory=list)
    _held: set[str] = field(default_factory=set)
    _asked: float = float("-inf")

    def executor(self, folder: Path, slot: int = 0) -> submitit.Executor:
        """The submitit executor for the job slot `slot`; its files go to `folder`."""
        if self.kind == "debug":
            return submitit.DebugExecutor(folder)
        if self.kind == "local":
            local = submitit.LocalExecutor(folder)
            gpus = share(self.gpus, self.jobs, slot)
            local.update_parameters(timeout_min=YEAR, gpus_per_node=len(gpus), visible_gpus=gpus)
            return local
        try:
            # A cell resumes where its time limit ended it, as often as it takes.
            slurm = submitit.SlurmExecutor(folder, max_num_timeout=1000)
        except RuntimeError as error:
            raise GridError(
                "--cluster slurm: no srun on this machine; use --cluster local"
            ) from error
        parameters: dict[str, Any] = {
            "time": self.minutes, "cpus_per_task": self.cpus, "array_parallelism": self.jobs,
            "job_name": "grid", "setup": self.setup or None,
            "additional_parameters": {"requeue": True},
        }  # fmt: skip
        if self.partition:
            parameters["partition"] = self.partition
        if self.gpus:
            parameters["gpus_per_node"] = self.gpus
        slurm.update_parameters(**parameters)
        return slurm

    def submit(self, workers: list[Worker], folder: Path, slot: int = 0) -> list[submitit.Job]:
        """Hand the workers to the cluster: one array on Slurm, processes on this machine."""
        try:
            executor = self.executor(folder, slot)
            if self.kind == "slurm":
                # A batch becomes one job array; map_array would hide the workers' checkpoint hook.
                with executor.batch():
                    jobs = [executor.submit(worker) for worker in workers]
                self._asked = float("-inf")  # the last answer does not know these jobs
                return jobs
            jobs = [executor.submit(worker) for worker in workers]
        except (FailedJobError, FailedSubmissionError) as error:
            reason = " ".join(str(error).split())[:300]
            raise GridError(f"--cluster {self.kind}: submission refused ({reason})") from error
        if self.kind == "debug":
            for job in jobs:
                error = job.exception()  # runs the cell, here and now
                if error is not None:
                    raise error
        return jobs

    def is_over(self, job: submitit.Job) -> bool:
        """Whether the job has left the queue or its process has ended."""
        if self.kind == "local":
            return job.done()
        return self.kind == "debug" or job.job_id not in self._queue()

    def _queue(self) -> set[str]:
        """Ids of this user's jobs that Slurm still holds, asked at most every few seconds.

        squeue and not submitit's sacct: small clusters run without an accounting database.
        """
        if time.monotonic() - self._asked > QUEUE_SECONDS:
            command = ["squeue", "--noheader", "--array", "--me", "--format=%i"]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode == 0:  # else the controller is busy: keep the last answer
                self._held, self._asked = set(result.stdout.split()), time.monotonic()
        return self._held


def share(gpus: int, jobs: int, slot: int) -> tuple[int, ...]:
    """The GPUs of job slot `slot`: every GPU is used, and shared when jobs outnumber GPUs."""
    if gpus <= jobs:
        return (slot % gpus,) if gpus else ()
    return tuple(gpu for gpu in range(gpus) if gpu % jobs == slot)


def threads(jobs: int) -> str:
    """Cores a local job may use, for OMP_NUM_THREADS."""
    return str(max(1, len(os.sched_getaffinity(0)) // jobs))
