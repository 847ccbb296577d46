"""Records of earlier versions."""

from __future__ import annotations

from pathlib import Path

from harness.report import render
from harness.results import RunResults

BEFORE = Path(__file__).with_name("before_choices.json")


def test_a_record_from_before_targets_were_timed_together(tmp_path: Path) -> None:
    """Written by version 0.1.0; it can be read, and shown as it was."""
    old = RunResults.load(BEFORE)
    assert old.choices == ()
    latencies = [row.latency for row in old.rows if row.latency]
    assert len(latencies) == len(old.rows)
    assert all(latency.across is None for latency in latencies)
    assert [latency.speedup is not None for latency in latencies] == [False, True, True]
    assert "Engines compared" not in render(old, tmp_path)[1].read_text(encoding="utf-8")
