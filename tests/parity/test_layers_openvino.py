"""Layers of OpenVINO's engines beside their file: sound ones are left alone, planted faults are named."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import onnx
import pytest
from onnx import ModelProto
from oracles import engines
from oracles.faults import weight_scales, with_wrong_activation_scale, with_wrong_weight_scale
from oracles.networks import INPUT_SHAPE, MIXED_NETWORKS, NETWORKS, captured, make_batch

from harness.exporting.onnx_export import export_onnx
from harness.parity.comparison_points import comparison_points
from harness.parity.layers import compare_layers
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.results import LayerParity
from harness.targets import get_target
from harness.targets.base import EngineTensors

pytest.importorskip("openvino")

TARGET = get_target("openvino")
ALL_NETWORKS = [*NETWORKS, *MIXED_NETWORKS]
QUICK = ("residual", "depthwise", "concat")


class Built(NamedTuple):
    """A file for OpenVINO, and where engines are built from it."""

    file: ModelProto
    folder: Path

    def engine(self, file: ModelProto | None = None, batch_size: int = 1) -> EngineTensors:
        """The inside of an engine that is built from this file, or from another one."""
        path = self.folder / "source.onnx"
        onnx.save(file or self.file, path)
        options = TARGET.build_options(
            engines.variant(target="openvino", weight_bits=7, batch_size=batch_size), threads=1
        )
        inside = TARGET.inside(TARGET.build(path, self.folder, options).path, options)
        assert isinstance(inside, EngineTensors)
        return inside


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory):
    @functools.cache
    def make(name: str) -> Built:
        # 7 bits: integer kernels on every CPU.
        quantizer = TARGET.quantizer(
            TARGET.number_format(7, 8), per_channel=True, weight_calibrator=make_calibrator("max")
        )
        prepared = engines.calibrated(captured(name), quantizer, make_batch())
        folder = tmp_path_factory.mktemp(name)
        export_onnx(quantized.convert(prepared), INPUT_SHAPE, folder / "model.onnx", integer_biases=False)
        return Built(onnx.load(folder / "model.onnx"), folder)

    return make


def compared(built: Built, engine: EngineTensors) -> tuple[LayerParity, ...]:
    return compare_layers(built.file, [make_batch(5, 5), make_batch(4, 6)], engine=engine)


def first_fault(layers: tuple[LayerParity, ...]) -> LayerParity:
    return next(layer for layer in layers if layer.is_fault)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ALL_NETWORKS]
)
def test_no_layer_of_a_sound_network_is_accused(build, name: str) -> None:
    built = build(name)
    layers = compared(built, built.engine())
    assert [layer.layer for layer in layers if layer.is_fault] == []
    integers = {point.tensor for point in comparison_points(built.file) if point.kind == "quantized"}
    seen = {layer.tensor for layer in layers}
    assert "logits" in seen
    assert len(integers - seen) <= len(integers) // 4


@pytest.mark.parametrize("name", ["residual", pytest.param("depthwise", marks=pytest.mark.slow)])
def test_a_wrong_weight_scale_is_named_by_what_its_layer_is_fused_into(build, name: str) -> None:
    built = build(name)
    for layer, n in weight_scales(built.file).items():
        fault = first_fault(compared(built, built.engine(with_wrong_weight_scale(built.file, layer, n - 1))))
        assert fault.layer in (layer, *readers(built.file, layer))
        assert n - 1 in fault.faulty_channels


def test_nothing_behind_it_is_accused(build) -> None:
    built = build("residual")
    layers = compared(built, built.engine(with_wrong_weight_scale(built.file, "conv1.0", 3)))
    assert [(layer.layer, layer.faulty_channels) for layer in layers if layer.is_fault] == [("conv1.0", (3,))]
    behind = layers[[layer.layer for layer in layers].index("conv1.0") + 1]
    assert behind.accumulated_sqnr_db is not None and behind.accumulated_sqnr_db < 60


def test_a_wrong_activation_scale_is_found(build) -> None:
    built = build("residual")
    (add,) = [point for point in comparison_points(built.file) if point.op == "Add"]
    assert (
        first_fault(compared(built, built.engine(with_wrong_activation_scale(built.file, add.tensor)))).layer == "Add"
    )


def test_a_batch_that_the_samples_do_not_fill_is_left_out(build) -> None:
    built = build("residual")
    engine = built.engine(batch_size=4)
    assert engine.batch_size == 4
    layers = compare_layers(built.file, [make_batch(6, 5)], engine=engine)
    assert layers
    assert [layer.layer for layer in layers if layer.is_fault] == []


def readers(file: ModelProto, layer: str) -> list[str]:
    """Names of the nodes that read a layer's output, through activation functions."""
    nodes = {node.name: node for node in file.graph.node}
    found: list[str] = []
    outputs = list(nodes[layer].output) if layer in nodes else []
    while outputs:
        wanted = outputs.pop()
        for node in file.graph.node:
            if wanted in node.input and node.op_type != "QuantizeLinear":
                found.append(node.name)
                outputs += list(node.output)
    return found
