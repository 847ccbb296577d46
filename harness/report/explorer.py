"""What a reader looks into one at a time: a variant's layers and mistakes, a tensor's histogram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.report.accuracy_tables import class_name
from harness.report.charts import (
    INK,
    MUTED,
    SERIES,
    Choice,
    Chooser,
    Extent,
    InteractivePart,
    Option,
    Views,
    bars,
    cell,
    heat,
    heat_map,
    marked,
    name_axis,
    narrow,
    option,
    point,
    value_axis,
)
from harness.report.layer_views import (
    LAYER_HEADINGS,
    LAYER_NUMERIC,
    OPTIONAL_COLUMNS,
    graph,
    graph_base,
    graph_height_px,
    heat_map_height_px,
    layer_rows,
    noise_map,
    precision_map,
    time_map,
)
from harness.report.variants import NONE, Group
from harness.results import CalibratedTensor, Calibration, ClassAccuracy, Row, RunResults
from harness.words.phrases import calibrator_name, label, level, three_digits

_MOST_CLASSES = 20
"""Most classes in a matrix or list: those with the most mistakes."""
_MOST_MARKS = 12
"""Ranges that are drawn into one histogram."""


def choosers(results: RunResults, groups: Sequence[Group]) -> list[Chooser]:
    """Those for which the record holds anything."""
    found = [_layers(results, groups), _mistakes(results, groups), _calibration(results)]
    return [each for each in found if each is not None]


def _layers(results: RunResults, groups: Sequence[Group]) -> Chooser | None:
    networks = {network.model: network for network in results.networks}
    graphs, precisions, times, noise, rows = Views(), Views(), Views(), Views(), Views()
    choices = []
    for group in groups:
        maps = (precisions.add(precision_map(group)), times.add(time_map(group)), noise.add(noise_map(group)))
        for row in group.rows:
            if row.coverage is None:
                continue
            network = networks.get(row.variant.model)
            drawn = None if network is None else graph(network, group.rows, row)
            choices.append(
                Choice(group.title, label(row.variant), (graphs.add(drawn), *maps, rows.add(layer_rows(row))))
            )
    if not choices:
        return None
    height = heat_map_height_px(groups)
    colours = "Colours as in the legend above"
    parts = (
        InteractivePart(
            "layers-graph", "The network as a graph, coloured by executed precision",
            f"{colours}; scroll or pinch to zoom, drag to move.",
            tuple(graphs.found), option=graph_base(), height_px=graph_height_px(results.networks), zooms=True,
        ),
        InteractivePart(
            "layers-precision", "Executed precision of every layer that multiplies, by variant",
            f"All variants of the group. {colours}.", tuple(precisions.found), option={}, height_px=height,
        ),
        InteractivePart(
            "layers-time", "Time of every layer, by variant",
            "As the engine's own profiler tells it: the darker, the longer. Profiling slows an engine, so that the "
            "layers do not add up to the latency; compare shares.",
            tuple(times.found), option={}, height_px=height,
        ),
        InteractivePart(
            "layers-noise", "Signal-to-noise ratio of every layer, by variant",
            "Each layer's own error; the darker, the more noise (10 dB and below to 50 dB and above).",
            tuple(noise.found), option={}, height_px=height,
        ),
        _table_of_layers(rows.found),
    )  # fmt: skip
    return Chooser("layers", "Layer by layer", "Variant", tuple(choices), parts, _first_quantized(choices))


def _table_of_layers(views: Sequence[list[list[str]]]) -> InteractivePart:
    """The layers of a variant at a time, without columns that no variant fills."""
    empty = {place for place in OPTIONAL_COLUMNS if all(row[place] == NONE for rows in views for row in rows)}
    columns = [place for place in range(len(LAYER_HEADINGS)) if place not in empty]
    return InteractivePart(
        "layers-table",
        "Layers of the engine",
        "",
        tuple([[row[place] for place in columns] for row in rows] for rows in views),
        headings=tuple(LAYER_HEADINGS[place] for place in columns),
        numeric=frozenset(number for number, place in enumerate(columns) if place in LAYER_NUMERIC),
    )


def _first_quantized(choices: Sequence[Choice]) -> int:
    """FP32 has the least to show."""
    return next((place for place, choice in enumerate(choices) if not choice.name.startswith("FP")), 0)


def _mistakes(results: RunResults, groups: Sequence[Group]) -> Chooser | None:
    matrices, lost = Views(), Views()
    choices = []
    for group in groups:
        fp32 = next((row for row in group.rows if row.variant.method == "fp32"), None)
        for row in group.rows:
            views = (matrices.add(_confusion(row, fp32)), lost.add(_classes(row)))
            if max(views) >= 0:
                choices.append(Choice(group.title, label(row.variant), views))
    if not choices:
        return None
    at = f"bars: {level(results.confidence)} interval of each class alone"
    parts = (
        InteractivePart(
            "mistakes-confusion", "Test samples of one class that were predicted as another",
            "Down: the true class; across: what was predicted. On a cell: the same of FP32.",
            tuple(matrices.found), option={}, height_px=560,
        ),
        InteractivePart(
            "mistakes-classes", "Loss of recall against FP32 by class",
            f"Right of zero: the class lost. The classes that moved most; {at}, so some leave zero by chance. What is "
            "proven stands under “Classes that lose”.",
            tuple(lost.found), option={}, height_px=520,
        ),
    )  # fmt: skip
    return Chooser(
        "mistakes", "Which classes are mistaken", "Variant", tuple(choices), parts, _first_quantized(choices)
    )


def _confusion(row: Row, fp32: Row | None) -> Option | None:
    if row.accuracy is None or not row.accuracy.confusions:
        return None
    names = {each.label: class_name(each) for each in row.accuracy.classes}
    mistakes: dict[int, int] = {}
    for each in row.accuracy.confusions:
        for number in (each.label, each.predicted):
            mistakes[number] = mistakes.get(number, 0) + each.n
    shown = sorted(sorted(mistakes, key=lambda number: -mistakes[number])[:_MOST_CLASSES])
    places = {number: place for place, number in enumerate(shown)}
    inside = [each for each in row.accuracy.confusions if each.label in places and each.predicted in places]
    most = max((each.n for each in inside), default=1)
    before = _counts(fp32)
    cells = [
        cell(
            (places[each.predicted], places[each.label], each.n),
            (
                f"{names.get(each.label, each.label)} taken for {names.get(each.predicted, each.predicted)}: {each.n}",
                "" if before is None or row is fp32 else f"FP32: {before.get((each.label, each.predicted), 0)}",
            ),
            heat(each.n / most),
            label={"color": "var(--heat-text)" if each.n > most / 2 else INK},
        )
        for each in inside
    ]
    texts = [str(names.get(number, number)) for number in shown]
    base = option(
        grid={"left": 130, "right": 16, "top": 10, "bottom": 110},
        xAxis={
            **name_axis(
                texts, inverse=False, name="predicted", nameLocation="middle", nameGap=92, nameTextStyle={"color": INK}
            ),
            "axisLabel": {"rotate": 50, "color": INK, "interval": 0, "width": 100, "overflow": "truncate"},
        },
        yAxis=name_axis(texts, axisLabel={"color": INK, "interval": 0, "width": 118, "overflow": "truncate"}),
        **heat_map(cells, label={"show": True, "fontSize": 10}),
    )
    return narrow(base, grid={"left": 92, "right": 6}, yAxis={"axisLabel": {"width": 84}})


def _counts(row: Row | None) -> dict[tuple[int, int], int] | None:
    if row is None or row.accuracy is None or not row.accuracy.confusions:
        return None
    return {(each.label, each.predicted): each.n for each in row.accuracy.confusions}


def _classes(row: Row) -> Option | None:
    compared = [each for each in (row.accuracy.classes if row.accuracy else ()) if each.drop is not None]
    if not compared:
        return None
    moved = sorted(compared, key=lambda each: -abs(each.drop or 0.0))[:_MOST_CLASSES]
    shown = sorted(moved, key=lambda each: -(each.drop or 0.0))
    colour = SERIES[1]
    zero = marked("markLine", [{"xAxis": 0}], lineStyle={"color": MUTED})
    ends = [tuple(100 * end for end in (each.drop or 0.0, *interval)) for each in shown for interval in _ends(each)]
    along = Extent.of(ends or [(0.0,)], least_span=1.0, keep=[0.0, *((each.drop or 0.0) * 100 for each in shown)])
    points = [point(((each.drop or 0.0) * 100, place), _class_tip(each)) for place, each in enumerate(shown)]
    arms = [
        ((along.clamped(low * 100), place), (along.clamped(high * 100), place))
        for place, each in enumerate(shown)
        for low, high in _ends(each)
    ]
    base = option(
        grid={"left": 150, "right": 20, "top": 10, "bottom": 46},
        xAxis=value_axis("loss of recall against FP32, points", along),
        yAxis=name_axis(
            [class_name(each) for each in shown],
            axisLabel={"color": INK, "interval": 0, "width": 136, "overflow": "truncate"},
        ),
        series=[
            bars("interval", arms, colour),
            {"type": "scatter", "name": "loss", "color": colour, "symbolSize": 9, "data": points, **zero},
        ],
    )
    return narrow(base, grid={"left": 104}, yAxis={"axisLabel": {"width": 92}})


def _ends(found: ClassAccuracy) -> list[tuple[float, float]]:
    ends = found.comparison.loss_interval if found.comparison else None
    return [ends] if ends else []


def _class_tip(found: ClassAccuracy) -> tuple[str, ...]:
    lost = f"recall {found.recall * 100:.2f} %, lost {(found.drop or 0.0) * 100:.2f} points"
    return (class_name(found), lost, f"{found.n:,} samples")


def _calibration(results: RunResults) -> Chooser | None:
    rows = {row.variant.id: row for row in results.rows}
    views, choices = Views(), []
    for each in results.calibrations:
        names = _range_names(each, rows)
        for tensor in each.tensors:
            view = views.add(
                _histogram(tensor, [(name, amax[tensor.name]) for name, amax in names if tensor.name in amax])
            )
            choices.append(Choice(f"{each.model} on {each.place}", tensor.name, (view,)))
    if not choices:
        return None
    part = InteractivePart(
        "calibration-histogram",
        "Histogram of an activation in the calibration samples, with the range of each calibrator",
        "Absolute values, on a logarithmic scale of counts. What lies right of a calibrator's line is clipped to it; "
        "the farther right the line, the coarser the steps of all other values.",
        tuple(views.found),
        option={},
    )
    return Chooser("calibration", "Calibration", "Tensor", tuple(choices), (part,))


def _range_names(found: Calibration, rows: dict[str, Row]) -> list[tuple[str, dict[str, float]]]:
    """Calibrators, and QAT rows whose training moved the ranges; each with its ranges."""
    names: list[tuple[str, dict[str, float]]] = []
    for ranges in found.ranges:
        variants = [rows[name].variant for name in ranges.variants if name in rows]
        ptq = [variant for variant in variants if variant.method == "ptq"]
        words = [calibrator_name(variant) for variant in ptq] or [label(variant) for variant in variants]
        names += [(name, ranges.amax) for name in words[:1]]
    return names[:_MOST_MARKS]


def _histogram(tensor: CalibratedTensor, ranges: Sequence[tuple[str, float]]) -> Option:
    largest = max(abs(tensor.minimum), abs(tensor.maximum))
    width = largest / len(tensor.counts) if tensor.counts else 1.0
    most = max(tensor.counts, default=1)
    steps: list[Any] = [[float(f"{place * width:.4g}"), count or 0.5] for place, count in enumerate(tensor.counts)]
    last = [[float(f"{largest:.4g}"), steps[-1][1]]] if steps else []
    area = {
        "type": "line",
        "name": "values",
        "step": "end",
        "symbol": "none",
        "silent": True,
        "color": MUTED,
        "lineStyle": {"color": MUTED, "width": 1},
        "areaStyle": {"color": MUTED, "opacity": 0.25, "origin": "start"},
        "data": [*steps, *last],
    }
    marks = [
        _range(name, amax, most, SERIES[number % len(SERIES)], number) for number, (name, amax) in enumerate(ranges)
    ]
    far = max((amax for _, amax in ranges), default=largest)
    base = option(
        grid={"left": 60, "right": 24, "top": 64, "bottom": 46},
        legend={"top": 0, "textStyle": {"color": INK}, "type": "scroll", "left": "center"},
        xAxis=value_axis(
            "|x|",
            None,
            min=0,
            max=float(f"{max(far, largest) * 1.03:.3g}"),
            axisLabel={"color": INK, "showMaxLabel": False},
        ),
        yAxis={**value_axis("values", None, nameGap=40), "type": "log", "min": 0.5, "splitLine": {"show": False}},
        series=[area, *marks],
    )
    base["title"] = {
        "text": f"{tensor.n:,} values from {three_digits(tensor.minimum)} to {three_digits(tensor.maximum)}",
        "top": 28, "left": "center", "textStyle": {"color": MUTED, "fontSize": 12, "fontWeight": "normal"},
    }  # fmt: skip
    return base


def _range(name: str, amax: float, most: int, colour: str, number: int) -> Option:
    tip = (name, f"range to {three_digits(amax)}")
    return {
        "type": "line",
        "name": f"{name}: {three_digits(amax)}",
        "color": colour,
        "lineStyle": {"color": colour, "width": 2, "type": ("solid", "dashed", "dotted")[number % 3]},
        "symbol": "circle",
        "symbolSize": 7,
        "data": [point((amax, 0.5), tip), point((amax, most), tip)],
    }
