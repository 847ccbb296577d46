"""The main table of a report: one line per variant, grouped by model, target and batch size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from harness.figures import AGREEMENT
from harness.results import Accuracy, Interval, Latency, MetricValue, Row, RunResults, Verdict
from harness.words.decision import recommended_ids
from harness.words.phrases import (
    byte_size,
    label,
    method_name,
    percent,
    points,
    speed,
    speed_interval,
    three_digits,
)

NONE = "\N{EN DASH}"
"""What a cell without a figure shows."""
TOO_FEW = "n too small"
_SYMBOLS: dict[Verdict, str] = {
    "better": "\N{BLACK UP-POINTING TRIANGLE}",
    "same": "=",
    "worse": "\N{BLACK DOWN-POINTING TRIANGLE}",
    "inconclusive": "?",
}


@dataclass(frozen=True)
class Badge:
    """A verdict as symbol and word; `kind` chooses the colour."""

    word: str
    symbol: str
    kind: str


@dataclass(frozen=True)
class Printed:
    """A figure and the interval beneath it, as a cell shows them."""

    value: str = NONE
    interval: str = ""


@dataclass(frozen=True)
class VariantLine:
    """One row of the run as it is printed."""

    id: str
    model: str
    place: str
    batch_size: int
    method: str
    name: str
    """What distinguishes it from its siblings, without the method."""
    status: str
    reason: str
    is_recommended: bool
    top1: Printed
    drop: Printed
    accuracy_badge: Badge | None
    agreement: str
    unlabelled: Printed
    """Agreement with its interval, where there are no labels."""
    median: str
    p90: str
    p99: str
    speedup: Printed
    share_of_peak: str
    latency_badge: Badge | None
    onnx: str
    engine: str
    weights: str
    int8_macs: str
    int8_layers: str
    order: Mapping[str, float]
    """What columns are sorted by."""
    links: tuple[tuple[str, str], ...]
    """Words and relative addresses of the row's files."""


@dataclass(frozen=True)
class Group:
    """The rows of one model, target and batch size with what is said of their figures."""

    key: str
    title: str
    details: tuple[str, ...]
    rows: tuple[Row, ...]
    lines: tuple[VariantLine, ...]
    has_accuracy: bool
    has_unlabelled: bool
    """Agreement with FP32 is all that is known of the predictions."""
    has_latency: bool
    has_share_of_peak: bool
    has_size: bool
    has_coverage: bool


def groups(results: RunResults) -> tuple[Group, ...]:
    """Groups in the order of the rows, keyed `g1`, `g2`, ….

    A conclusion about a group without rows is left out.
    """
    found: dict[tuple[str, str, int], list[Row]] = {}
    for row in results.rows:
        found.setdefault(row.variant.group, []).append(row)
    details = {(each.model, each.target, each.batch_size): each.text.splitlines() for each in results.conclusions}
    recommended = recommended_ids(results)
    return tuple(
        _group(f"g{number}", rows, details.get(key, []), recommended)
        for number, (key, rows) in enumerate(found.items(), start=1)
    )


def _group(key: str, rows: Sequence[Row], details: Sequence[str], recommended: Sequence[str]) -> Group:
    first = rows[0].variant
    return Group(
        key=key,
        title=f"{first.model} on {first.place}, batch {first.batch_size}",
        details=tuple(details),
        rows=tuple(rows),
        lines=tuple(_line(row, row.variant.id in recommended) for row in rows),
        has_accuracy=any(row.accuracy for row in rows),
        has_unlabelled=not any(row.accuracy for row in rows) and any(AGREEMENT in row.metrics for row in rows),
        has_latency=any(row.latency for row in rows),
        has_share_of_peak=any(row.latency and row.latency.share_of_peak is not None for row in rows),
        has_size=any(row.size for row in rows),
        has_coverage=any(row.coverage for row in rows),
    )


