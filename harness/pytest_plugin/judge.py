"""Whether a variant passes, and what its test says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

from harness.figures import Figure, figures_of
from harness.results import Row, Variant

if TYPE_CHECKING:
    from harness.pytest_plugin.runs import Run

Property = tuple[str, str | int | float | bool]


def checked_row(run: Run, variant: Variant) -> Row:
    """The row of a variant; its test is skipped where it was unavailable and fails where it failed."""
    row = run.row(variant)
    if row.status == "unavailable":
        pytest.skip(row.reason or "unavailable")
    if row.status == "failed":
        _fail([f"{variant.id} failed: {row.reason}"], run, row)
    return row


def judge(run: Run, variant: Variant, *, strict: bool) -> None:
    """Pass, skip or fail the test of one variant.

    `built` and `simulated` rows pass on what could be found out about them, unless a gate says otherwise.
    """
    row = checked_row(run, variant)
    failing = {"fail", "inconclusive"} if strict else {"fail"}
    gates = [gate for gate in run.gates(variant) if gate.verdict in failing]
    if gates:
        from harness.comparison.gates import gate_message  # imports scipy

        _fail([gate_message(gate) for gate in gates], run, row)


def properties(run: Run, variant: Variant) -> list[Property]:
    """Status, verdicts and figures of a variant, for `--junitxml` and other reporters; names as in gates."""
    row = run.row(variant)
    found: list[Property] = [("scenario", run.results.scenario), ("status", row.status)]
    if row.reason:
        found.append(("reason", row.reason))
    for name, judged in (("accuracy", row.accuracy), ("latency", row.latency)):
        if judged is not None and judged.verdict is not None:
            found.append((f"{name}.verdict", judged.verdict))
    for figure in figures_of(row):
        found += _figure(row, figure, run.results.confidence)
    return [*found, *((f"gate.{gate.metric}", f"{gate.verdict}: {gate.limit}") for gate in run.gates(variant))]


def _figure(row: Row, figure: Figure, confidence: float) -> Iterator[Property]:
    found = figure.read(row, confidence)
    if found is None:
        return
    yield figure.name, int(found.value) if found.value.is_integer() else found.value
    if found.interval is not None:
        yield f"{figure.name}.low", found.interval.low
        yield f"{figure.name}.high", found.interval.high


def _fail(lines: Sequence[str], run: Run, row: Row) -> None:
    artifacts = {"report": run.report} | {name: run.directory / path for name, path in row.files.items()}
    found = [f"  {name}: {path}" for name, path in artifacts.items()]
    pytest.fail("\n".join([*lines, *found]), pytrace=False)
