"""The charts of one group: accuracy over latency, what recipes lose, latencies, and what QAT cost and bought."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from harness.report.charts import (
    INK,
    LINE,
    MUTED,
    NARROW_NAMES,
    SERIES,
    SURFACE,
    Chart,
    Extent,
    Option,
    bars,
    marked,
    name_axis,
    narrow,
    option,
    point,
    value_axis,
)
from harness.report.spots import (
    Spot,
    laid_around_fp32,
    loss_spot,
    margin_of,
    median_ends,
    median_ms,
    scale_of,
    seconds_made,
    tail_ms,
    tip,
    usual_ms,
)
from harness.results import Row
from harness.verdicts.contrast import siblings
from harness.verdicts.quality import quality
from harness.words.phrases import calibrator_name, label, level, method_name

_SYMBOLS = {"fp32": "diamond", "fp16": "pin", "bf16": "arrow", "ptq": "rect", "qat": "triangle"}
_METHOD_COLOURS = {"fp32": INK, "fp16": SERIES[2], "bf16": SERIES[3], "ptq": SERIES[0], "qat": SERIES[1]}
_LEAST_RELATIVE = 0.25
"""Smallest length of an axis of latency, relative to the median row."""
_SMALLEST_PX, _LARGEST_PX = 9, 26
_ROW_PX = 24
_FRONT = "Pareto front"
_SHIFTED = {"labelLayout": {"hideOverlap": True}}


def group_charts(rows: Sequence[Row], key: str, confidence: float) -> list[Chart]:
    """The charts that the figures of these rows allow; `key` makes ids unique on a page."""
    at = f"Bars: {level(confidence)} interval of the paired difference to FP32"
    found = [
        pareto(rows, f"{key}-pareto", at),
        losses(rows, f"{key}-losses", at),
        latencies(rows, f"{key}-latency"),
        qat_cost(rows, f"{key}-qat", at),
    ]
    return [chart for chart in found if chart is not None]


def pareto(rows: Sequence[Row], key: str, at: str) -> Chart | None:
    """Quality over median latency for rows that have both; None for fewer than two."""
    judged = [(row, found) for row in rows if (found := quality(row)) and row.latency]
    if len(judged) < 2:
        return None
    scale, spots = scale_of(judged[0][1]), [laid_around_fp32(row, found, rows) for row, found in judged]
    reference = [spot.value for spot in spots if spot.row.variant.method == "fp32"]
    medians = [median_ms(spot.row) for spot in spots]
    across = Extent.of(
        [(median,) for median in medians],
        least_span=_LEAST_RELATIVE * sorted(medians)[len(medians) // 2],
        keep=[median_ms(spot.row) for spot in spots if spot.row.variant.method == "fp32"],
    )
    up = Extent.of([spot.ends for spot in spots], least_span=scale.least_span, keep=reference)
    series = [_front(spots, across, up, judged[0][1].higher_is_better, reference, margin_of(judged, scale))]
    size = _sizes(rows)
    for name in dict.fromkeys(spot.series for spot in spots):
        series += _spots(name, [spot for spot in spots if spot.series == name], across, up, size, spots)
    # Without an icon the legend shows that of the bars, a box for every method.
    icons = {spot.series: _SYMBOLS[spot.row.variant.method] for spot in spots}
    legend: Option = {
        "data": [{"name": _FRONT}, *({"name": name, "icon": icon} for name, icon in icons.items())],
        "orient": "vertical", "right": 0, "top": 10, "textStyle": {"color": INK}, "type": "scroll",
    }  # fmt: skip
    base = option(
        grid={"left": 64, "right": 190, "top": 16, "bottom": 52},
        legend=legend,
        xAxis=value_axis("median latency, ms", across),
        yAxis=value_axis(f"{scale.name}, {scale.unit}".strip(", "), up, nameGap=44),
        series=series,
    )
    shown = narrow(
        base, grid={"right": 14, "bottom": 132}, legend={"orient": "horizontal", "top": "auto", "bottom": 0, "right": 0}
    )
    better = "Up" if judged[0][1].higher_is_better else "Down"
    caption = (
        f"{better} and to the left is better; the size of a mark is that of the engine, hollow is per-tensor. {at}, "
        "laid around FP32; across: interval of the median. Shaded: within the margin. An arrow: the row lies beyond "
        "the edge."
    )
    return Chart(key, f"{scale.name} over median latency of each variant", caption, shown, 420)


def _front(
    spots: Sequence[Spot], across: Extent, up: Extent, is_higher: bool, reference: Sequence[float], margin: float
) -> Option:
    sign = 1 if is_higher else -1
    best: list[Spot] = []
    for spot in sorted(spots, key=lambda each: (median_ms(each.row), -sign * each.value)):
        if not best or sign * spot.value > sign * best[-1].value:
            best.append(spot)
    return {
        "type": "line",
        "name": _FRONT,
        "symbol": "none",
        "silent": True,
        "color": MUTED,
        "lineStyle": {"color": MUTED, "type": "dashed", "width": 1.2},
        "data": [[across.clamped(median_ms(spot.row)), up.clamped(spot.value)] for spot in best],
        **marked("markLine", [{"yAxis": value} for value in reference], lineStyle={"color": MUTED, "type": "dotted"}),
        **marked(
            "markArea",
            [[{"yAxis": value - margin}, {"yAxis": value + margin}] for value in reference if margin],
            itemStyle={"color": LINE, "opacity": 0.5},
        ),
    }


def _spots(
    name: str, own: Sequence[Spot], across: Extent, up: Extent, size: Callable[[Row], float], every: Sequence[Spot]
) -> list[Option]:
    colour = _colour(own[0].row, [spot.row for spot in every])
    upright = [
        ((median_ms(spot.row), up.clamped(spot.low)), (median_ms(spot.row), up.clamped(spot.high))) for spot in own
    ]
    lying = [((low, spot.value), (high, spot.value)) for spot in own for low, high in median_ends(spot.row)]
    inside = [pair for pair in (*upright, *lying) if all(across.holds(x) and up.holds(y) for x, y in pair)]
    points = [
        _mark(spot, (median_ms(spot.row), spot.value), across, up, colour, symbolSize=size(spot.row)) for spot in own
    ]
    symbol = _SYMBOLS[own[0].row.variant.method]
    return [
        bars(name, inside, colour),
        {"type": "scatter", "name": name, "color": colour, "symbol": symbol, "data": points, **_SHIFTED},
    ]


def _mark(spot: Spot, place: tuple[float, float], across: Extent, up: Extent, colour: str, **more: Any) -> Option:
    """A point; an arrow at the edge with the row's name where it lies beyond."""
    x, y = place
    is_hollow = spot.row.variant.per_channel is False
    style = {"color": SURFACE if is_hollow else colour, "borderColor": colour, "borderWidth": 1.8}
    shown = point((across.clamped(x), up.clamped(y)), tip(spot.row), itemStyle=style, **more)
    if across.holds(x) and up.holds(y):
        return shown
    turn = 270 if x > across.high else 90 if x < across.low else 180 if y < up.low else 0
    where = "left" if turn == 270 else "right"
    text = f"{spot.name}: {spot.value:.4g}".replace("{", "(").replace("}", ")")  # braces are ECharts' placeholders
    name = {"show": True, "formatter": text, "position": where, "color": INK, "fontSize": 11}
    return shown | {"symbol": "arrow", "symbolRotate": turn, "symbolSize": 14, "label": name}


