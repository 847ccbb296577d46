"""The program of a shipped folder: outputs for image files, and a check that the expected ones come out."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .rules import CropRules, DecodeRules

Array = npt.NDArray[np.generic]
OpenEngine = Callable[[Path, Mapping[str, Any]], Callable[[Array], Array]]
"""From an engine file and its options to a function from inputs (N, C, H, W) float32 to outputs (N, ...)."""

SETTINGS, CHECKSUMS = "model.json", "SHA256SUMS"
EXPECTED = "samples/expected.npy"
TOLERANCE = 0.01
"""Tolerance of outputs, as a share of the range of those expected: another CPU adds in another order, which can move a
value by one quantization step."""


class Wrong(Exception):
    """What is wrong with a file, for people."""


class DeployedNetwork:
    """The network of a folder: from files to outputs. Names and numbers come from `model.json`, as data."""

    def __init__(self, folder: Path, open_engine: OpenEngine) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        self._run = open_engine(folder / self.settings["engine"], self.settings["engine_options"])

    def outputs(self, files: Sequence[Path]) -> npt.NDArray[np.float32]:
        """Outputs (N, ...) for files, one inference each."""
        inputs = (read_input(file, self.settings["input"]) for file in files)
        return np.concatenate([np.asarray(self._run(each[np.newaxis]), np.float32) for each in inputs])

    def class_name(self, number: int) -> str:
        """Name of a class, its number where it has none; what cannot be printed is escaped."""
        names = self.settings["class_names"]
        name = str(names[number]) if number < len(names) else str(number)
        return name if name.isprintable() else ascii(name)[1:-1]


def read_input(file: Path, rules: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """One file as the network's input (C, H, W): an image, or an array of pixels where evaluation read no images."""
    pixels = _array(file) if rules["decode"] is None else _photo(file, rules)
    if pixels.shape != tuple(rules["shape"]) or pixels.dtype.name != rules["dtype"]:
        wanted = f"{tuple(rules['shape'])} {rules['dtype']}"
        raise Wrong(f"{file}: holds {pixels.shape} {pixels.dtype.name}, and the network takes {wanted}")
    return normalised(pixels, rules["mean"], rules["std"])


def normalised(pixels: Array, mean: Sequence[float], std: Sequence[float]) -> npt.NDArray[np.float32]:
    """(x / 255 - mean) / std for uint8, (x - mean) / std for float32, in the rounding of evaluation.

    Scale and shift are rounded to float32, and multiplied and added in one rounding.
    """
    white = 255.0 if pixels.dtype == np.uint8 else 1.0
    scale = np.array([1.0 / (white * each) for each in std], np.float32).astype(np.float64)
    shift = np.array([-middle / each for middle, each in zip(mean, std, strict=True)], np.float32).astype(np.float64)
    exact = pixels.astype(np.float64) * scale.reshape(-1, 1, 1) + shift.reshape(-1, 1, 1)
    return exact.astype(np.float32)


def check(network: DeployedNetwork) -> list[str]:
    """What does not come out as expected; empty where all does."""
    found = [f"{name}: its content is not what was shipped" for name in _changed(network.folder)]
    samples = network.settings["samples"]
    if not samples:
        return found
    expected = np.load(network.folder / EXPECTED, allow_pickle=False)
    outputs = network.outputs([network.folder / each["file"] for each in samples])
    if outputs.shape != expected.shape:
        return [*found, f"the outputs are {outputs.shape}, and {expected.shape} are expected"]
    largest, allowed = float(np.abs(outputs - expected).max()), TOLERANCE * float(np.ptp(expected))
    same = "equal bit by bit" if largest == 0 else f"they differ by up to {largest:.3g}, and {allowed:.3g} is allowed"
    print(f"outputs of {len(samples)} samples: {same}")  # noqa: T201
    return found if largest <= allowed else [*found, "the outputs are not those that were measured"]


def main(open_engine: OpenEngine, arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(description="Outputs of the network for image files.")
    parser.add_argument("files", nargs="*", type=Path, help="as evaluation read them: images, or arrays (.npy)")
    parser.add_argument("--check", action="store_true", help="whether the samples give the outputs that are expected")
    parser.add_argument("--save", type=Path, metavar="FILE.npy", help="write the outputs (N, ...) of all files")
    given = parser.parse_args(arguments)
    if given.check == bool(given.files):
        parser.error("give files, or --check")
    network = DeployedNetwork(Path(__file__).parents[1], open_engine)
    try:
        return _report_check(network) if given.check else _predict(network, given.files, given.save)
    except Wrong as problem:
        print(problem, file=sys.stderr)  # noqa: T201
        return 2


def _report_check(network: DeployedNetwork) -> int:
    problems = check(network)
    for problem in problems:
        print(problem, file=sys.stderr)  # noqa: T201
    return int(bool(problems))


def _predict(network: DeployedNetwork, files: Sequence[Path], save: Path | None) -> int:
    outputs = network.outputs(files)
    for file, values in zip(files, outputs, strict=True):
        best = int(values.argmax()) if values.ndim == 1 else None  # one output per class
        said = f"outputs {values.shape}" if best is None else f"{network.class_name(best)} ({best}: {values[best]:.4g})"
        print(f"{ascii(str(file))[1:-1]}: {said}")  # noqa: T201
    if save is not None:
        np.save(save, outputs)
    return 0


def _array(file: Path) -> Array:
    try:
        loaded: Array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Wrong(f"{file}: is not an array that NumPy saved (.npy): {error}") from None
    return loaded


def _photo(file: Path, rules: Mapping[str, Any]) -> Array:
    from .crop import centre_crop, fitting
    from .decode import Unreadable, decode_file

    crop = CropRules(**_with_tuples(rules["crop"]))
    try:
        photo = decode_file(file, DecodeRules(**_with_tuples(rules["decode"]))).image
        fitting(photo.size, crop)
        return np.ascontiguousarray(centre_crop(photo, crop).transpose(2, 0, 1))
    except Unreadable as error:
        raise Wrong(f"{file}: {error}") from None


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists only."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _changed(folder: Path) -> list[str]:
    """Files whose content is another than when they were shipped."""
    lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    return [name for name, digest in expected.items() if _sha256(folder / name) != digest]


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "missing"
