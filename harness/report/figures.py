"""The plots of a report: accuracy over latency, drops of accuracy, latencies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from harness.report.svg import INK, LINE, MUTED, SERIES, SURFACE, name_artist, svg_of
from harness.results import Interval, Row
from harness.words.phrases import calibrator_name, label, margin_points, method_name

_MARKERS = {"fp32": "D", "fp16": "X", "bf16": "P", "ptq": "s", "qat": "^"}
_DASHES = (0, (4, 3))
_STEPS = [1, 2, 5, 10]
_LONGEST_NAME = 40
_MIN_SPAN_POINTS = 1.0
"""Smallest length of an accuracy axis, so that noise does not fill it."""
_MIN_RELATIVE_SPAN = 0.15
"""Smallest length of the latency axis, relative to the slowest row."""


@dataclass(frozen=True)
class Marking:
    """How one row is drawn: shape for the method, colour for the calibrator, hollow for per-tensor."""

    shape: str
    colour: str
    is_hollow: bool


@dataclass(frozen=True)
class Bar:
    """A value with the ends of its interval, in the units of its axis."""

    value: float
    low: float
    high: float


def accuracy_latency(rows: Sequence[Row], key: str) -> str | None:
    """Top-1 over median latency for rows that have both; None for fewer than two. `key` makes ids unique on a page.

    Bars are the interval of the paired difference to FP32, laid around FP32's top-1, since that is what verdicts rest
    on; a row without it shows the interval of its own top-1.
    """
    shown = [row for row in rows if row.accuracy is not None and row.latency is not None]
    if len(shown) < 2:
        return None

    def draw(axes: Axes) -> None:
        marks = _markings(shown)
        baseline, margin = _baseline(rows)
        if baseline is not None:
            axes.axhline(baseline, color=MUTED, linewidth=0.9, linestyle=_DASHES, zorder=1)
            axes.axhspan(baseline - margin, baseline, color=LINE, alpha=0.55, linewidth=0, zorder=0)
        bars = [_top1_bar(row, baseline) for row in shown]
        for row, bar, mark in zip(shown, bars, marks, strict=True):
            _draw_upright(axes, _median(row), bar, mark, label(row.variant))
        axes.set_ylim(_limits([end for bar in bars for end in (bar.low, bar.high)], _MIN_SPAN_POINTS))
        medians = [_median(row) for row in shown]
        axes.set_xlim(_limits(medians, _MIN_RELATIVE_SPAN * max(medians)))
        axes.set_xlabel("median latency, ms")
        axes.set_ylabel("top-1, %")
        axes.xaxis.set_major_locator(MaxNLocator(7, steps=_STEPS))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
        _add_legend(axes, shown, marks, None if baseline is None else margin)

    return svg_of(draw, 3.6, key, "Top-1 over median latency of each variant")


def drops(rows: Sequence[Row], key: str) -> str | None:
    """Drop of top-1 against FP32 with its interval, one line per row; None when no row has one."""
    shown = [row for row in rows if row.accuracy is not None and row.accuracy.drop is not None]
    if not shown:
        return None

    def draw(axes: Axes) -> None:
        _, margin = _baseline(rows)
        axes.axvline(0, color=MUTED, linewidth=0.9, linestyle=_DASHES, zorder=1)
        axes.axvspan(-margin, margin, color=LINE, alpha=0.55, linewidth=0, zorder=0)
        bars = [_drop_bar(row) for row in shown]
        for place, (row, bar, mark) in enumerate(zip(shown, bars, _markings(shown), strict=True)):
            _draw_lying(axes, place, bar, mark, label(row.variant))
        ends = [end for bar in bars for end in (bar.low, bar.high)]
        axes.set_xlim(_limits([-margin, margin, *ends], _MIN_SPAN_POINTS))
        axes.set_xlabel("drop of top-1 against FP32, points")
        _name_rows(axes, shown)

    return svg_of(draw, _height_inch(shown), key, "Drop of top-1 of each variant against FP32")


def latencies(rows: Sequence[Row], key: str) -> str | None:
    """Median latency as bars from zero, with the 90th percentile as a tick; None when no row has one."""
    shown = [row for row in rows if row.latency is not None]
    if not shown:
        return None
    colours = {"fp32": MUTED, "fp16": SERIES[2], "bf16": SERIES[2], "ptq": SERIES[0], "qat": SERIES[1]}

    def draw(axes: Axes) -> None:
        for place, row in enumerate(shown):
            colour = colours[row.variant.method]
            (bar,) = axes.barh(place, _median(row), height=0.62, color=colour, linewidth=0, zorder=2)
            name_artist(bar, label(row.variant))
            p90 = row.latency.p90_ms if row.latency else None
            if p90 is not None:
                axes.plot([p90, p90], [place - 0.31, place + 0.31], color=INK, linewidth=1.4, zorder=3)
        axes.set_xlim(left=0)
        axes.set_xlabel("median latency, ms (line: 90th percentile)")
        _name_rows(axes, shown)

    return svg_of(draw, _height_inch(shown), key, "Median latency of each variant")


def _height_inch(rows: Sequence[Row]) -> float:
    return 0.75 + 0.25 * len(rows)


def _name_rows(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_yticks(range(len(rows)), [_shortened(label(row.variant)) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _shortened(name: str) -> str:
    """A long skip set must not take the plot's room; the hover title has it in full."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _markings(rows: Sequence[Row]) -> list[Marking]:
    names = list(dict.fromkeys(filter(None, (calibrator_name(row.variant) for row in rows))))
    colours = {name: SERIES[index % len(SERIES)] for index, name in enumerate(names)}
    return [
        Marking(
            shape=_MARKERS[row.variant.method],
            colour=colours.get(calibrator_name(row.variant), INK),
            is_hollow=row.variant.per_channel is False,
        )
        for row in rows
    ]


