"""Toolkit `nncf-openvino-unfolded`: `nncf.quantize` of what OpenVINO reads from the ONNX file, as it reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from harness.toolkits.nncf_openvino import NncfOpenVino


class UnfoldedNncfOpenVino(NncfOpenVino):
    """What `nncf.quantize(openvino.Core().read_model(path), ...)` gives: depthwise convolutions stay in FP32."""

    name: ClassVar[str] = "nncf-openvino-unfolded"

    def read(self, onnx_path: Path) -> Any:
        """The FP32 file, with the Reshape behind weights that misleads NNCF 3.4."""
        import openvino

        return openvino.Core().read_model(onnx_path)


TOOLKIT = UnfoldedNncfOpenVino()
