"""Downloads through pooch: sha256, retries, progress; an interrupted one is resumed."""

import contextlib
import logging
import os
import threading
from pathlib import Path

import pooch
import requests
from tqdm import tqdm

from .corpora import Remote
from .packed import PrepError

CONNECT_SECONDS, READ_SECONDS = 3, 30
TRIES = 3


def fetch(remote: Remote, folder: Path, tries: int = TRIES) -> Path:
    """Return the local path of `remote` in `folder`, downloading it if it is not there.

    A file whose sha256 is not the expected one is never left under its name.

    Raises:
        PrepError: it cannot be had, or is not what it should be.
    """
    known = f"sha256:{remote.sha256}" if remote.sha256 else None
    store = pooch.create(
        path=folder,
        base_url="",
        registry={remote.name: known},
        urls={remote.name: remote.url},
        retry_if_failed=tries - 1,
    )
    pooch.get_logger().setLevel(logging.ERROR)
    try:
        return Path(store.fetch(remote.name, downloader=_resuming))
    except requests.RequestException as error:
        raise PrepError(
            f"no network: tried {remote.url} {tries} times ({_short(error)}); "
            f"put {remote.name} into a folder and give it with --raw-dir"
        ) from error
    except ValueError as error:  # pooch: "SHA256 hash of downloaded file ... does not match"
        raise PrepError(
            f"{remote.url}: wrong sha256 (expected {remote.sha256}); the file is damaged or has "
            "changed at its source; fetch it elsewhere and give it with --raw-dir"
        ) from error


def reachable(url: str, seconds: float) -> bool:
    """Whether a server answers within `seconds`, the search for its address included."""
    answers: list[bool] = []

    def ask() -> None:
        with contextlib.suppress(requests.RequestException):
            answers.append(requests.head(url, timeout=seconds, allow_redirects=True).ok)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return answers == [True]


def _resuming(url: str, output_file: str, store: pooch.Pooch, check_only: bool = False) -> None:
    """A pooch downloader that keeps what has arrived in `<name>.part` and asks for the rest."""
    del check_only
    part = Path(store.path) / (url.rsplit("/", 1)[-1] + ".part")
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    timeout = (CONNECT_SECONDS, READ_SECONDS)
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            part.unlink()  # complete but never accepted, or of another version: from the start
            answer.close()
            return _resuming(url, output_file, store)
        answer.raise_for_status()
        resumed = answer.status_code == requests.codes.partial_content
        size = int(answer.headers.get("content-length", 0)) + (have if resumed else 0)
        with (
            open(part, "ab" if resumed else "wb") as stream,
            tqdm(
                total=size or None,
                initial=have if resumed else 0,
                unit="B",
                unit_scale=True,
                desc=part.stem,
                disable=None,
            ) as bar,
        ):
            for block in answer.iter_content(1 << 16):
                stream.write(block)
                bar.update(len(block))
        if size and part.stat().st_size < size:
            raise requests.ConnectionError(f"got {part.stat().st_size} of {size} bytes")
    os.replace(part, output_file)
    return None


def _short(error: Exception) -> str:
    """The innermost cause of requests' nested messages, e.g. "Connection refused"."""
    if isinstance(error, requests.Timeout):
        return "timed out"
    cause = getattr(error.args[0], "reason", error) if error.args else error
    return str(cause).rsplit(": ", 1)[-1] or type(error).__name__
