"""Text that comes from files, made safe to print."""

from __future__ import annotations

import re

LONGEST_SHOWN = 120
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""Control characters, and those that hide or reverse text."""


def visible(text: str) -> str:
    """The same text, its lines kept, with every character that would act instead of being seen as an escape."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_json(text: str) -> str:
    """JSON that reads the same, with these characters of its strings as JSON's own escapes."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """On one line: control characters and bytes that are no UTF-8 as escapes, the middle of a long text left out."""
    decoded = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    plain = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in decoded)
    half = LONGEST_SHOWN // 2
    return plain if len(plain) <= LONGEST_SHOWN else f"{plain[:half]} … {plain[-half:]}"


def examples(names: list[str], count: int = 3) -> str:
    """The first few of a list and how many more there are."""
    more = f" and {len(names) - count:,} more" if len(names) > count else ""
    return ", ".join(f"`{name}`" for name in names[:count]) + more