def _draw_upright(axes: Axes, x: float, bar: Bar, mark: Marking, name: str) -> None:
    if bar.low < bar.high:
        arms = [[bar.value - bar.low], [bar.high - bar.value]]
        axes.errorbar(x, bar.value, yerr=arms, fmt="none", ecolor=mark.colour, elinewidth=1, capsize=2, alpha=0.5)
    _draw_point(axes, x, bar.value, mark, name)


def _draw_lying(axes: Axes, y: float, bar: Bar, mark: Marking, name: str) -> None:
    if bar.low < bar.high:
        arms = [[bar.value - bar.low], [bar.high - bar.value]]
        axes.errorbar(bar.value, y, xerr=arms, fmt="none", ecolor=mark.colour, elinewidth=1.4, capsize=2.5, alpha=0.7)
    _draw_point(axes, bar.value, y, mark, name)


def _draw_point(axes: Axes, x: float, y: float, mark: Marking, name: str) -> None:
    face = SURFACE if mark.is_hollow else mark.colour
    (point,) = axes.plot(
        x, y, marker=mark.shape, markersize=6.2, color=mark.colour, markerfacecolor=face, linestyle="none", zorder=3
    )
    name_artist(point, name)


def _add_legend(axes: Axes, rows: Sequence[Row], marks: Sequence[Marking], margin: float | None) -> None:
    entries: list[Artist] = [*_legend_entries(rows, marks)]
    if margin is not None:
        entries.append(Line2D([], [], color=MUTED, linewidth=0.9, linestyle=_DASHES, label="level of FP32"))
        entries.append(Patch(facecolor=LINE, alpha=0.55, label=f"margin, {margin_points(margin / 100)} points"))
    axes.legend(
        handles=entries,
        loc="upper left",
        bbox_to_anchor=(1.02, 1.02),
        frameon=False,
        borderaxespad=0,
        handletextpad=0.6,
        labelspacing=0.45,
    )


def _legend_entries(rows: Sequence[Row], marks: Sequence[Marking]) -> Iterator[Line2D]:
    for method in dict.fromkeys(row.variant.method for row in rows):
        yield _legend_entry(_MARKERS[method], INK, INK, method_name(method))
    calibrators = [calibrator_name(row.variant) for row in rows]
    for name, colour in dict(zip(calibrators, (mark.colour for mark in marks), strict=True)).items():
        if name:
            yield _legend_entry("o", colour, colour, name)
    if any(mark.is_hollow for mark in marks):
        yield _legend_entry("o", MUTED, MUTED, "filled: per-channel")
        yield _legend_entry("o", MUTED, SURFACE, "hollow: per-tensor")


def _legend_entry(shape: str, colour: str, face: str, name: str) -> Line2D:
    return Line2D(
        [], [], marker=shape, markersize=6.2, color=colour, markerfacecolor=face, linestyle="none", label=name
    )


def _baseline(rows: Sequence[Row]) -> tuple[float | None, float]:
    """FP32's top-1 in percent, and the margin in points."""
    tops = [row.accuracy.top1 * 100 for row in rows if row.variant.method == "fp32" and row.accuracy is not None]
    compared = [row.accuracy.comparison for row in rows if row.accuracy is not None and row.accuracy.comparison]
    margins = [each.margin * 100 for each in compared if each.margin]
    return (tops[0] if tops else None), max(margins, default=0.0)


def _top1_bar(row: Row, baseline: float | None) -> Bar:
    assert row.accuracy is not None
    value = row.accuracy.top1 * 100
    if row.variant.method == "fp32" and baseline is not None:
        return Bar(value, value, value)
    ends = _drop_ends(row)
    if ends is not None and baseline is not None:
        low, high = ends
        return Bar(value, min(value, baseline - high * 100), max(value, baseline - low * 100))
    low, high = row.accuracy.top1_interval.ends
    return Bar(value, low * 100, high * 100)


def _drop_ends(row: Row) -> Interval | None:
    compared = None if row.accuracy is None else row.accuracy.comparison
    return None if compared is None else compared.loss_interval


def _drop_bar(row: Row) -> Bar:
    assert row.accuracy is not None and row.accuracy.drop is not None
    value = row.accuracy.drop * 100
    low, high = _drop_ends(row) or (row.accuracy.drop, row.accuracy.drop)
    return Bar(value, min(value, low * 100), max(value, high * 100))


def _median(row: Row) -> float:
    assert row.latency is not None
    return row.latency.median_ms


def _limits(values: Sequence[float], least_span: float) -> tuple[float, float]:
    """Ends of an axis that holds all values with air around them and is never shorter than `least_span`."""
    low, high = min(values), max(values)
    air = max((high - low) * 0.08, (least_span - (high - low)) / 2)
    return low - air, high + air
