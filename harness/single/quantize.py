"""PTQ of one network, from the pieces that the stages of a scenario use, with the same checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args

import torch
from pydantic import ValidationError
from torch import nn
from torch.fx import GraphModule

from harness.errors import DataError, UsageError
from harness.fields import ActivationWidth
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.capture.eager import inference_copy
from harness.quantization.capture.graph import CAPTURE_NOTES, capture
from harness.quantization.capture.modules import module_classes
from harness.quantization.network import Origin, QuantizedNetwork, batches_of
from harness.quantization.ptq.steps import change_weights, changing_the_function, correct
from harness.quantization.replacement.replaced import Replaced
from harness.quantization.replacement.walk import replace_as_the_model_says
from harness.quantization.settings import DEFAULT_PERCENTILE, Rule, rounding_first
from harness.results import StepCheck, Variant
from harness.stages.configs import QuantizerConfig
from harness.stages.loading import make_quantizer
from harness.targets import get_target
from harness.verification.figures import N_SAMPLES
from harness.verification.torch_steps import check_capture, check_prepared

Data = torch.Tensor | Iterable[Any]


def quantize(
    model: nn.Module,
    target: str,
    calibration_data: Data,
    *,
    calibrator: str = "percentile",
    percentile: float = DEFAULT_PERCENTILE,
    per_channel: bool = True,
    weight_bits: int = 8,
    activation_bits: int = 8,
    skip: Sequence[str] = (),
    rules: Sequence[Rule | Mapping[str, Any]] = (),
    ptq_steps: Sequence[str] = (),
    check: bool = True,
) -> QuantizedNetwork:
    """PTQ: a copy of a network with fake quantization where its target computes on integers; `model` stays as it is.

    Call it on a batch as the network itself. It computes what the exported file and the engine compute, and can be
    fine-tuned (QAT). Its `input_shape` is that of the calibration samples; `float_graph` is the captured FP32 network,
    and `origin.notes` says what calibration met.

    Args:
        model: a network for inputs (N, C, H, W) that `torch.export` can follow with any batch size.
        target: where it will run, a name of `harness doctor`: it decides number format and placement.
        calibration_data: inputs as the network takes them: a tensor (N, C, H, W), or batches, each of them a tensor
            or a tuple that begins with one. PTQ steps read it several times.
        calibrator: `max`, `percentile`, `entropy` or `mse`: how the ranges of activations are chosen.
        percentile: in percent, for the calibrator of that name.
        per_channel: one scale for each output channel of a weight, not one for all.
        weight_bits: width of weights; 7 avoids saturation on CPUs without VNNI.
        activation_bits: width of activations; with 16, `export` writes 16-bit Q/DQ for engines that have such kernels.
        skip: modules that are not quantized: names, globs, `re:` expressions, class names or `role:ROLE`.
        rules: what is different for some modules, as under `rules` in a scenario.
        ptq_steps: steps that change weights or biases, by name, for instance `bias_correction`.
        check: whether to compare captured with eager network, and prepared with captured one.

    Raises UsageError for arguments that make no sense, DataError for calibration data without usable batches,
    ModelError for a network that cannot be captured, Undeployable for a format that the target does not have, and
    StageError for a step that does not compute what the one before it computed.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"{type(model).__name__} is not a torch.nn.Module", fix="give the network itself")
    config = _config(target, per_channel, weight_bits, activation_bits, skip, rules, ptq_steps)
    chosen = make_calibrator(calibrator, percentile=_checked(percentile))
    data = calibration_data if isinstance(calibration_data, torch.Tensor) else _repeatable(calibration_data)
    samples = _few(data)
    shape = tuple(samples.shape[1:])
    captured = _captured(model, shape)
    changed, step_notes = change_weights(captured.graph, config.ptq_steps)
    prepared = quantized.prepare(changed, make_quantizer(config, captured.graph, captured.replaced))
    if not quantized.tensor_quantizers(prepared):
        raise UsageError("nothing is left to quantize", fix="skip fewer modules")
    checks = tuple(_checks(captured, prepared, config, samples)) if check else ()
    network = QuantizedNetwork(prepared, input_shape=shape, target=target, inputs="histogram")
    network.calibrate(batches_of(data), calibrator, percentile)
    outliers = quantized.outlier_notes(prepared, quantized.collected_histograms(prepared), chosen)
    corrections = correct(prepared, config.ptq_steps, lambda: batches_of(data)) if config.ptq_steps else []
    notes = (*captured.graph.meta.get(CAPTURE_NOTES, ()), *step_notes, *outliers, *corrections)
    network.origin = Origin(captured.float_graph, samples, checks, notes)
    return network.eval()


