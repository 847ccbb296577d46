"""A folder of image files, with or without labels.

Folders `train` and `test` (or `val`), in any case and in their longer forms, are the two parts; otherwise images are
drawn for them. Folders inside a part are the classes. How every kind of file is read: docs/data.md.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Gt, Lt

from harness.data.base import Arrays, DataSource, Labels, Located, source_args
from harness.data.class_names import Classes, numbered_classes
from harness.data.folder import LeftOut, Listing, holds_entries, scan
from harness.data.parts import Labelled, PartChoice, Parts, folder_parts
from harness.data.photos import (
    Photo,
    depth_warnings,
    draw_parts,
    duplicate_notes,
    read_photos,
    reading_notes,
    require_one_kind,
)
from harness.data.places import Places, find_data
from harness.data.preprocessing import ImageArgs
from harness.data.reading import Reading, left_out_notes
from harness.data.settings import DatasetSpec
from harness.errors import DataError
from harness.fields import Count
from harness.results import FileCounts
from harness.text import examples

VERSION = 2
"""Goes up whenever the same files and arguments would give other images."""


class ImageFolderArgs(ImageArgs):
    """A folder of image files, with or without class folders."""

    folder: str = "images"
    """Its name below `$HARNESS_DATA` and below the user's cache, where no `path` is given."""
    crops_per_photo: Count = 1
    """The first is the centre crop; the others are random parts of the photo, mirrored half of the time."""
    labels: Literal["folders", "none"] = "folders"
    """`folders`: folders inside a part are the classes. `none`: folders mean nothing, images have no labels."""
    parts: Literal["auto", "random"] = "auto"
    """`auto`: folders named `train` and `test` (or `val`) are the parts; without them images are drawn. `random`: draw
    from all images."""
    train_part: str | None = None
    """Folder of the training part, where its name is another."""
    test_part: str | None = None
    """Folder of the test part, where its name is another."""
    test_share: Annotated[float, Gt(0), Lt(1)] = 0.5
    """Share of the images, by class, that become the test part where they are drawn."""
    n_classes: Count = 1000
    """Classes of the network, for images without labels or with numbered class folders."""
    classes: tuple[str, ...] | None = None
    """Names of the network's classes in the order of its outputs, for a network that was trained elsewhere. Empty:
    folders in alphabetical order; names that are all numbers are the class numbers."""
    unreadable: Literal["error", "skip"] = "error"
    """What to do with image files that cannot be read: stop, or leave them out, count them and name them."""


class ImageFolder(DataSource):
    """Images without labels are judged by agreement with FP32."""

    name = "image_folder"
    args_type = ImageFolderArgs

    def locate(self, spec: DatasetSpec, root: Path, *, download: bool) -> Located:
        """Find the folder; the fingerprint is of every image file, the arguments and the decoder's version."""
        args = source_args(spec, ImageFolderArgs)
        install = f"put image files into `$HARNESS_DATA/{args.folder}`, or name their folder in `dataset.path`"
        found = find_data(spec, root, Places(folder=args.folder, install=install), holds_entries)
        digest = hashlib.sha256(f"{VERSION} {args!r} {importlib.metadata.version('pillow')}".encode())
        for file in scan(found.path).images:
            digest.update(os.fsencode("/".join(file.parts)) + f" {_content(file.path)}\n".encode())
        return Located(found.description, digest.hexdigest(), found.path)

    def read(self, located: Located, spec: DatasetSpec, seed: int) -> Arrays:
        """Crops (N, channels, size, size) uint8; where parts are drawn, by `seed`."""
        assert located.place is not None
        args = source_args(spec, ImageFolderArgs)
        listing = scan(located.place)
        chosen = _parts(listing, args, located.place)
        train, test, left_out = _photos(chosen, listing, args, seed)
        photos = [*train, *test]
        require_one_kind(photos, args)
        classes = _classes(photos, args)
        (train_images, train_labels), (test_images, test_labels) = (
            _arrays(part, classes, args) for part in (train, test)
        )
        reading = _reading(listing, chosen, train, test, left_out, classes, args)
        return Arrays(
            train_images,
            train_labels,
            test_images,
            test_labels,
            len(classes.names) if classes is not None else args.n_classes,
            args.unit_mean,
            args.unit_std,
            reading,
        )


