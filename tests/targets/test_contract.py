"""What every target must do, whichever it is. A new target is in here as soon as its file is there."""

import math
import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
from oracles.networks import INPUT_SHAPE, captured, make_batch

from harness.errors import StageError
from harness.exporting.macs import weighted_layers
from harness.exporting.onnx_export import export_onnx
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.placement.quantizer import PlacementQuantizer
from harness.results import Variant
from harness.targets import targets
from harness.targets.base import Target
from harness.verification.figures import sqnr_db

QUANTIZED = Variant(
    id="v", model="m", method="ptq", per_channel=True, weight_bits=8, activation_bits=8, target="t", batch_size=1
)
WIDE = QUANTIZED.model_copy(update={"activation_bits": 16})
FP32 = Variant(id="v", model="m", method="fp32", target="t", batch_size=1)

pytestmark = pytest.mark.parametrize("target", targets().values(), ids=list(targets()))


@pytest.fixture
def usable(target: Target) -> Target:
    availability = target.availability()
    if not availability.usable:
        pytest.skip(availability.detail)
    return target


@pytest.fixture
def runnable(usable: Target) -> Target:
    reason = usable.cannot_run(usable.build_options(QUANTIZED, threads=1))
    if reason is not None:
        pytest.skip(reason)
    return usable


def quantizer_of(target: Target, activation_bits: int = 8) -> PlacementQuantizer:
    number_format = target.number_format(8, activation_bits)
    return target.quantizer(number_format, per_channel=True, weight_calibrator=make_calibrator("max"))


def prepare(target: Target, activation_bits: int = 8):
    prepared = quantized.prepare(captured("residual"), quantizer_of(target, activation_bits))
    quantized.collect(prepared, make_batch())
    quantized.set_ranges(prepared, quantized.collected_histograms(prepared), make_calibrator("max"))
    return prepared


def build(target: Target, folder: Path, *, is_quantized: bool = True):
    graph = quantized.convert(prepare(target)) if is_quantized else captured("residual")
    path = folder / "model.onnx"
    export_onnx(graph, INPUT_SHAPE, path, integer_biases=target.integer_biases)
    options = target.build_options(QUANTIZED if is_quantized else FP32, threads=1)
    return path, target.build(path, folder, options)


def test_it_says_whether_it_is_usable_and_how_it_becomes_so(target: Target) -> None:
    availability = target.availability()
    assert availability.detail
    assert availability.usable or availability.fix


def test_it_deploys_8_bits(target: Target) -> None:
    assert target.is_deployable(QUANTIZED)
    assert target.is_deployable(FP32)
    assert target.refusal(QUANTIZED) is None


def test_its_format_has_exact_zeros_and_symmetric_weights(target: Target) -> None:
    number_format = target.number_format(8, 8)
    for integer in (number_format.activations, number_format.weights):
        assert integer.quant_min <= 0 <= integer.quant_max
        assert integer.quant_max - integer.quant_min in (254, 255)
    assert number_format.weights.symmetric
    assert number_format.weights.signed


def test_its_options_survive_a_worker_process_and_a_dump(target: Target) -> None:
    options = target.build_options(QUANTIZED, threads=2)
    assert options.threads == 2
    assert pickle.loads(pickle.dumps(options)) == options
    assert target.options_from(options.model_dump(mode="json")) == options


def test_weights_are_quantized_and_the_output_is_not(target: Target) -> None:
    prepared = prepare(target)
    kinds = [type(module) for module in quantized.tensor_quantizers(prepared)]
    assert kinds.count(quantized.WeightQuantizer) == 4  # three convolutions and one linear layer
    (output,) = [node for node in prepared.graph.nodes if node.op == "output"]
    modules = dict(prepared.named_modules())
    assert not any(isinstance(modules.get(str(arg.target)), quantized.TensorQuantizer) for arg in output.args[0])


def test_the_callers_graph_is_left_alone(target: Target) -> None:
    before = captured("residual").code
    prepare(target)
    assert captured("residual").code == before


@pytest.mark.parametrize("is_quantized", [True, False], ids=["int8", "fp32"])
def test_the_engine_computes_what_the_network_computes(runnable: Target, tmp_path: Path, is_quantized: bool) -> None:
    _, engine = build(runnable, tmp_path, is_quantized=is_quantized)
    assert engine.path.is_file()
    assert engine.path.is_relative_to(tmp_path)
    batch = make_batch(5, seed=3)
    network = prepare(runnable) if is_quantized else captured("residual")
    expected = network(batch).detach().numpy()
    got = runnable.open(engine.path, engine.options).run(batch.numpy())
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < 0.05 * np.abs(expected).max()


def test_quantized_weights_take_less_room(usable: Target, tmp_path: Path) -> None:
    sizes = {}
    for is_quantized in (True, False):
        folder = tmp_path / str(is_quantized)
        folder.mkdir()
        sizes[is_quantized] = build(usable, folder, is_quantized=is_quantized)[1].weight_bytes
    assert 0 < sizes[True] < sizes[False] / 2


