"""A wrong scale is found, and the layer and channel that it belongs to are named; a sound network is left alone."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import NamedTuple

import onnx
import pytest
import torch
from onnx import ModelProto
from oracles import engines
from oracles.faults import weight_scales, with_wrong_activation_scale, with_wrong_weight_scale
from oracles.first_fault import first_fault
from oracles.networks import INPUT_SHAPE, MIXED_NETWORKS, NETWORKS, captured, make_batch
from torch.fx import GraphModule

from harness.exporting.onnx_export import export_onnx
from harness.parity.comparison_points import comparison_points
from harness.parity.layers import compare_layers
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.results import LayerParity
from harness.targets import get_target
from harness.targets.base import EngineGraph

TO_FILE, TO_ENGINE = "torch_quantized → onnx_quantized", "onnx_quantized → engine"
FORMATS = [(8, True), (8, False), (7, True), (7, False)]
"""What ONNX Runtime deploys: bits of the weights, and whether each channel has a scale of its own."""
FORMAT_IDS = ["w8-channel", "w8-tensor", "w7-channel", "w7-tensor"]


ALL_NETWORKS = [*NETWORKS, *MIXED_NETWORKS]
QUICK = ("residual", "depthwise", "concat")


class Built(NamedTuple):
    """One network as every link has it."""

    prepared: GraphModule
    file: ModelProto
    engine: EngineGraph


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory):
    """Builds a network for ONNX Runtime, once for each format."""

    @functools.cache
    def make(name: str, bits: int = 8, per_channel: bool = True) -> Built:
        prepared = engines.prepare(name, per_channel=per_channel, weight_bits=bits)
        path, engine = engines.build(prepared, tmp_path_factory.mktemp(name))
        return Built(prepared, onnx.load(path), engines.TARGET.inside(engine.path, engine.options))

    return make


def batches(n: int = 2) -> list[torch.Tensor]:
    """Other samples than those that calibrated."""
    return [make_batch(16, seed) for seed in range(5, 5 + n)]


def from_torch(built: Built, file: ModelProto) -> tuple[LayerParity, ...]:
    return compare_layers(file, batches(), prepared=built.prepared)


def from_file(built: Built, engine: ModelProto) -> tuple[LayerParity, ...]:
    return compare_layers(built.file, batches(), engine=dataclasses.replace(built.engine, model=engine))


def named(layers: tuple[LayerParity, ...]) -> list[tuple[str, tuple[int, ...]]]:
    """The first fault of each step: its layer and channels."""
    return [(fault.layer, fault.faulty_channels) for fault in first_fault(layers).values()]


def for_tensorrt(name: str, folder: Path, per_channel: bool) -> tuple[GraphModule, ModelProto]:
    target = get_target("tensorrt")
    quantizer = target.quantizer(
        target.number_format(8, 8), per_channel=per_channel, weight_calibrator=make_calibrator("max")
    )
    prepared = engines.calibrated(captured(name), quantizer, make_batch())
    export_onnx(quantized.convert(prepared), INPUT_SHAPE, folder / "model.onnx", integer_biases=target.integer_biases)
    return prepared, onnx.load(folder / "model.onnx")


class TestSoundNetwork:
    @pytest.mark.parametrize(
        "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ALL_NETWORKS]
    )
    @pytest.mark.thorough(keep=1)
    def test_no_layer_is_accused(self, build, name: str) -> None:
        built = build(name)
        layers = compare_layers(built.file, batches(4), prepared=built.prepared, engine=built.engine)
        assert named(layers) == []
        assert {layer.step for layer in layers} == {TO_FILE, TO_ENGINE}

    @pytest.mark.parametrize(("bits", "per_channel"), FORMATS[1:], ids=FORMAT_IDS[1:])
    @pytest.mark.thorough(keep=1)
    def test_nor_in_another_format(self, build, bits: int, per_channel: bool) -> None:
        built = build("residual", bits, per_channel)
        assert named(compare_layers(built.file, batches(4), prepared=built.prepared, engine=built.engine)) == []

    @pytest.mark.parametrize(
        "name",
        ["residual", *(pytest.param(name, marks=pytest.mark.slow) for name in ("depthwise", "concat", "encoder"))],
    )
    def test_nor_in_a_file_for_tensorrt(self, tmp_path: Path, name: str) -> None:
        prepared, file = for_tensorrt(name, tmp_path, per_channel=True)
        assert named(compare_layers(file, batches(4), prepared=prepared)) == []

    @pytest.mark.parametrize(
        "name",
        ["residual", "depthwise", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gated", "encoder"))],
    )
    def test_every_quantized_tensor_and_layer_is_compared(self, build, name: str) -> None:
        built = build(name)
        layers = compare_layers(built.file, batches(1), prepared=built.prepared, engine=built.engine)
        everything = {point.tensor for point in comparison_points(built.file)}
        integers = {point.tensor for point in comparison_points(built.file) if point.kind == "quantized"}
        assert {layer.tensor for layer in layers if layer.step == TO_FILE} == everything
        seen = {layer.tensor for layer in layers if layer.step == TO_ENGINE}
        assert "logits" in seen
        assert len(integers - seen) <= len(integers) // 4  # what the engine computes without writing it down


class TestWrongWeightScale:
    @pytest.mark.parametrize(("bits", "per_channel"), FORMATS, ids=FORMAT_IDS)
    @pytest.mark.parametrize("name", ["residual", "depthwise"])
    @pytest.mark.thorough(keep=2)
    def test_of_any_layer_of_the_file_is_named(self, build, name: str, bits: int, per_channel: bool) -> None:
        built = build(name, bits, per_channel)
        found = {
            layer: named(from_torch(built, with_wrong_weight_scale(built.file, layer, n - 1)))
            for layer, n in weight_scales(built.file).items()
        }
        assert {layer: [name for name, _ in faults] for layer, faults in found.items()} == {
            layer: [layer] for layer in weight_scales(built.file)
        }
        if per_channel:
            last = {layer: (n - 1,) for layer, n in weight_scales(built.file).items()}
            assert {layer: faults[0][1] for layer, faults in found.items()} == last

    @pytest.mark.thorough(keep=2)
    @pytest.mark.parametrize(("bits", "per_channel"), FORMATS, ids=FORMAT_IDS)
    @pytest.mark.parametrize("name", ["residual", "depthwise"])
    def test_of_any_layer_of_the_engine_is_named(self, build, name: str, bits: int, per_channel: bool) -> None:
        built = build(name, bits, per_channel)
        for layer, n in weight_scales(built.file).items():
            faults = named(from_file(built, with_wrong_weight_scale(built.engine.model, layer, n - 1)))
            assert [name for name, _ in faults] == [layer]
            assert not per_channel or faults[0][1] == (n - 1,)

    def test_of_the_engine_does_not_accuse_the_file(self, build) -> None:
        built = build("residual")
        engine = dataclasses.replace(built.engine, model=with_wrong_weight_scale(built.engine.model, "conv1.0"))
        layers = compare_layers(built.file, batches(), prepared=built.prepared, engine=engine)
        assert list(first_fault(layers)) == [TO_ENGINE]

    def test_nothing_behind_it_is_accused(self, build) -> None:
        """Each layer gets the reference's inputs: conv2, the add and the head see nothing of conv1's error."""
        built = build("residual")
        layers = from_file(built, with_wrong_weight_scale(built.engine.model, "conv1.0", 3))
        assert [layer.layer for layer in layers if layer.is_fault] == ["conv1.0"]
        behind = next(layer for layer in layers if layer.layer == "conv2.0")
        alone = float("inf") if behind.sqnr_db is None else behind.sqnr_db
        assert alone > 70  # one value at most that lies on the border between two integers
        assert behind.accumulated_sqnr_db is not None and behind.accumulated_sqnr_db < 50

    @pytest.mark.parametrize("factor", [0.9, 1.02])
    def test_that_is_too_small_or_off_by_two_percent_is_named_too(self, build, factor: float) -> None:
        built = build("residual")
        assert named(from_torch(built, with_wrong_weight_scale(built.file, "conv2.0", 5, factor))) == [
            ("conv2.0", (5,))
        ]

    @pytest.mark.parametrize("per_channel", [True, False], ids=["channel", "tensor"])
    @pytest.mark.parametrize("name", ["residual", "concat"])
    @pytest.mark.thorough(keep=1)
    def test_of_a_file_for_tensorrt_is_named(self, tmp_path: Path, name: str, per_channel: bool) -> None:
        prepared, file = for_tensorrt(name, tmp_path, per_channel)
        assert len(weight_scales(file)) >= 4
        for layer, n in weight_scales(file).items():
            wrong = with_wrong_weight_scale(file, layer, n // 2)
            faults = named(compare_layers(wrong, batches(), prepared=prepared))
            assert [name for name, _ in faults] == [layer]
            assert not per_channel or faults[0][1] == (n // 2,)


def test_a_wrong_activation_scale_is_named_by_the_layer_that_writes_the_tensor(build) -> None:
    built = build("residual")
    (add,) = [point for point in comparison_points(built.file) if point.op == "Add"]
    assert named(from_torch(built, with_wrong_activation_scale(built.file, add.tensor)))[0][0] == "Add"


def test_other_toolkits_are_compared_from_their_file_on(build) -> None:
    built = build("residual")
    layers = compare_layers(built.file, batches(1), engine=built.engine)
    assert {layer.step for layer in layers} == {TO_ENGINE}
