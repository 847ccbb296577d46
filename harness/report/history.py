"""The history as a table and as a page: every series, and what of it is a proven step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from harness.figures import catalog
from harness.history.figures import RunRecord
from harness.history.steps import MIN_RUNS
from harness.history.trends import Trend
from harness.report.charts import INK, SERIES, Chart, Extent, Option, bars, marked, name_axis, option, point, value_axis
from harness.report.history_words import day, first_run, kind, step_change_words, step_sentence, value_with_unit
from harness.report.page import environment, page_parts
from harness.report.tables import Table
from harness.report.variants import NONE
from harness.words.phrases import counted

_KINDS = ("worse", "changed", "better")
_SECTIONS = ("accuracy", "latency", "metrics", "coverage", "size", "memory", "energy")
_LAST = "parity."
_KEY_CHARACTERS = 8
_SYMBOLS = ("circle", "rect", "diamond", "triangle", "pin", "arrow")


@dataclass(frozen=True)
class HistorySection:
    """One scenario on one class of machines."""

    key: str
    scenario: str
    machine_class: str
    plots: tuple[Chart, ...]
    """None where there is one run: a chart of single points shows nothing."""
    table: Table
    """Of one run its figures; of several the first and the last value of each series, and its steps."""


def trends_table(trends: Sequence[Trend], caption: str) -> Table:
    """One line for each series: how many runs, the first and the last value, and its steps."""
    rows = tuple(
        (
            trend.variant,
            trend.metric,
            str(len(trend.entries)),
            value_with_unit(trend, trend.values[0]),
            value_with_unit(trend, trend.values[-1]),
            "; ".join(f"{kind(step)}: {step_change_words(trend, step)}, {first_run(step)}" for step in trend.steps)
            or NONE,
        )
        for trend in trends
    )
    return Table(caption, ("Variant", "Figure", "Runs", "First", "Last", "Steps"), rows, frozenset({2, 3, 4}))


def single_run_table(trends: Sequence[Trend], caption: str) -> Table:
    """One line for each variant with its latest figures, but those of parity."""
    metrics = _by_importance(trend.metric for trend in trends if not trend.metric.startswith(_LAST))
    cells = {(trend.variant, trend.metric): value_with_unit(trend, trend.values[-1]) for trend in trends}
    rows = tuple(
        (variant, *(cells.get((variant, metric), NONE) for metric in metrics))
        for variant in dict.fromkeys(trend.variant for trend in trends)
    )
    numeric = frozenset(range(1, len(metrics) + 1))
    return Table(caption, ("Variant", *map(_header, metrics)), rows, numeric)


def step_messages(trends: Sequence[Trend]) -> list[tuple[str, str]]:
    """Kind and sentence of every step, what is worse first."""
    found = [(kind(step), step_sentence(trend, step)) for trend in trends for step in trend.steps]
    return sorted(found, key=lambda each: _KINDS.index(each[0]))


def caption_of(trend: Trend) -> str:
    """Caption of the table that lists a series."""
    return f"{trend.scenario} on {trend.machine_class}"


def sections(trends: Sequence[Trend]) -> list[tuple[str, list[Trend]]]:
    """Series of one table, with its caption."""
    grouped: dict[str, list[Trend]] = {}
    for trend in trends:
        grouped.setdefault(caption_of(trend), []).append(trend)
    return list(grouped.items())


def html_text(trends: Sequence[Trend]) -> str:
    """The page: self-contained and without network; the same series give the same bytes."""
    runs = {each.run.key: each.run for trend in trends for each in trend.entries}
    ends = sorted(run.started_at for run in runs.values())
    found = [_section(caption, members) for caption, members in sections(trends)]
    return (
        environment()
        .get_template("history.html.j2")
        .render(
            steps=step_messages(trends),
            most_runs=max((len(trend.entries) for trend in trends), default=0),
            min_runs=MIN_RUNS,
            sections=found,
            summary=_summary(len(runs), ends),
            **page_parts([plot for section in found for plot in section.plots]),
        )
    )


def _summary(runs: int, ends: Sequence[str]) -> str:
    if not ends:
        return "no runs"
    return f"{counted(runs, 'run')}, {' to '.join(dict.fromkeys((day(ends[0]), day(ends[-1]))))} UTC"


def _by_importance(metrics: Iterable[str]) -> list[str]:
    """Each once; accuracy and speed first, parity last."""
    places = {section: place for place, section in enumerate(_SECTIONS)}
    return sorted(dict.fromkeys(metrics), key=lambda name: (places.get(name.partition(".")[0], len(places)), name))


def _header(metric: str) -> str:
    """Of the catalogue; figures of metrics and of parity have their own names."""
    found = catalog().get(metric)
    return metric.partition(".")[2] if found is None else found.header


def _section(caption: str, members: Sequence[Trend]) -> HistorySection:
    key = f"s{sha256(caption.encode()).hexdigest()[:_KEY_CHARACTERS]}"
    runs = {each.run.key: each.run for trend in members for each in trend.entries}
    ordered = sorted(runs.values(), key=lambda run: (run.started_at, run.run_id, run.key))
    if len(ordered) == 1:
        shown = single_run_table(members, caption)
        return HistorySection(key, members[0].scenario, members[0].machine_class, (), shown)
    metrics = _by_importance(trend.metric for trend in members)
    plots = [_plot([trend for trend in members if trend.metric == name], ordered, f"{key}-{name}") for name in metrics]
    return HistorySection(
        key, members[0].scenario, members[0].machine_class, tuple(plots), trends_table(members, caption)
    )


def _plot(members: Sequence[Trend], runs: Sequence[RunRecord], key: str) -> Chart:
    metric, unit = members[0].metric, members[0].entries[-1].figure.unit
    places = {run.key: place for place, run in enumerate(runs)}
    series: list[Option] = []
    for number, trend in enumerate(members):
        symbol = _SYMBOLS[number // len(SERIES) % len(_SYMBOLS)]
        series += _drawn(trend, places, SERIES[number % len(SERIES)], symbol)
    drawn = option(
        grid={"left": 70, "right": 20, "top": 12, "bottom": 80},
        legend={"bottom": 0, "type": "scroll", "textStyle": {"color": INK}},
        # Runs stand at equal distances: a week without any is not what a reader looks for.
        xAxis=name_axis(
            [run.started_at[:10] for run in runs], inverse=False, axisLabel={"color": INK, "hideOverlap": True}
        ),
        yAxis=value_axis(", ".join(filter(None, (metric.rpartition(".")[2], unit))), _whole(members), nameGap=52),
        series=series,
    )
    caption = f"{metric}: a colour for each variant; bars: 95 % intervals; dashed: proven steps."
    return Chart(key.replace(".", "-"), f"{metric} of each variant over time", caption, drawn, 320)


def _whole(members: Sequence[Trend]) -> Extent:
    """All values with their intervals: in a history the outlier is what is looked for."""
    figures = [each.figure for trend in members for each in trend.entries]
    ends = [
        end for each in figures for end in (each.value, each.low, each.high) if end is not None and math.isfinite(end)
    ]
    return Extent.of([(end,) for end in ends], least_span=0.02 * max(map(abs, ends)) or 1.0, keep=ends)


def _drawn(trend: Trend, places: Mapping[str, int], colour: str, symbol: str) -> list[Option]:
    across = [places[each.run.key] for each in trend.entries]
    points = [
        point((place, value), (trend.variant, value_with_unit(trend, value), f"run {each.run.run_id}"))
        for place, value, each in zip(across, trend.values, trend.entries, strict=True)
    ]
    ends = [(each.figure.low, each.figure.high) for each in trend.entries]
    arms = [
        ((place, low), (place, high))
        for place, (low, high) in zip(across, ends, strict=True)
        if low is not None and high is not None and math.isfinite(low) and math.isfinite(high)
    ]
    steps = [{"xAxis": across[step.step.index]} for step in trend.steps]
    line = {
        "type": "line",
        "name": trend.variant,
        "color": colour,
        "symbol": symbol,
        "symbolSize": 7,
        "lineStyle": {"color": colour, "width": 1.3},
        "data": points,
        **marked("markLine", steps, lineStyle={"color": colour, "type": "dashed"}),
    }
    return [bars(trend.variant, arms, colour), line]
