"""What of a run goes into the history."""

from __future__ import annotations

import pytest
from oracles.comparisons import interval
from oracles.recorded_runs import PTQ, recorded

from harness.history.figures import FigureRecord, figure_records
from harness.stats.intervals import wilson_interval


def test_intervals_are_those_of_95_percent_whatever_the_run_used() -> None:
    """A series goes on when the scenario's confidence changes: its plot and its noise must not jump."""
    run = recorded().results
    strict = _at_999(run)
    before, after = (_figures(each)["accuracy.top1"] for each in (run, strict))
    assert (after.low, after.high) == pytest.approx((before.low, before.high), abs=2e-3)
    before, after = (_figures(each)["parity.torch_vs_engine.top1_agreement"] for each in (run, strict))
    assert (after.low, after.high) == pytest.approx((before.low, before.high), abs=4e-3)


def _at_999(run):
    rows = []
    for row in run.rows:
        ends = wilson_interval(round(row.accuracy.top1 * row.accuracy.n), row.accuracy.n, 0.999)
        update = {"top1_interval": interval(*ends, 0.999)}
        rows.append(row.model_copy(update={"accuracy": row.accuracy.model_copy(update=update)}))
    return run.model_copy(update={"confidence": 0.999, "rows": tuple(rows)})


def _figures(run) -> dict[str, FigureRecord]:
    return {each.metric: each for each in figure_records(run) if each.variant == PTQ}
