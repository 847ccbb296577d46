"""Which images of a folder train and which test, and the class of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.data.folder import ImageFile, Listing
from harness.errors import DataError
from harness.text import examples, one_line

TRAIN_NAMES = frozenset({"train", "training"})
VALIDATION_NAMES = frozenset({"val", "valid", "validation"})
TEST_NAMES = frozenset({"test", "testing"})
PART_NAMES = TRAIN_NAMES | VALIDATION_NAMES | TEST_NAMES
"""In lower case; folders may be written in any."""
_NAME_THEM = "name the folders in `dataset.args`: `train_part` and `test_part`, or write `parts: random`"


@dataclass(frozen=True)
class Labelled:
    """An image file and the name of its class; None without class folders."""

    file: ImageFile
    label: str | None


@dataclass(frozen=True)
class Parts:
    """The images of each part; `test` is None where the test images are still to be drawn from `train`."""

    train: tuple[Labelled, ...]
    test: tuple[Labelled, ...] | None
    unused: tuple[ImageFile, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PartChoice:
    """What the scenario says of the parts."""

    train: str | None = None
    test: str | None = None
    is_random: bool = False


def folder_parts(listing: Listing, choice: PartChoice) -> Parts:
    """The parts as the folder's names say them.

    Raises DataError where they do not say it: one part without the other, two folders for one part, images that lie
    beside parts or classes, parts inside classes, and a class that only one part has.
    """
    top = _top_folders(listing)
    train, test = _named(top, choice) if choice.train or choice.test else _found(listing, top, choice)
    if train is None or test is None:
        labelled = _labelled(listing.images, 0, "the folder", checks_nesting=not choice.is_random)
        return Parts(labelled, None, notes=tuple(_empty_folder_notes(listing, 0)))
    used = {train, test}
    parts = {
        name: _labelled(
            [file for file in listing.images if file.parts[0] == name], 1, f"`{one_line(name)}`", checks_nesting=True
        )
        for name in (train, test)
    }
    unused = tuple(file for file in listing.images if file.parts[0] not in used)
    _require_same_classes(parts[train], parts[test], train, test)
    notes = [*_unused_notes(unused, test), *_empty_folder_notes(listing, 1, used)]
    return Parts(parts[train], parts[test], unused, tuple(notes))


def require_both(train: Iterable[str], test: Iterable[str], train_name: str, test_name: str) -> None:
    """DataError that names the classes which only one of the parts has."""
    in_train, in_test = set(train), set(test)
    for here, there, only in ((train_name, test_name, in_train - in_test), (test_name, train_name, in_test - in_train)):
        if only:
            names = examples(sorted(map(one_line, only)))
            raise DataError(
                f"class {names} has images in {here}, but none in {there}",
                fix="add images of it to the other part, or remove it; names of both parts must be equal to the letter",
            )


def _top_folders(listing: Listing) -> list[str]:
    return [parts[0] for parts in listing.folders if len(parts) == 1]


def _named(top: list[str], choice: PartChoice) -> tuple[str, str]:
    if not choice.train or not choice.test or choice.train == choice.test:
        raise DataError("`train_part` and `test_part` must name two folders", fix="set both in `dataset.args`")
    for name in (choice.train, choice.test):
        if name not in top:
            found = examples(sorted(map(one_line, top)), 8) or "none"
            raise DataError(f"there is no folder `{one_line(name)}` in the data set", fix=f"folders are: {found}")
    return choice.train, choice.test


def _found(listing: Listing, top: list[str], choice: PartChoice) -> tuple[str | None, str | None]:
    """The folders of both parts by their names; None for both where no folder has such a name."""
    if choice.is_random:
        return None, None
    train = _one_of(top, TRAIN_NAMES, "training")
    validation = _one_of(top, VALIDATION_NAMES, "validation")
    test = _one_of(top, TEST_NAMES, "test")
    if (train, validation, test) == (None, None, None):
        _refuse_inner_parts(listing)
        return None, None
    chosen = test or validation
    if train is None or chosen is None:
        there = examples([name for name in (train, validation, test) if name is not None])
        missing = "training part (`train`)" if train is None else "test part (`test` or `val`)"
        raise DataError(f"there is {there}, but no {missing}", fix=f"add it, or {_NAME_THEM} if it is a class")
    others = {file.parts[0] for file in listing.images if len(file.parts) > 1} - {train, validation, test}
    if others:
        names = examples(sorted(map(one_line, others)))
        raise DataError(f"images lie in {names}, beside the parts `{train}` and `{chosen}`", fix=_NAME_THEM)
    return train, chosen


def _one_of(top: list[str], names: frozenset[str], what: str) -> str | None:
    found = [name for name in top if name.lower() in names]
    if len(found) > 1:
        raise DataError(f"{examples(found)} are all {what} parts: they are not pooled", fix=_NAME_THEM)
    return found[0] if found else None


def _refuse_inner_parts(listing: Listing) -> None:
    inner = [parts for parts in listing.folders if len(parts) > 1 and parts[-1].lower() in PART_NAMES]
    filled = {file.parts[: len(parts)] for parts in inner for file in listing.images}
    inner = [parts for parts in inner if parts in filled]
    if inner:
        names = examples([one_line("/".join(parts)) for parts in inner])
        raise DataError(
            f"{names} look like parts, but lie too deep to be taken as such",
            fix="name the folder above `train` and `test` as `path`, or write `parts: random` to draw from all images",
        )


def _labelled(files: Sequence[ImageFile], depth: int, where: str, *, checks_nesting: bool) -> tuple[Labelled, ...]:
    """Labels from the folders at `depth`; none where no image lies in one."""
    if not files:
        raise DataError(f"{where} has no image files", fix="put images into it, or correct the path")
    loose = [file for file in files if len(file.parts) == depth + 1]
    if len(loose) == len(files):
        return tuple(Labelled(file, None) for file in files)
    if loose:
        raise DataError(
            f"{len(loose)} images of {where} lie beside class folders: {examples([file.name for file in loose])}",
            fix="move them into the folder of their class, or all images out of their folders",
        )
    if checks_nesting:
        _refuse_pooling(files, depth)
    return tuple(Labelled(file, file.parts[depth]) for file in files)


def _refuse_pooling(files: Iterable[ImageFile], depth: int) -> None:
    """Folders that share two or more folder names are parts or folds rather than classes."""
    inside: dict[str, set[str]] = defaultdict(set)
    for file in files:
        if len(file.parts) > depth + 2:
            inside[file.parts[depth + 1]].add(file.parts[depth])
    shared = sorted(name for name, owners in inside.items() if len(owners) > 1)
    if len(shared) > 1:
        owners = examples(sorted(map(one_line, inside[shared[0]] & inside[shared[1]])))
        raise DataError(
            f"{owners} hold folders of the same names ({examples([one_line(name) for name in shared])}): are they "
            "parts or classes?",
            fix=_NAME_THEM,
        )


def _require_same_classes(train: Sequence[Labelled], test: Sequence[Labelled], *names: str) -> None:
    train_labels = {item.label for item in train if item.label is not None}
    test_labels = {item.label for item in test if item.label is not None}
    if bool(train_labels) != bool(test_labels):
        raise DataError(
            "one part has class folders and the other has not",
            fix="label both or neither, or name a labelled folder as `test_part` in `dataset.args`",
        )
    require_both(train_labels, test_labels, *(f"`{one_line(name)}`" for name in names))


def _unused_notes(unused: Sequence[ImageFile], test: str) -> Iterable[str]:
    counts: dict[str, int] = defaultdict(int)
    for file in unused:
        counts[one_line(file.parts[0]) if len(file.parts) > 1 else "the folder itself"] += 1
    for name, count in sorted(counts.items()):
        yield f"{count:,} images in `{name}` are not used: the test part is `{one_line(test)}`"


def _empty_folder_notes(listing: Listing, depth: int, used: Iterable[str] = ()) -> Iterable[str]:
    """Class folders that would be expected to hold images and do not; DataError where their pictures are not read."""
    filled = {file.parts[: depth + 1] for file in listing.images}
    empty = [parts for parts in listing.folders if len(parts) == depth + 1 and parts not in filled]
    empty = [parts for parts in empty if depth == 0 or parts[0] in set(used)]
    names = [one_line("/".join(parts)) for parts in empty]
    for name in names:
        _refuse_other_pictures(name, listing)
    if empty:
        yield f"no image in folder {examples(names)}"


def _refuse_other_pictures(folder: str, listing: Listing) -> None:
    """A class whose images are all of a kind that is not read must not vanish."""
    pictures = [entry for entry in listing.skipped if entry.is_picture and entry.name.startswith(f"{folder}/")]
    if pictures:
        raise DataError(
            f"folder `{folder}` holds no image that is read, but {len(pictures):,} of other kinds: {pictures[0].name}: "
            f"{pictures[0].reason}",
            fix="convert them to PNG or JPEG, or remove the folder",
        )
