import dataclasses
import gzip
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.data import places
from harness.data.sources import fashion_mnist


def encode_idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture(scope="session")
def tiny_payloads() -> dict[str, bytes]:
    """A stand-in for the four original files: 60 training and 20 test images."""
    rng = np.random.default_rng(0)
    payloads = {}
    for part, n in (("train", 60), ("t10k", 20)):
        payloads[f"{part}-images-idx3-ubyte"] = encode_idx(rng.integers(0, 256, (n, 28, 28), dtype=np.uint8))
        payloads[f"{part}-labels-idx1-ubyte"] = encode_idx((np.arange(n) % 10).astype(np.uint8))
    return payloads


@pytest.fixture
def write_tiny(tiny_payloads: dict[str, bytes]) -> Callable[[Path], Path]:
    """Write the stand-in as `.gz` files into a folder."""

    def write(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, payload in tiny_payloads.items():
            (folder / f"{name}.gz").write_bytes(gzip.compress(payload))
        return folder

    return write


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_payloads: dict[str, bytes]) -> Path:
    """A machine with the embedded subset and nothing else, on which the stand-in counts as the original."""
    sha256 = {name: hashlib.sha256(payload).hexdigest() for name, payload in tiny_payloads.items()}
    monkeypatch.setattr(fashion_mnist, "PAYLOAD_SHA256", sha256)
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setattr(places, "cache_or_temporary_folder", lambda: tmp_path / "user-cache")
    elsewhere = dataclasses.replace(fashion_mnist.PLACES, system=(tmp_path / "system",))
    monkeypatch.setattr(fashion_mnist, "PLACES", elsewhere)
    return tmp_path
