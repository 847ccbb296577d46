"""The tables of a report as plain strings: what the page, the Markdown and the tests read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.comparison.gates import in_unit
from harness.figures import AGREEMENT, METRICS, Figure, FigureValue, figures_of, header, read
from harness.report.variants import NONE, TOO_FEW
from harness.results import Cost, Latency, Layer, Row, RunResults, StageRun
from harness.words.phrases import TIMES, byte_size, label, level, listed, percent, three_digits

_QUANTILES = tuple(f"latency.{name}_ms" for name in ("median", "p90", "p99", "p999"))
_COST_STAGES = ("train", "calibrate", "quantize", "finetune", "export", "build")
_STAGE_KEY_CHARACTERS = 12


@dataclass(frozen=True)
class Table:
    """A caption, column headings, and rows of as many strings; `numeric` columns are set to the right."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()


_WORST_FIRST = ("fail", "inconclusive", "pass")


def gates_table(results: RunResults, *, passed: bool) -> Table | None:
    """Limits of the scenario and how variants did against them: those that passed, or all others, failures first."""
    rows = [
        (
            gate.verdict,
            gate.variant,
            gate.metric,
            gate.limit,
            NONE if gate.value is None else in_unit(gate, gate.value),
            " to ".join(in_unit(gate, end) for end in gate.interval.ends) if gate.interval else NONE,
            f"{gate.relation or ''} {gate.compared_with or NONE}".strip(),
            "; ".join(filter(None, (gate.basis, gate.reason))) or NONE,
        )
        for gate in sorted(results.gates, key=lambda gate: _WORST_FIRST.index(gate.verdict))
        if (gate.verdict == "pass") == passed
    ]
    headings = "Verdict|Variant|Metric|Limit|Value|Interval|Compared with|Note"
    caption = (
        "Limits that are proven to be kept"
        if passed
        else "Limits set by the scenario. fail: a breach is proven; inconclusive: neither kept nor broken for certain"
    )
    return _table(caption, headings, rows, {4, 5})


def environment_table(results: RunResults) -> Table | None:
    """The machine and the versions, nested keys joined by dots."""
    return _table("Machine and software", "What|Value", list(_flat(results.environment)))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{key}", ", ".join(map(str, value)) or NONE
        else:
            yield f"{prefix}{key}", NONE if value is None else str(value)


def latency_table(results: RunResults) -> Table | None:
    """Quantiles with their intervals, what they rest on, and what else the machine did meanwhile."""
    rows = [
        (
            row.variant.id,
            *(_quantile(row, name) for name in _QUANTILES),
            f"{row.latency.n:,}",
            NONE if row.latency.processes is None else str(row.latency.processes),
            f"{row.latency.rounds:,}",
            listed([f"{label} {count}" for label, count in row.latency.contaminated_rounds.items()]) or NONE,
            _parts(row.latency),
        )
        for row in results.rows
        if row.latency is not None
    ]
    quantiles = "|".join(header(name) for name in _QUANTILES)
    headings = f"Variant|{quantiles}|Inferences|Processes|Rounds|Contaminated rounds|Of which"
    caption = f"Milliseconds per inference, with order-statistic intervals ({level(results.confidence)})"
    return _table(caption, headings, rows, set(range(1, 8)))


def _parts(latency: Latency) -> str:
    return listed([f"{part.replace('_', ' ')} {three_digits(ms)}" for part, ms in latency.parts_ms.items()]) or NONE


def _quantile(row: Row, name: str) -> str:
    found = read(row, name)
    if found is None:
        return TOO_FEW
    interval = found.interval
    ends = f" ({three_digits(interval.low)} to {three_digits(interval.high)})" if interval else ""
    return three_digits(found.value) + ends


def metrics_table(results: RunResults) -> Table | None:
    """Figures of metrics that have no section of their own, one column per metric."""
    metrics = {row.variant.id: _not_shown_elsewhere(row) for row in results.rows}
    headings = {
        figure.name: ", ".join(filter(None, (figure.header, figure.unit)))
        for figures in metrics.values()
        for figure in figures
    }
    rows = [
        (row.variant.id, *(_metric(read(row, name)) for name in headings))
        for row in results.rows
        if metrics[row.variant.id]
    ]
    columns = "|".join(["Variant", *(each.replace("|", "/") for each in headings.values())])
    caption = f"Metrics, with their {level(results.confidence)} intervals"
    return _table(caption, columns, rows, set(range(1, len(headings) + 1)))


def _not_shown_elsewhere(row: Row) -> list[Figure]:
    """Agreement of labelled samples is shown beside their accuracy."""
    own = [figure for figure in figures_of(row) if figure.section == METRICS]
    return [figure for figure in own if not (row.accuracy and figure.name == f"{METRICS}.{AGREEMENT}")]


def _metric(found: FigureValue | None) -> str:
    if found is None or found.interval is None:
        return _figure(found.value if found else None)
    return f"{_figure(found.value)} ({_figure(found.interval.low)} to {_figure(found.interval.high)})"


