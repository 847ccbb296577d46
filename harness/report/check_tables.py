"""The steps of every row that were checked in numbers where their results were made."""

from __future__ import annotations

from harness.report.tables import Table
from harness.report.variants import NONE
from harness.results import Row, RunResults, StepCheck

_HEADINGS = "Variant|Steps checked|Least exact step|Engine against its file|Tensors compared"


def checks_table(results: RunResults) -> Table | None:
    """One line for each row; None for runs of versions that did not check."""
    rows = [_line(row) for row in results.rows if row.checks]
    if not rows:
        return None
    caption = (
        "Steps from the network to the engine, each checked in numbers on four samples at two batch sizes; all passed"
    )
    return Table(caption, tuple(_HEADINGS.split("|")), tuple(rows), frozenset({2, 3, 4}))


def _line(row: Row) -> tuple[str, ...]:
    steps = list(dict.fromkeys(check.step for check in row.checks))
    exact = [check for check in row.checks if check.limit_db is not None and check.step != "ONNX → engine"]
    engines = [check for check in row.checks if check.step == "ONNX → engine"]
    layers = sum(check.layers or 0 for check in row.checks)
    return row.variant.id, "; ".join(steps), _least(exact), _least(engines), f"{layers}" if layers else NONE


def _least(checks: list[StepCheck]) -> str:
    if not checks:
        return NONE
    figures = [check.sqnr_db for check in checks if check.sqnr_db is not None]
    return f"{min(figures):.0f} dB" if figures else "identical"
