"""The engine file: OpenVINO's IR, its two files and the options it is compiled with, in one archive."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from harness.errors import StageError

Precision = Literal["f32", "bf16", "f16"]
"""As OpenVINO's precision hint has it."""
ENGINE_FILE = "engine.zip"
XML, WEIGHTS, OPTIONS = "model.xml", "model.bin", "options.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MEMBERS = {XML: zipfile.ZIP_DEFLATED, WEIGHTS: zipfile.ZIP_STORED, OPTIONS: zipfile.ZIP_STORED}


def pack(folder: Path, options: dict[str, Any], path: Path) -> None:
    """Write an engine from the IR in `folder`.

    Weights are stored as they are. The description is compressed: as text it is larger than a small network's weights.
    """
    (folder / OPTIONS).write_text(json.dumps(options, indent=1, sort_keys=True), encoding="utf-8")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, method in _MEMBERS.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), (folder / name).read_bytes(), method)


def is_engine(path: Path) -> bool:
    """Whether a file is an engine of this target."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return _MEMBERS.keys() <= set(archive.namelist())


@contextmanager
def unpacked_ir(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The IR's `model.xml`, its weights beside it, and the options; StageError for another file.

    OpenVINO maps the weights into memory; on Linux what is mapped stays readable after the file is gone.
    """
    try:
        with TemporaryDirectory(prefix="quant-harness-openvino-") as name, zipfile.ZipFile(path) as archive:
            for member in (XML, WEIGHTS):
                archive.extract(member, name)
            yield Path(name) / XML, json.loads(archive.read(OPTIONS))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise StageError(f"{path.name} is not an engine of the target openvino", fix="build it again") from error
