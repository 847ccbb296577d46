"""How the layers of each variant are executed: as a table, as heat maps and as the network's graph."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from harness.report.charts import INK, LINE, NARROW_NAMES, Option, cell, heat, heat_map, name_axis, narrow, option
from harness.report.parity_tables import decibels
from harness.report.tables import with_types
from harness.report.variants import NONE, Group
from harness.results import Layer, LayerParity, Network, Row
from harness.results.engine import precision_name
from harness.words.phrases import label, percent

_MERGED = "merged"
_PRECISIONS = {
    "INT8": "var(--int8)",
    "FP16": "var(--fp16)",
    "BF16": "var(--bf16)",
    "FP32": "var(--fp32)",
    "other": "var(--other)",
    _MERGED: "var(--merged)",
}
"""Colours of what a layer computes in; `merged`: the engine has no layer of this name."""
_FLOATS = frozenset({"FP32", "FP16", "BF16"})
_LONGEST_COLUMN = 16
"""Ranks of the graph that stand below each other before the next column begins."""
_COLUMN_PX, _RANK_PX, _LANE_PX = 220, 46, 150
_WORST_DB, _BEST_DB = 10.0, 50.0
"""Ends of the colours of SQNR: below the first the signal is lost, above the second nothing is."""
LAYER_HEADINGS = (
    "Layer",
    "Operator",
    "Computes in",
    "Types",
    "MACs",
    "Share",
    "Time, µs",
    "Share of time",
    "SQNR alone",
    "SQNR with all before",
    "Why in float",
)
LAYER_NUMERIC = frozenset({4, 5, 6, 7, 8, 9})
OPTIONAL_COLUMNS = (6, 7, 8, 9)
"""Empty where the engine tells no times, and where layers were not compared."""


def precision(layer: Layer) -> str:
    """What the layer computes in."""
    if layer.int8:
        return "INT8"
    name = precision_name(layer.input_type.partition("+")[0])
    return name if name in _FLOATS else "other"


def layer_rows(row: Row) -> list[list[str]] | None:
    """The table of one variant; None where no engine was audited."""
    if row.coverage is None:
        return None
    total = sum(layer.macs for layer in row.coverage.layers)
    time_ms = _time_of_all(row)
    noise = _noise(row)
    return [
        [
            layer.name,
            layer.op,
            precision(layer),
            with_types(layer),
            f"{layer.macs:,}" if layer.macs else NONE,
            percent(layer.macs / total, 1) if layer.macs and total else NONE,
            NONE if layer.time_ms is None else f"{layer.time_ms * 1e3:,.1f}",
            NONE if layer.time_ms is None or not time_ms else percent(layer.time_ms / time_ms, 1),
            _decibels(noise.get(layer.name), "sqnr_db"),
            _decibels(noise.get(layer.name), "accumulated_sqnr_db"),
            layer.reason or NONE,
        ]
        for layer in row.coverage.layers
    ]


def _time_of_all(row: Row) -> float:
    """Sum over the layers whose time is known, ms."""
    return sum(layer.time_ms or 0.0 for layer in (row.coverage.layers if row.coverage else ()))


def _noise(row: Row) -> dict[str, LayerParity]:
    """The step with the engine comes last and wins."""
    return {each.layer: each for each in row.parity.layers} if row.parity else {}


def _decibels(found: LayerParity | None, name: str) -> str:
    return NONE if found is None else decibels(getattr(found, name))


def precision_map(group: Group) -> Option | None:
    """Layers of the group's variants that multiply, coloured by what each variant computes them in."""
    rows = [row for row in group.rows if row.coverage]
    names = _weighted(rows)
    if not names:
        return None
    cells = []
    for place, row in enumerate(rows):
        layers = {layer.name: layer for layer in (row.coverage.layers if row.coverage else ())}
        for column, name in enumerate(names):
            kind = precision(layers[name]) if name in layers else _MERGED
            reason = layers[name].reason if name in layers else None
            tip = (label(row.variant), name, kind, reason or "")
            cells.append(cell((column, place, 0), tip, _PRECISIONS[kind]))
    return _heat_map(rows, names, cells)


def noise_map(group: Group) -> Option | None:
    """The same layers, coloured by their SQNR; None where layers were not compared."""
    rows = [row for row in group.rows if row.parity and row.parity.layers]
    names = list(dict.fromkeys(name for row in rows for name in _noise(row)))
    if not names:
        return None
    cells = []
    for place, row in enumerate(rows):
        for name, found in _noise(row).items():
            shown = _decibels(found, "sqnr_db")
            tip = (label(row.variant), name, shown)
            cells.append(cell((names.index(name), place, 0), tip, heat(_damage(found))))
    return _heat_map(rows, names, cells)


def time_map(group: Group) -> Option | None:
    """Layers of the group's variants, coloured by their share of the slowest layer; None where no engine tells."""
    rows = [row for row in group.rows if _time_of_all(row) > 0]
    timed = [[layer for layer in row.coverage.layers if layer.time_ms] for row in rows if row.coverage]
    names = list(dict.fromkeys(layer.name for layers in timed for layer in layers))
    if not names:
        return None
    most = max(layer.time_ms or 0.0 for layers in timed for layer in layers)
    cells = []
    for place, (row, layers) in enumerate(zip(rows, timed, strict=True)):
        all_ms = _time_of_all(row)
        for layer in layers:
            own_ms = layer.time_ms or 0.0
            shown = f"{own_ms * 1e3:,.1f} µs, {percent(own_ms / all_ms, 1)} of all layers"
            tip = (label(row.variant), layer.name, shown)
            cells.append(cell((names.index(layer.name), place, 0), tip, heat(own_ms / most)))
    return _heat_map(rows, names, cells)


