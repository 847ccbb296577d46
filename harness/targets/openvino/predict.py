"""Predict with OpenVINO."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino


def properties(options: Mapping[str, Any]) -> dict[str, Any]:
    """What OpenVINO is told beside the network."""
    common = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": options["precision"]}
    if options["device"] != "CPU":
        return common
    of_cpu = {
        "INFERENCE_NUM_THREADS": options["threads"],
        "NUM_STREAMS": options["streams"],
        # As many threads as other targets take: by default the hint leaves the second thread of a core out.
        "ENABLE_HYPER_THREADING": True,
        "ENABLE_CPU_PINNING": False,
        # FP32 and BF16 layers are not quantized while they run.
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    }
    # On CPUs without 8-bit dot products integer sums can saturate: the same values are computed in float.
    in_float = {} if options["integer_kernels"] else {"LP_TRANSFORMS_MODE": "NO"}
    return common | of_cpu | in_float


def open_engine(path: Path, options: Mapping[str, Any]) -> Callable[[Any], Any]:
    """A function from inputs (N, C, H, W) float32 to outputs (N, ...).

    The engine, an archive with OpenVINO's IR, has one batch size: the last piece of another batch is filled up by
    repeating samples.
    """
    with zipfile.ZipFile(path) as archive:
        xml, weights = archive.read("model.xml"), archive.read("model.bin")
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(xml, weights), options["device"], properties(options))
    request, size = compiled.create_infer_request(), compiled.input(0).shape[0]

    def run_piece(piece: Any) -> Any:
        whole = np.ascontiguousarray(np.resize(piece, (size, *piece.shape[1:])))
        return np.array(request.infer({0: whole}, share_inputs=True)[0][: len(piece)])

    return lambda batch: np.concatenate(
        [run_piece(batch[start : start + size]) for start in range(0, len(batch), size)]
    )
