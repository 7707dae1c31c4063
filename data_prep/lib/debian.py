"""Packages of Debian and its kin: downloaded and read without root, installed never."""

import contextlib
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from .packed import PrepError, one_line_errors

PATIENCE = ["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=10"]
LARGEST_FILE = 8 << 20  # bytes of a file in a package that is read


def download_packages(names: Sequence[str], folder: Path) -> dict[str, Path]:
    """The packages, by name, in `folder`; apt checks their signatures and hashes.

    Where the machine's package lists are missing or too old, apt-get fetches lists of its own.

    Raises:
        PrepError: there is no apt-get, or it does not get them.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise PrepError("no apt-get and dpkg-deb here")
    found = {name: path for name in names if (path := find_package([folder], name))}
    missing = [name for name in names if name not in found]
    if missing:
        try:
            _apt_get("download", missing, [], folder)
        except PrepError:
            lists = folder.resolve() / "apt"  # apt-get runs in the folder
            own = [f"Dir::State::lists={lists}/lists", f"Dir::Cache={lists}/cache"]
            for part in ("lists/partial", "cache/archives/partial"):
                (lists / part).mkdir(parents=True, exist_ok=True)
            options = [word for setting in own for word in ("-o", setting)]
            try:
                _apt_get("update", [], options, folder)
                _apt_get("download", missing, options, folder)
            finally:
                shutil.rmtree(lists)
    for name in missing:
        path = find_package([folder], name)
        if not path:
            raise PrepError(f"apt-get download {name}: gave no package")
        found[name] = path
    return found


def _apt_get(what: str, names: Sequence[str], options: list[str], folder: Path) -> None:
    _output(["apt-get", "-qq", *PATIENCE, *options, what, *names], folder)


def find_package(folders: Sequence[Path], name: str) -> Path | None:
    """The package file of that name (name_version_architecture.deb), the last where several."""
    found = [path for folder in folders for path in sorted(folder.glob(f"{name}_*.deb"))]
    return found[-1] if found else None


def version_of(package: Path) -> str:
    """The version that a package says it is."""
    return _output(["dpkg-deb", "--field", str(package.resolve()), "Version"], Path()).strip()


def files_in(package: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of the regular files in a package whose names end in `suffix`.

    Nothing is unpacked to the disk.
    """
    command = ["dpkg-deb", "--fsys-tarfile", str(package.resolve())]
    with (
        one_line_errors(package),
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process,
    ):
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                for info in tar:
                    if not (info.isreg() and info.name.endswith(suffix)):
                        continue
                    if info.size > LARGEST_FILE:
                        raise PrepError(f"{package}: {info.name} has {info.size:,} bytes")
                    content = tar.extractfile(info)
                    yield info.name.removeprefix("./"), content.read() if content else b""
        except tarfile.TarError as error:
            raise PrepError(f"{package}: truncated or damaged ({error}); remove it") from error
        finally:
            with contextlib.suppress(OSError):
                process.kill()


def _output(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise PrepError(f"{' '.join([command[0], *command[-2:]])}: {lines[-1]}")
    return done.stdout
