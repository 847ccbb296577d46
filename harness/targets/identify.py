"""Which target an engine or an ONNX file belongs to, from the file and what lies beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness.results import RunResults
from harness.targets import get_target
from harness.targets.engine_record import EngineRecord
from harness.targets.openvino.engine_file import is_engine as is_openvino_engine

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

_FALLBACK = "onnxruntime"
_OPTIMIZED = {"FusedConv", "FusedGemm", "FusedMatMul", "QGemm", "ReorderInput", "ReorderOutput", "MatMulIntegerToFloat"}
"""Operators that ONNX Runtime's optimizer writes, as it does those that begin with `QLinear`."""


class Identified(NamedTuple):
    """What a file is."""

    target: str
    is_engine: bool
    """Else a network, to be built first."""
    source: Path | None = None
    """The ONNX file that an engine was built from, where it is known."""


def identify(file: Path, default: str) -> Identified:
    """What the file is; `default` is the target of files that several targets can take.

    StageError for an ONNX file that cannot be read.
    """
    return _recorded(file) or _of_run(file) or _from_content(file, default)


def _recorded(file: Path) -> Identified | None:
    record = EngineRecord.load(file)
    if record is None:
        return None
    library = record.builder.split(" ")[0].replace("_", "-")  # `tensorrt_rtx 1.7`
    return Identified(record.target or library, is_engine=True)


def _of_run(file: Path) -> Identified | None:
    """An engine in the folder of a run, whose results say what it was built from."""
    folder = file.resolve().parent.parent
    try:
        rows = RunResults.load(folder / "results.json").rows
    except (OSError, ValueError):
        return None
    for row in rows:
        if "engine" in row.files and (folder / row.files["engine"]).resolve() == file.resolve():
            source = folder / row.files["onnx"] if "onnx" in row.files else None
            return Identified(row.variant.target, is_engine=True, source=source)
    return None


def _from_content(file: Path, default: str) -> Identified:
    if is_openvino_engine(file):
        return Identified("openvino", is_engine=True)
    if file.suffix != ".onnx":
        return Identified(default, is_engine=True)
    from harness.exporting.onnx_file import load_onnx  # imports onnx, which the registry of targets must not

    model = load_onnx(file)
    if any(node.op_type in _OPTIMIZED or node.op_type.startswith("QLinear") for node in model.graph.node):
        return Identified(_FALLBACK, is_engine=True, source=None if _is_blocked(model) else file)
    if _is_affine(model) or not get_target(default).availability().usable:
        return Identified(_FALLBACK, is_engine=False)
    return Identified(default, is_engine=False)


def _is_blocked(model: ModelProto) -> bool:
    """Whether channels are filled up to whole blocks, which changes what is multiplied."""
    return any(opset.domain == "com.microsoft.nchwc" for opset in model.opset_import) and any(
        node.domain == "com.microsoft.nchwc" for node in model.graph.node
    )


def _is_affine(model: ModelProto) -> bool:
    """Whether activations are quantized as only ONNX Runtime takes them: unsigned, or with a zero point."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    quantizing = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    return any(_is_affine_node(node, constants) for node in quantizing)


def _is_affine_node(node: NodeProto, constants: dict[str, TensorProto]) -> bool:
    from onnx import TensorProto, numpy_helper

    if len(node.input) < 3 or not node.input[2]:
        wanted = next((a.i for a in node.attribute if a.name == "output_dtype"), 0)
        return wanted in (0, TensorProto.UINT8, TensorProto.UINT16)
    zero_point = constants.get(node.input[2])
    return zero_point is not None and (
        zero_point.data_type in (TensorProto.UINT8, TensorProto.UINT16) or bool(numpy_helper.to_array(zero_point).any())
    )
