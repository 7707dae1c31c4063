"""A scratch copy of the tree in which a mutant meets the tests of its module."""

from __future__ import annotations

import hashlib
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KILLED, TIMEOUT, SURVIVED = "killed", "timeout", "survived"
NO_TESTS = 5  # pytest's exit code
LONGEST = 900.0  # seconds


class Tree:
    """The copy. Tests run in children of this process, which has imported torch and the rest but
    nothing of ours: a mutant costs the time of its tests."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder / "tree", folder / "pytest.log"
        files = subprocess.run(
            ["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "-z"],
            check=True, capture_output=True, text=True,
        ).stdout.split("\0")  # fmt: skip
        for name in files:
            if name and (ROOT / name).is_file():
                copy = self.folder / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy)
        self._mtime = int(time.time())
        self._seconds: dict[str, float] = {}

    def seconds(self, tests: Sequence[str]) -> float:
        """Of processor time, of the tests without any mutant; ends the program where one fails."""
        for test in tests:
            if test not in self._seconds:
                outcome, self._seconds[test] = self._run([test], LONGEST)
                if outcome != SURVIVED:
                    sys.exit(f"mutation: {test} fails as it is ({outcome}): {self.why()}")
        return sum(self._seconds[test] for test in tests)

    def outcome(self, module: str, source: str, tests: Sequence[str], limit: float) -> str:
        """Of the tests with the module's source changed; limit: seconds of processor time."""
        file = self.folder / module
        original = file.read_bytes()
        try:
            file.write_text(source, encoding="utf-8")
            self._touch(file)
            return self._run(tests, limit)[0]
        finally:
            file.write_bytes(original)
            self._touch(file)

    def why(self) -> str:
        """The test that failed last."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        failed = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
        return failed[0].split(" - ")[0].split(" ", 1)[1] if failed else " ".join(lines[-1:])

    def fingerprint(self, paths: Sequence[str]) -> str:
        """Of files, and of the Python files in folders."""
        digest = hashlib.sha256()
        for path in paths:
            place = self.folder / path.split("::")[0]
            for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
                digest.update(file.read_bytes())
        return digest.hexdigest()[:16]

    def _touch(self, file: Path) -> None:
        """Another second for every version: compiled files tell versions by seconds."""
        self._mtime += 2
        os.utime(file, (self._mtime, self._mtime))

    def _run(self, tests: Sequence[str], limit: float) -> tuple[str, float]:
        """Outcome and seconds of processor time."""
        child = os.fork()
        if not child:
            _be_pytest(self.folder, self.log, tests, limit)
        # Processor time is the same on a busy machine; the clock is for what sleeps.
        deadline, ended = time.monotonic() + 60 + 10 * limit, False
        try:
            while not ended and time.monotonic() < deadline:
                time.sleep(0.02)
                pid, status, usage = os.wait4(child, os.WNOHANG)
                ended = pid == child
        finally:
            if not ended:  # too long, or this process is to end
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        if not ended or os.waitstatus_to_exitcode(status) == -signal.SIGXCPU:
            return TIMEOUT, limit
        code = os.waitstatus_to_exitcode(status)
        if code == NO_TESTS:
            sys.exit(f"mutation: no tests in {' '.join(tests)}")
        return KILLED if code else SURVIVED, usage.ru_utime + usage.ru_stime


def _be_pytest(folder: Path, log: Path, tests: Sequence[str], limit: float) -> None:
    """Does not return."""
    code: int = 70
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), hard))
        os.chdir(folder)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        ours = {str(place) for place in (ROOT, ROOT / "tests", ROOT / "tests/support")}
        sys.path[:] = [place for place in sys.path if place and place not in ours]
        os.environ["PYTHONPATH"] = str(folder)
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # half a second a mutant
        import pytest

        options = ["-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider"]
        code = int(pytest.main([*options, *tests]))
    finally:
        sys.stdout.flush()
        os._exit(code)
