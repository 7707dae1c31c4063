"""What a script runs: `python -m data_prep.lib CORPUS FORM_OPTION... -- USER_OPTION...`."""

import os
import signal
import sys
from pathlib import Path
from typing import Any


def main(arguments: list[str] | None = None) -> int:
    """Prepare a corpus; what a user can mend ends in one line and exit code 1."""
    signal.signal(signal.SIGTERM, _interrupt)  # so that partial files are removed
    words = sys.argv[1:] if arguments is None else arguments
    try:
        # Here, so that a package that is missing is one line as well.
        from fairseq_gradinit.files import FileError

        from .packed import PrepError, disk_full
        from .prep import prepare
    except ModuleNotFoundError as error:
        return _fail(
            f"PYTHON={sys.executable}: lacks this project's packages ({error.name}); "
            "run make install, or give PYTHON=/path/to/python"
        )
    try:
        end = words.index("--")
        prepare(words[0], words[1:end], words[end + 1 :], _about())
    except (PrepError, FileError) as error:
        return _fail(str(error))
    except OSError as error:
        line = disk_full(error) or f"{error.filename or 'files'}: {error.strerror}; check --out"
        return _fail(line)
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return 130
    return 0


def _about() -> str:
    """What the head of the script says, without its first line."""
    script = os.environ.get("PREP_SCRIPT", "")
    if not script:
        return ""
    head = Path(script).read_text(encoding="utf-8").split("\n\n")[0].splitlines()[1:]
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in head)


def _fail(line: str) -> int:
    print(f"error: {' '.join(line.split())}", file=sys.stderr)
    return 1


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
