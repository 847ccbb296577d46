"""Layers of an engine, from the builder's log (no GPU needed) or from the inspector of a loaded engine."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from harness.errors import StageError
from harness.targets.engine_record import EngineLayer

LAYERS_HEADING = "Layers:"
"""The builder logs one message that starts with this when `ProfilingVerbosity` is DETAILED."""

UNKNOWN = "unknown"
"""Type of a tensor that the log does not describe."""

_LINE = re.compile(
    r"Name: (?P<name>.*?), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*?)\], "
    r"(?:Constants: \[(?P<constants>.*?)\], )?Outputs: \[(?P<outputs>(?:.*?\})?)\](?:, |$)(?P<rest>.*)$"
)
_TENSOR = re.compile(r"\{ Name: (?P<name>.*?), [^{}]*?Dimensions: \[(?P<shape>[-\d,]*)\].*?Datatype: (?P<type>[^,}]*)")
_TACTIC = re.compile(r"TacticName: ?([^,]*)")
_METADATA = re.compile(r"Metadata: ?(.*)$")
_KERNEL_CONSTANT = re.compile(r"\b(Weights|Bias): (\{[^}]*\})")
"""TensorRT 10 has these at the layer, where RTX lists tensors under `Constants`."""
_ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_BYTES = {"Int8": 1, "UInt8": 1, "FP8": 1, "Bool": 1, "Half": 2, "BFloat16": 2, "Float": 4, "Int32": 4, "Int64": 8}
_INSPECTOR_TYPES = {"INT8": "Int8", "FP16": "Half", "HALF": "Half", "FP32": "Float", "FLOAT": "Float", "INT32": "Int32"}


def layers_from_log(messages: Iterable[str]) -> tuple[EngineLayer, ...]:
    """The layers in the builder's messages; empty when none lists them."""
    # Not splitlines(): ONNX names are separated by a control character that it takes for the end of a line.
    lines = (line for message in messages for line in message.split("\n")[1:])
    seen: set[str] = set()
    return tuple(_from_line(line, seen) for line in lines if line.startswith("Name: "))


def _from_line(line: str, seen: set[str]) -> EngineLayer:
    """`seen` holds the names of constants that were counted already: layers may share them."""
    parts = _LINE.match(line)
    if parts is None:
        raise StageError(f"the builder describes a layer in an unknown form: {line[:120]}")
    constants = list(_TENSOR.finditer(parts["constants"] or ""))
    new = [each for each in constants if each["name"] not in seen]
    seen.update(each["name"] for each in new)
    inside = [json.loads(text) for _, text in _KERNEL_CONSTANT.findall(parts["rest"])]
    tactic, metadata = _TACTIC.search(parts["rest"]), _METADATA.search(parts["rest"])
    return EngineLayer(
        name=parts["name"],
        kind=parts["kind"],
        inputs=_types(parts["inputs"]),
        weights=(*(_plain_type(each["Type"]) for each in inside), *(_plain_type(each["type"]) for each in constants)),
        outputs=_types(parts["outputs"]),
        tactic=tactic[1].strip() if tactic else "",
        onnx_nodes=tuple(dict.fromkeys(_ONNX_LAYER.findall(metadata[1]))) if metadata else (),
        weight_bytes=sum(_constant_bytes(_sizes(each["shape"]), each["type"]) for each in new)
        + sum(map(_kernel_bytes, inside)),
    )


def _types(text: str) -> tuple[str, ...]:
    return tuple(_plain_type(each["type"]) for each in _TENSOR.finditer(text))


def _sizes(text: str) -> Iterable[int]:
    return (int(size) for size in text.split(",") if size)


def _constant_bytes(shape: Iterable[int], element_type: str) -> int:
    elements = math.prod(shape)
    return elements * _BYTES.get(_plain_type(element_type), 0) if elements > 1 else 0


def _kernel_bytes(constant: Mapping[str, Any]) -> int:
    return int(constant.get("Count", 0)) * _BYTES.get(_plain_type(str(constant.get("Type", ""))), 0)


def layers_from_inspector(text: str) -> tuple[EngineLayer, ...]:
    """The layers in the inspector's JSON, in TensorRT 10's dialect (`Format/Datatype`) or 11's (`Datatype`)."""
    layers = json.loads(text)["Layers"]
    if any(isinstance(layer, str) for layer in layers):
        raise StageError(
            "the engine holds the names of its layers only",
            fix="build it with detailed profiling verbosity, as `harness build` does",
        )
    return tuple(map(_from_json, layers))


def _from_json(layer: Mapping[str, Any]) -> EngineLayer:
    constants = layer.get("Constants", [])
    inside = [layer[key] for key in ("Weights", "Bias") if layer.get(key)]
    return EngineLayer(
        name=layer["Name"],
        kind=layer.get("LayerType", ""),
        inputs=tuple(map(_json_type, layer.get("Inputs", []))),
        weights=(*(_plain_type(str(each.get("Type", ""))) for each in inside), *map(_json_type, constants)),
        outputs=tuple(map(_json_type, layer.get("Outputs", []))),
        tactic=str(layer.get("TacticName", "")),
        onnx_nodes=tuple(dict.fromkeys(_ONNX_LAYER.findall(layer.get("Metadata", "")))),
        weight_bytes=sum(map(_kernel_bytes, inside)) + sum(map(_json_bytes, constants)),
    )


def _json_bytes(tensor: Mapping[str, Any]) -> int:
    return _constant_bytes(map(int, tensor.get("Dimensions", [])), _json_type(tensor))


def _json_type(tensor: Mapping[str, Any]) -> str:
    return _plain_type(str(tensor.get("Datatype") or tensor.get("Format/Datatype") or ""))


def _plain_type(text: str) -> str:
    """`Int8`, `Half`, `Float` from texts such as `Channel major INT8 format where channel % 32 == 0`."""
    if text.startswith("N/A"):  # `N/A due to dynamic shapes`: TensorRT 10, unless it is told the shapes
        return UNKNOWN
    for word in map(str, re.findall(r"\w+", text)):
        if word in _BYTES:
            return word
        if word.upper() in _INSPECTOR_TYPES:
            return _INSPECTOR_TYPES[word.upper()]
    return text
