"""The history as a table and as a page: every series, and what of it is a proven step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes

from harness.history.figures import RunRecord
from harness.history.trends import Trend
from harness.report.history_words import day, first_run, kind, step_change_words, step_sentence, value_with_unit
from harness.report.render import TEMPLATES, Plot
from harness.report.svg import SERIES, SURFACE, name_artist, svg_of
from harness.report.tables import Table
from harness.report.variants import NONE
from harness.words.phrases import counted

_KINDS = ("worse", "changed", "better")
_KEY_CHARACTERS = 8
_MARKERS = "osD^vP"
_MOST_DATES = 6


@dataclass(frozen=True)
class HistorySection:
    """One scenario on one class of machines."""

    key: str
    scenario: str
    machine_class: str
    plots: tuple[Plot, ...]
    table: Table


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
    """The page: self-contained, without scripts and without network; the same series give the same bytes."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    style = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))  # noqa: S704 - our own file
    runs = {each.run.key: each.run for trend in trends for each in trend.entries}
    ends = sorted(run.started_at for run in runs.values())
    return environment.get_template("history.html.j2").render(
        style=style,
        steps=step_messages(trends),
        sections=[_section(caption, members) for caption, members in sections(trends)],
        summary=f"{counted(len(runs), 'run')}, {day(ends[0])} to {day(ends[-1])} UTC" if ends else "no runs",
    )


def _section(caption: str, members: Sequence[Trend]) -> HistorySection:
    key = f"s{sha256(caption.encode()).hexdigest()[:_KEY_CHARACTERS]}"
    runs = {each.run.key: each.run for trend in members for each in trend.entries}
    ordered = sorted(runs.values(), key=lambda run: (run.started_at, run.run_id, run.key))
    metrics = dict.fromkeys(trend.metric for trend in members)
    plots = [_plot([trend for trend in members if trend.metric == name], ordered, f"{key}-{name}") for name in metrics]
    return HistorySection(
        key, members[0].scenario, members[0].machine_class, tuple(plots), trends_table(members, caption)
    )


def _plot(members: Sequence[Trend], runs: Sequence[RunRecord], key: str) -> Plot:
    metric, unit = members[0].metric, members[0].entries[-1].figure.unit
    places = {run.key: place for place, run in enumerate(runs)}

    def draw(axes: Axes) -> None:
        for number, trend in enumerate(members):
            _draw(axes, trend, places, SERIES[number % len(SERIES)], _MARKERS[number // len(SERIES) % len(_MARKERS)])
        axes.set_ylabel(", ".join(filter(None, (metric.rpartition(".")[2], unit))))
        # Runs stand at equal distances: a week without any is not what a reader looks for.
        shown_runs = range(0, len(runs), max(1, math.ceil(len(runs) / _MOST_DATES)))
        axes.set_xticks(list(shown_runs), [runs[place].started_at[:10] for place in shown_runs])

    svg = svg_of(draw, 2.9, key.replace(".", "-"), f"{metric} of each variant over time")
    caption = f"{metric}: a colour for each variant (names on hovering); bars: 95 % intervals; dashed: proven steps."
    return Plot(Markup(svg), caption)  # noqa: S704 - matplotlib escapes every text that it writes


def _draw(axes: Axes, trend: Trend, places: Mapping[str, int], colour: str, marker: str) -> None:
    across = [places[each.run.key] for each in trend.entries]
    values = trend.values
    ends = [(each.figure.low, each.figure.high) for each in trend.entries]
    if any(low is not None for low, _ in ends):
        arms = [
            [max(0.0, value - (low or value)) for value, (low, _) in zip(values, ends, strict=True)],
            [max(0.0, (high or value) - value) for value, (_, high) in zip(values, ends, strict=True)],
        ]
        axes.errorbar(across, values, yerr=arms, fmt="none", ecolor=colour, elinewidth=1, alpha=0.35)
    (line,) = axes.plot(
        across, values, color=colour, linewidth=1.1, marker=marker, markersize=4, markeredgecolor=SURFACE
    )
    name_artist(line, trend.variant)
    for step in trend.steps:
        edge = axes.axvline(across[step.step.index], color=colour, linewidth=0.9, linestyle=(0, (4, 3)))
        name_artist(edge, f"{trend.variant}: {step_change_words(trend, step)}")
