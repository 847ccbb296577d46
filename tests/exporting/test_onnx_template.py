"""A file made from a template of the same graph is, byte for byte, the one that is exported alone."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from oracles import engines
from oracles.networks import INPUT_SHAPE, MIXED_NETWORKS, NETWORKS, captured, make_batch
from torch.fx import GraphModule

from harness.exporting import onnx_export
from harness.exporting.onnx_export import export_onnx
from harness.exporting.onnx_template import OnnxTemplate, template_of
from harness.exporting.torch_onnx import optimized, written_by_torch
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator


def converted(name: str, *, per_channel: bool, calibrator: str | None, factor: float = 1.0) -> GraphModule:
    """A network in Q/DQ form; without a calibrator it has no ranges yet, and `factor` stands for training."""
    quantizer = engines.TARGET.quantizer(
        engines.TARGET.number_format(8, 8), per_channel=per_channel, weight_calibrator=make_calibrator("max")
    )
    prepared = quantized.prepare(captured(name), quantizer)
    if calibrator is not None:
        quantized.collect(prepared, make_batch())
        quantized.set_ranges(prepared, quantized.collected_histograms(prepared), make_calibrator(calibrator))
    with torch.no_grad():
        for parameter in prepared.parameters():
            parameter.mul_(factor)
    return quantized.convert(prepared)


def saved_template(name: str, folder: Path, *, per_channel: bool) -> OnnxTemplate:
    template = template_of(converted(name, per_channel=per_channel, calibrator=None), INPUT_SHAPE)
    assert template is not None
    template.save(folder / "template.onnx")
    return OnnxTemplate.load(folder / "template.onnx")


def exported(network: GraphModule, path: Path, template: OnnxTemplate | None = None) -> bytes:
    export_onnx(network, INPUT_SHAPE, path, integer_biases=True, template=template)
    return path.read_bytes()


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("name", [*NETWORKS, *MIXED_NETWORKS])
def test_a_filled_template_is_the_file_that_is_exported_directly(
    name: str, per_channel: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = saved_template(name, tmp_path, per_channel=per_channel)
    for calibrator, factor in (("max", 1.0), ("entropy", 0.7)):
        network = converted(name, per_channel=per_channel, calibrator=calibrator, factor=factor)
        alone = exported(network, tmp_path / "alone.onnx")
        with monkeypatch.context() as patch:
            patch.setattr(onnx_export, "template_of", _not_to_be_called)
            assert exported(network, tmp_path / "filled.onnx", template) == alone


@pytest.mark.parametrize("per_channel", [True, False])
def test_the_graph_holds_the_numbers_that_torch_would_have_written(per_channel: bool, tmp_path: Path) -> None:
    name = next(iter(NETWORKS))
    network = converted(name, per_channel=per_channel, calibrator="mse")
    filled = optimized(saved_template(name, tmp_path, per_channel=per_channel).filled(network))
    plain = optimized(written_by_torch(network, INPUT_SHAPE))
    assert [node.op_type for node in filled.graph] == [node.op_type for node in plain.graph]
    for one, other in zip(filled.graph, plain.graph, strict=True):
        for mine, theirs in zip(one.inputs, other.inputs, strict=True):
            mine_array, theirs_array = (
                None if v is None or v.const_value is None else v.const_value.numpy() for v in (mine, theirs)
            )
            assert (mine_array is None) == (theirs_array is None)
            if mine_array is not None:
                assert mine_array.dtype == theirs_array.dtype
                assert (mine_array == theirs_array).all()


def test_a_template_of_another_graph_is_not_used(tmp_path: Path) -> None:
    name = next(iter(NETWORKS))
    network = converted(name, per_channel=True, calibrator="max")
    other = saved_template(name, tmp_path, per_channel=False)
    assert not other.fits(network)
    assert exported(network, tmp_path / "a.onnx", other) == exported(network, tmp_path / "b.onnx")


def test_a_tensor_under_two_names_makes_no_template(tmp_path: Path) -> None:
    network = converted(next(iter(NETWORKS)), per_channel=True, calibrator="max")
    names = [str(node.target) for node in network.graph.nodes if node.op == "get_attr"]
    scales = [name for name in names if name.startswith("_zero_point_")]
    first, second = next((a, b) for a in scales for b in scales if a < b and _shape(network, a) == _shape(network, b))
    setattr(network, second, getattr(network, first))
    assert template_of(network, INPUT_SHAPE) is None
    assert onnx.load_from_string(exported(network, tmp_path / "model.onnx")).graph.node


def _shape(network: GraphModule, name: str) -> torch.Size:
    tensor = getattr(network, name)
    assert isinstance(tensor, torch.Tensor)
    return tensor.shape


def _not_to_be_called(*_: object) -> None:
    raise AssertionError("the template was not used")
