"""`harness list` and `harness doctor` as text: what is alike stands together, and its reason is printed once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from harness.cli.output import bulleted
from harness.text import visible

if TYPE_CHECKING:
    from harness.runs.doctor import DoctorCheck

_NAMES_WIDTH = 28
"""Columns of what was looked at; a longer name has a line of its own."""
_FIX = "; fix: "


def listed_variants(title: str, variants: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    """Ids of variants under what can be done with them on this machine, in the order in which that first occurs."""
    found: dict[str, list[str]] = {}
    for variant_id, state in variants:
        found.setdefault(state, []).append(variant_id)
    yield from bulleted(visible(title), "", width)
    for state, ids in found.items():
        yield ""
        reason, _, fix = state.partition(_FIX)
        yield from bulleted(visible(f"{len(ids)} {reason}"), "", width)
        if fix:
            yield f"fix: {visible(fix)}"
        yield from (f"  {visible(each)}" for each in ids)


def diagnosis_lines(checks: Iterable[DoctorCheck], width: int) -> Iterator[str]:
    """Each finding with its fix below it, in one piece so that it can be copied; equal ones together."""
    found: dict[tuple[str, str, str, str | None], list[str]] = {}
    for check in checks:
        kind, _, name = check.what.partition(" ")
        is_member = kind in ("target", "toolkit")
        key = (check.mark, kind if is_member else check.what, check.found, None if check.ok else check.fix)
        found.setdefault(key, []).append(name if is_member else "")
    for (mark, kind, detail, fix), names in found.items():
        yield from _finding(mark, _named(kind, names), detail, fix, width)


def _named(kind: str, names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{kind} {names[0]}".strip()
    return f"{kind}s {', '.join(names)}"


def _finding(mark: str, what: str, detail: str, fix: str | None, width: int) -> Iterator[str]:
    head, text = f"{mark}  {what}", visible(detail)
    is_long = max(map(len, text.split()), default=0) > width - _NAMES_WIDTH - 1  # a path, which is not to be broken
    if len(head) <= _NAMES_WIDTH and not is_long:
        yield from bulleted(text, head.ljust(_NAMES_WIDTH + 1), width)
    else:
        yield from bulleted(visible(what), f"{mark}  ", width)
        yield from bulleted(text, " " * (4 if is_long else _NAMES_WIDTH + 1), width)
    if fix:
        yield f"    fix: {visible(fix)}"
