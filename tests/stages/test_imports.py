"""What a run does not have to import: the time of every start."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "library"),
    [
        ("harness.runs.complete", "torchao"),
        ("harness.stages.latency", "torch"),
        ("harness.stages.layer_times", "torch"),
        ("harness.stages.peak", "torch"),
        ("harness.stages.resources", "torch"),
        ("harness.stages.streams", "torch"),
    ],
)
def test_it_is_not_imported(module: str, library: str) -> None:
    code = f"import sys, {module}; print({library!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
