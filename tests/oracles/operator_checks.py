"""What becomes of one operator on its way into an ONNX file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

from oracles.operator_table import INPUT_SHAPE, make_inputs, make_operator

from harness.errors import HarnessError
from harness.exporting.onnx_export import export_onnx
from harness.quantization.capture.graph import capture
from harness.verification.figures import N_SAMPLES, batches, sqnr_db
from harness.verification.onnx_steps import check_file, file_run
from harness.verification.torch_steps import as_run, check_capture


class Found(NamedTuple):
    """Decibels between eager network and ONNX file at each batch size; empty where it was refused, with the reason."""

    name: str
    outcome: Literal["right", "refused", "wrong"]
    decibels: tuple[float, ...] = ()
    reason: str = ""


def check_operator(name: str) -> Found:
    """Capture, export and check as the stages do, then compare the network itself with the file."""
    samples = make_inputs(N_SAMPLES).numpy()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            network = make_operator(name)
            graph = capture(network, INPUT_SHAPE)
            check_capture(network, graph, samples)
            export_onnx(graph, INPUT_SHAPE, path, integer_biases=True)
            check_file(graph, path, samples)
        except HarnessError as error:
            return Found(name, "refused", reason=error.message)
        pairs = [(as_run(network)(batch), file_run(path)(batch)) for batch in batches(samples)]
    decibels = tuple(sqnr_db([expected], [got]) for expected, got in pairs)
    return Found(name, "right" if min(decibels) >= 60 else "wrong", decibels)
