"""Every figure of a row by its dotted name, for instance `size.engine_bytes`, with its interval where it has one.

The names are those of the records in this package: a field that is added there can be used in gates at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import combinations
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

from harness.results import Interval, Link, MetricValue, Parity, ParityStep, Record, Row

METRICS = "metrics"
"""First part of the names of figures that have no section of their own."""
EXACT_SECTIONS = frozenset({"size", "coverage", "parity"})
"""Figures that come out alike however often they are taken."""
_INTERVAL = "_ci95"
_TO = "_to_"
_NOT_FIGURES = frozenset(
    {
        "n",
        "label",
        "rounds",
        "inferences",
        "seconds",
        "looks",
        "layer_samples",
        "confidence",
        "processes",
        "builds",
        "margin",
        "threads",
        "noise_floor",
        "data_passes",
        "family_size",
    }
)
"""What says how a figure was made."""
_COUNTED = frozenset({"agreement", "top1_agreement"})
"""Shares of `n` samples whose record holds no interval."""
_NOT_SECTIONS = frozenset({"variant"})
_UNITS = {  # by the end of a name
    "_per_s": "1/s",
    "_ms": "ms",
    "_us": "\N{MICRO SIGN}s",
    "_mj": "mJ",
    "_bytes": "B",
    "_db": "dB",
    "_s": "s",
    "_j": "J",
    "_w": "W",
    "joules_per_inference": "J",
    "speedup": "x",
} | dict.fromkeys(("top1", "top5", "drop", "agreement", "int8_macs", "noise_floor", "spread"), "share")


class Figure(NamedTuple):
    """A figure and its interval at the confidence of its run; None where it is exact, or where none is known."""

    value: float
    interval: Interval | None = None


@cache
def figure_names() -> tuple[str, ...]:
    """Dotted names of the figures that the sections of a row may hold."""
    sections = {name: _record(field.annotation) for name, field in Row.model_fields.items()}
    plain = [
        name
        for section, record in sections.items()
        if record is not None and section not in _NOT_SECTIONS
        for name in _names(record, section)
    ]
    return (*plain, *_step_names())


@cache
def short_names() -> Mapping[str, str]:
    """Last parts that stand for one figure only, and its dotted name: `speedup` is `latency.speedup`."""
    found: dict[str, list[str]] = {}
    for name in sorted(set(figure_names()) - set(_step_names())):
        found.setdefault(name.rpartition(".")[2], []).append(name)
    return {leaf: names[0] for leaf, names in found.items() if len(names) == 1}


def find(row: Row, name: str, *, confidence: float = 0.95) -> Figure | None:
    """One figure of a row by its dotted name, or None when the row does not have it.

    `confidence` is that of the run: for intervals that its record does not hold.
    """
    section, _, rest = name.partition(".")
    if section == METRICS:
        metric = row.metrics.get(rest)
        return None if metric is None else Figure(metric.value, metric.ci95)
    holder: Any = row
    *path, leaf = name.split(".")
    for part in path:
        holder = _step(holder, part) if isinstance(holder, Parity) and _TO in part else getattr(holder, part, None)
    value = getattr(holder, leaf, None)
    if leaf == "sqnr_db" and value is None and getattr(holder, "max_abs_error", None) == 0.0:
        return Figure(math.inf)  # the outputs are identical
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return Figure(float(value), _interval(holder, leaf, float(value), confidence))


def unit_of(row: Row, name: str) -> str:
    """Unit of a figure by its dotted name, for instance `ms`, `share` or `x` (a multiple); empty where it has none."""
    section, _, rest = name.partition(".")
    if section == METRICS:
        metric = row.metrics.get(rest)
        return "" if metric is None else metric.unit
    return next((unit for end, unit in _UNITS.items() if name.endswith(end)), "")


def section_reason(row: Row, name: str) -> str:
    """Why a row lacks a figure, for a reader."""
    if row.reason is not None and row.status != "ok":
        return f"{row.status}: {row.reason}"
    if row.status != "ok":
        return f"the row is {row.status}"
    return f"the row has no `{name}`: it was not measured"


def _step(parity: Parity, name: str) -> ParityStep | None:
    """The step of the parity chain that is called `START_to_END`."""
    return next((step for step in parity.steps if f"{step.start}{_TO}{step.end}" == name), None)


def _step_names() -> Iterator[str]:
    for start, end in combinations(get_args(Link), 2):
        yield from _names(ParityStep, f"parity.{start}{_TO}{end}")


def _interval(holder: Any, leaf: str, value: float, confidence: float) -> Interval | None:
    names = (leaf, leaf.removesuffix("_ms"))
    interval: Interval | None = next(
        filter(None, (getattr(holder, f"{name}{_INTERVAL}", None) for name in names)), None
    )
    n = getattr(holder, "n", None)
    if interval is None and leaf in _COUNTED and n:
        from harness.stats.intervals import wilson_interval  # imports scipy

        return wilson_interval(round(value * n), n, confidence)
    return interval


def _names(record: type[Record], prefix: str) -> Iterator[str]:
    for name, field in record.model_fields.items():
        inner = _record(field.annotation)
        if inner is not None and inner is not MetricValue:
            yield from _names(inner, f"{prefix}.{name}")
        elif _is_number(field.annotation) and name not in _NOT_FIGURES and "p_value" not in name:
            yield f"{prefix}.{name}"


def _record(annotation: Any) -> type[Record] | None:
    """The record of `Record` or `Record | None`; None for anything else, lists and mappings of records included."""
    for part in _alternatives(annotation):
        if isinstance(part, type) and issubclass(part, Record):
            return part
    return None


def _is_number(annotation: Any) -> bool:
    return any(part in (int, float) for part in _alternatives(annotation))


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
