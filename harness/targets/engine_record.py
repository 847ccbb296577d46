"""What is known about a built engine, written beside it: not every engine can be looked into later, or elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from harness.errors import StageError
from harness.results import Layer, Record
from harness.targets.base import AUDIT_SUFFIX


class EngineLayer(Record):
    """One layer as TensorRT's builder or inspector, or ONNX Runtime's profile, describes it."""

    name: str
    kind: str
    """The library's layer type, for instance `correlation`, `gemm`, `kgen`, `CaskConvolution`, `Conv`."""
    inputs: tuple[str, ...] = ()
    """Data types, for instance `Int8`."""
    weights: tuple[str, ...] = ()
    """Data types of the constants, the weights first."""
    outputs: tuple[str, ...] = ()
    tactic: str = ""
    provider: str | None = None
    """ONNX Runtime's execution provider that ran it, for instance `CUDAExecutionProvider`."""
    onnx_nodes: tuple[str, ...] = ()
    weight_bytes: int = 0
    """Bytes of the constants that have more than one element."""


class EngineRecord(Record):
    """One engine."""

    builder: str
    """Library and version."""
    target: str | None = None
    """None in records of earlier versions."""
    compute_capability: str | None = None
    sha256: str | None = None
    """Checksum of the engine file."""
    engine_layers: tuple[EngineLayer, ...] = ()
    """Empty where the engine file itself says what is in it."""
    input_shapes: Mapping[str, tuple[int, ...]] = Field(default_factory=dict)
    """Sizes of inputs that the file leaves open, for which multiply-accumulates are counted."""
    warnings: tuple[str, ...] = ()
    layers: tuple[Layer, ...] = ()
    """The audit: engine layers, mapped back to the ONNX file it was built from."""

    @model_validator(mode="before")
    @classmethod
    def _without_build_time(cls, values: object) -> object:
        """Earlier versions kept the seconds of the build here, so that no two files were the same."""
        return {key: value for key, value in values.items() if key != "build_s"} if isinstance(values, dict) else values

    def save(self, engine_path: Path) -> None:
        """Write it beside the engine."""
        record_path(engine_path).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, engine_path: Path) -> EngineRecord | None:
        """What `save` wrote beside this engine; None when there is nothing, StageError when it is damaged."""
        path = record_path(engine_path)
        if not path.is_file():
            return None
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise StageError(f"{path.name} is damaged, or of another version", fix="build the engine again") from error


def sha256(path: Path) -> str:
    """Checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_path(engine_path: Path) -> Path:
    """`model.engine` → `model.audit.json`."""
    return engine_path.with_suffix(AUDIT_SUFFIX)
