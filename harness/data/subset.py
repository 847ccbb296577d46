"""Small labelled image sets in one `.npz` file, as they are embedded in this package."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import DataError

Subset = Mapping[str, npt.NDArray[np.uint8]]
"""Keys `train_images`, `train_labels`, `test_images`, `test_labels`; images (N, H, W)."""

KEYS = ("train_images", "train_labels", "test_images", "test_labels")


def arrays_sha256(arrays: Subset) -> str:
    """sha256 over shapes and values; the same whichever way the file was compressed."""
    digest = hashlib.sha256()
    for key in KEYS:
        digest.update(f"{key}{arrays[key].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[key]).tobytes())
    return digest.hexdigest()


def write_subset(path: Path, arrays: Subset) -> None:
    """Write the four arrays, compressed."""
    np.savez_compressed(
        path,
        train_images=arrays["train_images"],
        train_labels=arrays["train_labels"],
        test_images=arrays["test_images"],
        test_labels=arrays["test_labels"],
    )


def read_subset(path: Path, sha256: str) -> dict[str, npt.NDArray[np.uint8]]:
    """The four arrays; DataError when they are not what was written."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in KEYS}
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}", fix="install the harness again") from None
    if arrays_sha256(arrays) != sha256:
        raise DataError(f"{path} is damaged: its sha256 is not {sha256}", fix="install the harness again")
    return arrays