def stage_summary_table(results: RunResults) -> Table | None:
    """Per kind of stage: how many ran, how many came from the store, and the seconds that running took."""
    groups: dict[str, list[StageRun]] = {}
    for stage in results.stages:
        groups.setdefault(stage.stage, []).append(stage)
    rows = []
    for name, stages in groups.items():
        ran = [stage for stage in stages if not stage.cached]
        cached = len(stages) - len(ran)
        rows.append((name, str(len(ran)), str(cached), seconds(sum(stage.seconds for stage in ran) if ran else None)))
    return _table("Stages of this run", "Stage|Computed|From the store|Time computing", rows, {1, 2, 3})


def stages_table(results: RunResults) -> Table | None:
    """Every stage of the graph."""
    rows = [
        (
            stage.stage,
            stage.key[:_STAGE_KEY_CHARACTERS],
            "from the store" if stage.cached else "computed",
            seconds(stage.seconds),
            listed(stage.variants, at_most=2),
        )
        for stage in results.stages
    ]
    return _table("Every stage", "Stage|Key|Origin|Time|Used by", rows, {3})


def cost_table(results: RunResults) -> Table | None:
    """Seconds that producing every variant took, whenever that was."""
    rows = []
    for row in results.rows:
        if row.cost is None:
            continue
        times = [getattr(row.cost, f"{stage}_s") for stage in _COST_STAGES]
        passes = row.cost.data_passes
        rows.append((row.variant.id, *map(seconds, times), NONE if passes is None else str(passes), _peak(row.cost)))
    headings = "|".join(
        ["Variant", *(header(f"cost.{stage}_s") for stage in _COST_STAGES), "Data passes", "Peak memory"]
    )
    return _table(
        "What each variant took to make, from the store's record where cached", headings, rows, set(range(1, 9))
    )


def _peak(cost: Cost) -> str:
    """Peak memory of the stage that took the most, with its name."""
    if not cost.peak_bytes:
        return NONE
    stage = max(cost.peak_bytes, key=cost.peak_bytes.__getitem__)
    return f"{byte_size(cost.peak_bytes[stage])} ({stage})"


def not_int8_table(results: RunResults) -> Table | None:
    """Every op of quantized engines that runs in float, by reason; variants with the same list share its lines."""
    users: dict[str, dict[tuple[_InFloat, ...], list[str]]] = {}
    for row in results.rows:
        if row.coverage is not None and row.variant.is_quantized:
            place = f"{row.variant.model} on {row.variant.place}, batch {row.variant.batch_size}"
            users.setdefault(place, {}).setdefault(_in_float(row.coverage.layers), []).append(label(row.variant))
    rows = []
    for place, lists in users.items():
        for lines, names in lists.items():
            variants = f"all {len(names)}" if len(lists) == 1 and len(names) > 1 else listed(names, at_most=3)
            rows += [(place, variants, *line) for line in lines]
    caption = "Operations of quantized engines that do not run in INT8; conversions from and to integers are not listed"
    return _table(caption, "Where|Variants|Op|Layers|Share of MACs|Why", rows, {4})


_NUMBER = re.compile(r"^([\u2212-]?[\d,]*\.?\d+)(?:e[+-]?\d+)? ?(KiB|MiB|GiB|min)?")
_FACTORS = {"KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "min": 60.0}


def order_of(cell: str) -> str:
    """The number that a cell begins with, in the smallest unit, for sorting; empty where there is none."""
    found = _NUMBER.match(cell)
    if found is None:
        return ""
    number = float(found[1].replace(",", "").replace("\N{MINUS SIGN}", "-"))
    return f"{number * _FACTORS.get(found[2] or '', 1.0):.12g}"


def with_types(layer: Layer) -> str:
    """Element types of a layer: input, weight where it has one, output."""
    inputs = f" {TIMES} ".join(filter(None, (layer.input_type, layer.weight_type)))
    return f"{inputs} → {layer.output_type}"


class _InFloat(NamedTuple):
    """Layers that run in float for one reason."""

    ops: str
    layers: str
    share: str
    reason: str


def _in_float(layers: Sequence[Layer]) -> tuple[_InFloat, ...]:
    macs = sum(layer.macs for layer in layers)
    by_reason: dict[str, list[Layer]] = {}
    for layer in layers:
        if not layer.int8 and (layer.macs or layer.reason):
            by_reason.setdefault(layer.reason or "not recorded", []).append(layer)
    lines = [
        _InFloat(
            ops=", ".join(dict.fromkeys(layer.op for layer in found)),
            layers=listed([layer.name for layer in found], at_most=3),
            share=percent(sum(layer.macs for layer in found) / macs if macs else 0.0, 1),
            reason=reason,
        )
        for reason, found in by_reason.items()
    ]
    return tuple(sorted(lines, key=lambda line: line.reason))


def seconds(value: float | None) -> str:
    """A duration: `0.52 s`, `12.3 s`, `2 min 05 s`; a dash when there is none."""
    if value is None:
        return NONE
    if value >= 60:
        whole = round(value)
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{value:.1f} s" if value >= 10 else f"{value:.2f} s"


def _figure(value: float | None) -> str:
    return NONE if value is None else f"{value:.4g}"


def _table(caption: str, headings: str, rows: Iterable[Sequence[str]], numeric: set[int] | None = None) -> Table | None:
    kept = tuple(tuple(row) for row in rows)
    return Table(caption, tuple(headings.split("|")), kept, frozenset(numeric or ())) if kept else None
