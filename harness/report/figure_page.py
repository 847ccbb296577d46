"""The page `docs/figures.md`, written from the catalogue: `python -m harness.report.figure_page [FILE]`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from harness.figures import Figure, catalog
from harness.metrics import metrics
from harness.report.markdown import escaped
from harness.report.variants import NONE

PAGE = Path("docs/figures.md")
_OPENING = """# Figures

What a row may hold, by the name that [gates](gates-and-baselines.md), [the history](history.md), `harness compare` and
JUnit properties use. It is written from the [catalogue](../harness/figures/) by `python -m harness.report.figure_page`.

- **Unit**: `share` is a fraction of 1, `x` a multiple.
- **Better**: a dash where more is neither better nor worse.
- **Margin**: change from one run to another that still counts as the same, unless the scenario sets its own; a dash for
  figures that neither `harness compare` nor the history follows by itself.
- **Column**: in `results.csv`. Where the figure has an interval, `COLUMN_low` and `COLUMN_high` are its ends, at the
  level in the column `confidence`.
"""
_TITLES = {
    "accuracy": "Accuracy",
    "latency": "Latency",
    "size": "Size",
    "coverage": "Coverage",
    "parity": "Parity",
    "memory": "Memory",
    "energy": "Energy",
    "load": "Load scenarios",
    "cost": "Cost",
}
_STEP = ("torch_fp32", "onnx_fp32")
_PARITY_NOTE = """
The first nine compare network, ONNX file and engine directly. The rest is there for every step of the
[parity chain](parity.md), named `START_to_END` after its two representations. Here `{step}` represents all of them.
"""
_METRICS_NOTE = """
Each is described by the class of its metric, your own included: `unit`, `higher_is_better`, `header` and `definition`.
`metrics.agreement` needs no labels.
"""


def render() -> str:
    """The whole page as Markdown."""
    parts = [_OPENING]
    step = "_to_".join(_STEP)
    for section, title in _TITLES.items():
        figures = [each for each in catalog().values() if each.section == section]
        shown = [each for each in figures if "_to_" not in each.name or f".{step}." in each.name]
        note = _PARITY_NOTE.format(step=step) if section == "parity" else ""
        parts.append(f"## {title}\n{note}\n{_table(shown)}")
    own = [metric.figure for _, metric in sorted(metrics().items()) if metric.figure is not None]
    parts.append(f"## Metrics without a section\n{_METRICS_NOTE}\n{_table(own)}")
    return "\n".join(parts)


def _table(figures: Iterable[Figure]) -> str:
    lines = ["| Name | Header | Unit | Better | Margin | Column | Definition |", "| --- " * 7 + "|"]
    lines += [f"| {' | '.join(_cells(each))} |" for each in figures]
    return "\n".join(lines) + "\n"


def _cells(figure: Figure) -> tuple[str, ...]:
    return (
        f"`{figure.name}`",
        escaped(figure.header),
        escaped(figure.unit),
        figure.better or NONE,
        _margin(figure),
        f"`{figure.column}`" if figure.column else "",
        escaped(figure.definition),
    )


def _margin(figure: Figure) -> str:
    margin = figure.margin
    if margin is None:
        return NONE
    if margin.kind == "ratio":
        return f"{margin.size * 100:g} %"
    return f"{margin.size * 100:g} points" if figure.unit == "share" else f"{margin.size:g} {figure.unit}"


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else PAGE).write_text(render(), encoding="utf-8")
