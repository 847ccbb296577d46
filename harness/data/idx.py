"""The IDX files of MNIST and its relatives."""

from __future__ import annotations

import functools
import gzip
import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import DataError

UNSIGNED_BYTE = 0x08


def decode_idx(payload: bytes) -> npt.NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes; ValueError when the payload is not one.

    Format: two zero bytes, the type, the number of dimensions, each dimension as a big-endian uint32, then the values
    in C order (http://yann.lecun.com/exdb/mnist/).
    """
    if len(payload) < 4 or payload[:3] != bytes((0, 0, UNSIGNED_BYTE)):
        raise ValueError("not an IDX file of unsigned bytes")
    n_dimensions = payload[3]
    start = 4 + 4 * n_dimensions
    if len(payload) < start:
        raise ValueError("the IDX header is cut off")
    shape = struct.unpack(f">{n_dimensions}I", payload[4:start])
    values = np.frombuffer(payload, np.uint8, offset=start)
    if values.size != np.prod(shape, dtype=np.int64):
        raise ValueError(f"the IDX header announces {shape}, the file holds {values.size} values")
    return values.reshape(shape)


def read_payload(path: Path) -> bytes:
    """The decompressed content of `path`, with or without gzip; DataError when it cannot be read."""
    try:
        content = path.read_bytes()
        return gunzipped(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}", fix="install or download the data again") from None


def gunzipped(content: bytes) -> bytes:
    """`content` without its gzip wrapping, if it has one; OSError, EOFError or zlib.error when that is damaged."""
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def payload_sha256(path: Path) -> str:
    """sha256 of the decompressed content; remembered until the file's size or time of modification changes."""
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", fix="check the path and its rights") from None
    return _payload_sha256(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=64)
def _payload_sha256(path: Path, _mtime_ns: int, _size: int) -> str:
    return hashlib.sha256(read_payload(path)).hexdigest()
