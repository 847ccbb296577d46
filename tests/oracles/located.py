"""Where the data of a scenario is, as runs find it."""

from __future__ import annotations

from pathlib import Path

from harness.data.base import Located
from harness.data.settings import DatasetSpec
from harness.data.sources import data_source


def locate(spec: DatasetSpec, root: Path, *, download: bool = False) -> Located:
    return data_source(spec.source).locate(spec, root, download=download)
