"""Every step of one network, made once, so that faults can be planted in each and right ones be checked."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from oracles import planted_faults
from oracles.verified_networks import INPUT_SHAPE, make_samples, make_verified
from torch import nn
from torch.fx import GraphModule

from harness.exporting.onnx_export import export_onnx
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.capture.graph import capture
from harness.quantization.placement.rules import RuleSet
from harness.quantization.qat.graph import BatchNormMode, training_graph, write_back
from harness.results import StepCheck, Variant
from harness.targets import get_target
from harness.verification.figures import N_SAMPLES, StepFailed
from harness.verification.onnx_steps import check_engine_outputs, check_file
from harness.verification.quantized_steps import check_quantized_file, check_training_graph, check_written_back
from harness.verification.torch_steps import check_capture, check_prepared

Check = Callable[[], object]


@dataclass(frozen=True)
class Steps:
    """One network for one target."""

    name: str
    target: str = "onnxruntime"
    per_channel: bool = True
    weight_bits: int = 8
    activation_bits: int = 8
    skip: tuple[str, ...] = ()
    folder: Path = Path(tempfile.gettempdir())

    @cached_property
    def network(self) -> nn.Module:
        return make_verified(self.name)

    @cached_property
    def graph(self) -> GraphModule:
        return capture(self.network, INPUT_SHAPE)

    @cached_property
    def samples(self) -> np.ndarray:
        return make_samples(N_SAMPLES, seed=7).numpy()

    @cached_property
    def prepared(self) -> GraphModule:
        """With ranges."""
        target = get_target(self.target)
        quantizer = target.quantizer(
            target.number_format(self.weight_bits, self.activation_bits),
            per_channel=self.per_channel,
            weight_calibrator=make_calibrator("max"),
            rules=RuleSet((), self.skip),
        )
        prepared = quantized.prepare(self.graph, quantizer)
        quantized.collect(prepared, make_samples(64))
        quantized.set_ranges(prepared, quantized.collected_histograms(prepared), make_calibrator("max"))
        return prepared

    @cached_property
    def unquantizing(self) -> GraphModule:
        """The prepared network with its quantizers off."""
        prepared = copy.deepcopy(self.prepared)
        quantized.set_mode(prepared, "off")
        return prepared

    @cached_property
    def file(self) -> Path:
        return self._export(self.graph, "fp32.onnx")

    @cached_property
    def quantized_file(self) -> Path:
        return self._export(quantized.convert(self.prepared), "qdq.onnx")

    def _export(self, graph: GraphModule, name: str) -> Path:
        path = self.folder / f"{self.name}-{self.target}-{name}"
        export_onnx(graph, INPUT_SHAPE, path, integer_biases=get_target(self.target).integer_biases)
        return path

    def trained(self, batch_norm: BatchNormMode = "folded") -> tuple[GraphModule, GraphModule]:
        """A training graph whose weights have moved, and the prepared network that they were written into."""
        graph, settled = training_graph(self.prepared, batch_norm=batch_norm), copy.deepcopy(self.prepared)
        for parameter in graph.parameters():
            parameter.data.mul_(1.02)
        write_back(graph, settled)
        return graph, settled

    def engine(self, source: Path, onnx_file: Path, expected: object) -> StepCheck:
        """The check of an engine that was built from `source`, against `onnx_file`."""
        target = get_target(self.target)
        variant = Variant(
            id="a",
            model=self.name,
            method="ptq",
            target=self.target,
            batch_size=1,
            calibrator="max",
            weight_bits=8,
            activation_bits=8,
            per_channel=True,
        )
        options = target.build_options(variant, 1)
        built = target.build(source, self.folder, options)
        return check_engine_outputs(target.open(built.path, options), onnx_file, expected, (1, 3), target)  # type: ignore[arg-type]

    def right(self) -> Iterator[StepCheck]:
        """The checks of everything that is right; they raise when they accuse it."""
        yield check_capture(self.network, self.graph, self.samples)
        yield check_prepared(self.graph, self.unquantizing, self.samples)
        for batch_norm in ("folded", "frozen", "live"):
            graph, settled = self.trained(batch_norm)  # type: ignore[arg-type]
            started = training_graph(self.prepared, batch_norm=batch_norm)  # type: ignore[arg-type]
            yield check_training_graph(self.prepared, started, self.samples)
            yield check_written_back(graph, settled, self.samples)
        check, expected = check_file(self.graph, self.file, self.samples)
        yield check
        runs = get_target(self.target).needs_gpu is False
        if runs:
            yield self.engine(self.file, self.file, expected)
        if self.weight_bits == 8:
            check, expected = check_quantized_file(self.prepared, self.quantized_file, self.samples)
            yield check
            if runs:
                yield self.engine(self.quantized_file, self.quantized_file, expected)

    def wrong(self) -> Iterator[tuple[str, str, Check]]:
        """Step, fault and check of each planted fault."""
        for fault, plant in planted_faults.GRAPH_FAULTS.items():
            graph = planted_faults.mutated(self.graph, plant)
            yield "eager → captured", fault, lambda graph=graph: check_capture(self.network, graph, self.samples)
            off = planted_faults.mutated(self.unquantizing, plant)
            yield "captured → prepared", fault, lambda off=off: check_prepared(self.graph, off, self.samples)
        trained, settled = self.trained()
        for fault, plant in planted_faults.QUANTIZED_FAULTS.items():
            other = planted_faults.mutated(training_graph(self.prepared), plant)
            yield (
                "fake-quantized → training graph",
                fault,
                lambda other=other: check_training_graph(self.prepared, other, self.samples),
            )
            back = planted_faults.mutated(settled, plant)
            yield (
                "training graph → fake-quantized",
                fault,
                lambda back=back: check_written_back(trained, back, self.samples),
            )
        for fault, damage in planted_faults.FILE_FAULTS.items():
            path = self._damaged(self.file, damage)
            yield "captured → ONNX", fault, lambda path=path: check_file(self.graph, path, self.samples)
        for fault, damage in planted_faults.QDQ_FAULTS.items():
            path = self._damaged(self.quantized_file, damage)
            yield (
                "fake-quantized → Q/DQ ONNX",
                fault,
                lambda path=path: check_quantized_file(self.prepared, path, self.samples),
            )
        _, floats = check_file(self.graph, self.file, self.samples)
        _, integers = check_quantized_file(self.prepared, self.quantized_file, self.samples)
        for fault, damage in planted_faults.ENGINE_FAULTS.items():
            for kind, source, expected in (("FP32", self.file, floats), ("INT8", self.quantized_file, integers)):
                path = self._damaged(source, damage)
                yield (
                    "ONNX → engine",
                    f"{fault}, {kind}",
                    lambda path=path, source=source, expected=expected: self.engine(path, source, expected),
                )

    def _damaged(self, path: Path, damage: planted_faults.FileFault) -> Path:
        model = onnx.load(path)
        damage(model)
        damaged = path.with_suffix(f".{damage.__name__}.onnx")
        onnx.save(model, damaged)
        return damaged


def outcome(check: Check) -> str:
    """`passed`, or the message of the check that failed."""
    try:
        check()
    except StepFailed as error:
        return error.message
    return "passed"
