"""The engine on a real single-node Slurm: an array, preemption with requeue, a killed engine.

Slurm is started from Debian's packages (slurmctld slurmd slurm-client munge) in a scratch folder;
that needs root. Without either the tests are skipped and say why.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recipes.engine.cells.cell import Cell
from recipes.engine.cells.records import Status

pytestmark = pytest.mark.slow  # starting Slurm and waiting for its scheduler takes minutes
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "sinfo")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
JobRequeue=1
MinJobAge=30
SchedulerParameters=sched_interval=2,batch_sched_delay=1
SlurmctldPort={port}
SlurmdPort={port_of_node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=500 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """Why Slurm cannot be started here; "" when it can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        packages = "slurmctld slurmd slurm-client munge"
        return f"not installed: {', '.join(missing)} (apt-get install {packages})"
    return "" if os.geteuid() == 0 else "slurmd needs root"


@contextlib.contextmanager
def slurm() -> Iterator[dict[str, str]]:
    """Start munged, slurmctld and slurmd; yields the environment their clients need."""
    # Not pytest's tmp_path: munged runs as another user and must reach its folder.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    started: list[subprocess.Popen[bytes]] = []
    try:
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir()
        key = folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        for path in (folder / "munge", key):
            shutil.chown(path, "munge", "munge")
        host = os.uname().nodename.split(".")[0]
        port = 20_000 + os.getpid() % 20_000
        configuration = folder / "slurm.conf"
        configuration.write_text(
            CONFIGURATION.format(
                host=host, folder=folder, port=port, port_of_node=port + 1, cores=os.cpu_count()
            )
        )
        env = {**os.environ, "SLURM_CONF": str(configuration)}
        munge = ["munged", "--foreground", f"--key-file={key}"]
        munge += [
            f"--{name}-file={folder}/munge/{name}" for name in ("pid", "log", "seed")
        ]  # fmt: skip
        commands = [
            ["runuser", "-u", "munge", "--", *munge, f"--socket={folder}/munge/socket"],
            ["slurmctld", "-D"],
            ["slurmd", "-D", "-N", host],
        ]
        for command in commands:
            log = open(folder / f"{command[0]}.out", "wb")  # noqa: SIM115
            started.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
            log.close()
            time.sleep(1)
        _wait_until_idle(env, folder)
        yield env
    finally:
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_idle(env: dict[str, str], folder: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        command = ["sinfo", "--noheader", "--format=%T"]
        result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if result.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    logs = " ".join((folder / name).read_text()[-300:] for name in ("slurmctld.log", "slurmd.log"))
    raise TimeoutError(f"Slurm did not become idle: {' '.join(logs.split())}")


@pytest.fixture(scope="module")
def cluster():
    reason = why_not()
    if reason:
        pytest.skip(f"no Slurm here: {reason}")
    with slurm() as env:
        before = {name: os.environ.get(name) for name in ("SLURM_CONF",)}
        os.environ["SLURM_CONF"] = env["SLURM_CONF"]
        yield env
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def queue(env: dict[str, str], *options: str) -> list[str]:
    command = ["squeue", "--noheader", "--array", *options]
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return result.stdout.split()


def until(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def test_a_grid_is_one_array_and_all_cells_get_a_verdict(cluster, stub_grid, capsys):
    grid = stub_grid(["0.1", "0.2", "1"], seconds=2)
    engine = grid.start(kind="slurm", jobs=2, minutes=5)
    until(lambda: queue(cluster))
    seen = queue(cluster, "--format=%i|%T")
    engine.communicate(timeout=120)
    with capsys.disabled():
        print(f"\nsqueue: {seen}")
    assert len({line.split("_")[0] for line in seen}) == 1, "one array"
    states = grid.run(kind="slurm")
    assert {name: state for name, (state, _) in states.items()} == {
        "lr-0.1": Status.DONE,
        "lr-0.2": Status.DONE,
        "lr-1": Status.DIVERGED,
    }


def test_a_preempted_cell_is_requeued_and_resumes(cluster, stub_grid):
    """The signal Slurm sends before it takes a node: submitit requeues, the cell continues."""
    grid = stub_grid(["0.1"], seconds=8)
    engine = grid.start(kind="slurm")
    cell = Cell(grid.folder / "cells" / "lr-0.1", {})
    until((cell.checkpoints / "checkpoint_1_5.pt").exists)
    job = queue(cluster, "--format=%i")[0]
    subprocess.run(["scancel", "--signal=USR2", job], env=cluster, check=True)
    engine.communicate(timeout=180)
    log = cell.train_log.read_text()
    assert grid.run(kind="slurm")["lr-0.1"] == [Status.DONE, ""]
    assert log.count('"num_updates": "5"') == 1, "resumed from its checkpoint"
    errors = "".join(file.read_text() for file in (grid.folder / "submitit").glob("*.err"))
    assert "JOB REQUEUE" in errors, errors[-500:]


def test_the_engine_dies_and_its_jobs_go_on(cluster, stub_grid):
    grid = stub_grid(["0.1", "0.2"], seconds=4)
    engine = grid.start(kind="slurm", jobs=1, minutes=5)
    until((grid.folder / "cells" / "lr-0.1" / "train.log").exists)
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait()
    states = grid.run(kind="slurm", jobs=2, minutes=5)
    assert {state for state, _ in states.values()} == {Status.DONE}
    for rate in ("0.1", "0.2"):
        log = (grid.folder / "cells" / f"lr-{rate}" / "train.log").read_text()
        assert log.count('"num_updates": "1"') == 1, "trained once, although submitted twice"
