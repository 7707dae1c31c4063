"""Where cells run: on this machine, through submitit on Slurm, or in this very process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ..cells.errors import GridError
from ..steps.process import ours, path
from .worker import Worker

QUEUE_SECONDS = 5.0
PATIENCE = 60.0  # seconds for an answer of squeue
GRACE_SECONDS = 15.0  # for a cell to end after SIGTERM


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

    kind: str
    jobs: int
    gpus: int = 0
    partition: str = ""
    minutes: int = 1440
    cpus: int = 1
    setup: list[str] = field(default_factory=list)
    _held: set[str] | None = None  # what squeue last said of the jobs, None before it has
    _asked: float = float("-inf")
    _silent: bool = False

    @property
    def threads(self) -> str:
        """Cores a cell may use, for OMP_NUM_THREADS, which counts where it is set here."""
        if self.kind == "slurm":
            return str(self.cpus)
        shared = max(1, len(os.sched_getaffinity(0)) // self.jobs)
        return os.environ.get("OMP_NUM_THREADS", str(shared))

    def submit(self, workers: list[Worker], folder: Path, slot: int = 0) -> list[Any]:
        """Hand the workers to the cluster: one array on Slurm, processes on this machine.

        Args:
            folder: where the jobs' output goes.
            slot: number of the local job slot, which has its share of the GPUs.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if self.kind == "slurm":
            return self._submit_array(workers, folder)
        if self.kind == "debug":
            return [worker() for worker in workers]
        return [self._start(worker, folder, slot) for worker in workers]

    def _start(self, worker: Worker, folder: Path, slot: int) -> subprocess.Popen[bytes]:
        gpus = ",".join(map(str, share(self.gpus, self.jobs, slot)))
        arguments = msgspec.json.encode(worker).decode()
        with open(folder / f"{worker.name}.err", "wb") as output:
            # A group of its own: Ctrl-C is for the engine, which then ends the whole group.
            return subprocess.Popen(
                ours("running.worker", arguments),
                env={**os.environ, **path(), "CUDA_VISIBLE_DEVICES": gpus},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def submission(self, folder: Path, count: int) -> str:
        """The sbatch file for so many cells. Raises: GridError: there is no Slurm."""
        slurm = self._slurm(folder)
        if count > 1:  # an array, as submitit makes of a batch
            slurm.parameters["map_count"] = count
        return slurm._make_submission_file_text(slurm._submitit_command_str, "")

    def _slurm(self, folder: Path) -> Any:
        import submitit

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

    def _submit_array(self, workers: list[Worker], folder: Path) -> list[Any]:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        slurm = self._slurm(folder)
        os.environ.update(path())  # sbatch hands it to the jobs
        try:
            # A batch becomes one job array; map_array would hide the workers' checkpoint hook.
            with slurm.batch():
                jobs = [slurm.submit(worker) for worker in workers]
        except (FailedJobError, FailedSubmissionError) as error:
            reason = " ".join(str(error).split())[:300]
            raise GridError(f"--cluster slurm: submission refused ({reason})") from error
        self._held, self._asked = None, float("-inf")  # the last answer does not know these jobs
        return jobs

    def is_over(self, job: Any) -> bool:
        """Whether the job has left the queue or its process has ended; False while unknown."""
        if isinstance(job, subprocess.Popen):
            return job.poll() is not None
        if self.kind == "debug":
            return True
        held = self._queue()
        return held is not None and job.job_id not in held

    def stop(self, jobs: list[Any]) -> None:
        """End the jobs on this machine with all their processes; Slurm's go on by themselves."""
        local = [job for job in jobs if isinstance(job, subprocess.Popen)]
        for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, 1.0)):
            for job in local:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(job.pid, number)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and any(job.poll() is None for job in local):
                time.sleep(0.05)

    def _queue(self) -> set[str] | None:
        """Ids of this user's jobs that Slurm still holds, asked at most every few seconds.

        squeue and not submitit's sacct: small clusters run without an accounting database.
        """
        if time.monotonic() - self._asked > QUEUE_SECONDS:
            self._asked = time.monotonic()
            command = ["squeue", "--noheader", "--array", "--me", "--format=%i"]
            try:
                said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
                problem = said.stderr.strip() if said.returncode else ""
            except (OSError, subprocess.TimeoutExpired) as error:
                problem = str(error)
            else:
                if said.returncode == 0:
                    self._held = set(said.stdout.split())
            # Where the controller is busy nothing is known of the jobs: the last answer stands.
            if bool(problem) != self._silent:
                self._silent = bool(problem)
                now = time.strftime("%H:%M:%S")
                text = f"does not answer since {now} ({' '.join(problem.split())}); waiting for it"
                print(f"Slurm {text if problem else f'answers again, {now}'}", file=sys.stderr)
        return self._held


def share(gpus: int, jobs: int, slot: int) -> tuple[int, ...]:
    """The GPUs of job slot `slot`: every GPU is used, and shared when jobs outnumber GPUs."""
    if gpus <= jobs:
        return (slot % gpus,) if gpus else ()
    return tuple(gpu for gpu in range(gpus) if gpu % jobs == slot)
