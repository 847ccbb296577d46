"""What a figure is: its name, unit and direction, what it means, and how it is read from a row."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeVar

from harness.results import ConfidenceInterval, PairedComparison, Record, Row
from harness.stats.terms import ChangeKind

METRICS: Final = "metrics"
"""First part of the names of figures that have no section of their own."""
Better = Literal["higher", "lower"]
_Section = TypeVar("_Section", bound=Record)


class FigureValue(NamedTuple):
    """A figure of one row, and its interval; None where it is exact or none is known."""

    value: float
    interval: ConfidenceInterval | None = None


Read = Callable[[Row, float], FigureValue | None]
"""From a row and the confidence of its run, for intervals that the record does not hold."""


@dataclass(frozen=True)
class Margin:
    """Change from one run to another that still counts as the same."""

    kind: ChangeKind
    """`difference`: new - old, in the unit of the figure. `ratio`: new / old - 1."""
    size: float
    ceiling: float = math.inf
    """Above it, one value is as good as another."""


@dataclass(frozen=True)
class Figure:
    """A kind of figure: all that tables, files, gates and comparisons need to know of it."""

    name: str
    """Dotted, as gates have it: the section of the row comes first."""
    header: str
    """Heading of its column in a table."""
    unit: str
    """`ms`, `B`, `share` (a fraction of 1), `x` (a multiple) and so on; empty where it has none."""
    better: Better | None
    """None where more is neither better nor worse."""
    definition: str
    """One sentence."""
    read: Read
    margin: Margin | None = None
    """By default; the scenario's or the metric's own comes first. None: the figure is followed on request only."""
    words: str = ""
    """What sentences call it; empty: by its name."""
    column: str = ""
    """In `results.csv`; empty: the figure is not there."""
    has_interval: bool = False
    """Its record may hold an interval."""
    is_difference: bool = False
    """It is a difference of two figures of its unit: of shares, it is printed in points."""
    compares_with_fp32: bool = False
    """It is a comparison with FP32 by itself, and the FP32 row does not have it."""
    carries_verdict: bool = False
    """The verdict of its section is about it."""
    from_speedup: Literal["time", "rate"] | None = None
    """A time or a rate of one session: as a multiple of FP32's it is known from the rounds that both shared. Figures
    of two sessions are never compared themselves, but as such multiples."""

    @property
    def section(self) -> str:
        """First part of the name: the attribute of the row that holds the figure."""
        return self.name.partition(".")[0]

    @property
    def leaf(self) -> str:
        """Last part of the name."""
        return self.name.rpartition(".")[2]

    @property
    def heading(self) -> str:
        """Header with the unit, as tables have it; cells show the sign of a percentage, a multiple and bytes."""
        if self.is_difference and self.unit == "share":
            return f"{self.header}, points"
        return self.header if self.unit in ("", "share", "x", "B") else f"{self.header}, {self.unit}"

    @property
    def is_exact(self) -> bool:
        """Whether it comes out alike however often it is taken."""
        return self.section in ("size", "coverage", "parity")

    @property
    def varies_with_samples(self) -> bool:
        """Whether its interval is that of sampling the test samples, which are the same in every run."""
        return self.section in ("accuracy", "parity")

    @property
    def higher_is_better(self) -> bool | None:
        """None where more is neither better nor worse."""
        return None if self.better is None else self.better == "higher"


SHARE_MARGIN: Final = Margin("difference", 0.005)
"""Half a point."""
TIME_MARGIN: Final = Margin("ratio", 0.01)


def reading(
    section: Callable[[Row], _Section | None],
    value: Callable[[_Section], float | None],
    interval: Callable[[_Section], ConfidenceInterval | None] = lambda _: None,
) -> Read:
    """Reads one value, and its interval, of a section that a row may lack."""

    def read(row: Row, confidence: float) -> FigureValue | None:
        record = section(row)
        found = None if record is None else value(record)
        return None if record is None or found is None else FigureValue(float(found), interval(record))

    return read


def loss_interval(comparison: PairedComparison | None) -> ConfidenceInterval | None:
    """Interval of the loss."""
    if comparison is None or comparison.interval is None or comparison.loss_interval is None:
        return None
    return ConfidenceInterval.of(comparison.loss_interval, comparison.interval.confidence)


def wilson(share: float, n: int, confidence: float) -> FigureValue:
    """A share of n samples whose record holds no interval."""
    from harness.stats.intervals import wilson_interval  # imports scipy

    if not n:
        return FigureValue(share)
    return FigureValue(share, ConfidenceInterval.of(wilson_interval(round(share * n), n, confidence), confidence))
