"""The catalogue of figures: what each is called, means and is measured in, and how it is read from a row.

Reports, CSV, gates, history, comparisons of two runs and the page `docs/figures.md` all read it. A figure of a metric
without a section of its own is described by its metric's class, and stands as `metrics.NAME`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import chain

from harness.figures.accuracy import TOP1, TOP5, accuracy_figures
from harness.figures.base import METRICS, SHARE_MARGIN, TIME_MARGIN, Figure, FigureValue, Margin
from harness.figures.own import AGREEMENT, metric_figure, own_figure
from harness.figures.parity import direct_figures, step_figures
from harness.figures.performance import MEDIAN, SPEEDUP, coverage_figures, latency_figures, size_figures
from harness.figures.resources import cost_figures, energy_figures, load_figures, memory_figures
from harness.results import Row

__all__ = [
    "AGREEMENT",
    "MEDIAN",
    "METRICS",
    "SHARE_MARGIN",
    "SPEEDUP",
    "TIME_MARGIN",
    "TOP1",
    "TOP5",
    "Figure",
    "FigureValue",
    "Margin",
    "catalog",
    "figure",
    "figures_of",
    "find",
    "header",
    "heading",
    "metric_figure",
    "read",
    "section_reason",
    "short_names",
]
_SECTIONS = (
    *(accuracy_figures, latency_figures, size_figures, coverage_figures, direct_figures),
    *(memory_figures, energy_figures, load_figures, cost_figures),
)


@cache
def catalog() -> Mapping[str, Figure]:
    """Every figure that the sections of a row may hold, by its dotted name."""
    sections = chain.from_iterable(figures() for figures in _SECTIONS)
    return {figure.name: figure for figure in (*sections, *step_figures())}


def figure(name: str) -> Figure:
    """One of the catalogue by its dotted name; KeyError for any other."""
    return catalog()[name]


def heading(name: str) -> str:
    """Heading of the column of one figure: its header, with the unit where cells do not show it."""
    return figure(name).heading


def header(name: str) -> str:
    """The same without the unit."""
    return figure(name).header


def find_figure(row: Row, name: str) -> Figure | None:
    """A figure by its dotted name: of the catalogue, or of a metric that this row has."""
    section, _, rest = name.partition(".")
    if section != METRICS:
        return catalog().get(name)
    metric = row.metrics.get(rest)
    return None if metric is None else own_figure(rest, metric)


def figures_of(row: Row) -> Iterator[Figure]:
    """The catalogue, and the figures of the metrics that this row has."""
    yield from catalog().values()
    for name, metric in row.metrics.items():
        yield own_figure(name, metric)


def read(row: Row, name: str, *, confidence: float = 0.95) -> FigureValue | None:
    """One figure of a row by its dotted name, or None when the row does not have it.

    `confidence` is that of the run: for intervals that its record does not hold.
    """
    found = find_figure(row, name)
    return None if found is None else found.read(row, confidence)


@cache
def short_names() -> Mapping[str, str]:
    """Last parts that name one figure only, and its dotted name: `speedup` is `latency.speedup`.

    A figure that lies deeper in its section than another of the same last part is named in full.
    """
    found: dict[str, list[str]] = {}
    for each in chain.from_iterable(figures() for figures in _SECTIONS):
        found.setdefault(each.leaf, []).append(each.name)
    return {leaf: name for leaf, names in sorted(found.items()) if (name := _shallowest(names)) is not None}


def _shallowest(names: Sequence[str]) -> str | None:
    depths = [name.count(".") for name in names]
    return names[depths.index(min(depths))] if depths.count(min(depths)) == 1 else None


def section_reason(row: Row, name: str) -> str:
    """Why a row lacks a figure, for a reader."""
    if row.reason is not None and row.status != "ok":
        return f"{row.status}: {row.reason}"
    if row.status != "ok":
        return f"the row is {row.status}"
    return f"the row has no `{name}`: it was not measured"