def losses(rows: Sequence[Row], key: str, at: str) -> Chart | None:
    """What each recipe lost against FP32, PTQ and QAT of one calibration next to each other; None without losses."""
    judged = [(row, found) for row in rows if (found := quality(row)) and found.loss is not None]
    if not judged:
        return None
    scale = scale_of(judged[0][1])
    ordered = sorted(judged, key=lambda each: _recipe(each[0]))
    spots = [loss_spot(row, found, scale) for row, found in ordered]
    margin = margin_of(judged, scale)
    along = Extent.of([spot.ends for spot in spots], least_span=scale.least_span, keep=[-margin, 0, margin])
    methods = list(dict.fromkeys(spot.row.variant.method for spot in spots))
    series: list[Option] = []
    for method in methods:
        own = [(place, spot) for place, spot in enumerate(spots) if spot.row.variant.method == method]
        series += _lying(method, own, along)
    series[-1] |= marked("markLine", [{"xAxis": 0}], lineStyle={"color": MUTED, "type": "dotted"})
    series[-1] |= marked(
        "markArea", [[{"xAxis": -margin}, {"xAxis": margin}]], itemStyle={"color": LINE, "opacity": 0.5}
    )
    unit = "points" if scale.unit == "%" else scale.unit
    shown = _by_row(spots, value_axis(f"drop of {scale.name} against FP32, {unit}".strip(", "), along), series)
    caption = f"PTQ against QAT by calibrator and granularity. Shaded: within the margin; right of it is worse. {at}."
    return Chart(key, f"Drop of {scale.name} of each variant against FP32", caption, shown, _height_px(len(spots)))


