"""What a weights file holds, read without running code that may be in it."""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
import pickle
import re
import types
import zipfile
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from harness.errors import ModelError

SAVE = "save a state dict: `torch.save(model.state_dict(), FILE)`, or safetensors"
_HEAD_BYTES = 512
_HEADER_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 100_000_000
_REFUSED = re.compile(
    r"GLOBAL ([\w.]+)|Unsupported class ([\w.]+)|Trying to (?:call|instantiate|load)[^`'\"]*[`'\"]?([\w.]+)"
)
_HARMLESS: list[Any] = [
    argparse.Namespace,
    types.SimpleNamespace,
    pathlib.PosixPath,
    pathlib.PurePosixPath,
    pathlib.WindowsPath,
    pathlib.PureWindowsPath,
    datetime.datetime,
    datetime.date,
    datetime.timedelta,
    datetime.timezone,
    defaultdict,
    deque,
    dict,
    list,
    np.dtype,
    np.ndarray,
    *{type(np.dtype(code)) for code in "?bBhHiIlLqQefdUSMm"},
]
"""Types that trainers keep beside the weights, such as hyper-parameters, and that only hold values."""


def read_file(path: Path) -> Any:
    """The tensors of a weights file and what lies around them; ModelError for a file of another kind.

    The content decides, not the suffix. Nothing is unpickled that could run code: `weights_only=True` always.
    """
    try:
        head = _head(path)
        _refuse_other_kinds(path, head)
        return load_file(path) if _is_safetensors(path, head) else _unpickled(path)
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read: {error.strerror or error}", fix="make it readable") from error


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _refuse_other_kinds(path: Path, head: bytes) -> None:
    kinds: list[tuple[bool, str, str]] = [
        (not head, "is empty", "copy it again"),
        (head.startswith(b"version https://git-lfs"), "is a pointer of Git LFS, not the file itself", "`git lfs pull`"),
        (
            head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html", b"<?xml")),
            "is a web page, not weights: the download went wrong",
            "download it again",
        ),
        (head.startswith(b"\x89HDF"), "is an HDF5 file (Keras), which is not read", SAVE),
        (_is_onnx(head), "is an ONNX file; a network's weights are needed here", SAVE),
    ]
    for applies, message, fix in kinds:
        if applies:
            raise ModelError(f"{path.name} {message}", fix=fix)
    if head.startswith(b"PK"):
        _refuse_other_archives(path)


def _is_onnx(head: bytes) -> bool:
    """Field 1 of the protobuf message is the version of the format, a small number; the producer's name follows."""
    return head[:1] == b"\x08" and len(head) > 2 and head[1] < 64 and head[2:3] in (b"\x12", b"\x3a", b"\x42", b"\x1a")


def _refuse_other_archives(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ModelError(f"{path.name} is damaged or was cut off ({error})", fix="copy it again") from error
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside:
        fix = f'save what it holds: `torch.save(torch.jit.load("{path.name}").state_dict(), FILE)`'
        raise ModelError(f"{path.name} is a TorchScript program, not weights", fix=fix)
    if "data.pkl" not in inside:
        shown = ", ".join(names[:3]) or "nothing"
        raise ModelError(f"{path.name} is a zip archive that torch did not write (it holds {shown})", fix=SAVE)


def _is_safetensors(path: Path, head: bytes) -> bool:
    length = int.from_bytes(head[:_HEADER_LENGTH_BYTES], "little")
    if head[_HEADER_LENGTH_BYTES : _HEADER_LENGTH_BYTES + 1] == b"{" and length <= _MOST_HEADER_BYTES:
        return _header_is_whole(path, length)
    if path.suffix == ".safetensors" and not head.startswith((b"PK", b"\x80")):
        raise ModelError(f"{path.name} is damaged: it is no safetensors file", fix="copy it again")
    return False


def _header_is_whole(path: Path, length: int) -> bool:
    with path.open("rb") as file:
        file.seek(_HEADER_LENGTH_BYTES)
        text = file.read(length)
    try:
        header = json.loads(text)
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        complete = path.stat().st_size == _HEADER_LENGTH_BYTES + length + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        complete = False
    if not complete:
        raise ModelError(f"{path.name} is damaged or was cut off", fix="copy it again")
    return True


def _unpickled(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_allowed()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refusal(path, str(error)) from error
    except Exception as error:  # torch raises many kinds for files that are damaged
        first_line = (str(error).strip().splitlines() or [""])[0][:200]
        raise ModelError(
            f"{path.name} is damaged, or no file of tensors alone ({type(error).__name__}: {first_line})", fix=SAVE
        ) from error


def _allowed() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """With the functions by which NumPy's numbers and arrays are pickled, under their old and new names."""
    reduce_scalar: Any = np.float64(0).__reduce__()
    reduce_array: Any = np.zeros(1).__reduce__()
    numpy_functions = [
        (function, f"numpy.{core}.multiarray.{function.__name__}")
        for function in (reduce_scalar[0], reduce_array[0])
        for core in ("core", "_core")
    ]
    return [*_HARMLESS, *numpy_functions]


def _refusal(path: Path, message: str) -> ModelError:
    found = _REFUSED.search(message)
    name = next(filter(None, found.groups()), None) if found else None
    if name is None:
        return ModelError(f"{path.name} is damaged, or no file of tensors alone", fix=SAVE)
    return ModelError(
        f"{path.name} holds Python objects (`{name}`), such as a whole network: reading them would run code from the "
        "file",
        fix="if you trust the file, save the tensors alone once: "
        f'`c = torch.load("{path.name}", weights_only=False)`, then `torch.save(c.state_dict(), FILE)` for a network, '
        'or `torch.save(c["state_dict"], FILE)` for a checkpoint',
    )
