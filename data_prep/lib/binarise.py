"""OUT/segmented -> OUT/data-bin, by fairseq-preprocess."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from fairseq_gradinit.files import replacing

from .blocks import end_with_parent
from .packed import PrepError
from .stages import Place, Report, Run, say, stage, tool_versions

FOLDER = "data-bin"


def names(run: Run) -> list[str]:
    """The files below OUT that fairseq-preprocess makes."""
    source, target = run.languages
    data = [
        f"{split}.{source}-{target}.{language}.{kind}"
        for split in run.splits
        for language in run.languages
        for kind in ("bin", "idx")
    ]
    return [f"{FOLDER}/{name}" for name in (f"dict.{source}.txt", f"dict.{target}.txt", *data)]


def binarise(run: Run, joined: bool, dictionaries: Path | None = None) -> None:
    """Stage `binarise`; with `dictionaries`, dict.<language>.txt there are used as they are."""
    given = {f"--dict/dict.{lang}.txt": f"dict.{lang}.txt" for lang in run.languages}
    paths = {label: dictionaries / name for label, name in given.items()} if dictionaries else {}
    params = {
        "joined_dictionary": joined,
        "dictionary_given": bool(paths),
        **tool_versions("fairseq", "ve-fairseq"),
    }

    def work(place: Place) -> Report:
        folder = place(FOLDER)
        command = [sys.executable, "-m", "fairseq_cli.preprocess", "--destdir", str(folder)]
        command += ["--source-lang", run.languages[0], "--target-lang", run.languages[1]]
        command += ["--workers", str(run.workers)]
        for split in run.splits:
            command += [f"--{split}pref", str(run.out / "segmented" / split)]
        if joined:
            command += ["--joined-dictionary"]
        if paths:
            source, target = paths.values()
            command += ["--srcdict", str(source)]
            command += [] if joined else ["--tgtdict", str(target)]
        _run_logged(command, place("preprocess.log"), run.out / "logs" / "fairseq-preprocess.log")
        (folder / "preprocess.log").unlink()  # holds paths and worker counts; kept in logs/
        made = {path.name for path in folder.iterdir()}
        missing = [name for name in names(run) if name.split("/")[1] not in made]
        if missing:
            raise PrepError(f"fairseq-preprocess wrote no {missing[0]}; see {run.out}/logs")
        return {}

    inputs = {**paths, **run.inputs(*run.names("segmented"))}
    stage(run, "binarise", inputs, params, [FOLDER], work)


def _run_logged(command: list[str], scratch: Path, log: Path) -> None:
    """Run a command with its output in `log`, its news also said; a failure is one line."""
    last = "no output"
    try:
        with (
            open(scratch, "w", encoding="utf-8") as stream,
            _ended_with_us(command) as process,
        ):
            for line in process.stdout or ():
                stream.write(line)
                last = line.strip() or last
                if " sents, " in line:
                    say("  " + last.rsplit("/", 1)[-1])
    finally:
        with open(scratch, "rb") as read, replacing(log, "wb") as write:
            shutil.copyfileobj(read, write)
    if process.returncode:
        raise PrepError(f"fairseq-preprocess failed (exit {process.returncode}): {last}; see {log}")


@contextlib.contextmanager
def _ended_with_us(command: list[str]):  # type: ignore[no-untyped-def]
    """A process with its output in a pipe; it and its workers end when this one is interrupted."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        start_new_session=True,
        preexec_fn=end_with_parent,
    ) as process:
        try:
            yield process
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
