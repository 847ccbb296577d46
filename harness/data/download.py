"""Fetch one file over HTTPS, keep it only when its content is what it must be."""

from __future__ import annotations

import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from harness.errors import DataError

TIMEOUT_S = 30.0


def download(url: str, destination: Path, check: Callable[[bytes], str | None]) -> None:
    """Write the content of `url` to `destination`, whole or not at all.

    `check` returns what is wrong with the content, or None. Raises DataError when the file cannot be fetched or fails
    the check; `destination` is then as it was.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:  # noqa: S310 -- only the source's own URL
            content: bytes = response.read()
    except (OSError, ValueError) as error:  # URLError and timeouts are OSErrors
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise DataError(
            f"cannot download {url}: {reason}", fix="check the network, or get the data another way and name its `path`"
        ) from None
    problem = check(content)
    if problem is not None:
        raise DataError(f"downloaded {url}, but {problem}", fix="try again later; nothing was kept")
    _write_atomically(destination, content)


def _write_atomically(destination: Path, content: bytes) -> None:
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=destination.parent, prefix=".download-", delete=False) as file:
            file.write(content)
        Path(file.name).replace(destination)
    except OSError as error:
        raise DataError(f"cannot write {destination}: {error.strerror}", fix="free or unlock that folder") from None
