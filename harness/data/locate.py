"""Find a data set without reading it into memory."""

from __future__ import annotations

from pathlib import Path

from harness.data.base import Located
from harness.data.settings import DatasetSpec
from harness.data.sources import data_source


def locate(spec: DatasetSpec, root: Path, *, download: bool = False) -> Located:
    """Where the data of `spec` is; relative paths start at `root`.

    With `download`, a data set that is on no part of this machine is fetched into the user's cache first.
    Raises DataError for an unknown source, data that is not there, and data that is damaged.
    """
    return data_source(spec.source).locate(spec, root, download=download)
