"""The end of pytest's output: one line for each variant, and where the report is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.comparison.gates import gate_messages
from harness.results import Row, RunResults
from harness.words.decision import decision_title, decisions_of
from harness.words.phrases import milliseconds, percent, speed

_NONE = "-"
_HEADINGS = ("variant", "status", "top-1", "accuracy", "median", "speedup", "latency", "INT8 MACs", "gates")


def write_summary(terminal: pytest.TerminalReporter, folders: Sequence[Path]) -> None:
    """A table for each run, none with `-q`."""
    terminal.section("quantization scenarios")
    for folder in folders:
        results = RunResults.load(folder / "results.json")
        if terminal.config.get_verbosity() >= 0:
            for line in table(results):
                terminal.write_line(line)
            for found in decisions_of(results):
                terminal.write_line(f"{decision_title(found)}: {found.headline}")
            # A test that passes tells nothing, and a gate without variants has no test.
            for line in gate_messages([gate for gate in results.gates if gate.verdict == "inconclusive"]):
                terminal.write_line(line)
        terminal.write_line(f"report: {folder / 'report.html'}")


def table(results: RunResults) -> list[str]:
    """Headings and rows, columns aligned."""
    rows = [_HEADINGS, *(_cells(row, results) for row in results.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cells(row: Row, results: RunResults) -> tuple[str, ...]:
    accuracy, latency = row.accuracy, row.latency
    return (
        row.variant.id,
        row.status,
        percent(accuracy.top1) if accuracy else _NONE,
        (accuracy.verdict if accuracy else None) or _NONE,
        milliseconds(latency.median_ms) if latency else _NONE,
        speed(latency.speedup) if latency and latency.speedup else _NONE,
        (latency.verdict if latency else None) or _NONE,
        percent(row.coverage.int8_macs, 1) if row.coverage else _NONE,
        _gates(row, results),
    )


def _gates(row: Row, results: RunResults) -> str:
    verdicts = [gate.verdict for gate in results.gates if gate.variant == row.variant.id]
    worst = next((verdict for verdict in ("fail", "inconclusive", "pass") if verdict in verdicts), None)
    return _NONE if worst is None else f"{worst} ({verdicts.count(worst)}/{len(verdicts)})"
