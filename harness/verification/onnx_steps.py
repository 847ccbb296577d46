"""Steps to an ONNX file and from it to an engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnx

from harness.parity.onnx_graph import reference_session
from harness.results import CheckedStep, StepCheck
from harness.verification.figures import (
    CARRIED_DB,
    FLOAT_ENGINE_DB,
    OWN_MODEL_DB,
    QUANTIZED_ENGINE_DB,
    SIZES,
    StepFailed,
    batches,
    carried_db,
    in_decibels,
    passed,
    require_same_shape,
    run_all,
    sqnr_db,
)

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch.fx import GraphModule

    from harness.targets.base import Session, Target
    from harness.verification.figures import Array, Run

EXPECTED = "expected.npz"
"""Beside an ONNX file: the samples of its check, and what the file makes of them."""
_WIDE_INTEGERS = {onnx.TensorProto.UINT16, onnx.TensorProto.INT16}
_REWRITE = "torch.onnx writes this operator wrongly: write that part of the network with other operators"
_LAYERS = "build with other options, and see which layer differs with `measurement.parity: layers`"
_ANY_BATCH = "the file must take any batch size: leave no batch size in shapes that the network computes"


class ExpectedOutputs(NamedTuple):
    """What an engine is compared with."""

    samples: Array
    """(N_SAMPLES, C, H, W)."""
    outputs: list[Array]
    """One for each of `SIZES`."""

    def save(self, folder: Path) -> None:
        """Write `expected.npz` into a folder."""
        arrays = {f"outputs_{index}": each for index, each in enumerate(self.outputs)}
        np.savez(folder / EXPECTED, allow_pickle=False, samples=self.samples, **arrays)

    @classmethod
    def load(cls, path: Path) -> ExpectedOutputs:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(arrays["samples"], [arrays[f"outputs_{index}"] for index in range(len(SIZES))])


def file_run(model: Path | bytes) -> Run:
    """The file as a function, operator by operator."""
    session = reference_session(model)
    name = session.get_inputs()[0].name
    return lambda batch: np.asarray(session.run(None, {name: batch})[0])


def check_file(graph: GraphModule, path: Path, samples: Array) -> tuple[StepCheck, ExpectedOutputs]:
    """The ONNX file of a float graph against the graph; StepFailed with the first node that differs."""
    from harness.verification.torch_steps import as_run, in_float64, judge_exact

    step: CheckedStep = "captured → ONNX"
    inputs = batches(samples)
    expected = run_all(step, as_run(graph), inputs, _REWRITE)
    got = run_all(step, file_run(path), inputs, _ANY_BATCH)
    check = judge_exact(
        step,
        expected,
        got,
        exact=lambda: in_float64(graph, inputs),
        place=lambda: _wrong_node(graph, path, inputs[-1]),
        fix=_REWRITE,
    )
    return check, ExpectedOutputs(samples, got)


def _wrong_node(graph: GraphModule, path: Path, batch: Array) -> str | None:
    import torch

    from harness.verification.places import first_wrong_node

    return first_wrong_node(graph, list(inner_values(onnx.load(path), batch)), torch.from_numpy(batch))


def inner_values(model: ModelProto, batch: Array) -> list[Array]:
    """Every float tensor that the nodes of a file compute."""
    changed = onnx.shape_inference.infer_shapes(model)
    types = {value.name: value.type.tensor_type.elem_type for value in changed.graph.value_info}
    names = [name for node in model.graph.node for name in node.output if name]
    present = {value.name for value in model.graph.output}
    for name in names:
        if name not in present and types.get(name, onnx.TensorProto.FLOAT) == onnx.TensorProto.FLOAT:
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = reference_session(model.SerializeToString())
    return [np.asarray(value) for value in session.run(None, {session.get_inputs()[0].name: batch})]


def run_of(path: Path, target: Target) -> Run:
    """The file as a function, computed as it is written; `target` knows files in its own format."""
    return target.as_written(path) if path.suffix == target.own_suffix else file_run(path)


def check_toolkit_file(path: Path, source: ExpectedOutputs, target: Target) -> tuple[StepCheck, ExpectedOutputs]:
    """The file of another toolkit: it takes both batch sizes and gives finite outputs of the right shape.

    How far quantizing changed them is recorded and not judged.
    """
    step: CheckedStep = "toolkit → model of the target" if path.suffix == target.own_suffix else "toolkit → Q/DQ ONNX"
    fix = "use another toolkit, or another calibrator"
    got = run_all(step, run_of(path, target), batches(source.samples), fix)
    require_same_shape(step, source.outputs, got, fix)
    for one, other in zip(source.outputs, got, strict=True):
        if np.isfinite(one).all() and not np.isfinite(other).all():
            raise StepFailed(f"{step}: the outputs hold NaN or infinity, those of the FP32 file do not", fix=fix)
    return passed(step, sqnr_db(source.outputs, got), None), ExpectedOutputs(source.samples, got)


def check_fp16_file(path: Path, source: ExpectedOutputs) -> tuple[StepCheck, ExpectedOutputs]:
    """The same file with FP16 inside takes both batch sizes; how much it changed, `to_fp16` has judged."""
    step: CheckedStep = "ONNX → ONNX FP16"
    fix = "keep this network in FP32: `high_precision: fp32`, or leave `fp16` out"
    got = run_all(step, file_run(path), batches(source.samples), fix)
    require_same_shape(step, source.outputs, got, fix)
    return passed(step, sqnr_db(source.outputs, got), None), ExpectedOutputs(source.samples, got)


def check_engine_outputs(
    session: Session,
    path: Path,
    expected: ExpectedOutputs,
    sizes: Sequence[int],
    target: Target,
    *,
    rounds_floats: bool = False,
) -> StepCheck:
    """An opened engine against its file at these batch sizes; samples are repeated where an engine needs more.

    `rounds_floats`: the engine computes an FP32 file in fewer bits.
    """
    is_own_model = path.suffix == target.own_suffix
    step: CheckedStep = "model of the target → engine" if is_own_model else "ONNX → engine"
    if tuple(sizes) == SIZES:
        inputs, wanted = batches(expected.samples), expected.outputs
    else:
        inputs = [np.resize(expected.samples, (size, *expected.samples.shape[1:])) for size in sizes]
        wanted = run_all(step, run_of(path, target), inputs, _ANY_BATCH)
    got = run_all(step, session.run, inputs, "build for the batch sizes that are run, and look at the node in the file")
    require_same_shape(step, wanted, got, _LAYERS)
    figure = sqnr_db(wanted, got)
    is_rounded = is_own_model or rounds_floats or _rounds(path)
    limit = OWN_MODEL_DB if is_own_model else QUANTIZED_ENGINE_DB if is_rounded else FLOAT_ENGINE_DB
    if is_rounded and figure < limit:
        limit = min(limit, carried_db(step, run_of(path, target), inputs, wanted, _ANY_BATCH) - CARRIED_DB)
    if figure < limit:
        raise StepFailed(
            f"{step}: the engine's outputs agree with its file to {in_decibels(figure)} only, {limit:g} dB are needed",
            fix=_LAYERS,
        )
    return passed(step, figure, limit)


def _rounds(path: Path) -> bool:
    """Whether a file rounds to steps that show beside float rounding: to 8 bits or to FP16, but not to 16 bits."""
    model = onnx.load(path)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    quantizing = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    is_fine = all(len(node.input) > 2 and types.get(node.input[2]) in _WIDE_INTEGERS for node in quantizing)
    return not is_fine or onnx.TensorProto.FLOAT16 in types.values()
