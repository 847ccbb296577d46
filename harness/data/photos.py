"""The photos of an image folder: decoded, cropped, checked against each other, and drawn into parts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.data.folder import LeftOut
from harness.data.parts import Labelled, require_both
from harness.data.preprocessing import ImageArgs, crops_of
from harness.errors import DataError
from harness.standalone.crop import Fitting, fitting
from harness.standalone.decode import Change, Depth, Pixels, Unreadable, decode_file
from harness.text import examples, one_line

_TWELVE_BITS = 4095


@dataclass(frozen=True, eq=False)
class Photo:
    """The samples of one file."""

    source: Labelled
    crops: list[Pixels]
    """(size, size, channels) each."""
    content: bytes
    """Equal for equal decoded photos."""
    is_blank: bool
    """Every pixel is the same."""
    depth: Depth
    largest: float
    changes: tuple[Change, ...]
    fitting: Fitting

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.source.file.name


def read_photos(
    files: Iterable[Labelled], args: ImageArgs, *, crops: int, seed: int
) -> tuple[list[Photo], list[LeftOut]]:
    """The photos in the order of `files`, and what could not be read."""
    photos: list[Photo] = []
    unreadable: list[LeftOut] = []
    for labelled in files:
        try:
            photos.append(_photo(labelled, args, crops, seed))
        except Unreadable as error:
            unreadable.append(LeftOut(labelled.file.name, str(error)))
    return photos, unreadable


def _photo(labelled: Labelled, args: ImageArgs, crops: int, seed: int) -> Photo:
    decoded = decode_file(labelled.file.path, args.decode_rules)
    fit = fitting(decoded.image.size, args.crop_rules)
    cropped = crops_of(decoded.image, args, count=crops, seed=seed, file_sha256=decoded.file_sha256)
    return Photo(
        labelled, cropped, decoded.content, decoded.is_blank, decoded.depth, decoded.largest, decoded.changes, fit
    )


def require_one_kind(photos: Sequence[Photo], args: ImageArgs) -> None:
    """DataError where files have different bit depths, or where `size` alone would resize some and not others."""
    by_depth = _names_by(photos, "depth")
    if len(by_depth) > 1:
        found = "; ".join(f"{len(names):,} of {depth} ({examples(names, 2)})" for depth, names in by_depth.items())
        raise DataError(f"images have different depths: {found}", fix="convert all of them to one depth")
    by_fitting = _names_by(photos, "fitting")
    if args.resize is None and len(by_fitting) > 1:
        found = "; ".join(f"{len(names):,} {fit} ({examples(names, 2)})" for fit, names in by_fitting.items())
        raise DataError(
            f"with `size: {args.side}` alone some images would be resized and others not: {found}",
            fix=f"write `resize` in `dataset.args`, for instance `resize: {args.side}`",
        )


def _names_by(photos: Sequence[Photo], attribute: str) -> dict[str, list[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    for photo in photos:
        names[getattr(photo, attribute)].append(photo.name)
    return dict(names)


def reading_notes(photos: Sequence[Photo], args: ImageArgs) -> list[str]:
    """What was done to how many images."""
    changes = Counter(change for photo in photos for change in photo.changes)
    notes = [f"{count:,} of {len(photos):,} images {change}" for change, count in sorted(changes.items())]
    fits = Counter(photo.fitting for photo in photos)
    if args.resize is None and fits["resized"]:
        notes.append(
            f"`size: {args.side}` alone: {fits['resized']:,} images of other sizes were resized (shorter side "
            f"{args.steps()[2][1].split('to ')[-1]}) and their centre cropped; write `resize` to choose"
        )
    if fits["enlarged"]:
        notes.append(f"{fits['enlarged']:,} of {len(photos):,} images were enlarged by `resize`")
    return notes


def depth_warnings(photos: Sequence[Photo], args: ImageArgs) -> list[str]:
    """Images of 16 bits that use 12 of them, or fewer, come out nearly black."""
    deep = [photo for photo in photos if photo.depth == "16 bits" and photo.largest <= _TWELVE_BITS]
    if not photos or len(deep) < len(photos) or args.value_range is not None:
        return []
    largest = max(photo.largest for photo in photos)
    return [
        f"the images have 16 bits, but no value above {largest:,.0f} of 65,535: they are nearly black to the network. "
        "Set `value_range: [BLACK, WHITE]` in `dataset.args` if white is another value"
    ]


def draw_parts(photos: Sequence[Photo], test_share: float, seed: int) -> tuple[list[Photo], list[Photo]]:
    """Training and test photos, drawn by class; equal photos go to the same part.

    Raises DataError where a part would be empty, or a class in one part alone.
    """
    rng = np.random.default_rng(seed)
    by_label: dict[str | None, dict[bytes, list[int]]] = defaultdict(lambda: defaultdict(list))
    # Equal photos go with the first of them; blank ones have nothing that could be known again.
    names = [photo.content + bytes(photo.name, "utf-8") * photo.is_blank for photo in photos]
    label_of = {name: photo.source.label for name, photo in reversed([*zip(names, photos, strict=True)])}
    for index, name in enumerate(names):
        by_label[label_of[name]][name].append(index)
    chosen: set[int] = set()
    for label in sorted(by_label, key=str):
        chosen |= _drawn(label, list(by_label[label].values()), test_share, rng)
    train = [photo for index, photo in enumerate(photos) if index not in chosen]
    test = [photo for index, photo in enumerate(photos) if index in chosen]
    require_both(_labels(train), _labels(test), "the training part", "the test part")
    return train, test


def _labels(photos: Sequence[Photo]) -> list[str]:
    return [photo.source.label for photo in photos if photo.source.label is not None]


def _drawn(label: str | None, groups: list[list[int]], test_share: float, rng: np.random.Generator) -> set[int]:
    n_test = round(len(groups) * test_share)
    if label is not None and len(groups) > 1:
        n_test = min(max(n_test, 1), len(groups) - 1)
    if n_test in (0, len(groups)):
        where = "the folder" if label is None else f"class `{one_line(label)}`"
        images = "different images" if any(len(group) > 1 for group in groups) else "image files"
        raise DataError(
            f"{where} has {len(groups)} {images}, of which {n_test} would be test images",
            fix="add images, or change `test_share`",
        )
    order = rng.permutation(len(groups))
    return {index for number in order[:n_test] for index in groups[number]}


def duplicate_notes(photos: Sequence[Photo]) -> tuple[list[str], list[str]]:
    """Notes on equal photos, and warnings on those with different labels."""
    by_content: dict[bytes, list[Photo]] = defaultdict(list)
    for photo in photos:
        by_content[photo.content].append(photo)
    repeated = [group for group in by_content.values() if len(group) > 1]
    if not repeated:
        return [], []
    extra = sum(len(group) - 1 for group in repeated)
    notes = [f"{extra:,} images repeat another one pixel by pixel ({examples([photo.name for photo in repeated[0]])})"]
    mixed = [group for group in repeated if len({photo.source.label for photo in group}) > 1]
    warnings = [
        f"the same photo is in two classes: {examples([photo.name for photo in group])}"
        if len(mixed) == 1
        else f"{len(mixed):,} photos are in two classes at once, for instance {examples([p.name for p in group])}"
        for group in mixed[:1]
    ]
    return notes, warnings
