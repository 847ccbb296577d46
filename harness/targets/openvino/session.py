"""Building OpenVINO engines and running them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino

from harness.errors import StageError
from harness.exporting.onnx_file import check_operators, load_onnx, name_nodes
from harness.targets.base import BoundSession, Engine
from harness.targets.engine_record import EngineRecord, sha256
from harness.targets.openvino import OpenVinoOptions
from harness.targets.openvino.audit import audit
from harness.targets.openvino.devices import refusal_of_device
from harness.targets.openvino.engine_file import ENGINE_FILE, XML, pack, unpacked_ir
from harness.targets.openvino.own_model import SUFFIX
from harness.targets.openvino.predict import properties
from harness.targets.openvino.residual_sums import with_fusable_sums

if TYPE_CHECKING:
    from harness.results import Layer
    from harness.targets.base import Array

_OPEN_SIZES = "give the sizes of its inputs, for instance `--shapes NAME:1x3x224x224`, or export it with fixed sizes"


def build(onnx_path: Path, directory: Path, options: OpenVinoOptions) -> Engine:
    """Write the IR of a file, with the weights as the file has them, and beside it the audit of what it executes."""
    engine_path = directory / ENGINE_FILE
    network = _converted(onnx_path, options)
    with TemporaryDirectory(prefix="quant-harness-openvino-") as folder:
        openvino.save_model(network, Path(folder) / XML, compress_to_fp16=False)
        pack(Path(folder), options.model_dump(mode="json"), engine_path)
    layers = audit_engine(engine_path, onnx_path)
    record = EngineRecord(
        builder=f"openvino {openvino.__version__}",
        target="openvino",
        sha256=sha256(engine_path),
        input_shapes=dict(options.input_shapes),
        layers=layers,
    )
    record.save(engine_path)
    return Engine(engine_path, _weight_bytes(network), options)


def audit_engine(engine_path: Path, onnx_path: Path) -> tuple[Layer, ...]:
    """What an engine executes on this machine with the options that are in it."""
    with unpacked_ir(engine_path) as (_, stored):
        options = OpenVinoOptions.model_validate(stored)
    return audit(_compiled(engine_path, options), onnx_path, options)


class OpenVinoSession(BoundSession):
    """One compiled network with one inference request.

    It has one batch size. Other batches are cut into pieces of that size, the last one filled up by repeating samples.
    """

    def __init__(self, path: Path, options: OpenVinoOptions) -> None:
        self._compiled = _compiled(path, options)
        self._request = self._compiled.create_infer_request()
        self._size: int = self._compiled.input(0).shape[0]

    def run(self, batch: Array) -> Array:
        """Outputs of a batch of any size."""
        pieces = [self._run_piece(batch[start : start + self._size]) for start in range(0, len(batch), self._size)]
        return np.concatenate(pieces)

    def _run_piece(self, piece: Array) -> Array:
        whole = piece if len(piece) == self._size else np.resize(piece, (self._size, *piece.shape[1:]))
        outputs = self._request.infer({0: np.ascontiguousarray(whole)}, share_inputs=True)
        return np.array(outputs[0][: len(piece)])

    def prepared(self, batch: Array) -> Callable[[], object]:
        """With input and outputs bound, by a request of its own."""
        if len(batch) != self._size:
            return super().prepared(batch)
        request = self._compiled.create_infer_request()
        held = np.ascontiguousarray(batch)
        request.set_input_tensor(openvino.Tensor(held, shared_memory=True))
        # The method of the same name in front of it copies every output into a dictionary: 10 microseconds.
        return partial(_infer, super(openvino.InferRequest, request).infer, held)  # type: ignore[misc]


def time_layers(path: Path, options: OpenVinoOptions, batch: Array, runs: int) -> list[dict[str, float]]:
    """Milliseconds of each executed layer in each inference, from performance counters of a network of its own."""
    request = _compiled(path, options, counting=True).create_infer_request()
    whole = np.ascontiguousarray(batch)
    found = []
    for _ in range(runs):
        request.infer({0: whole}, share_inputs=True)
        layers = [each for each in request.get_profiling_info() if each.status == each.Status.EXECUTED]
        found.append({each.node_name: each.real_time.total_seconds() * 1e3 for each in layers})
    return found


def _infer(infer: Callable[..., object], held: Array) -> object:
    """One inference; `held` keeps the memory of the bound input."""
    return infer({}, share_outputs=True, decode_strings=False)


def _converted(onnx_path: Path, options: OpenVinoOptions) -> openvino.Model:
    """The file as OpenVINO reads it, every size fixed; StageError with the node where it cannot be."""
    try:
        network = openvino.Core().read_model(onnx_path if onnx_path.suffix == SUFFIX else _readable(onnx_path))
        network.reshape({value: _sizes(value, options, onnx_path.name) for value in network.inputs})
    except StageError:
        raise
    except Exception as error:  # the binding raises RuntimeError for everything
        raise StageError(f"OpenVINO cannot read {onnx_path.name}: {_first_reason(error)}") from error
    return network


def _readable(onnx_path: Path) -> Path | BytesIO:
    """The ONNX file with its residual sums written so that OpenVINO fuses them; StageError with an unknown operator."""
    model = load_onnx(onnx_path)
    name_nodes(model)
    check_operators(model, onnx_path.name)
    changed = with_fusable_sums(onnx_path)
    return onnx_path if changed is None else BytesIO(changed.SerializeToString())


def _sizes(value: Any, options: OpenVinoOptions, file: str) -> list[int]:
    name, shape = value.get_any_name(), value.get_partial_shape()
    if name in options.input_shapes:
        return list(options.input_shapes[name])
    if shape.rank.is_dynamic or any(size.is_dynamic for size in list(shape)[1:]):
        raise StageError(f"{file}: the input `{name}` has sizes {shape}, which are not fixed", fix=_OPEN_SIZES)
    return [options.batch_size if size.is_dynamic else size.get_length() for size in shape]


def _compiled(path: Path, options: OpenVinoOptions, *, counting: bool = False) -> openvino.CompiledModel:
    """The engine, compiled for its device; StageError where that is not there, or the engine is none.

    With `counting` it takes the time of each layer, which slows it.
    """
    told = properties(options.model_dump()) | ({"PERF_COUNT": True} if counting else {})
    missing = refusal_of_device(options.device)
    if missing is not None:
        raise StageError(missing, fix="name another device")
    with unpacked_ir(path) as (xml, _):
        core = openvino.Core()
        try:
            return core.compile_model(core.read_model(xml), options.device, told)
        except Exception as error:  # the binding raises RuntimeError for everything
            raise StageError(f"OpenVINO cannot compile {path.name}: {_first_reason(error)}") from error


def _weight_bytes(network: openvino.Model) -> int:
    """Bytes of all weights and biases of an IR; shapes and scalars are not counted."""
    constants = [node for node in network.get_ops() if node.get_type_name() == "Constant"]
    return sum(
        node.get_byte_size()
        for node in constants
        if np.prod(node.get_output_shape(0)) > 1 and node.get_element_type() != openvino.Type.i64
    )


def _first_reason(error: Exception) -> str:
    """The line of OpenVINO's message that says something: the others are places in its own source."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Exception from ", "Check "))]
    return said[0] if said else type(error).__name__
