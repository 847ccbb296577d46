"""What no gate can say: a test in Python, run once for each quantized variant of the scenarios."""

from __future__ import annotations

from harness.pytest_plugin import scenario_matrix
from harness.results import Row


@scenario_matrix("scenarios/*.yaml", select="method=ptq,qat")
def test_the_first_convolution_runs_in_int8(row: Row) -> None:
    """The layer that sees the image is the one that quantizers leave out most often."""
    assert row.coverage is not None
    first = next(layer for layer in row.coverage.layers if layer.macs > 0)
    assert first.int8, first.reason