def _damage(found: LayerParity) -> float:
    """0 for no noise, 1 where noise drowns the signal."""
    if found.sqnr_db is None or math.isnan(found.sqnr_db):
        return 0.0
    return (_BEST_DB - max(found.sqnr_db, _WORST_DB)) / (_BEST_DB - _WORST_DB)


def _weighted(rows: Sequence[Row]) -> list[str]:
    layers = (layer for row in rows if row.coverage for layer in row.coverage.layers)
    return list(dict.fromkeys(layer.name for layer in layers if layer.macs))


def _heat_map(rows: Sequence[Row], names: Sequence[str], cells: Sequence[Option]) -> Option:
    base = option(
        grid={"left": 230, "right": 16, "top": 10, "bottom": 130},
        xAxis={
            "type": "category",
            "data": list(names),
            "axisLabel": {
                "rotate": 60,
                "color": INK,
                "fontSize": 10,
                "width": 120,
                "overflow": "truncate",
                "hideOverlap": True,
            },
            "axisTick": {"show": False},
            "axisLine": {"lineStyle": {"color": LINE}},
        },
        yAxis=name_axis([label(row.variant) for row in rows]),
        **heat_map(cells),
    )
    return narrow(base, grid={"left": 132, "right": 8}, yAxis=NARROW_NAMES)


def heat_map_height_px(groups: Sequence[Group]) -> int:
    """Height for the group with the most variants."""
    return 150 + 22 * max((len(group.rows) for group in groups), default=1)


def graph(network: Network, rows: Sequence[Row], row: Row) -> Option | None:
    """The network in execution order, coloured by what this variant computes in.

    Operators that no engine of `rows` has as a layer of their own, such as activations, are left out.
    """
    if row.coverage is None:
        return None
    executed = {layer.name for each in rows if each.coverage for layer in each.coverage.layers}
    kept = _contracted(network, executed)
    layers = {layer.name: layer for layer in row.coverage.layers}
    places = _places(kept)
    numbers = {operator: number for number, operator in enumerate(kept)}
    nodes = [_node(network, operator, layers, places[operator]) for operator in kept]
    links = [
        {"source": numbers[source], "target": numbers[operator], **_bent(places[source], places[operator])}
        for operator, sources in kept.items()
        for source in sources
    ]
    return {"series": [{"data": nodes, "links": links}]}


def graph_base() -> Option:
    """What the graphs of all variants have in common."""
    series = {
        "type": "graph",
        "layout": "none",
        "roam": True,
        "scaleLimit": {"min": 0.3, "max": 12},
        "symbol": "roundRect",
        "lineStyle": {"color": "var(--muted)", "width": 1.2, "opacity": 0.8},
        "label": {"show": True, "fontSize": 10, "color": "var(--on-node)", "width": 116, "overflow": "truncate"},
        "preserveAspect": "contain",
        "left": 70,
        "right": 70,
        "top": 20,
        "bottom": 20,
    }
    return option(series=[series])


def graph_height_px(networks: Sequence[Network]) -> int:
    """Room for a whole column."""
    ranks = min(max((len(network.operators) for network in networks), default=1), _LONGEST_COLUMN)
    return 80 + _RANK_PX * ranks


def _contracted(network: Network, executed: set[str]) -> dict[int, tuple[int, ...]]:
    """Operators that are executed, each with the nearest such operators before it."""
    nearest: list[tuple[int, ...]] = []
    kept: dict[int, tuple[int, ...]] = {}
    for number, operator in enumerate(network.operators):
        sources = tuple(dict.fromkeys(source for place in operator.inputs for source in nearest[place]))
        if operator.name in executed:
            kept[number] = sources
            sources = (number,)
        nearest.append(sources)
    return kept


def _places(kept: Mapping[int, Sequence[int]]) -> dict[int, tuple[float, float]]:
    """Ranks from above, longest path first; a long network goes on in the next column."""
    ranks: dict[int, int] = {}
    for number, sources in kept.items():
        ranks[number] = max((ranks[source] + 1 for source in sources), default=0)
    lanes: dict[int, int] = {}
    widest = max((list(ranks.values()).count(rank) for rank in set(ranks.values())), default=1)
    places = {}
    for number, rank in ranks.items():
        lane = lanes[rank] = lanes.get(rank, -1) + 1
        column, below = divmod(rank, _LONGEST_COLUMN)
        across = column * (_COLUMN_PX + (widest - 1) * _LANE_PX) + lane * _LANE_PX
        places[number] = (float(across), float(below * _RANK_PX))
    return places


def _bent(start: tuple[float, float], end: tuple[float, float]) -> Option:
    """Past the operators in between, where there are any in the same lane."""
    passes = start[0] == end[0] and end[1] - start[1] > _RANK_PX
    return {"lineStyle": {"curveness": 0.45}} if passes else {}


def _node(network: Network, number: int, layers: Mapping[str, Layer], place: tuple[float, float]) -> Option:
    operator = network.operators[number]
    layer = layers.get(operator.name)
    kind = _MERGED if layer is None else precision(layer)
    tip = [operator.name, operator.op if layer is None else layer.op, kind]
    if layer is not None:
        tip += [with_types(layer), f"{layer.macs:,} MACs" if layer.macs else "", layer.reason or ""]
    return {
        "name": f"{number}",
        "x": place[0],
        "y": place[1],
        "symbolSize": [124, 26],
        "itemStyle": {"color": _PRECISIONS[kind], "borderColor": INK, "borderWidth": 0.6},
        "label": {"formatter": operator.name.replace("{", "(").replace("}", ")")},
        "tip": "\n".join(filter(None, tip)),
    }


def legend() -> list[tuple[str, str]]:
    """Precisions and their colours."""
    return list(_PRECISIONS.items())
