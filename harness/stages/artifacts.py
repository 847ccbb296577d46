"""What the artifacts of stages hold: the names of their files, and what is read from them. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from harness.engine.graph import Inputs
from harness.results import Layer

Meta = Mapping[str, JsonValue]
"""What a stage returns."""

OUTPUTS = "outputs.npy"
LABELS = "labels.npy"
ONNX = "model.onnx"
LATENCY = "latency.parquet"


def engine_file(artifact: Any) -> Path:
    """The engine in a `build` artifact."""
    path: Path = artifact.file(str(artifact.meta["file"]))
    return path


def audit_layers(artifact: Any) -> tuple[Layer, ...]:
    """The audited layers in a `build` artifact."""
    return tuple(Layer.model_validate(layer) for layer in artifact.meta["layers"])


def onnx_file(inputs: Inputs) -> Path:
    """The ONNX file of the only input."""
    (artifact,) = inputs.values()
    return artifact.file(str(artifact.meta["file"]))