class _Captured(NamedTuple):
    """A network on its way to quantization."""

    eager: nn.Module
    float_graph: GraphModule
    replaced: Replaced
    """With the modules that the model file says should be replaced."""
    graph: GraphModule
    """Of `replaced`; `float_graph` where nothing was replaced."""


def _captured(model: nn.Module, shape: tuple[int, ...]) -> _Captured:
    eager = inference_copy(model)
    replaced = replace_as_the_model_says(eager)
    float_graph = capture(eager, shape)
    is_same = module_classes(replaced.model) == module_classes(eager)
    return _Captured(eager, float_graph, replaced, float_graph if is_same else capture(replaced.model, shape))


def _config(
    target: str,
    per_channel: bool,
    weight_bits: int,
    activation_bits: int,
    skip: Sequence[str],
    rules: Sequence[Rule | Mapping[str, Any]],
    ptq_steps: Sequence[str],
) -> QuantizerConfig:
    _require_width(target, activation_bits)
    try:
        checked = [Rule.model_validate(rule) for rule in rules]
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"])) or "rule"
        raise UsageError(
            f"`{place}` of a rule: {problem['msg']}", fix="write it as under `rules` in a scenario"
        ) from None
    steps = (ptq_steps,) if isinstance(ptq_steps, str) else tuple(ptq_steps)
    try:
        rounding_first(steps)
    except ValueError as error:
        raise UsageError(f"`ptq_steps`: {error}") from None
    return QuantizerConfig(
        target=target,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        per_channel=per_channel,
        weight_calibrator="max",
        weight_percentile=None,
        skip=(skip,) if isinstance(skip, str) else tuple(skip),
        rules=tuple(rule.model_dump(mode="json") for rule in checked),
        ptq_steps=steps,
    )


def _require_width(target: str, activation_bits: int) -> None:
    if activation_bits not in get_args(ActivationWidth):
        raise UsageError(f"`activation_bits` is {activation_bits!r}", fix="give 2 to 8, or 16")
    named = {"id": target, "model": target, "target": target}
    reason = get_target(target).refusal(Variant(**named, method="ptq", activation_bits=activation_bits, batch_size=1))
    if reason is not None:
        raise UsageError(reason)


def _checked(percentile: float) -> float:
    if not 0.0 < percentile <= 100.0:
        raise UsageError(f"`percentile` is {percentile:g}", fix="give a number above 0 and up to 100")
    return percentile


def _repeatable(data: Iterable[Any]) -> Iterable[Any]:
    """Several passes read the data, and an iterator gives it once."""
    return list(data) if isinstance(data, Iterator) else data


def _few(data: Data) -> torch.Tensor:
    """The first samples, repeated where there are fewer than `N_SAMPLES`."""
    fix = "give a tensor (N, C, H, W), or batches of them"
    if not isinstance(data, Iterable):
        raise DataError(f"`calibration_data` is {type(data).__name__}", fix=fix)
    first = data if isinstance(data, torch.Tensor) and data.ndim < 2 else next(batches_of(data), None)
    if first is None or first.ndim < 2 or not len(first):
        shown = "nothing" if first is None else f"a tensor {tuple(first.shape)}"
        raise DataError(f"the calibration data holds {shown}", fix=fix)
    return first[torch.arange(N_SAMPLES) % len(first)].detach().cpu().clone()


def _checks(
    captured: _Captured, prepared: GraphModule, config: QuantizerConfig, samples: torch.Tensor
) -> Iterator[StepCheck]:
    """Each network against the one that it was made from, as the stages of a scenario check them."""
    array = samples.numpy()
    yield check_capture(captured.eager, captured.float_graph, array)
    if captured.graph is not captured.float_graph:
        yield check_capture(captured.replaced.model, captured.graph, array)
    reference = change_weights(captured.graph, changing_the_function(config.ptq_steps))[0]
    yield check_prepared(reference, prepared, array)
