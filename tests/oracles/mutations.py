"""Files with something wrong in them, made from sound ones: the same seed gives the same damage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

STRANGE_VALUES = (
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    10**400,
    -0.0,
    1e-320,
    1e308,
    "",
    " ",
    "a",
    "../../../../tmp/escaped",
    "/etc/passwd",
    "a" * 300,
    "x" * 50_000,
    "<script>alert(1)</script>",
    "\u202e\N{SNOWMAN}",
    "Infinity",
    "-Infinity",
    "NaN",
    "\x00",
    "%s%n{0}{{7*7}}",
    "~nouser/x",
    "re:(((",
    [],
    {},
    [[]],
    [1, 2, 3],
    {"a": 1},
)
STRANGE_TEXTS = (
    "\x00",
    "\ufeff",
    "\t",
    "\r",
    "\u2028",
    "\x85",
    "\x1b[31m",
    ": ",
    " #",
    "- ",
    "? ",
    "&a ",
    "*a ",
    "<<: ",
    "!!python/object:os.system ",
    "!!binary ",
    "!!set {a, b}",
    "!!float x",
    "{",
    "}",
    "[",
    "]",
    "'",
    '"',
    "|\n",
    ">\n",
    "%YAML 1.1\n---\n",
    "---\n",
    "...\n",
    ".inf",
    ".nan",
    "-.inf",
    "0x" + "f" * 500,
    "9" * 5000,
    "1e999",
    "0o777",
    "2001-01-01",
    "12:30:45",
    '"\\UFFFFFFFF"',
    '"\\uD800"',
    '"\\x00"',
    "~",
    "null",
    "yes",
    "=",
    "[" * 200,
    "{a: " * 100,
    "a" * 5000,
    "\N{PILE OF POO}",
    "e\u0301",
)
TextMutation = Callable[[str, Random], str]


def broken_bytes(content: bytes, random: Random) -> bytes:
    """Flipped bits, a hole, a cut, a repetition, or a block of something else."""
    data = bytearray(content or b"\0")
    kind = random.randrange(6)
    place = random.randrange(len(data))
    if kind == 0:
        for _ in range(random.choice((1, 3, 20))):
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    elif kind == 1:
        del data[place : place + random.choice((1, 10, 1000))]
    elif kind == 2:
        del data[place:]
    elif kind == 3:
        data[place:place] = data[place : place + 100]
    elif kind == 4:
        data[place : place + 64] = random.randbytes(64)
    else:
        data[place : place + 512] = bytes(512)
    return bytes(data)


def _line(text: str, random: Random) -> str:
    lines = text.splitlines(keepends=True)
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    kind = random.randrange(6)
    if kind == 0:
        del lines[one]
    elif kind == 1:
        lines.insert(one, lines[other])
    elif kind == 2:
        lines[one], lines[other] = lines[other], lines[one]
    elif kind == 3:
        lines[one] = "  " + lines[one]
    elif kind == 4:
        lines[one] = lines[one].lstrip()
    else:
        lines[one] = lines[one].rstrip("\n") + "\r\n"
    return "".join(lines)


def _insertion(text: str, random: Random) -> str:
    place = random.randrange(len(text))
    return text[:place] + random.choice(STRANGE_TEXTS) + text[place:]


def _token(text: str, random: Random) -> str:
    words = text.split(" ")
    words[random.randrange(len(words))] = random.choice((*STRANGE_TEXTS, *words[:50]))
    return " ".join(words)


def _characters(text: str, random: Random) -> str:
    place = random.randrange(len(text))
    return text[:place] + chr(random.choice((0, 7, 10, 32, 58, 0xA0, 0xFFFE, 0x1F600))) + text[place + 1 :]


TEXT_MUTATIONS: tuple[TextMutation, ...] = (_line, _insertion, _token, _characters)


def broken_structure(value: Any, random: Random) -> Any:
    """JSON values with one of them replaced, removed, renamed or doubled, somewhere at random."""
    plain = json.loads(json.dumps(value))
    places = list(_places(plain))
    if not places:
        return random.choice(STRANGE_VALUES)
    holder, key = random.choice(places)
    kind = random.randrange(5)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[random.choice(("", "a" * 300, "../x", "unknown", "\N{SNOWMAN}"))] = holder.pop(key)
    elif kind == 2 and isinstance(holder, list):
        holder.append(holder[key])
    elif kind == 3:
        other, name = random.choice(places)
        holder[key] = json.loads(json.dumps(other[name])) if _holds(other, name) else None
    else:
        holder[key] = random.choice(STRANGE_VALUES)
    return plain


def _holds(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield value, key
            yield from _places(item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield value, index
            yield from _places(item)
