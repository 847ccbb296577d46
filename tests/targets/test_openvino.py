"""Target `openvino`: placement, engine file, what executes, and what is refused."""

import os
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
import torch.nn.functional as F
from oracles.engines import calibrated
from oracles.networks import INPUT_SHAPE, captured, make_batch
from torch import nn
from torch.fx import GraphModule

from harness.errors import StageError
from harness.exporting.macs import weighted_layers
from harness.exporting.onnx_export import export_onnx
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.capture.graph import capture
from harness.quantization.placement.rules import RuleSet
from harness.quantization.settings import Rule
from harness.results import Layer, Method, Variant
from harness.targets import get_target
from harness.targets.base import Engine
from harness.targets.identify import identify
from harness.targets.openvino import OpenVinoOptions, OpenVinoSettings
from harness.targets.openvino.devices import capabilities
from harness.targets.openvino.residual_sums import with_fusable_sums
from harness.verification.figures import sqnr_db
from harness.words.precision import other_precisions
from models.mobilenet import mobilenet_v2_small
from models.resnet import resnet8

TARGET = get_target("openvino")
needs_vnni = pytest.mark.skipif(
    not TARGET.build_options(
        Variant(id="v", model="m", method="ptq", weight_bits=8, target="openvino", batch_size=1), 1
    ).integer_kernels,
    reason="8-bit weights run in float on CPUs without 8-bit dot products",
)


def variant(method: Method = "ptq", **changes: object) -> Variant:
    bits = {"weight_bits": 8, "activation_bits": 8} if method == "ptq" else {}
    fields = {"id": "v", "model": "m", "method": method, "target": "openvino", "batch_size": 1} | bits
    return Variant.model_validate(fields | changes)


def prepare(graph: GraphModule, batch: torch.Tensor, skip: tuple[str, ...] = ()) -> GraphModule:
    quantizer = TARGET.quantizer(
        TARGET.number_format(8, 8),
        per_channel=True,
        weight_calibrator=make_calibrator("max"),
        rules=RuleSet(skip=skip),
    )
    return calibrated(graph, quantizer, batch)


def export(graph: GraphModule, folder: Path, shape: tuple[int, int, int] = INPUT_SHAPE) -> Path:
    path = folder / "model.onnx"
    export_onnx(graph, shape, path, integer_biases=TARGET.integer_biases)
    return path


def build(path: Path, made_for: Variant, **options: object) -> Engine:
    chosen = TARGET.build_options(made_for, threads=1)
    return TARGET.build(path, path.parent, chosen.model_copy(update=options))


def weighted(layers: tuple[Layer, ...]) -> dict[str, Layer]:
    return {layer.name: layer for layer in layers if layer.weight_type is not None}


def not_integer(layers: tuple[Layer, ...]) -> dict[str, str | None]:
    """Reason by kind of layer, of layers that neither run on integers nor only convert."""
    return {layer.op.split()[0]: layer.reason for layer in layers if not layer.int8 and layer.reason}


@needs_vnni
@pytest.mark.parametrize(
    "name",
    [
        "residual",
        "depthwise",
        "upsampled",
        "dense",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("concat", "grouped", "convlast")),
    ],
)
def test_all_of_a_convolutional_network_runs_on_integers(name: str, tmp_path: Path) -> None:
    prepared = prepare(captured(name), make_batch())
    path = export(quantized.convert(prepared), tmp_path)
    engine = build(path, variant())
    layers = TARGET.audit(engine.path, path)
    assert {name: layer.macs for name, layer in weighted(layers).items()} == {
        layer.name: layer.macs for layer in weighted_layers(path)
    }
    assert all(layer.int8 for layer in weighted(layers).values())
    # One conversion on the way in. Nothing is rounded twice, and no kernel does nothing but round.
    converting = [layer for layer in layers if layer.op.split()[0] in ("Subgraph", "FakeQuantize") and not layer.int8]
    assert [layer.input_type for layer in converting] == ["float"]
    batch = make_batch(6, seed=4)
    expected = prepared(batch).detach().numpy()
    got = TARGET.open(engine.path, engine.options).run(batch.numpy())
    assert np.abs(got - expected).max() < 0.03 * np.abs(expected).max()


