"""Which execution provider of ONNX Runtime ran each node, in what types, and why not on integers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import StageError
from harness.exporting.mac_formulas import OPERATORS_THAT_MULTIPLY
from harness.exporting.macs import WeightedLayer, weighted_layers
from harness.results import Layer
from harness.targets.engine_record import EngineLayer, EngineRecord
from harness.targets.onnxruntime.audit import WEIGHT_INPUT, names_in_file, not_found
from harness.targets.onnxruntime.reasons import CONVERSIONS, SourceModel

_KERNEL = "_kernel_time"
_PROVIDER_SUFFIX = "ExecutionProvider"
_INTEGER_TYPES = {"int8", "uint8"}
_PRECISIONS = {"float": "FP32", "float16": "FP16", "bfloat16": "BF16"}
_COPIES = {"MemcpyToHost", "MemcpyFromHost"}


def layers_from_profile(events: Iterable[Mapping[str, Any]]) -> tuple[EngineLayer, ...]:
    """The nodes in ONNX Runtime's profile of one inference, in the order in which they ran."""
    found: dict[str, EngineLayer] = {}
    for event in events:
        name, arguments = str(event.get("name", "")), event.get("args", {})
        if event.get("cat") != "Node" or not name.endswith(_KERNEL):
            continue
        layer = EngineLayer(
            name=name.removesuffix(_KERNEL),
            kind=arguments["op_name"],
            inputs=_types(arguments["input_type_shape"]),
            outputs=_types(arguments["output_type_shape"]),
            provider=arguments["provider"],
        )
        found.setdefault(f"{arguments['node_index']} {layer.name}", layer)  # several inferences repeat them
    return tuple(found.values())


def _types(tensors: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(element_type for tensor in tensors for element_type in tensor)


def audit_engine(path: Path, onnx_path: Path) -> tuple[Layer, ...]:
    """The audit of an engine that the harness built; StageError where its record is missing."""
    record = EngineRecord.load(path)
    if record is None:
        raise StageError(
            f"{path.name} has no `.audit.json` beside it, which the build writes",
            fix="build it again: `harness build MODEL.onnx --target onnxruntime-cuda`",
        )
    return audit(record.engine_layers, onnx_path)


def audit(engine_layers: Sequence[EngineLayer], onnx_path: Path) -> tuple[Layer, ...]:
    """Weighted layers under their names in the ONNX file with their MACs for one sample, then every other node."""
    sources, file = weighted_layers(onnx_path), SourceModel.load(onnx_path)
    by_name = {name: layer for layer in engine_layers if _multiplies(layer) for name in _names(layer)}
    placed = {source.name: _executing(source, by_name) for source in sources}
    taken = {id(layer) for layer in placed.values()}
    rows = [_weighted(source, placed[source.name]) for source in sources]
    return (*rows, *(_other(layer, file) for layer in engine_layers if id(layer) not in taken))


def _multiplies(layer: EngineLayer) -> bool:
    return layer.kind in OPERATORS_THAT_MULTIPLY


def _names(layer: EngineLayer) -> Iterable[str]:
    return names_in_file(layer.name.removeprefix("fused "))


def _executing(source: WeightedLayer, layers: Mapping[str, EngineLayer]) -> EngineLayer | None:
    return next((layers[alias] for alias in (source.name, *source.aliases) if alias in layers), None)


def _weighted(source: WeightedLayer, layer: EngineLayer | None) -> Layer:
    if layer is None:
        return not_found(source, "not found among the nodes that ran: the optimizer merged it into another one")
    index = WEIGHT_INPUT.get(layer.kind, 1)
    weight = layer.inputs[index] if index < len(layer.inputs) else "unknown"
    int8 = layer.kind in WEIGHT_INPUT and weight in _INTEGER_TYPES
    return Layer(
        name=source.name,
        op=layer.kind,
        input_type=_first(layer.inputs),
        weight_type=weight,
        output_type=_first(layer.outputs),
        macs=source.macs,
        int8=int8,
        reason=None if int8 else _why_float(source, layer),
        provider=_provider(layer),
    )


def _why_float(source: WeightedLayer, layer: EngineLayer) -> str:
    precision = _PRECISIONS.get(_first(layer.inputs), _first(layer.inputs))
    if _provider(layer) == "CPU":
        return f"left in {precision}, on the CPU: the CUDA provider has no {layer.kind} kernel for it"
    floats = source.float_factors()
    if floats is not None:
        return f"left in {precision}: {floats}"
    return f"left in {precision}: the CUDA provider has no integer {layer.kind}; it computes on dequantized values"


def _other(layer: EngineLayer, file: SourceModel) -> Layer:
    types = {*layer.inputs[:1], *layer.outputs[:1]}
    int8 = bool(types) and types <= _INTEGER_TYPES
    return Layer(
        name=layer.name,
        op=layer.kind,
        input_type=_first(layer.inputs),
        weight_type=None,
        output_type=_first(layer.outputs),
        macs=0,
        int8=int8,
        reason=None if int8 or _is_conversion(layer) else _why_other(layer, types, file),
        provider=_provider(layer),
    )


def _is_conversion(layer: EngineLayer) -> bool:
    return layer.kind in CONVERSIONS and _provider(layer) != "CPU"


def _why_other(layer: EngineLayer, types: set[str], file: SourceModel) -> str:
    if layer.kind in _COPIES:
        return "copies between GPU and CPU, for a node that runs on the CPU"
    if _provider(layer) == "CPU":
        return f"ran on the CPU: the CUDA provider has no {layer.kind} kernel for {_first(layer.inputs)}"
    if not types & _PRECISIONS.keys():
        return "shape arithmetic"
    if layer.kind == "Cast":
        return "converts between FP32 and FP16"
    return (
        f"the CUDA provider computes {layer.kind} in float" if file.is_quantized else "the ONNX file is not quantized"
    )


def _provider(layer: EngineLayer) -> str | None:
    return None if layer.provider is None else layer.provider.removesuffix(_PROVIDER_SUFFIX)


def _first(types: Sequence[str]) -> str:
    return types[0] if types else "none"
