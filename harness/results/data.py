"""Where the samples and the weights came from."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from harness.results.base import Record
from harness.standalone.rules import CropRules, DecodeRules


class Split(Record):
    """One part of the data."""

    name: Literal["train", "calibration", "test"]
    n: int
    sha256: str
    """Checksum of the samples and labels in order."""


class FileCounts(Record):
    """What became of the files of a data set: every file is counted once."""

    read: int
    """Image files that give samples."""
    unused: int = 0
    """Image files outside the parts that are used."""
    unreadable: int = 0
    """Left out because the scenario says `unreadable: skip`."""
    skipped: int = 0
    """No images by suffix or kind."""
    ignored: int = 0
    """Dot-files, and what operating systems leave behind."""


class SharedSamples(Record):
    """Equal images in two parts, found by their pixels."""

    part: Literal["train", "calibration"]
    other: Literal["calibration", "test"]
    n: int
    """Samples of `part` whose photo, or whose pixels after preprocessing, are in `other`."""


class NetworkInput(Record):
    """What turns a stored sample into the network's input, as numbers."""

    shape: tuple[int, int, int]
    """Channels, height, width."""
    dtype: Literal["uint8", "float32"]
    """Type of the samples as they are stored."""
    mean: tuple[float, ...]
    """Per channel, of samples scaled to [0, 1] (uint8) or as they are (float32)."""
    std: tuple[float, ...]
    decode: DecodeRules | None = None
    """How image files are read; None, as the next one, where samples are no files of their own."""
    crop: CropRules | None = None


class Example(Record):
    """A test sample that the run's folder keeps a copy of."""

    number: int
    """Among the test samples."""
    file: str
    """Path relative to the run folder: the image file, or its pixels (C, H, W) as `.npy`."""
    label: int | None = None
    """Class number; None without labels, and for tasks whose labels are no single class."""


class Dataset(Record):
    """Where the samples came from, and how they were read."""

    name: str
    source: str
    """How it was found, for instance `embedded` or `system: /usr/share/…`."""
    splits: tuple[Split, ...]
    args: dict[str, Any] | None = None
    """That the scenario gave to the data source; None in records from before they were kept."""
    class_names: tuple[str, ...] = ()
    """By class number; empty where classes have no names."""
    preprocessing: dict[str, str] = Field(default_factory=dict)
    """Steps from stored values to the network's input, in order."""
    input: NetworkInput | None = None
    """None in records from before it was kept."""
    files: FileCounts | None = None
    shared: tuple[SharedSamples, ...] = ()
    """Pairs of parts that were compared; a pair that is missing here was not."""
    notes: tuple[str, ...] = ()


class WeightsFile(Record):
    """The file that a network's FP32 weights came from."""

    model: str
    source: str
    """As the scenario names it."""
    sha256: str
    part: str | None = None
    """Part of the file that was taken, for instance `state_dict`; None for all of it, or in records before this."""
    note: str | None = None
    """What was done to make the file fit: the part, prefixes that were removed, number formats."""


class Fp32Weights(Record):
    """The FP32 weights that every variant of a network was made from, trained in this run or read from a file."""

    model: str
    sha256: str
    """Checksum of the file in the artifact store."""
    file: str | None = None
    """Copy in the run's folder, `weights/MODEL.safetensors`; None for weights that the harness did not train."""