@pytest.mark.thorough(keep=1)
@needs_vnni
@pytest.mark.parametrize("factory", [resnet8, mobilenet_v2_small], ids=["resnet8", "mobilenet"])
def test_the_networks_of_the_quickstart_multiply_on_integers_alone(factory: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = (1, 28, 28)
    batch = torch.randn(32, *shape)
    prepared = prepare(capture(factory().eval(), shape), batch)
    path = export(quantized.convert(prepared), tmp_path, shape)
    engine = build(path, variant())
    layers = weighted(TARGET.audit(engine.path, path))
    assert sum(layer.macs for layer in layers.values() if layer.int8) == sum(
        layer.macs for layer in weighted_layers(path)
    )
    got = TARGET.open(engine.path, engine.options).run(batch.numpy())
    expected = prepared(batch).detach().numpy()
    assert np.mean(got.argmax(1) == expected.argmax(1)) >= 0.9


class Sum(nn.Module):
    """A residual block whose both branches are convolutions."""

    def __init__(self, branch_first: bool) -> None:
        super().__init__()
        self.branch_first = branch_first
        self.stem = nn.Conv2d(3, 16, 3, 1, 1)
        self.inner, self.branch = (nn.Conv2d(16, 16, 3, 1, 1) for _ in range(2))
        self.shortcut = nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        branch, shortcut = self.branch(F.relu(self.inner(x))), self.shortcut(x)
        x = F.relu(branch + shortcut if self.branch_first else shortcut + branch)
        return self.head(x.mean([2, 3]))


@pytest.mark.thorough(keep=1)
@needs_vnni
@pytest.mark.parametrize("branch_first", [True, False])
def test_a_residual_sum_is_fused_and_computes_what_the_network_computes(branch_first: bool, tmp_path: Path) -> None:
    """Ranges from smaller inputs, so that many values are clipped: the range put into the file must clip none."""
    torch.manual_seed(0)
    prepared = prepare(capture(Sum(branch_first).eval(), INPUT_SHAPE), 0.4 * make_batch())
    path = export(quantized.convert(prepared), tmp_path)
    engine = build(path, variant())
    layers = TARGET.audit(engine.path, path)
    assert [layer.name for layer in layers if layer.op.startswith("Subgraph")] == ["QuantizeLinear"]
    batch = make_batch(8, seed=4)
    expected = prepared(batch).detach().numpy()
    got = TARGET.open(engine.path, engine.options).run(batch.numpy())
    # Rounding the summand would cost 0.005.
    assert np.abs(got - expected).max() < 0.001 * np.abs(expected).max()


def test_a_sum_that_is_read_in_float_gets_no_quantizer(tmp_path: Path) -> None:
    path = export(quantized.convert(prepare(captured("encoder"), make_batch())), tmp_path)
    assert with_fusable_sums(path) is None


@needs_vnni
def test_attention_is_one_integer_kernel(tmp_path: Path) -> None:
    """A zero point in a factor would make both products float."""
    path = export(quantized.convert(prepare(captured("attention"), make_batch())), tmp_path)
    layers = weighted(TARGET.audit(build(path, variant()).path, path))
    assert all(layer.int8 for layer in layers.values())
    products = [layer for layer in layers.values() if layer.op.startswith("Subgraph")]
    assert [(layer.name, layer.input_type) for layer in products] == [("MatMul", "int8"), ("MatMul#2", "int8")]


@needs_vnni
def test_float_layers_have_their_reason(tmp_path: Path) -> None:
    path = export(quantized.convert(prepare(captured("encoder"), make_batch(), skip=("block.linear1",))), tmp_path)
    layers = TARGET.audit(build(path, variant()).path, path)
    assert {name: layer.reason for name, layer in weighted(layers).items() if not layer.int8} == {
        "block.linear1": "not quantized in the ONNX file"
    }
    assert not_integer(layers)["MVN"] == "OpenVINO has no integer MVN kernel"


@needs_vnni
def test_transposed_convolutions_run_on_integers_without_groups_only(tmp_path: Path) -> None:
    path = export(quantized.convert(prepare(captured("transposed"), make_batch())), tmp_path)
    layers = weighted(TARGET.audit(build(path, variant()).path, path))
    assert {name: layer.reason for name, layer in layers.items() if not layer.int8} == {
        "grouped": "OpenVINO has no integer kernel for transposed convolutions with groups"
    }


@pytest.mark.parametrize(("method", "kinds"), [("fp32", {"float"}), ("bf16", {"bfloat16"})], ids=["fp32", "bf16"])
def test_a_float_engine_computes_in_the_precision_of_its_method(
    method: Method, kinds: set[str], tmp_path: Path
) -> None:
    if TARGET.refusal(variant(method)) is not None:
        pytest.skip(str(TARGET.refusal(variant(method))))
    path = export(captured("residual"), tmp_path)
    engine = build(path, variant(method))
    layers = TARGET.audit(engine.path, path)
    assert {layer.weight_type for layer in weighted(layers).values()} == kinds
    assert not any(layer.int8 for layer in layers)
    assert other_precisions(method, layers) is None
    batch = make_batch(4, seed=3)
    expected = captured("residual")(batch).detach().numpy()
    got = TARGET.open(engine.path, engine.options).run(batch.numpy())
    error = np.abs(got - expected).max() / np.abs(expected).max()
    assert error < (1e-5 if method == "fp32" else 0.03)
    assert TARGET.rounds_floats(engine.options) is (method != "fp32")


def test_an_engine_in_another_precision_than_its_method_is_told(tmp_path: Path) -> None:
    """As OpenVINO's own default does it on CPUs with AMX."""
    if "BF16" not in capabilities("CPU"):
        pytest.skip("no BF16 kernels on this CPU")
    path = export(captured("residual"), tmp_path)
    engine = build(path, variant("fp32"), precision="bf16")
    told = other_precisions("fp32", TARGET.audit(engine.path, path))
    assert told == "not only FP32: the engine computes 100.0 % of its multiply-accumulates in BF16"


def test_what_the_device_has_no_kernels_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.targets.openvino.capabilities", lambda _: ("FP32", "INT8"))
    assert TARGET.refusal(variant("fp32")) is None
    assert TARGET.refusal(variant("ptq")) is None
    for method in ("bf16", "fp16"):
        refusal = TARGET.refusal(variant(method))
        assert refusal is not None
        assert f"no {method.upper()} kernels for this CPU" in refusal
        assert "FP32, INT8" in refusal


@pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime-cuda", "tensorrt-rtx"])
def test_targets_without_bf16_refuse_it(name: str) -> None:
    refusal = get_target(name).refusal(variant("bf16", target=name))
    assert refusal is not None
    assert "BF16" in refusal


def test_a_device_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    missing = [name for name in ("GPU", "NPU") if not capabilities(name)]
    if not missing:
        pytest.skip("this machine has all devices")
    refusal = TARGET.refusal(variant(compute_capability=missing[0]))
    assert refusal is not None
    assert refusal.startswith(f"OpenVINO finds no {missing[0]} on this machine; its devices are: CPU")
    path = export(captured("residual"), tmp_path)
    with pytest.raises(StageError, match="its devices are: CPU"):
        build(path, variant("fp32"), device=missing[0])


def test_each_device_of_the_scenario_is_a_row_and_the_cpu_is_not_named() -> None:
    assert OpenVinoSettings().devices == (None,)
    assert OpenVinoSettings.model_validate({"device": ["CPU", "GPU"]}).devices == (None, "GPU")


def test_each_stream_of_a_cpu_has_one_thread() -> None:
    options = TARGET.with_streams(OpenVinoOptions(threads=1), 3)
    assert isinstance(options, OpenVinoOptions)
    assert (options.threads, options.streams) == (3, 3)
    assert TARGET.with_streams(OpenVinoOptions(device="GPU"), 3) is None


def test_each_call_of_onnx_runtime_computes_in_its_own_thread() -> None:
    target = get_target("onnxruntime")
    options = target.with_streams(target.options_from({"threads": 4}), 3)
    assert options is not None and options.threads == 1


def test_threads_and_streams_are_as_set(tmp_path: Path) -> None:
    options = TARGET.build_options(variant(), 2, OpenVinoSettings.model_validate({"threads": 2, "streams": 2}))
    assert isinstance(options, OpenVinoOptions)
    assert (options.threads, options.streams) == (2, 2)


@pytest.mark.parametrize(
    ("bits", "vnni", "integer"), [(8, False, False), (7, False, True), (8, True, True), (None, False, False)]
)
def test_integer_kernels_that_saturate_are_not_used(
    monkeypatch: pytest.MonkeyPatch, bits: int | None, vnni: bool, integer: bool
) -> None:
    monkeypatch.setattr("harness.machine.hardware.has_vnni", lambda: vnni)
    assert TARGET.build_options(variant(weight_bits=bits), 1).integer_kernels is integer


_WITHOUT_VNNI = """
import sys
from pathlib import Path
import numpy as np
from harness.targets import get_target
from harness.targets.openvino import OpenVinoOptions
folder = Path(sys.argv[1])
for name in ("kernels", "float"):
    (folder / name).mkdir()
    options = OpenVinoOptions(integer_kernels=name == "kernels")
    engine = get_target("openvino").build(folder / "model.onnx", folder / name, options)
    print(float(get_target("openvino").open(engine.path, options).run(np.ones((1, 64, 4, 4), np.float32))[0, 0]))
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other CPUs add products in 32 bits")
def test_without_8_bit_dot_products_values_are_exact_in_float_where_integers_saturate(tmp_path: Path) -> None:
    """255 x 127 twice does not fit into 16 bits. oneDNN can be told to do without an instruction set."""
    network = nn.Sequential(nn.Conv2d(64, 4, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.constant_(network[0].weight, 1.0)
    shape = (64, 4, 4)
    export(quantized.convert(prepare(capture(network, shape), torch.ones(2, *shape))), tmp_path, shape)
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_VNNI, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    saturated, exact = map(float, done.stdout.split())
    assert exact == pytest.approx(64, rel=0.01)
    assert saturated < 0.6 * exact


@pytest.mark.parametrize("size", [1, 4])
def test_batches_of_any_size_are_cut_into_those_of_the_engine(size: int, tmp_path: Path) -> None:
    path = export(captured("residual"), tmp_path)
    engine = build(path, variant("fp32", batch_size=size))
    batch = make_batch(6, seed=3)
    got = TARGET.open(engine.path, engine.options).run(batch.numpy())
    np.testing.assert_allclose(got, captured("residual")(batch).detach().numpy(), atol=1e-5)


def test_an_engine_is_one_file_that_holds_a_standard_ir(tmp_path: Path) -> None:
    path = export(quantized.convert(prepare(captured("residual"), make_batch())), tmp_path)
    engine = build(path, variant())
    with zipfile.ZipFile(engine.path) as archive:
        assert set(archive.namelist()) == {"model.xml", "model.bin", "options.json"}
        assert b"quant-harness" not in archive.read("model.xml")  # no path of a temporary folder
        archive.extractall(tmp_path / "ir")
    network = openvino.Core().read_model(tmp_path / "ir" / "model.xml")
    assert list(network.input(0).shape) == [1, *INPUT_SHAPE]
    assert identify(engine.path, "tensorrt-rtx").target == "openvino"
    engine.path.with_suffix(".audit.json").unlink()
    found = identify(engine.path, "tensorrt-rtx")
    assert (found.target, found.is_engine) == ("openvino", True)
    again = TARGET.audit(engine.path, path)
    assert {name: layer.macs for name, layer in weighted(again).items()} == {
        layer.name: layer.macs for layer in weighted_layers(path)
    }


def test_another_file_is_no_engine(tmp_path: Path) -> None:
    path = tmp_path / "engine.zip"
    path.write_bytes(b"not an archive")
    with pytest.raises(StageError, match=r"engine\.zip is not an engine of the target openvino"):
        TARGET.open(path, OpenVinoOptions())


def test_inputs_without_a_size_are_told(tmp_path: Path) -> None:
    import onnx

    path = export(captured("convlast"), tmp_path)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(model, path)
    with pytest.raises(StageError, match="input `input` has sizes") as raised:
        build(path, variant("fp32"))
    assert "--shapes" in str(raised.value.fix)


def test_a_rule_for_a_layer_reaches_its_input_behind_a_selection() -> None:
    """The quantizer is where the value is computed, in front of the slice that the rule's layer reads."""
    rule = Rule.model_validate({"modules": ("head",), "input": {"amax": 2.55}})
    quantizer = TARGET.quantizer(
        TARGET.number_format(8, 8),
        per_channel=True,
        weight_calibrator=make_calibrator("max"),
        rules=RuleSet((rule,)),
    )
    prepared = calibrated(captured("upsampled"), quantizer, make_batch())
    scales = {
        name: float(module.scale)
        for module in quantized.tensor_quantizers(prepared)
        if not isinstance(module, quantized.WeightQuantizer)
        for name in module.names
    }
    # Behind a ReLU all 256 steps are above zero: 2.55 / 255.
    assert [name for name, scale in scales.items() if scale == pytest.approx(0.01)] == ["avg_pool2d"]


def test_16_bit_steps_are_left_out_of_engines_which_is_why_none_is_run(tmp_path: Path) -> None:
    number_format = TARGET.number_format(8, 16)
    quantizer = TARGET.quantizer(number_format, per_channel=True, weight_calibrator=make_calibrator("max"))
    batch = make_batch()
    prepared = calibrated(captured("residual"), quantizer, batch)
    for each in quantized.activation_quantizers(prepared):
        each.scale.mul_(0.1)  # nine tenths of each range are clipped
    path = tmp_path / "wide.onnx"
    export_onnx(quantized.convert(prepared), INPUT_SHAPE, path, integer_biases=False)
    assert with_fusable_sums(path) is None  # its Q/DQ of 8 bits would round more than the file does
    options = TARGET.build_options(variant(activation_bits=16), 1)
    assert "leaves 16-bit Q/DQ out" in (TARGET.cannot_run(options) or "")
    assert TARGET.cannot_run(TARGET.build_options(variant(), 1)) is None

    got = TARGET.open(TARGET.build(path, tmp_path, options).path, options).run(batch.numpy())
    of_file = prepared(batch).detach().numpy()
    for each in quantized.activation_quantizers(prepared):
        each.mode = "off"
    without = prepared(batch).detach().numpy()
    # As soon as OpenVINO keeps them, engines can be run, and this fails.
    assert sqnr_db([without], [got]) > 60
    assert sqnr_db([of_file], [got]) < 10


@needs_vnni
@pytest.mark.parametrize("model", [resnet8, mobilenet_v2_small])
def test_audit_and_performance_counters_name_the_same_integer_layers(model, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape, batch = (1, 28, 28), torch.rand(32, 1, 28, 28)
    prepared = prepare(capture(model().eval(), shape), batch, skip=("stem*",))
    path = export(quantized.convert(prepared), tmp_path, shape)
    engine = TARGET.build(path, tmp_path, TARGET.build_options(variant(), threads=1))
    with zipfile.ZipFile(engine.path) as archive:
        archive.extractall(tmp_path / "ir")
    options = {"PERF_COUNT": True, "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    request = openvino.Core().compile_model(tmp_path / "ir" / "model.xml", "CPU", options).create_infer_request()
    request.infer({0: batch[:1].numpy()})
    counted = {
        counter.node_name.split("/WithoutBiases")[0]: counter.exec_type.endswith("_I8")
        for counter in request.get_profiling_info()
        if counter.status == counter.Status.EXECUTED
    }
    audited = {layer.name: layer.int8 for layer in TARGET.audit(engine.path, path) if layer.macs}
    assert set(audited.values()) == {True, False}
    assert {name: counted[name] for name in audited} == audited
