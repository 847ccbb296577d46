"""Class numbers from the names of folders: a folder is one class, and two folders are never the same one."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from harness.errors import DataError, nearest
from harness.text import examples, one_line


@dataclass(frozen=True)
class Classes:
    """The classes of a network's output."""

    names: tuple[str, ...]
    """By number; the number itself as text where no folder has it."""
    numbers: dict[str, int]
    """By folder name."""
    notes: tuple[str, ...] = ()


def numbered_classes(folders: Iterable[str], n_classes: int, order: tuple[str, ...] | None) -> Classes:
    """Number the folders: by `order` where given, by themselves where all are numbers, else in alphabetical order.

    Raises DataError for names that look alike in print, numbers that are equal (`1` and `01`) or outside the network's,
    and names that `order` lacks.
    """
    known = sorted(set(folders))
    _refuse_lookalikes(known)
    if order is not None:
        return _ordered(known, order)
    if all(name.isascii() and name.isdecimal() for name in known):
        return _numbered(known, n_classes)
    if len(known) < 2:
        raise DataError(
            f"all images are in one class folder, `{one_line(known[0])}`: accuracy would mean nothing",
            fix="add a folder for each other class, or move the images up if they have no labels",
        )
    return Classes(tuple(known), {name: number for number, name in enumerate(known)}, tuple(_case_notes(known)))


def in_print(name: str) -> str:
    """What a reader can tell names apart by: composed characters, without outer or repeated white space."""
    visible = "".join(char for char in unicodedata.normalize("NFC", name) if unicodedata.category(char) != "Cf")
    return " ".join(visible.split())


def _refuse_lookalikes(known: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in known:
        other = seen.setdefault(in_print(name), name)
        if other != name:
            message = f"class folders {other!a} and {name!a} look the same in print"
            raise DataError(message, fix="rename one of them, or move the images of both into one folder")


def _case_notes(known: list[str]) -> Iterable[str]:
    seen: dict[str, str] = {}
    for name in known:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            yield f"class folders `{one_line(other)}` and `{one_line(name)}` differ in case alone; they are two classes"


def _ordered(known: list[str], order: tuple[str, ...]) -> Classes:
    if len(set(order)) < len(order):
        raise DataError("`classes` names a class twice", fix="correct `dataset.args.classes`")
    missing = [name for name in known if name not in order]
    if missing:
        guess = nearest(missing[0], order)
        fix = f"did you mean `{guess}`?" if guess else "add it to `dataset.args.classes`, or remove the folder"
        raise DataError(f"class folder {examples([one_line(name) for name in missing])} is not in `classes`", fix=fix)
    return Classes(order, {name: order.index(name) for name in known})


def _numbered(known: list[str], n_classes: int) -> Classes:
    numbers: dict[int, str] = {}
    for name in known:
        number = int(name[:20])  # longer ones are too large in any case
        if number >= n_classes:
            raise DataError(f"class folder `{one_line(name)}`, but `n_classes` is {n_classes}", fix="raise `n_classes`")
        if number in numbers:
            message = f"class folders `{numbers[number]}` and `{name}` are the same number"
            raise DataError(message, fix="rename one of them, or move the images of both into one folder")
        numbers[number] = name
    names = tuple(numbers.get(number, str(number)) for number in range(n_classes))
    return Classes(names, {name: number for number, name in numbers.items()})