def _lying(method: str, own: Sequence[tuple[int, Spot]], along: Extent) -> list[Option]:
    colour, name = _METHOD_COLOURS[method], method_name(method)
    down = Extent(-1, len(own) + 10_000)
    arms = [((along.clamped(spot.low), place), (along.clamped(spot.high), place)) for place, spot in own]
    points = [_mark(spot, (spot.value, place), along, down, colour, symbolSize=11) for place, spot in own]
    symbol = _SYMBOLS[method]
    return [
        bars(name, arms, colour),
        {"type": "scatter", "name": name, "color": colour, "symbol": symbol, "data": points},
    ]


def latencies(rows: Sequence[Row], key: str) -> Chart | None:
    """The distribution of each variant's inferences; None when no row was timed."""
    spots = [Spot(row, *[median_ms(row)] * 3) for row in rows if row.latency is not None]
    if not spots:
        return None
    usual = [(usual_ms(spot.row),) for spot in spots]
    along = Extent.of(
        usual,
        least_span=_LEAST_RELATIVE * max(spot.value for spot in spots),
        keep=[0.0, *(spot.value for spot in spots)],
    )
    boxes, points, arms = [], [], []
    for place, spot in enumerate(spots):
        latency, colour = spot.row.latency, _METHOD_COLOURS[spot.row.variant.method]
        assert latency is not None
        parts = latency.distribution_ms
        box = list(map(along.clamped, parts)) if parts else ["-"] * 5
        boxes.append(
            {"value": box, "tip": "\n".join(tip(spot.row)), "itemStyle": {"borderColor": colour, "color": SURFACE}}
        )
        points.append(_mark(spot, (spot.value, place), along, Extent(-1, len(spots)), colour, symbolSize=8))
        arms.append(((along.clamped(spot.value), place), (along.clamped(tail_ms(spot.row)), place)))
    series = [
        {
            "type": "boxplot",
            "name": "5th to 95th",
            "color": MUTED,
            "data": boxes,
            "boxWidth": [6, 12],
            "layout": "horizontal",
        },
        bars("to the 99th", arms, MUTED),
        {"type": "scatter", "name": "median", "color": INK, "symbol": "circle", "data": points},
    ]
    axis = value_axis("latency of one inference, ms", Extent(0.0, along.high))
    shown = _by_row(spots, axis, series)
    caption = (
        "Point: median. Box: 25th to 75th percentile, whiskers: 5th to 95th, where the record has them. "
        "Line: to the 99th; it ends at the edge where that lies beyond."
    )
    return Chart(key, "Latency of each variant", caption, shown, _height_px(len(spots)))


