"""What makes results on a data set doubtful, in sentences for the top of a report."""

from __future__ import annotations

from collections.abc import Iterator

from harness.data.samples import Samples, Splits

_LEAK_OF_PUBLISHED = 0.01
"""Share of the test images of a published set above which equal images are more than known repetitions."""


def doubts(splits: Splits) -> tuple[str, ...]:
    """Images without content, images in two parts, parts with one class, and what the source itself warns of."""
    parts = {"training": splits.train, "calibration": splits.calibration, "test": splits.test}
    found = [*splits.reading.warnings, *_leaks(splits)]
    for name, samples in parts.items():
        found += _contents(name, samples)
    return tuple(found)


def _leaks(splits: Splits) -> Iterator[str]:
    names = {"train": "training", "calibration": "calibration", "test": "test"}
    for shared in splits.shared():
        if not shared.n or shared.other != "test":
            continue
        if splits.reading.is_published and shared.n <= _LEAK_OF_PUBLISHED * len(splits.test):
            continue
        total = len(splits.train if shared.part == "train" else splits.calibration)
        yield (
            f"{shared.n:,} of {total:,} {names[shared.part]} images are test images too: accuracy is too high by what "
            "was learned by heart"
        )


def _contents(name: str, samples: Samples) -> Iterator[str]:
    n = len(samples)
    if n == 0:
        return
    constant = samples.constant_images()
    if constant:
        yield f"{constant:,} of {n:,} {name} images are blank: every pixel has the same value"
    elif n > 1 and len(set(samples.image_hashes())) == 1:
        yield f"all {n:,} {name} images are the same image"
    labels = samples.labels
    if labels is not None and labels.ndim == 1 and n > 1 and int(labels.min()) == int(labels.max()):
        yield f"all {n:,} {name} images are of one class"
