"""Tables about the data: where it is from, how it was read, and what its parts have in common."""

from __future__ import annotations

from collections.abc import Iterator

from harness.report.tables import Table
from harness.report.variants import NONE
from harness.results import Dataset, FileCounts, RunResults
from harness.words.phrases import listed

_PART_NAMES = {"train": "training"}


def data_table(results: RunResults) -> Table | None:
    """Source, count and checksum of every part, and of weights files."""
    rows: list[tuple[str, ...]] = [
        (dataset.name, dataset.source, split.name, f"{split.n:,}", split.sha256)
        for dataset in results.datasets
        for split in dataset.splits
    ]
    rows += [
        (f"weights of {file.model}", file.source, file.note or NONE, NONE, file.sha256) for file in results.weights
    ]
    if not rows:
        return None
    return Table(_caption(results), ("Data set", "Source", "Split", "n", "sha256"), tuple(rows), frozenset({3}))


def _caption(results: RunResults) -> str:
    compared = [shared for dataset in results.datasets for shared in dataset.shared]
    if not compared:
        return "Samples; whether the parts have images in common was not checked"
    if not any(shared.n for shared in compared):
        return "Samples; compared by their pixels, the parts are disjoint"
    return "Samples; compared by their pixels, parts have images in common: see the next table"


def reading_table(results: RunResults) -> Table | None:
    """Preprocessing, files that were left out, equal images in two parts, and remarks."""
    rows = [(dataset.name, *line) for dataset in results.datasets for line in _reading(dataset)]
    if not rows:
        return None
    caption = "How the data was read: every step from stored values to the network's input, and what was left out"
    return Table(caption, ("Data set", "What", "How"), tuple(rows))


def _reading(dataset: Dataset) -> Iterator[tuple[str, str]]:
    yield from dataset.preprocessing.items()
    if dataset.class_names:
        yield "classes", _class_names(dataset.class_names)
    if dataset.files is not None:
        yield "files", _files(dataset.files)
    for shared in dataset.shared:
        part, other = (_PART_NAMES.get(name, name) for name in (shared.part, shared.other))
        yield (
            f"{part} and {other}",
            f"{shared.n:,} {part} samples are equal to {other} samples" if shared.n else "disjoint",
        )
    for note in dataset.notes:
        yield "note", note


def _class_names(names: tuple[str, ...]) -> str:
    shown = listed(list(names[:12]))
    return f"{len(names):,}: {shown}" + (" …" if len(names) > 12 else "")


def _files(counts: FileCounts) -> str:
    left_out = [
        f"{getattr(counts, name):,} {name}"
        for name in ("unused", "unreadable", "skipped", "ignored")
        if getattr(counts, name)
    ]
    return listed([f"{counts.read:,} read", *left_out])
