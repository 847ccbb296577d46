"""In what precision each layer of an engine executes: `harness audit` and `harness.audit`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import UsageError
from harness.results import Layer
from harness.single.build import BuiltEngine, engine_options, require_file
from harness.single.request import Spelling, given_shapes, quoted
from harness.targets import get_target
from harness.targets.engine_record import EngineRecord, sha256
from harness.targets.identify import identify

DEFAULT_TARGET = "tensorrt-rtx"
"""Target of files that several targets accept, where it is installed."""


class Audit(NamedTuple):
    """What a file executes."""

    layers: tuple[Layer, ...]
    target: str
    is_engine: bool
    """Else an ONNX file, which was built for the target first."""


def audit(
    engine: BuiltEngine | Path | str,
    target: str | None = None,
    *,
    onnx: Path | str | None = None,
    batch_size: int = 1,
    compute_capability: str | None = None,
) -> tuple[Layer, ...]:
    """The layers of an engine as they execute: types, multiply-accumulates, and why a layer does not run in INT8.

    Args:
        engine: what `build` returns, an engine file of the harness, or an ONNX file, which is built for the target
            first.
        target: where it runs; None for what the file was made for.
        onnx: the ONNX file that an engine was built from, where there is no `.audit.json` beside it.
        batch_size: the largest batch, where an ONNX file is built.
        compute_capability: GPU generation such as `SM86`, where one is built.

    Raises UsageError for a file that is none of these or a target that cannot be used here, StageError for an ONNX file
    that cannot be built.
    """
    if isinstance(engine, BuiltEngine):
        return engine.layers
    source = None if onnx is None else Path(onnx)
    return audit_file(
        Path(engine), target, onnx=source, batch_size=batch_size, compute_capability=compute_capability
    ).layers


def audit_file(
    file: Path,
    target: str | None,
    *,
    onnx: Path | None = None,
    compute_capability: str | None = None,
    batch_size: int = 1,
    shapes: Sequence[Mapping[str, Mapping[str, Any]]] = (),
    spell: Spelling = quoted,
) -> Audit:
    """The same for a file; `shapes` are profiles with the sizes of inputs that an ONNX file leaves open."""
    require_file(file, "an engine or an ONNX file")
    found = identify(file, target or DEFAULT_TARGET)
    name = target or found.target
    if found.is_engine:
        return Audit(_of_engine(file, name, onnx or found.source, spell), name, is_engine=True)
    chosen, options = engine_options(
        name,
        floats="fp32",
        int8=False,
        compute_capability=compute_capability,
        batch_size=batch_size,
        given=given_shapes(name, shapes),
        spell=spell,
    )
    with tempfile.TemporaryDirectory(prefix="quant-harness-") as folder:
        engine = chosen.build(file, Path(folder), options)
        return Audit(tuple(chosen.audit(engine.path, file)), name, is_engine=False)


def _of_engine(file: Path, target: str, onnx: Path | None, spell: Spelling) -> tuple[Layer, ...]:
    record = EngineRecord.load(file)
    if record is not None:
        if record.sha256 not in (None, sha256(file)):
            raise UsageError(
                f"{file.name} is not the engine that its `.audit.json` describes: its checksum differs",
                fix=f"build the engine again; if it is another one, remove that file and give {spell('onnx')}",
            )
        return tuple(record.layers)
    if onnx is None:
        raise UsageError(
            f"{file.name} has no `.audit.json` beside it, which `harness build` writes",
            fix=f"give the ONNX file it was built from with {spell('onnx')}"
            + (", on a machine with the GPU" if get_target(target).needs_gpu else ""),
        )
    return tuple(get_target(target).audit(file, onnx))
