"""Multiply-accumulates of the layers of an ONNX file that multiply, and how each is quantized there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, inliner

from harness.errors import StageError
from harness.exporting.mac_formulas import NodeCall, Shape, UnknownShapeError, factors, product_of
from harness.exporting.onnx_index import OnnxIndex
from harness.exporting.tensor_shapes import executed_calls, fixed_batch, inferred_shapes, input_sizes

WEIGHTED_OPS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
"""What quantizers give integer weights to; `weighted_layers` finds every operator that multiplies."""
_FUSABLE = {"Relu", "Clip", "Add", "QuantizeLinear", "LeakyRelu", "Sigmoid", "HardSigmoid", "Tanh"}
_GIVE_SIZES = "give the sizes of its inputs, for instance `--shapes NAME:1x3x224x224`, or export it with fixed sizes"
_COUNTS_VALUES = "replace the operator: its multiply-accumulates cannot be computed from shapes"


@dataclass(frozen=True)
class Factor:
    """One of the tensors that a layer multiplies with each other."""

    is_constant: bool
    """A weight."""
    is_quantized: bool
    """Whether it comes out of a DequantizeLinear."""


@dataclass(frozen=True)
class WeightedLayer:
    """A layer of the file that multiplies: by a weight, or two tensors that the network computes."""

    name: str
    op: str
    macs: int
    """For one sample."""
    factors: tuple[Factor, ...]
    output_is_quantized: bool
    outputs: tuple[str, ...]
    """Names of its outputs."""
    fused_outputs: tuple[str, ...]
    """Outputs of the ops behind it that an engine may fuse into it."""

    def own_names(self) -> tuple[str, ...]:
        """Its name, and those of its outputs."""
        return (self.name, *self.outputs)

    def fused_names(self) -> tuple[str, ...]:
        """Names that it takes where an engine fuses the ops behind it into it."""
        return self.fused_outputs

    @property
    def aliases(self) -> tuple[str, ...]:
        """All names under which an engine may know it."""
        return (*self.own_names(), *self.fused_names())

    @property
    def is_quantized(self) -> bool:
        """Whether all that it multiplies is quantized."""
        return all(factor.is_quantized for factor in self.factors)

    def float_factors(self, file: str = "the ONNX file") -> str | None:
        """Which of the tensors that it multiplies are float in `file`, in words; None where all are quantized."""
        missing = [factor for factor in self.factors if not factor.is_quantized]
        if not missing:
            return None
        if len(missing) == len(self.factors):
            return f"not quantized in {file}"
        computed = [factor for factor in missing if not factor.is_constant]
        words = [] if not computed else ["its inputs" if len(computed) > 1 else self._input()]
        if len(computed) < len(missing):
            words.append("its weight")
        return f"{' and '.join(words)} {'is' if len(missing) == 1 else 'are'} float in {file}"

    def _input(self) -> str:
        return "its input" if sum(not factor.is_constant for factor in self.factors) == 1 else "one of its inputs"


def weighted_layers(path: Path, input_shapes: Mapping[str, Shape] | None = None) -> tuple[WeightedLayer, ...]:
    """All layers of the file that multiply, in order; the body of a loop counts as often as it is executed.

    `input_shapes` gives the sizes of inputs that are dynamic beyond the batch. Shapes that ONNX's inference does not
    find are read off one inference. StageError where that fails, too: a layer is never counted as 0 because nothing is
    known about it.
    """
    model = onnx.load(path)
    if model.functions:
        model = inliner.inline_local_functions(model)
    sizes = input_sizes(model, input_shapes or {})
    index = OnnxIndex.of(model)
    products = {position: node for position, node in enumerate(index.nodes) if _is_product(node, index)}
    macs = _inferred_macs(model, products, sizes)
    if macs is None:
        macs = _executed_macs(model, products, sizes, path.name)
    batch = fixed_batch(model)
    return tuple(_layer(products[position], count // batch, index) for position, count in macs.items())


def _is_product(node: NodeProto, index: OnnxIndex) -> bool:
    """Whether the node multiplies when the network runs: products of constants are computed beforehand."""
    multiplied = factors(node)
    return len(multiplied) > 1 and not all(name in index.constants for name in multiplied)


def _inferred_macs(
    model: ModelProto, products: Mapping[int, NodeProto], sizes: Mapping[str, Sequence[int | None]]
) -> dict[int, int] | None:
    """By position; None where a shape is not known, or a body is executed an unknown number of times."""
    top = {id(node) for node in model.graph.node}
    if not all(id(node) in top for node in products.values()):
        return None
    shapes = inferred_shapes(model, sizes)
    calls = {
        position: NodeCall(node, [shapes.get(name) for name in node.input], [shapes.get(name) for name in node.output])
        for position, node in products.items()
    }
    try:
        return {position: _macs(call) for position, call in calls.items()}
    except UnknownShapeError:
        return None


def _executed_macs(
    model: ModelProto, products: Mapping[int, NodeProto], sizes: Mapping[str, Sequence[int | None]], name: str
) -> dict[int, int]:
    """By position, of the products that are executed: one branch of an `If` is not."""
    try:
        calls = executed_calls(model, sizes)
    except StageError as error:
        raise StageError(
            f"{name}: the shapes that its layers multiply are not known: {error.message}", fix=_GIVE_SIZES
        ) from error
    macs = {}
    for position, node in products.items():
        try:
            macs[position] = sum(map(_macs, calls[position]))
        except UnknownShapeError:
            what = f"{name}: the multiply-accumulates of `{_name(node)}` ({node.op_type}) cannot be counted"
            raise StageError(what, fix=_COUNTS_VALUES) from None
    return {position: count for position, count in macs.items() if calls[position]}


def _macs(call: NodeCall) -> int:
    product = product_of(call.node)
    assert product is not None
    return product.macs(call)


def _layer(node: NodeProto, macs: int, index: OnnxIndex) -> WeightedLayer:
    followers = _followers(node, index)
    return WeightedLayer(
        name=_name(node),
        op=node.op_type,
        macs=macs,
        factors=tuple(Factor(name in index.constants, index.is_dequantized(name)) for name in factors(node)),
        output_is_quantized=any(follower.op_type == "QuantizeLinear" for follower in followers),
        outputs=tuple(filter(None, node.output)),
        fused_outputs=tuple(name for follower in followers for name in follower.output if name),
    )


def _name(node: NodeProto) -> str:
    return node.name or next(filter(None, node.output), node.op_type)


def _followers(node: NodeProto, index: OnnxIndex) -> list[NodeProto]:
    """The chain of single users that an engine may fuse into the layer."""
    chain: list[NodeProto] = []
    current = node
    while True:
        readers = index.users.get(current.output[0], [])
        if len(readers) != 1 or readers[0].op_type not in _FUSABLE:
            return chain
        current = readers[0]
        chain.append(current)
        if current.op_type == "QuantizeLinear":
            return chain
