"""What a source says about how it read its data: for reports, never for computing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.data.folder import LeftOut
from harness.results import FileCounts
from harness.standalone.rules import CropRules, DecodeRules
from harness.text import examples


@dataclass(frozen=True)
class Reading:
    """Facts about one data set as it was read."""

    class_names: tuple[str, ...] = ()
    """By class number; empty where classes have no names."""
    preprocessing: tuple[tuple[str, str], ...] = ()
    """Steps from stored values to the network's input, in order."""
    files: FileCounts | None = None
    """None where samples are no files of their own."""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """What makes results doubtful; shown at the top of reports."""
    train_photos: tuple[bytes, ...] = ()
    """Per sample of the training part, a digest that is equal for crops of equal photos; empty: each sample is its
    own."""
    test_photos: tuple[bytes, ...] = ()
    test_files: tuple[Path | None, ...] = ()
    """Per sample of the test part, the image file that it is the centre crop of; None for other crops, and empty where
    samples are no files."""
    decode: DecodeRules | None = None
    """How image files were read; None, as the next one, where samples are no files."""
    crop: CropRules | None = None
    is_published: bool = False
    """A fixed set whose parts others chose: equal images in both are counted, but no fault of the user's."""


def left_out_notes(entries: Iterable[LeftOut], what: str) -> list[str]:
    """One line for each reason, with the number of files and the first names."""
    entries = list(entries)
    reasons = Counter(entry.reason for entry in entries)
    return [
        f"{count:,} {'file' if count == 1 else 'files'} {what}: {reason} "
        f"({examples([entry.name for entry in entries if entry.reason == reason])})"
        for reason, count in sorted(reasons.items())
    ]