def test_quantized_weights_are_counted_as_the_engine_holds_them(usable: Target, tmp_path: Path) -> None:
    weights = [tensor for tensor in captured("residual").state_dict().values() if tensor.dim() > 1]
    elements, channels = sum(each.numel() for each in weights), sum(each.shape[0] for each in weights)
    _, engine = build(usable, tmp_path)
    # TensorRT-RTX pads: 3 input channels become 4, with a constant map for the fourth, and 5 classes become 8.
    padding = elements if usable.needs_gpu else 0
    # One byte for each weight. For each output channel a bias and a scale in four bytes, and a zero point in one.
    assert elements <= engine.weight_bytes <= elements + channels * (4 + 4 + 1) + padding


def test_it_times_each_inference(runnable: Target, tmp_path: Path) -> None:
    _, engine = build(runnable, tmp_path)
    times_ms = runnable.open(engine.path, engine.options).time_runs(make_batch(1).numpy(), 4)
    assert len(times_ms) == 4
    assert all(math.isfinite(ms) and ms > 0 for ms in times_ms)


def test_the_audit_accounts_for_every_multiply_accumulate(usable: Target, tmp_path: Path) -> None:
    path, engine = build(usable, tmp_path)
    audited = usable.audit(engine.path, path)
    wanted = {layer.name: layer.macs for layer in weighted_layers(path)}
    assert {layer.name: layer.macs for layer in audited if layer.weight_type is not None} == wanted
    assert all(layer.int8 or layer.reason for layer in audited if layer.weight_type is not None)


def test_16_bit_activations_are_refused_or_built_and_never_called_deployable(target: Target) -> None:
    refusal = target.refusal(WIDE)
    assert not target.is_deployable(WIDE)
    assert refusal is None or "no 16-bit Q/DQ" in refusal
    assert target.is_buildable(WIDE) is (refusal is None)
    assert target.is_buildable(QUANTIZED)


@pytest.fixture
def wide(usable: Target, tmp_path: Path):
    """The network with 16-bit activations: prepared, its file, and the engine."""
    if not usable.is_buildable(WIDE):
        pytest.skip(f"{usable.name} takes no 16-bit activations")
    prepared, path = prepare(usable, 16), tmp_path / "wide.onnx"
    export_onnx(quantized.convert(prepared), INPUT_SHAPE, path, integer_biases=usable.integer_biases)
    return prepared, path, usable.build(path, tmp_path, usable.build_options(WIDE, threads=1))


def test_16_bit_files_hold_16_bit_activations_and_8_bit_weights(wide) -> None:
    _, path, _ = wide
    model = onnx.load(path)
    constants = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    quantizing = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    types = {constants[node.input[2]] for node in quantizing}
    assert types <= {onnx.TensorProto.UINT16, onnx.TensorProto.INT16}
    weights = [tensor for tensor in model.graph.initializer if tensor.name.endswith(".weight")]
    assert [tensor.data_type for tensor in weights] == [onnx.TensorProto.INT8] * 4


def test_the_audit_of_16_bit_activations_shows_no_integer_product_and_says_why(usable: Target, wide) -> None:
    _, path, engine = wide
    weighted = [layer for layer in usable.audit(engine.path, path) if layer.weight_type is not None]
    assert sum(layer.macs for layer in weighted) == sum(layer.macs for layer in weighted_layers(path))
    assert [layer.name for layer in weighted if layer.int8] == []
    assert all("16" in (layer.reason or "") for layer in weighted)


def test_an_engine_that_runs_16_bit_activations_computes_the_fake_quantized_network(usable: Target, wide) -> None:
    prepared, _, engine = wide
    if (reason := usable.cannot_run(engine.options)) is not None:
        pytest.skip(reason)
    batch = make_batch(5, seed=3)
    expected = prepared(batch).detach().numpy()
    # Two roundings may differ by a step of 1 / 65,535 of a range.
    assert sqnr_db([expected], [usable.open(engine.path, engine.options).run(batch.numpy())]) > 80


def test_16_bit_activations_are_nearer_to_fp32_than_8_bit_ones(target: Target) -> None:
    batch = make_batch()  # that of calibration: nothing is clipped
    network, narrow, wide = captured("residual"), prepare(target), prepare(target, 16)
    for each in (*quantized.weight_quantizers(narrow), *quantized.weight_quantizers(wide)):
        each.mode = "off"  # the same rounding of weights hides that of activations
    expected, eight, sixteen = (each(batch).detach().numpy() for each in (network, narrow, wide))
    # A step is 256 times finer: 48 dB.
    assert sqnr_db([expected], [sixteen]) > sqnr_db([expected], [eight]) + 40


@pytest.mark.parametrize("content", [b"", b"not a model"], ids=["empty", "no_onnx"])
def test_a_broken_file_is_a_stage_error(usable: Target, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(StageError, match=r"broken\.onnx"):
        usable.build(path, tmp_path, usable.build_options(QUANTIZED, threads=1))
