"""Charts as data: options of ECharts in the colours of the page, which a few lines of script hand over to it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Option = dict[str, Any]
"""Option of ECharts, or a part of it; plain JSON."""
INK, MUTED, LINE, SURFACE = "var(--ink)", "var(--muted)", "var(--line)", "var(--surface)"
SERIES = tuple(f"var(--series-{number})" for number in range(8))
"""Okabe-Ito, safe for colour blindness; the style sheet has a set for dark pages."""
HEAT_STEPS = 8
_NARROW_PX = 560
_FENCE = 3.0
"""Quartile ranges beyond the quartiles at which outliers begin."""


@dataclass(frozen=True)
class Chart:
    """One drawing with the sentence beneath it."""

    key: str
    """Its id on the page."""
    label: str
    """For those who do not see it."""
    caption: str
    option: Option
    height_px: int = 380


@dataclass(frozen=True)
class Choice:
    """One entry of a list from which a reader chooses what some charts and tables show."""

    group: str
    name: str
    views: tuple[int, ...]
    """For each part of the chooser the number of the view; -1 where there is nothing to show."""


@dataclass(frozen=True)
class InteractivePart:
    """A chart or a table whose content is chosen."""

    key: str
    label: str
    caption: str
    views: tuple[Any, ...]
    """For a chart, what is merged into `option`; for a table, its rows."""
    option: Option | None = None
    headings: tuple[str, ...] = ()
    numeric: frozenset[int] = frozenset()
    height_px: int = 380
    zooms: bool = False


@dataclass(frozen=True)
class Chooser:
    """A list of choices and the parts that follow it."""

    key: str
    title: str
    name: str
    """Name of what is chosen."""
    choices: tuple[Choice, ...]
    parts: tuple[InteractivePart, ...]
    first: int = 0
    """Number of the choice that is shown before a reader chooses."""


@dataclass
class Views:
    """Views of one part; equal ones are kept once."""

    found: list[Any] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def add(self, view: Any) -> int:
        """Number of the view; -1 for None."""
        if view is None:
            return -1
        number = self._numbers.setdefault(json.dumps(view), len(self.found))
        if number == len(self.found):
            self.found.append(view)
        return number


@dataclass(frozen=True)
class Extent:
    """Ends of an axis: values beyond them are drawn at the edge."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[tuple[float, ...]], *, least_span: float, keep: Iterable[float] = ()) -> Extent:
        """Around all values, each with the ends of its interval, but those far from the others, and all of `keep`.

        The axis spans `least_span` or more, so that noise does not fill it, and nothing within three such spans of the
        quartiles is far.
        """
        ordered = sorted(value for value, *_ in values)
        low, high = ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]
        reach = _FENCE * max(high - low, least_span)
        near = [end for value in values if low - reach <= value[0] <= high + reach for end in value]
        near = [end for end in near if low - 2 * reach <= end <= high + 2 * reach] + list(keep)  # of few samples
        first, last = min(near), max(near)
        air = max((last - first) * 0.06, (least_span - (last - first)) / 2)
        return cls(first - air, last + air)

    @property
    def printed(self) -> Option:
        """The ends with three digits of the span, outwards."""
        step = 10.0 ** (math.floor(math.log10(self.high - self.low)) - 2)
        return {"min": math.floor(self.low / step) * step, "max": math.ceil(self.high / step) * step}

    def clamped(self, value: float) -> float:
        """The nearest place on the axis."""
        return min(max(value, self.low), self.high)

    def holds(self, value: float) -> bool:
        """Whether the value lies on the axis."""
        return self.low <= value <= self.high


def option(**parts: Any) -> Option:
    """The common part of every chart, and `parts`."""
    return {
        "animation": False,
        "textStyle": {"fontFamily": "system-ui, sans-serif", "color": INK},
        "tooltip": {"confine": True, "borderColor": LINE, "backgroundColor": SURFACE, "textStyle": {"color": INK}},
        **parts,
    }


NARROW_NAMES = {"axisLabel": {"width": 122, "overflow": "break", "fontSize": 10, "lineHeight": 11}}
"""Changes to a `name_axis` on narrow screens: names on two lines rather than cut off."""


def narrow(base: Option, **parts: Any) -> Option:
    """The same chart with `parts` merged in on narrow screens, and taken back when they become wide."""
    wide = {name: base[name] for name in parts}
    return {"baseOption": base, "media": [{"query": {"maxWidth": _NARROW_PX}, "option": parts}, {"option": wide}]}


def value_axis(name: str, extent: Extent | None = None, **more: Any) -> Option:
    """An axis of numbers; without an extent it begins at zero."""
    ends = {} if extent is None else extent.printed
    return {
        "type": "value",
        "name": name,
        "nameLocation": "middle",
        "nameGap": 30,
        "nameTextStyle": {"color": INK},
        "axisLabel": {
            "color": INK,
            "hideOverlap": True,
            "showMinLabel": extent is None or extent.low == 0,  # ends of our own are no round numbers
            "showMaxLabel": extent is None,
        },
        "axisLine": {"show": True, "lineStyle": {"color": MUTED}},
        "splitLine": {"lineStyle": {"color": LINE}},
        **ends,
        **more,
    }


def name_axis(names: Sequence[str], **more: Any) -> Option:
    """An axis with one place for each name, the first on top or on the left."""
    label = {"color": INK, "interval": 0, "width": 210, "overflow": "truncate"}
    return {
        "type": "category",
        "data": list(names),
        "inverse": True,
        "axisTick": {"show": False},
        "axisLine": {"lineStyle": {"color": MUTED}},
        "axisLabel": label | {"fontSize": 12, "lineHeight": 13},
        **more,
    }


def point(place: Sequence[float | int], tip: Iterable[str], **more: Any) -> Option:
    """A drawn item; `tip` is shown line by line while the pointer is on it."""
    return {"value": list(place), "tip": "\n".join(filter(None, tip)), **more}


def cell(place: Sequence[float | int], tip: Iterable[str], colour: str, **more: Any) -> Option:
    """An item of a heat map, in a colour of its own: those of the page, and so of its dark and printed forms."""
    return point(
        place, tip, visualMap=False, itemStyle={"color": colour, "borderColor": SURFACE, "borderWidth": 1}, **more
    )


def heat_map(cells: Sequence[Option], **style: Any) -> Option:
    """The parts of a chart that draw `cells`; ECharts asks for a scale of numbers, which is not shown."""
    return {
        "visualMap": {"show": False, "min": 0, "max": 1, "inRange": {"color": ["#888888"]}},
        "series": [{"type": "heatmap", "data": list(cells), **style}],
    }


def bars(name: str, ends: Iterable[tuple[Sequence[float], Sequence[float]]], colour: str) -> Option:
    """Intervals as lines from one place to another."""
    return {
        "type": "lines",
        "coordinateSystem": "cartesian2d",
        "name": name,
        "silent": True,
        "data": [{"coords": [list(start), list(end)]} for start, end in ends],
        "lineStyle": {"color": colour, "width": 1.5, "opacity": 0.6},
    }


def marked(kind: str, data: Sequence[Any], **style: Any) -> Mapping[str, Any]:
    """A `markLine` or `markArea` that does not react to the pointer."""
    return {kind: {"silent": True, "symbol": "none", "label": {"show": False}, "data": list(data), **style}}


def heat(share: float) -> str:
    """Colour for 0 (the page's surface) to 1 (the strongest)."""
    return f"var(--heat-{round(min(max(share, 0.0), 1.0) * (HEAT_STEPS - 1))})"
