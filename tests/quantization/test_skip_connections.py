"""Markers of skip connections: identities in float, quantizers after capture, nothing in the exported file."""

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
import torch.nn.functional as F
from oracles.networks import INPUT_SHAPE, conv_bn, make_batch
from torch import nn

from harness import skip_connections
from harness.exporting.onnx_export import export_onnx
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.capture.graph import capture
from harness.quantization.descriptors import HistogramMethod
from harness.quantization.placement.rules import Rule, RuleSet, TensorDescriptor
from harness.targets import get_target

KINDS = (
    skip_connections.Residual,
    skip_connections.SkipConnection,
    skip_connections.CrossModelSkipConnection,
    skip_connections.BackboneInternalSkipConnection,
    skip_connections.HeadInternalSkipConnection,
)
OPERATIONS = {
    "div": lambda a, b: a / (b.abs() + 1),
    "sub": lambda a, b: a - b,
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "cat": lambda a, b: torch.cat([a, b], dim=1)[:, :8],
    "maximum": torch.maximum,
}


class Marked(nn.Module):
    """Two branches that `operation` joins, with a marker on each where asked."""

    def __init__(self, operation: str = "div", marked: bool = True) -> None:
        super().__init__()
        self.operation = operation
        self.stem = conv_bn(3, 8)
        self.branch = conv_bn(8, 8)
        self.residual = skip_connections.Residual() if marked else nn.Identity()
        self.other = skip_connections.SkipConnection() if marked else nn.Identity()
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.softplus(self.stem(x))
        y = F.softplus(self.branch(x))
        x = OPERATIONS[self.operation](self.residual(x), self.other(y))
        return self.head(F.adaptive_avg_pool2d(F.softplus(x), 1).flatten(1))


def make(operation: str = "div", marked: bool = True) -> Marked:
    torch.manual_seed(0)
    return Marked(operation, marked).eval()


def make_quantizer(rules: RuleSet):
    target = get_target("onnxruntime")
    return target.quantizer(
        target.number_format(8, 8),
        per_channel=True,
        weight_calibrator=make_calibrator("max"),
        rules=rules,
        histogram=HistogramMethod(),
    )


def prepare(network: nn.Module, skip: tuple[str, ...] = (), rules: tuple[Rule, ...] = ()):
    prepared = quantized.prepare(capture(network, INPUT_SHAPE), make_quantizer(RuleSet(rules, skip)))
    quantized.collect(prepared, make_batch())
    quantized.set_ranges(prepared, quantized.collected_histograms(prepared), make_calibrator("max"))
    return prepared


def quantized_names(prepared) -> set[str]:
    return {name for q in quantized.activation_quantizers(prepared) for name in q.names}


def export(graph, tmp_path: Path) -> onnx.ModelProto:
    export_onnx(graph, INPUT_SHAPE, tmp_path / "m.onnx", integer_biases=True)
    return onnx.load(tmp_path / "m.onnx")


@pytest.mark.parametrize("kind", KINDS)
def test_in_float_a_marker_is_its_input_and_lets_gradients_pass(kind: type[nn.Module]) -> None:
    x = torch.ones(2, 3, requires_grad=True)
    y = kind().train()(x)
    assert y is x
    (y * 3).sum().backward()
    assert torch.equal(x.grad, torch.full((2, 3), 3.0))


def test_in_float_the_captured_graph_and_the_onnx_file_are_those_without_markers(tmp_path: Path) -> None:
    marked, plain = capture(make(), INPUT_SHAPE), capture(make(marked=False), INPUT_SHAPE)
    assert [node.target for node in marked.graph.nodes] == [node.target for node in plain.graph.nodes]
    assert torch.equal(marked(make_batch(3)), plain(make_batch(3)))
    files = [export(graph, tmp_path) for graph in (marked, plain)]
    assert [node.op_type for node in files[0].graph.node] == [node.op_type for node in files[1].graph.node]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.thorough(keep=2)
def test_every_marked_tensor_is_quantized(operation: str) -> None:
    prepared = prepare(make(operation))
    marked_tensors = {"softplus", "softplus_1"}
    assert marked_tensors <= quantized_names(prepared)


def test_without_the_marker_the_inputs_of_a_division_stay_in_float() -> None:
    # `softplus` is the input of the second convolution, too; `softplus_1` is read by the division alone.
    assert "softplus_1" not in quantized_names(prepare(make(marked=False)))


def test_the_exported_division_reads_dequantized_tensors_and_no_marker_is_left(tmp_path: Path) -> None:
    model = export(quantized.convert(prepare(make("sub"))), tmp_path)
    producers = {output: node.op_type for node in model.graph.node for output in node.output}
    (subtraction,) = [node for node in model.graph.node if node.op_type == "Sub"]
    assert [producers[name] for name in subtraction.input] == ["DequantizeLinear", "DequantizeLinear"]
    assert all(node.domain == "" and "skip" not in node.op_type.lower() for node in model.graph.node)


def test_the_quantized_network_trains() -> None:
    prepared = prepare(make())
    prepared(make_batch(4)).sum().backward()
    assert all(parameter.grad is not None for parameter in prepared.parameters())


@pytest.mark.parametrize("pattern", ["other", "SkipConnection"])
def test_a_marker_is_skipped_by_name_and_by_type(pattern: str) -> None:
    # `residual` is a `Residual`, which is a class of its own.
    assert "softplus_1" not in quantized_names(prepare(make(), skip=(pattern,)))


def test_a_descriptor_of_the_marker_holds_for_its_tensor() -> None:
    fixed = Rule(modules=("other",), input=TensorDescriptor(amax=0.5))
    prepared = prepare(make(), rules=(fixed,))
    (marked,) = [q for q in quantized.activation_quantizers(prepared) if "softplus_1" in q.names]
    # Softplus is positive, so the 255 steps of uint8 serve [0, 0.5].
    assert float(marked.scale) == pytest.approx(0.5 / 255)


def test_a_descriptor_can_leave_the_marked_tensor_in_float() -> None:
    float_rule = Rule(modules=("other",), input=TensorDescriptor(fake_quant=False))
    assert "softplus_1" not in quantized_names(prepare(make(), rules=(float_rule,)))


def test_markers_in_a_row_count_once_and_one_at_the_output_does_nothing() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = (
                skip_connections.Residual(),
                skip_connections.Residual(),
                skip_connections.Residual(),
            )
            self.head = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.head(self.second(self.first(x)) / 2.0))

    graph = capture(Twice(), (4,))
    assert quantized_names(quantized.prepare(graph, make_quantizer(RuleSet()))) == {"x", "div"}


def test_a_convolution_whose_batch_norm_is_folded_can_be_marked() -> None:
    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.mark = conv_bn(3, 4), skip_connections.Residual()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.softplus(self.mark(self.stem(x)) - 1.0).mean((2, 3))

    assert "conv2d" in quantized_names(prepare(Folded().eval()))


def test_a_model_file_that_imports_markers_imports_torch_and_nothing_else_that_is_heavy() -> None:
    code = "import harness.skip_connections, sys; print(*{'torchao', 'onnx', 'pandas', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