def _line(row: Row, is_recommended: bool) -> VariantLine:
    accuracy, latency, size, coverage = row.accuracy, row.latency, row.size, row.coverage
    return VariantLine(
        id=row.variant.id,
        model=row.variant.model,
        place=row.variant.place,
        batch_size=row.variant.batch_size,
        method=method_name(row.variant.method),
        name=label(row.variant).removeprefix(method_name(row.variant.method)).strip(),
        status=row.status,
        reason=row.reason or "",
        is_recommended=is_recommended,
        top1=Printed(percent(accuracy.top1), _percent_interval(accuracy.top1_interval.ends)) if accuracy else Printed(),
        drop=_drop(accuracy),
        accuracy_badge=_badge(accuracy.verdict if accuracy else None),
        agreement=percent(accuracy.agreement) if accuracy and accuracy.agreement is not None else NONE,
        unlabelled=_agreement(row.metrics.get(AGREEMENT)),
        median=three_digits(latency.median_ms) if latency else NONE,
        p90=_tail(latency, latency.p90_ms if latency else None),
        p99=_tail(latency, latency.p99_ms if latency else None),
        speedup=_speedup(latency),
        share_of_peak=_share_of_peak(latency),
        latency_badge=_badge(latency.verdict if latency else None),
        onnx=byte_size(size.onnx_bytes) if size and size.onnx_bytes is not None else NONE,
        engine=byte_size(size.engine_bytes) if size and size.engine_bytes is not None else NONE,
        weights=byte_size(size.weight_bytes) if size and size.weight_bytes is not None else NONE,
        int8_macs=percent(coverage.int8_macs, 1) if coverage else NONE,
        int8_layers=coverage.int8_layers if coverage else "",
        order={name: value for name, value in _order(row) if value is not None},
        links=tuple((words, address(row.files[kind])) for kind, words in _LINKED.items() if kind in row.files),
    )


_LINKED = {"onnx": "ONNX", "engine": "engine", "audit": "audit", "log": "log", "load": "load log"}


def address(file: str) -> str:
    """Address of a file in the run's folder, relative to the report; no name makes it another kind of address."""
    return "./" + quote(file.lstrip("/"))


def _order(row: Row) -> Iterator[tuple[str, float | None]]:
    accuracy, latency, size, coverage = row.accuracy, row.latency, row.size, row.coverage
    if accuracy is not None:
        yield from (("top1", accuracy.top1), ("drop", accuracy.drop), ("agreement", accuracy.agreement))
    elif AGREEMENT in row.metrics:
        yield "agreement", row.metrics[AGREEMENT].value
    if latency is not None:
        yield from (("median", latency.median_ms), ("p90", latency.p90_ms), ("p99", latency.p99_ms))
        yield from (("speedup", latency.speedup), ("share_of_peak", latency.share_of_peak))
    if size is not None:
        yield from (("onnx", size.onnx_bytes), ("engine", size.engine_bytes), ("weights", size.weight_bytes))
    if coverage is not None:
        yield "int8_macs", coverage.int8_macs


def _agreement(figure: MetricValue | None) -> Printed:
    if figure is None:
        return Printed()
    return Printed(percent(figure.value), _percent_interval(figure.interval.ends) if figure.interval else "")


def _drop(accuracy: Accuracy | None) -> Printed:
    if accuracy is None or accuracy.drop is None:
        return Printed()
    interval = accuracy.comparison.loss_interval if accuracy.comparison else None
    return Printed(points(accuracy.drop), f"{points(interval[0])} to {points(interval[1])}" if interval else "")


def _speedup(latency: Latency | None) -> Printed:
    if latency is None or latency.speedup is None:
        return Printed()
    interval = latency.speedup_interval
    return Printed(speed(latency.speedup), speed_interval(interval.ends) if interval else "")


def _share_of_peak(latency: Latency | None) -> str:
    return NONE if latency is None or latency.share_of_peak is None else percent(latency.share_of_peak, 1)


def _tail(latency: Latency | None, value_ms: float | None) -> str:
    if latency is None:
        return NONE
    return TOO_FEW if value_ms is None else three_digits(value_ms)


def _percent_interval(interval: Interval) -> str:
    return f"{interval[0] * 100:.2f} to {interval[1] * 100:.2f}"


def _badge(verdict: Verdict | None) -> Badge | None:
    return Badge(verdict, _SYMBOLS[verdict], verdict) if verdict else None