def _content(path: Path) -> str:
    """sha256, or that the file cannot be read: `read` says so if it matters."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _parts(listing: Listing, args: ImageFolderArgs, place: Path) -> Parts:
    if not listing.images:
        skipped = f" ({len(listing.skipped):,} other files)" if listing.skipped else ""
        raise DataError(f"{place} has no image files{skipped}", fix="read are JPEG, PNG, WebP, BMP and TIFF files")
    choice = PartChoice(args.train_part, args.test_part, is_random=args.parts == "random" or args.labels == "none")
    if args.labels == "none" and not args.train_part:
        return Parts(tuple(Labelled(file, None) for file in listing.images), None)
    found = folder_parts(listing, choice)
    if args.labels == "folders" or found.test is None:
        return found
    without = tuple(tuple(Labelled(item.file, None) for item in part) for part in (found.train, found.test))
    return Parts(without[0], without[1], found.unused, found.notes)


def _photos(
    chosen: Parts, listing: Listing, args: ImageFolderArgs, seed: int
) -> tuple[list[Photo], list[Photo], list[LeftOut]]:
    train, left_out = read_photos(chosen.train, args, crops=args.crops_per_photo, seed=seed)
    test, more = read_photos(chosen.test or (), args, crops=args.crops_per_photo, seed=seed)
    left_out = [*listing.unreadable, *left_out, *more]
    if left_out and args.unreadable == "error":
        named = "; ".join(f"`{entry.name}`: {entry.reason}" for entry in left_out[:3])
        rest = f"; and {len(left_out) - 3:,} more" if len(left_out) > 3 else ""
        count = "one file" if len(left_out) == 1 else f"{len(left_out):,} files"
        raise DataError(
            f"{count} cannot be read as an image of the data set: {named}{rest}",
            fix="repair or remove them, or write `unreadable: skip` in `dataset.args` to leave them out",
        )
    _require_some(train, chosen.train, left_out)
    if chosen.test is None:
        train, test = draw_parts(train, args.test_share, seed)
    else:
        _require_some(test, chosen.test, left_out)
        _require_classes(train, chosen.train, "training", left_out)
        _require_classes(test, chosen.test, "test", left_out)
    return train, test, left_out


def _require_some(photos: Sequence[Photo], files: Sequence[Labelled], left_out: Sequence[LeftOut]) -> None:
    if not photos:
        raise DataError(
            f"none of {len(files):,} images can be read, for instance `{left_out[0].name}`: {left_out[0].reason}",
            fix="repair them",
        )


def _require_classes(
    photos: Sequence[Photo], files: Sequence[Labelled], part: str, left_out: Sequence[LeftOut]
) -> None:
    lost = {item.label for item in files} - {photo.source.label for photo in photos}
    if lost:
        names = examples(sorted(map(str, lost)))
        raise DataError(
            f"no image of class {names} in the {part} part can be read, for instance `{left_out[0].name}`: "
            f"{left_out[0].reason}",
            fix="repair them, or remove the class from both parts",
        )


def _classes(photos: Sequence[Photo], args: ImageFolderArgs) -> Classes | None:
    """None without labels."""
    names = [photo.source.label for photo in photos if photo.source.label is not None]
    if not names:
        return None
    return numbered_classes(names, args.n_classes, args.classes)


def _arrays(
    photos: Sequence[Photo], classes: Classes | None, args: ImageFolderArgs
) -> tuple[npt.NDArray[np.uint8], Labels | None]:
    images = np.ascontiguousarray(np.stack([crop for photo in photos for crop in photo.crops]).transpose(0, 3, 1, 2))
    if classes is None:
        return images, None
    numbers = [classes.numbers[str(photo.source.label)] for photo in photos]
    return images, np.repeat(numbers, args.crops_per_photo).astype(np.int64)


def _reading(
    listing: Listing,
    chosen: Parts,
    train: Sequence[Photo],
    test: Sequence[Photo],
    left_out: Sequence[LeftOut],
    classes: Classes | None,
    args: ImageFolderArgs,
) -> Reading:
    photos = [*train, *test]
    repeated, contradicting = duplicate_notes(photos)
    notes = [
        *chosen.notes,
        *(classes.notes if classes is not None else ()),
        *left_out_notes(listing.skipped, "skipped"),
        *left_out_notes(left_out, "unreadable"),
        *reading_notes(photos, args),
        *repeated,
    ]
    counts = FileCounts(
        read=len(photos),
        unused=len(chosen.unused),
        unreadable=len(left_out),
        skipped=len(listing.skipped),
        ignored=len(listing.ignored),
    )
    return Reading(
        class_names=classes.names if classes is not None else args.classes or (),
        preprocessing=args.steps(),
        files=counts,
        notes=tuple(notes),
        warnings=(*contradicting, *depth_warnings(photos, args)),
        train_photos=tuple(photo.content for photo in train for _ in photo.crops),
        test_photos=tuple(photo.content for photo in test for _ in photo.crops),
        test_files=tuple(
            None if number else photo.source.file.path for photo in test for number, _ in enumerate(photo.crops)
        ),
        decode=args.decode_rules,
        crop=args.crop_rules,
    )


SOURCE = ImageFolder()