def qat_cost(rows: Sequence[Row], key: str, at: str) -> Chart | None:
    """Loss over the seconds that making the row took, PTQ joined to its QAT; None without such a pair."""
    found = {row.variant.id: quality(row) for row in rows}
    pairs = [
        (ptq, qat)
        for ptq, qat in siblings(rows)
        if all((own := found[row.variant.id]) and own.loss is not None and seconds_made(row) for row in (ptq, qat))
    ]
    if not pairs:
        return None
    members = [row for pair in pairs for row in pair]
    judged = [(row, known) for row in members if (known := found[row.variant.id])]
    scale = scale_of(judged[0][1])
    spots = {row.variant.id: loss_spot(row, known, scale) for row, known in judged}
    margin = margin_of(judged, scale)
    up = Extent.of([each.ends for each in spots.values()], least_span=scale.least_span, keep=[0.0])
    series: list[Option] = []
    for number, (ptq, qat) in enumerate(pairs):
        series += _journey(spots[ptq.variant.id], spots[qat.variant.id], up, SERIES[number % len(SERIES)])
    series[-1] |= marked(
        "markArea", [[{"yAxis": -margin}, {"yAxis": margin}]], itemStyle={"color": LINE, "opacity": 0.5}
    )
    unit = "points" if scale.unit == "%" else scale.unit
    base = option(
        grid={"left": 64, "right": 24, "top": 16, "bottom": 110},
        legend={"bottom": 0, "textStyle": {"color": INK}, "type": "scroll"},
        xAxis=value_axis("time to calibrate, quantize and fine-tune, s", None, type="log"),
        yAxis=value_axis(f"drop of {scale.name} against FP32, {unit}".strip(", "), up, nameGap=44),
        series=series,
    )
    caption = (
        f"What QAT cost and what it bought: square, PTQ; triangle, QAT from it. Down is better. {at}; shaded: margin."
    )
    return Chart(key, f"Drop of {scale.name} over the time that PTQ and QAT took", caption, base, 400)


def _journey(ptq: Spot, qat: Spot, up: Extent, colour: str) -> list[Option]:
    name = ptq.name.removeprefix("PTQ ")
    places = [(spot, (seconds_made(spot.row), spot.value)) for spot in (ptq, qat)]
    across = Extent(0.0, float("inf"))
    arms = [((x, up.clamped(spot.low)), (x, up.clamped(spot.high))) for spot, (x, _) in places]
    points = [
        _mark(spot, place, across, up, colour, symbolSize=11, symbol=_SYMBOLS[spot.row.variant.method])
        for spot, place in places
    ]
    return [
        bars(name, arms, colour),
        {"type": "line", "name": name, "color": colour, "lineStyle": {"width": 1, "type": "dashed"}, "data": points},
    ]


def _by_row(spots: Sequence[Spot], along: Option, series: Sequence[Option]) -> Option:
    """A chart with a line for each row."""
    names = [spot.name for spot in spots]
    base = option(
        grid={"left": 230, "right": 24, "top": 34, "bottom": 46},
        legend={"top": 0, "left": "center", "textStyle": {"color": INK}},
        xAxis=along,
        yAxis=name_axis(names),
        series=list(series),
    )
    return narrow(base, grid={"left": 132, "right": 14}, yAxis=NARROW_NAMES)


def _height_px(rows: int) -> int:
    return 96 + _ROW_PX * max(rows, 3)


def _recipe(row: Row) -> tuple[str, ...]:
    """Rows of one recipe are neighbours, PTQ before QAT."""
    variant = row.variant
    name = label(variant).removeprefix(method_name(variant.method))
    return (calibrator_name(variant), str(variant.per_channel is False), name, variant.method)


def _colour(row: Row, rows: Sequence[Row]) -> str:
    """One for each calibrator."""
    names = list(dict.fromkeys(filter(None, (calibrator_name(each.variant) for each in rows))))
    own = calibrator_name(row.variant)
    return SERIES[names.index(own) % len(SERIES)] if own else INK


def _sizes(rows: Sequence[Row]) -> Callable[[Row], float]:
    """Diameter of a mark in pixels: its area is proportional to the engine's bytes."""
    largest = max((row.size.engine_bytes or 0 for row in rows if row.size), default=0)

    def size(row: Row) -> float:
        own = row.size.engine_bytes if row.size else None
        share = (own / largest) ** 0.5 if own and largest else 0.0
        return round(_SMALLEST_PX + (_LARGEST_PX - _SMALLEST_PX) * share, 1)

    return size
