"""OUT/segmented -> OUT/data-bin, by fairseq-preprocess."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from .errors import PrepError
from .stages import Report, Run, say, stage, tool_versions
from .texts import one_line_errors, sha256_of


def binarise(run: Run, joined: bool, dictionaries: Path | None = None) -> None:
    """Stage `binarise`; with `dictionaries`, dict.<language>.txt there are used as they are."""
    splits = run.splits("segmented")
    given: list[Path] = []
    if dictionaries:
        given = [dictionaries / f"dict.{language}.txt" for language in run.languages]
        for path in given:
            with one_line_errors(path):
                sha256_of(path)
        if joined and sha256_of(given[0]) != sha256_of(given[1]):
            raise PrepError(f"--dict {dictionaries}: two different files, but --joined-dictionary")
    inputs = [*given, *(path for split in splits for path in run.texts("segmented", split))]
    params = {
        "joined_dictionary": joined,
        "dictionary_given": bool(given),
        **tool_versions("fairseq", "ve-fairseq"),
    }
    destination = run.out / "data-bin"

    def work(partial: Callable[[Path], Path]) -> Report:
        folder = partial(destination)
        command = [sys.executable, "-m", "fairseq_cli.preprocess", "--destdir", str(folder)]
        command += ["--source-lang", run.languages[0], "--target-lang", run.languages[1]]
        command += ["--workers", str(run.workers)]
        for split in splits:
            command += [f"--{split}pref", str(run.out / "segmented" / split)]
        if joined:
            command += ["--joined-dictionary"]
        if given:
            command += ["--srcdict", str(given[0])]
            command += [] if joined else ["--tgtdict", str(given[1])]
        _run_logged(command, run.out / "logs" / "fairseq-preprocess.log")
        (folder / "preprocess.log").unlink()  # holds paths and worker counts; kept in logs/
        return {}

    stage(run, "binarise", inputs, params, [destination], work)


def _run_logged(command: list[str], log: Path) -> None:
    """Run a command with its output in `log`, its news also said; a failure is one line."""
    log.parent.mkdir(parents=True, exist_ok=True)
    last = "no output"
    with (
        open(log, "w", encoding="utf-8") as stream,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
        ) as process,
    ):
        for line in process.stdout or ():
            stream.write(line)
            last = line.strip() or last
            if " sents, " in line:
                say("  " + last.rsplit("/", 1)[-1])
    if process.returncode:
        raise PrepError(f"fairseq-preprocess failed (exit {process.returncode}): {last}; see {log}")
