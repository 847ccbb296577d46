"""What is wrong with the record of a run that has the right shape: it may have been damaged, or written by somebody.

The report, comparisons and the history rely on these.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from harness.results.paired import ConfidenceInterval

if TYPE_CHECKING:
    from harness.results.row import Row

_LARGEST_COUNT = 2**63 - 1
_LARGEST_FIGURE = 1e100
"""Beyond it, sums and powers overflow; no unit makes a figure so large."""
_ENDLESS = frozenset(
    {"sqnr_db", "accumulated_sqnr_db", "max_abs_error", "noise_floor", "largest_steps", "noise_steps2"}
)
"""Figures that are infinite or no number where a network computes such values."""
_POSITIVE = frozenset(
    (
        *("median_ms", "p90_ms", "p99_ms", "p999_ms", "throughput_per_s"),
        *("per_s", "slowest_per_s", "fastest_per_s", "streams"),
        *("batch_size", "analyses", "builds", "threads"),
    )
)
_SPEEDUPS = ("latency.comparison", "across.comparison")
"""Their values are multiples, and no multiple is less than zero: of few processes that disagree, the interval begins
there."""
_ENDS = frozenset({"low", "high"})
_SHARES = frozenset(("top1", "top5", "recall", "agreement", "top1_agreement", "int8_macs", "confidence"))
_NOT_NEGATIVE = frozenset(
    ("n", "rounds", "processes", "margin", "noise_floor", "macs", "samples", "wall_s", "share_of_peak")
)
_MAPPINGS = ("cpu", "git", "packages", "blas", "memory", "mitigations", "thread_variables", "seeds", "threads")
_MAX_TEXT = 100_000


def check_environment(environment: dict[str, Any]) -> dict[str, Any]:
    """The same environment; ValueError where a part that others look into has another shape."""
    for name in _MAPPINGS:
        if not isinstance(environment.get(name) or {}, Mapping):
            raise ValueError(f"`{name}` is not a mapping")
    gpus = environment.get("gpus") or []
    if not isinstance(gpus, list) or not all(isinstance(gpu, Mapping) for gpu in gpus):
        raise ValueError("`gpus` is not a list of mappings")
    if not isinstance((environment.get("cpu") or {}).get("flags") or {}, Mapping):
        raise ValueError("`cpu.flags` is not a mapping")
    versions = environment.get("packages") or {}
    if not all(isinstance(version, str | None) for version in versions.values()):
        raise ValueError("`packages` holds a version that is not a text")
    commit = (environment.get("git") or {}).get("commit")
    if not isinstance(commit, str | None):
        raise ValueError("`git.commit` is not a text")
    return environment


def check_rows(rows: Sequence[Row]) -> None:
    """ValueError for rows that contradict each other: two of one id, or two FP32 rows to judge a group against."""
    for what, names in (
        ("id", [row.variant.id for row in rows]),
        ("group", [row.variant.group for row in rows if row.variant.method == "fp32"]),
    ):
        twice = [name for name, often in Counter(names).items() if often > 1]
        if twice and what == "id":
            raise ValueError(f"two rows are called `{twice[0]}`")
        if twice:
            raise ValueError(f"two FP32 rows are of {', '.join(map(str, twice[0]))}")


def check_values(record: BaseModel, place: str = "") -> None:
    """ValueError for the first value inside a record that no measurement gives."""
    for problem in _problems(record, place):
        raise ValueError(problem)


def _problems(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, ConfidenceInterval) and value.low > value.high:
        yield f"`{place}` ends before it begins"
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _problems(getattr(value, name), f"{place}.{name}" if place else name)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _problems(name, f"{place} (a key)")
            yield from _problems(item, f"{place}.{name}")
    elif isinstance(value, tuple | list):
        yield from _of_sequence(value, place)
    elif isinstance(value, str):
        yield from _of_text(value, place)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _of_number(value, place)


def _of_sequence(values: Sequence[Any], place: str) -> Iterator[str]:
    if "_ci" in place.rpartition(".")[2] and len(values) == 2 and _is_backwards(values):
        yield f"`{place}` ends before it begins"
    for number, item in enumerate(values):
        yield from _problems(item, f"{place}.{number}")


def _is_backwards(ends: Iterable[Any]) -> bool:
    low, high = ends
    return isinstance(low, int | float) and isinstance(high, int | float) and low > high


def _of_text(text: str, place: str) -> Iterator[str]:
    if len(text) > _MAX_TEXT:
        yield f"`{place}` is a text of {len(text):,} characters"
    if not text.isprintable() and any(0xD800 <= ord(each) <= 0xDFFF or each == "\0" for each in text):
        yield f"`{place}` holds half a character or a NUL"


def _of_number(number: float, place: str) -> Iterator[str]:
    parts = place.split(".")
    name = next((part for part in reversed(parts) if not part.isdigit()), "")
    if name in _ENDLESS:
        return
    if isinstance(number, int) and abs(number) > _LARGEST_COUNT:
        yield f"`{place}` is a number of more than 64 bits"
        return
    if math.isnan(number):
        yield f"`{place}` is not a number"
    elif abs(number) > _LARGEST_FIGURE and not math.isinf(number):
        yield f"`{place}` is {number:g}"
    elif math.isinf(number) and not (name in _ENDS or parts[-1].isdigit()):  # of few processes it has no end
        yield f"`{place}` is infinite"
    if _is_out_of_range(name, number) or _is_no_multiple(place, number):
        yield f"`{place}` cannot be {number:g}"


def _is_no_multiple(place: str, number: float) -> bool:
    holder, _, name = place.rpartition(".")
    if holder.endswith(_SPEEDUPS):
        return name == "value" and number <= 0
    return holder.endswith(tuple(f"{each}.interval" for each in _SPEEDUPS)) and name in _ENDS and number < -1


def _is_out_of_range(name: str, number: float) -> bool:
    if name in _POSITIVE:
        return number <= 0
    if name in _SHARES or "p_value" in name:
        return not 0 <= number <= 1
    return name in _NOT_NEGATIVE and number < 0
