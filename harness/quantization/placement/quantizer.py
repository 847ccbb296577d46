"""What every target's quantizer shares: specs per tensor, walking through fused ops, naming."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import GraphModule, Node

from harness.errors import UsageError
from harness.quantization.calibrators.base import Calibrator
from harness.quantization.capture.graph import quiet_torch
from harness.quantization.capture.skip_connections import MarkedEdge, skip_connection_input, skip_connections_of
from harness.quantization.descriptors import HistogramMethod, NodeRule, RangeRule, integer_format
from harness.quantization.formats import IntegerFormat, TargetFormat
from harness.quantization.placement.decompose import decompose
from harness.quantization.placement.nodes import fused_output, is_float, reaches_output, readers, same_values
from harness.quantization.settings import TensorDescriptor
from harness.quantization.tensor_quantizer import TensorQuantizer, WeightQuantizer

if TYPE_CHECKING:
    from harness.quantization.placement.rules import RuleSet

with quiet_torch():
    from torchao.quantization.pt2e.quantizer import (
        QuantizationAnnotation,
        QuantizationSpec,
        Quantizer,
        SharedQuantizationSpec,
    )
    from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

aten = torch.ops.aten


class PlacementQuantizer(Quantizer):  # type: ignore[misc]  # torchao ships no types
    """A PT2E `Quantizer` that puts one `TensorQuantizer` at each tensor; subclasses say at which.

    One spec object per tensor: where the output of one op and the input of the next carry the same object,
    PT2E inserts a single quantizer.
    """

    def __init__(
        self,
        target_format: TargetFormat,
        *,
        per_channel: bool,
        weight_calibrator: Calibrator,
        rules: RuleSet | None = None,
        histogram: HistogramMethod | None = None,
    ) -> None:
        super().__init__()
        self.target_format = target_format
        self.per_channel = per_channel
        self.weight_calibrator = weight_calibrator
        self.rules = rules
        self.histogram = histogram or HistogramMethod()
        self._node_rules: Mapping[Node | MarkedEdge, NodeRule] = {}
        self._weight_specs: dict[tuple[Node, int | None], QuantizationSpec] = {}
        self._activation_specs: dict[Node, QuantizationSpec | SharedQuantizationSpec | None] = {}

    def transform_for_annotation(self, model: GraphModule) -> GraphModule:
        """Split ops whose parts are quantized one by one."""
        return decompose(model)

    def annotate(self, model: GraphModule) -> GraphModule:
        """Mark every node of the graph that the target runs on integers; UsageError for a rule that fits nothing."""
        self._node_rules = {} if self.rules is None else self.rules.resolve(model)
        nodes = [
            node
            for node in model.graph.nodes
            if node.op == "call_function" and is_float(node) and not self._rule_of(node).skip
        ]
        self.plan(model, nodes)
        for node in nodes:
            self.annotate_node(node)
        for node in model.graph.nodes:
            for edge in skip_connections_of(node):
                source = skip_connection_input(node, edge)
                if source is not None and is_float(source) and not self._rule_of(edge).skip:
                    self.mark_input(node, source)
        return model

    def _rule_of(self, node: Node | MarkedEdge) -> NodeRule:
        return self._node_rules.get(node, NodeRule())

    def plan(self, model: GraphModule, nodes: Sequence[Node]) -> None:
        """Decide what needs the whole graph, before any of `nodes`, those that no rule skips, is annotated."""

    @abstractmethod
    def annotate_node(self, node: Node) -> None:
        """Annotate one call, or leave it unquantized."""

    def validate(self, model: GraphModule) -> None:
        """Nothing to check: the audit of the built engine is the proof."""

    def prepare_obs_or_fq_callback(self, model: GraphModule, edge_or_node_to_obs_or_fq: Mapping[Any, Any]) -> None:
        """Tell each quantizer which graph nodes it serves."""
        owners: dict[str, object] = {}
        for edge_or_node, quantizer in edge_or_node_to_obs_or_fq.items():
            if quantizer is None:  # a rule skips this tensor
                continue
            node = edge_or_node[0] if isinstance(edge_or_node, tuple) else edge_or_node
            name = node.target if node.op == "get_attr" else node.name
            if owners.setdefault(name, quantizer) is not quantizer:  # a weight with one scale for each of its axes
                name = f"{name}@{edge_or_node[-1].name}" if isinstance(edge_or_node, tuple) else name
            if name not in quantizer.names:
                quantizer.names = (*quantizer.names, name)

    def activation_spec(self, tensor: Node) -> QuantizationSpec | SharedQuantizationSpec | None:
        """The one spec of this activation; None where a rule skips it."""
        if tensor not in self._activation_specs:
            self._activation_specs[tensor] = self._new_activation_spec(tensor)
        return self._activation_specs[tensor]

    def activation_format(self, tensor: Node) -> IntegerFormat:
        """The number format of an activation; targets may have another one for some tensors."""
        return self.target_format.activations

    def readers_of(self, tensor: Node) -> Iterator[Node]:
        """What computes with the tensor, or with the tensor that it is a view of, in graph order."""
        return readers(same_values(tensor))

    def _new_activation_spec(self, tensor: Node) -> QuantizationSpec | None:
        descriptor = self._input_descriptor(tensor)
        if not descriptor.fake_quant:
            return None
        integer = integer_format(descriptor, self.activation_format(tensor))
        constructor = TensorQuantizer.with_args(integer=integer, range_rule=RangeRule.of(descriptor, self.histogram))
        return QuantizationSpec(integer.dtype, constructor)

    def _input_descriptor(self, tensor: Node) -> TensorDescriptor:
        """What the rules say about the input of whatever reads `tensor`; where they differ, the last reader decides."""
        merged = TensorDescriptor()
        for reader in self.readers_of(tensor):
            marks = [edge for edge in skip_connections_of(reader) if edge.source == tensor.name]
            for rule in (self._rule_of(reader), *map(self._rule_of, marks)):
                if not rule.skip:
                    merged = merged.overridden_by(rule.input)
        return merged

    def weight_spec(self, node: Node, channel_axis: int) -> QuantizationSpec | None:
        """A spec for the weight of `node`, whose output channels lie along `channel_axis`; None for float."""
        weight = node.args[1]
        assert isinstance(weight, Node)
        descriptor = self._weight_descriptor(weight)
        if not descriptor.fake_quant:
            return None
        given = descriptor.given()
        per_channel = self.per_channel if "axis" not in given else descriptor.axis is not None
        if descriptor.axis not in (None, channel_axis):
            raise UsageError(
                f"`axis: {descriptor.axis}` is not the axis of the output channels of `{node.name}`",
                fix=f"write `axis: {channel_axis}`, or nothing for one scale per tensor",
            )
        key = weight, channel_axis if per_channel else None
        if key not in self._weight_specs:
            self._weight_specs[key] = self._new_weight_spec(descriptor, key[1])
        return self._weight_specs[key]

    def _weight_descriptor(self, weight: Node) -> TensorDescriptor:
        """What the rules say about a weight; where its readers differ, the last one decides."""
        merged = TensorDescriptor()
        for reader in weight.users:
            if not self._rule_of(reader).skip:
                merged = merged.overridden_by(self._rule_of(reader).weight)
        return merged

    def _new_weight_spec(self, descriptor: TensorDescriptor, channel_axis: int | None) -> QuantizationSpec:
        integer = integer_format(descriptor, self.target_format.weights)
        constructor = WeightQuantizer.with_args(
            integer=integer,
            channel_axis=channel_axis,
            calibrator=self.histogram.calibrator(descriptor) or self.weight_calibrator,
            range_rule=RangeRule.of(descriptor, self.histogram),
        )
        return QuantizationSpec(integer.dtype, constructor)

    def mark(self, node: Node, inputs: Mapping[Node, Any], output: Any | None = None) -> None:
        """Annotate a node; its inputs and output as given."""
        node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
            input_qspec_map=dict(inputs), output_qspec=output, _annotated=True
        )

    def mark_input(self, node: Node, source: Node) -> None:
        """Quantize what `node` reads from `source`, whatever else holds for `node`."""
        spec = self.activation_spec(source)
        if node.op == "call_function" and spec is not None:
            annotation = node.meta.setdefault(Q_ANNOTATION_KEY, QuantizationAnnotation(_annotated=True))
            annotation.input_qspec_map.setdefault(source, spec)

    def mark_output(self, node: Node) -> None:
        """Quantize what leaves `node`, after the activation function that the target fuses into it.

        The network's own output is never quantized: saturated top logits would tie.
        """
        tensor = fused_output(node)
        if reaches_output(tensor):
            return
        annotation = tensor.meta.setdefault(Q_ANNOTATION_KEY, QuantizationAnnotation(_annotated=True))
        annotation.output_qspec = self.activation_spec(tensor)

    def mark_shared(self, node: Node) -> None:
        """Input and output of `node` carry the same values and so the same scale."""
        source = node.args[0]
        assert isinstance(source, Node)
        self.share(node, source, node)
        self.mark(node, {source: self.activation_spec(source)}, self.activation_spec(node))

    def share(self, tensor: Node, source: Node, reader: Node) -> None:
        """Give `tensor` the scale that `source` has as an input of `reader`."""
        is_float_source = self.activation_spec(source) is None
        self._activation_specs[tensor] = None if is_float_source else SharedQuantizationSpec((source, reader))
