import gzip
import os
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from harness.data.idx import decode_idx, payload_sha256, read_payload
from harness.errors import DataError


def encode(array):
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@given(st_numpy.arrays(np.uint8, st_numpy.array_shapes(max_dims=4, min_side=0), elements=st.integers(0, 255)))
def test_decode_inverts_the_format(array):
    decoded = decode_idx(encode(array))
    assert decoded.shape == array.shape
    assert np.array_equal(decoded, array)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x00\x00\x0d\x01\x00\x00\x00\x00", b"\x00\x00\x08\x02\x00\x00", b"\x00\x00\x08\x01\x00\x00\x00\x02\x07"],
    ids=["empty", "floats", "cut header", "one value of two"],
)
def test_what_is_not_idx_is_refused(payload):
    with pytest.raises(ValueError, match="IDX"):
        decode_idx(payload)


def test_files_may_be_compressed_or_not(tmp_path):
    (tmp_path / "plain").write_bytes(b"content")
    (tmp_path / "packed.gz").write_bytes(gzip.compress(b"content"))
    assert read_payload(tmp_path / "plain") == read_payload(tmp_path / "packed.gz") == b"content"


def test_a_truncated_file_is_an_error_that_names_it(tmp_path):
    file = tmp_path / "images.gz"
    file.write_bytes(gzip.compress(b"content" * 100)[:-12])
    with pytest.raises(DataError, match=r"images\.gz cannot be read"):
        read_payload(file)


def test_the_remembered_sha256_follows_a_change_of_the_file(tmp_path):
    file = tmp_path / "data"
    file.write_bytes(b"one")
    before = payload_sha256(file)
    file.write_bytes(b"two")  # same size
    os.utime(file, ns=(1, 1))
    assert payload_sha256(file) != before
