"""Steps between networks that quantize: every quantized tensor is compared, each computed from the same inputs.

Whole outputs tell little there: two right executions round a number on the border between two integers differently, and
the layers behind carry that on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import torch
from onnx import TensorProto
from torch.fx import GraphModule

from harness.parity.comparison_points import ComparisonPoint, comparison_points
from harness.parity.deviation import HONEST_NOISE_STEPS2, LARGEST_HONEST_STEPS, Deviation, by_channel
from harness.parity.onnx_graph import cut, exposed, runner
from harness.parity.torch_points import TorchPoints
from harness.quantization.prepared import tensor_quantizers
from harness.quantization.tensor_quantizer import TensorQuantizer, WeightQuantizer
from harness.results import CheckedStep, StepCheck
from harness.training.inference import inference_mode_of
from harness.verification.figures import (
    StepFailed,
    batches,
    in_decibels,
    passed,
    require_same_shape,
    run_all,
    sqnr_db,
)
from harness.verification.onnx_steps import ExpectedOutputs, file_run
from harness.verification.torch_steps import as_array, as_run

if TYPE_CHECKING:
    from harness.verification.figures import Array

    _Pair = tuple[Array, Array]
    """What is expected and what was found."""

ENOUGH_VALUES = 256
"""Mean errors of fewer values say nothing: one number on a border is one step off."""
TORCH_NOISE_STEPS2 = 0.02
"""Mean squared error between two torch graphs: the same kernels round the same numbers. Measured: right ones 0."""
SAME_SCALE = 1e-4
"""Relative difference of two scales that follow the same weight, folded in another order."""
_OUTPUT = "output"
_REPORT = "exclude the layer from quantization (`skip`), and report the network: this step must not change it"


def check_quantized_file(prepared: GraphModule, path: Path, samples: Array) -> tuple[StepCheck, ExpectedOutputs]:
    """A Q/DQ file against the fake-quantized network; StepFailed with the first layer that differs."""
    step: CheckedStep = "fake-quantized → Q/DQ ONNX"
    inputs = batches(samples)
    expected = run_all(step, as_run(prepared), inputs, _REPORT)
    got = run_all(step, file_run(path), inputs, "the file must take any batch size")
    require_same_shape(step, expected, got, _REPORT)
    figure = sqnr_db(expected, got)
    deviations = _layers_of_file(onnx.load(path), prepared, inputs)
    _require_right(step, deviations, figure)
    return passed(step, figure, None, len(deviations)), ExpectedOutputs(samples, got)


def _layers_of_file(model: Any, prepared: GraphModule, inputs: Sequence[Array]) -> list[Deviation]:
    """Each comparison point of the file, computed from what the fake-quantized network computes before it."""
    all_points = comparison_points(model)
    torch_points = TorchPoints(prepared, all_points)
    matched = [point for point in all_points if point.tensor in torch_points.matched]
    missing = next(
        (point for point in all_points if point not in matched and (point.is_output or point.kind == "quantized")), None
    )
    if missing is not None:
        raise StepFailed(
            f"fake-quantized → Q/DQ ONNX: `{missing.layer}` writes `{missing.tensor}`, "
            "which the fake-quantized network does not have",
            fix=_REPORT,
        )
    name = model.graph.input[0].name
    free = runner(exposed(model, {point.tensor: point.element_type for point in matched}))
    pieces = runner(cut(model, {point.tensor: point.element_type for point in matched}))
    pairs: dict[str, list[_Pair]] = {point.tensor: [] for point in matched}
    for batch in inputs:
        shapes = free({name: batch})
        computed = torch_points.values(torch.from_numpy(batch))
        forced = {point.tensor: _like(computed[point.tensor], shapes[point.tensor]) for point in matched}
        found = pieces({name: batch, **forced})
        for tensor, values in pairs.items():
            values.append((forced[tensor], found[tensor]))
    return [_deviation(point, pairs[point.tensor]) for point in matched]


def _deviation(point: ComparisonPoint, pairs: Sequence[_Pair]) -> Deviation:
    """By channel, where the batch size does not change how many there are."""
    deviation = Deviation(point)
    by_channel_too = len({by_channel(expected).shape[1] for expected, _ in pairs}) == 1
    for expected, got in pairs:
        rows = (expected, got) if by_channel_too else (expected.reshape(-1, 1), got.reshape(-1, 1))
        deviation.update(*rows)
    return deviation


def _like(value: Array, example: Array) -> Array:
    return value.astype(example.dtype).reshape(example.shape)


def check_training_graph(prepared: GraphModule, graph: GraphModule, samples: Array) -> StepCheck:
    """The graph that QAT trains against the fake-quantized network that it was made from."""
    return _check_torch("fake-quantized → training graph", prepared, graph, samples)


def check_written_back(graph: GraphModule, prepared: GraphModule, samples: Array) -> StepCheck:
    """The fake-quantized network that the trained weights were written into against the trained graph."""
    return _check_torch("training graph → fake-quantized", graph, prepared, samples)


def _check_torch(step: CheckedStep, reference: GraphModule, other: GraphModule, samples: Array) -> StepCheck:
    inputs = batches(samples)
    with inference_mode_of(reference), inference_mode_of(other):
        expected = run_all(step, as_run(reference), inputs, _REPORT)
        got = run_all(step, as_run(other), inputs, _REPORT)
        require_same_shape(step, expected, got, _REPORT)
        deviations = _layers_of_graph(step, reference, other, inputs)
    figure = sqnr_db(expected, got)
    _require_right(step, deviations, figure, TORCH_NOISE_STEPS2)
    return passed(step, figure, None, len(deviations))


def _layers_of_graph(
    step: CheckedStep, reference: GraphModule, other: GraphModule, inputs: Sequence[Array]
) -> list[Deviation]:
    """Each quantizer of a graph, fed with what the reference computes before it; weights too."""
    quantizers = {quantizer.name: quantizer for quantizer in tensor_quantizers(reference)}
    pairs: dict[str, list[_Pair]] = {}
    for batch in inputs:
        values = _quantized_values(reference, batch)
        found = _quantized_values(other, batch, values)
        for name in dict.fromkeys([*values, *found]):
            quantizer = quantizers.get(name.partition("#")[0])
            mine, theirs = (_of_call(name, quantizer, each) for each in (values, found))
            if mine is None or theirs is None:
                raise StepFailed(f"{step}: the tensor `{name}` is quantized in one of both networks only", fix=_REPORT)
            pairs.setdefault(name, []).append((_in_steps(mine, quantizer), _in_steps(theirs, quantizer)))
    _require_same_ranges(step, quantizers, other)
    return [_deviation(_point(name, quantizers.get(name.partition("#")[0])), each) for name, each in pairs.items()]


def _of_call(name: str, quantizer: TensorQuantizer | None, values: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """What left a quantizer at the call of this name.

    A weight that several calls of a layer share is quantized once in one graph, and at each call in another, where
    the layer is a module with its batch norm: the first value stands for all.
    """
    if name not in values and isinstance(quantizer, WeightQuantizer):
        return values.get(f"{quantizer.name}#0")
    return values.get(name)


def _require_same_ranges(step: CheckedStep, expected: Mapping[str, TensorQuantizer], other: GraphModule) -> None:
    """Scales and zero points; those of weights are known once the network has run."""
    for quantizer in tensor_quantizers(other):
        mine, theirs = (each.calculate_qparams() for each in (expected[quantizer.name], quantizer))
        alike = mine[0].shape == theirs[0].shape and torch.allclose(mine[0], theirs[0], rtol=SAME_SCALE, atol=0.0)
        if not alike or not torch.equal(mine[1].int(), theirs[1].int()):
            raise StepFailed(
                f"{step}: `{quantizer.name}` is quantized in steps of {_shown(theirs[0])} with zero point "
                f"{_shown(theirs[1])} instead of {_shown(mine[0])} with {_shown(mine[1])}",
                fix=_REPORT,
            )


def _shown(values: torch.Tensor) -> str:
    numbers = values.detach().reshape(-1)
    return f"{float(numbers[0]):.6g}" + (", …" if len(numbers) > 1 else "")


def _quantized_values(
    graph: GraphModule, batch: Array, forced: Mapping[str, torch.Tensor] | None = None
) -> dict[str, torch.Tensor]:
    """What leaves every quantizer, by name and number of the call, and the network; `forced` is handed on instead."""
    values: dict[str, torch.Tensor] = {}
    with torch.no_grad(), _hooked(graph, values, forced or {}):
        values[_OUTPUT] = graph(torch.from_numpy(batch)).detach()
    return values


@contextmanager
def _hooked(graph: GraphModule, values: dict[str, torch.Tensor], forced: Mapping[str, torch.Tensor]) -> Iterator[None]:
    def record(module: torch.nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
        assert isinstance(module, TensorQuantizer)
        number = sum(1 for name in values if name.partition("#")[0] == module.name)
        key = f"{module.name}#{number}"
        values[key] = output.detach()
        value = _of_call(key, module, forced)
        return value if value is not None and value.shape == output.shape else None

    handles = [quantizer.register_forward_hook(record) for quantizer in tensor_quantizers(graph)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _point(name: str, quantizer: TensorQuantizer | None) -> ComparisonPoint:
    layer = name.removesuffix("#0")
    if quantizer is None:
        return ComparisonPoint(layer, "the output", "", "float", TensorProto.FLOAT, is_output=True)
    return ComparisonPoint(layer, layer, "", "quantized", TensorProto.INT8)


def _in_steps(value: torch.Tensor, quantizer: TensorQuantizer | None) -> Array:
    """In steps of the reference's quantizer, where there is one; NaN stays NaN."""
    if quantizer is None:
        return as_array(value)
    scale = quantizer.calculate_qparams()[0].detach().double()
    if quantizer.ch_axis >= 0 and scale.numel() > 1:
        scale = scale.reshape([-1 if axis == quantizer.ch_axis else 1 for axis in range(value.ndim)])
    steps: Array = torch.round(value.double() / scale).numpy()
    return steps


def _require_right(
    step: CheckedStep, deviations: Sequence[Deviation], figure: float, noise_steps2: float = HONEST_NOISE_STEPS2
) -> None:
    worst = next((deviation for deviation in deviations if _is_wrong(deviation, noise_steps2)), None)
    if worst is None:
        return
    point, steps = worst.point, float(worst.largest_steps.max(initial=0.0))
    channels = worst.faulty_channels
    where = f"`{point.layer}`" + (f" ({point.op})" if point.op else "")
    raise StepFailed(
        f"{step}: {where} is off by up to {steps:.3g} steps in {len(channels)} of {len(worst.largest_steps)} channels, "
        f"first in channel {channels[0] if channels else 0}; two right executions differ by one at most. The outputs "
        f"agree to {in_decibels(figure)}",
        fix=_REPORT,
    )


def _is_wrong(deviation: Deviation, noise_steps2: float) -> bool:
    largest = float(deviation.largest_steps.max(initial=0.0))
    few = deviation.n_values < ENOUGH_VALUES
    return largest > LARGEST_HONEST_STEPS or (not few and deviation.mean_noise_steps2 > noise_steps2)
