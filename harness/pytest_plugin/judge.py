"""Whether a variant passes, and what its test says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

from harness.compare.gates import gate_message
from harness.results import Row, Variant

if TYPE_CHECKING:
    from harness.pytest_plugin.runs import Run

Property = tuple[str, str | int | float | bool]

_NOT_FIGURES = {"layers"}


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
        _fail([gate_message(gate) for gate in gates], run, row)


def properties(run: Run, variant: Variant) -> list[Property]:
    """Status and figures of a variant, for `--junitxml` and other reporters."""
    row = run.row(variant)
    found: list[Property] = [("scenario", run.results.scenario), ("status", row.status)]
    if row.reason:
        found.append(("reason", row.reason))
    for section in ("accuracy", "latency", "size", "coverage"):
        record = getattr(row, section)
        if record is not None:
            found += _flat(section, record.model_dump(mode="json", exclude=_NOT_FIGURES))
    for name, metric in row.metrics.items():
        found.append((f"metrics.{name}", metric.value))
    found += [(f"gate.{gate.metric}", f"{gate.verdict}: {gate.limit}") for gate in run.gates(variant)]
    return found


def _flat(prefix: str, values: dict[str, object]) -> Iterator[Property]:
    for name, value in values.items():
        if isinstance(value, str | int | float | bool):
            yield f"{prefix}.{name}", value
        elif isinstance(value, list) and len(value) == 2 and all(isinstance(end, int | float) for end in value):
            yield f"{prefix}.{name}.low", value[0]
            yield f"{prefix}.{name}.high", value[1]


def _fail(lines: Sequence[str], run: Run, row: Row) -> None:
    artifacts = {"report": run.report} | {name: run.directory / path for name, path in row.files.items()}
    found = [f"  {name}: {path}" for name, path in artifacts.items()]
    pytest.fail("\n".join([*lines, *found]), pytrace=False)
