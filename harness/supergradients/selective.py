"""Selective quantization from Python, with the interface of SuperGradients' `SelectiveQuantizer`.

A scenario file does the same with `quantization_params` and `matrix.skip`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import get_args

from torch import nn

from harness.errors import UsageError, unknown_name
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.capture.graph import capture
from harness.quantization.network import CalibratorKind, Deferred, DeferredMethod, QuantizedNetwork
from harness.quantization.placement.rules import RuleSet
from harness.quantization.replacement.instructions import (
    QuantizedMapping,
    QuantizedMetadata,
    ReplacementAction,
    Selector,
    SkipQuantization,
    register_quantized_module,
)
from harness.quantization.replacement.replaced import Replaced
from harness.quantization.replacement.walk import replace_modules
from harness.quantization.settings import TensorDescriptor
from harness.quantization.tensor_quantizer import WeightQuantizer
from harness.supergradients.notes import note

__all__ = [
    "QuantDescriptor",
    "QuantizedMapping",
    "QuantizedMetadata",
    "QuantizedNetwork",
    "ReplacementAction",
    "SelectiveQuantizer",
    "SkipQuantization",
    "register_quantized_module",
]

QuantDescriptor = TensorDescriptor
"""The name that users of pytorch-quantization know."""


class SelectiveQuantizer:
    """Quantizes networks for one target: what is skipped, replaced, and how ranges are chosen.

    `default_learn_amax` lets QAT train the ranges too, from the calibrated ones. `custom_mappings` are instructions by
    module name or type. `verbose` prints what was quantized.
    """

    def __init__(
        self,
        *,
        custom_mappings: Mapping[str | type[nn.Module], QuantizedMetadata] | None = None,
        default_quant_modules_calibrator_weights: CalibratorKind = "max",
        default_quant_modules_calibrator_inputs: CalibratorKind = "histogram",
        default_per_channel_quant_weights: bool = True,
        default_learn_amax: bool = False,
        verbose: bool = True,
        target: str = "onnxruntime",
    ) -> None:
        from harness.targets import get_target  # targets import this package

        self.weights = _kind("default_quant_modules_calibrator_weights", default_quant_modules_calibrator_weights)
        self.inputs = _kind("default_quant_modules_calibrator_inputs", default_quant_modules_calibrator_inputs)
        self.per_channel = default_per_channel_quant_weights
        self.learn_amax = default_learn_amax
        self.verbose = verbose
        self.target = get_target(target)
        mappings = (custom_mappings or {}).items()
        self.instructions = [replace(metadata, float_source=source) for source, metadata in mappings]

    def register_skip_quantization(self, *, layer_names: Iterable[Selector], subclasses: bool = False) -> None:
        """Do not quantize modules and their submodules.

        Each is a dotted name, a glob, a regular expression (`re:…`) or a class; with `subclasses`, a class stands for
        its subclasses, too. What matches nothing is an error of `quantize_module`.
        """
        self.instructions += [
            QuantizedMetadata(name, action=ReplacementAction.SKIP, subclasses=subclasses)
            for name in _several(layer_names)
        ]

    def register_quantization_mapping(
        self,
        *,
        layer_names: Iterable[Selector],
        quantized_target_class: type[nn.Module] | None = None,
        input_quant_descriptor: TensorDescriptor | None = None,
        weights_quant_descriptor: TensorDescriptor | None = None,
        action: ReplacementAction = ReplacementAction.REPLACE,
        subclasses: bool = False,
    ) -> None:
        """Replace modules by `quantized_target_class`, and quantize their inputs and weights as described.

        Without a class the modules stay and the descriptors hold.
        """
        self.instructions += [
            QuantizedMetadata(
                name, quantized_target_class, action, input_quant_descriptor, weights_quant_descriptor, subclasses
            )
            for name in _several(layer_names)
        ]

    def quantize_module(self, module: nn.Module, input_shape: tuple[int, ...]) -> QuantizedNetwork:
        """A quantized copy of `module` for inputs of `input_shape` (C, H, W), not calibrated; `module` is not modified.

        Raises UsageError, with the nearest names, for a name or type that matches nothing; ModelError for a network or
        a counterpart that cannot be used; Undeployable for a descriptor that the target has no format for.
        """
        replaced = replace_modules(module, self.instructions)
        number_format = self.target.number_format(8, 8)
        replaced.require_deployable(number_format)
        if "" in replaced.skipped:
            raise UsageError("the whole network is skipped", fix="skip fewer modules")
        graph = capture(replaced.model, tuple(input_shape))
        quantizer = self.target.quantizer(
            number_format,
            per_channel=self.per_channel,
            weight_calibrator=Deferred() if self.weights == "histogram" else make_calibrator("max"),
            rules=RuleSet(replaced.rules(graph)),
            histogram=DeferredMethod(),
        )
        prepared = quantized.prepare(graph, quantizer)
        if not quantized.tensor_quantizers(prepared):
            raise UsageError("nothing is left to quantize", fix="skip fewer modules")
        network = QuantizedNetwork(
            prepared,
            input_shape=tuple(input_shape),
            target=self.target.name,
            inputs=self.inputs,
            learn_ranges=self.learn_amax,
        )
        if self.verbose:
            _report(network, replaced)
        return network.train(module.training)


def _kind(name: str, value: str) -> CalibratorKind:
    kinds: tuple[CalibratorKind, ...] = get_args(CalibratorKind)
    for kind in kinds:
        if kind == value:
            return kind
    message, fix = unknown_name(f"`{name}`", str(value), kinds)
    if value in ("percentile", "entropy", "mse"):
        fix = f"write `histogram` here, and `method={value!r}` in `calibrate_model`"
    raise UsageError(message, fix=fix)


def _several(names: Iterable[Selector]) -> list[Selector]:
    # A single text is iterable, too: by its letters.
    return [names] if isinstance(names, str | re.Pattern | type) else list(names)


def _report(network: QuantizedNetwork, replaced: Replaced) -> None:
    quantizers = quantized.tensor_quantizers(network.prepared)
    weights = sum(isinstance(quantizer, WeightQuantizer) for quantizer in quantizers)
    skipped = f"; not quantized: {', '.join(replaced.skipped)}" if replaced.skipped else ""
    note(f"quantized for {network.target}: {weights} weights, {len(quantizers) - weights} activations{skipped}")
