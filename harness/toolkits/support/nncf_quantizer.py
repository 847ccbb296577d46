"""A target's quantizer in the form that NNCF reads.

The harness' specs carry their number format in the observer; NNCF looks at `qscheme`, `quant_min` and `quant_max`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.fx import GraphModule, Node

from harness.quantization.capture.batch_norm import BatchNorm
from harness.quantization.capture.fold import is_frozen_batch_norm
from harness.quantization.capture.graph import quiet_torch
from harness.quantization.capture.graph_tensors import add_tensor, drop_unread_tensors
from harness.quantization.placement.quantizer import PlacementQuantizer

with quiet_torch():
    from torchao.quantization.pt2e.quantizer import QuantizationSpec, Quantizer
    from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY


class ReadableQuantizer(Quantizer):  # type: ignore[misc]  # torchao ships no types
    """The same annotations, their specs spelled out."""

    def __init__(self, quantizer: PlacementQuantizer) -> None:
        super().__init__()
        self._quantizer = quantizer
        self._specs: dict[int, tuple[QuantizationSpec, QuantizationSpec]] = {}

    def transform_for_annotation(self, model: GraphModule) -> GraphModule:
        """As the wrapped quantizer does."""
        transformed = self._quantizer.transform_for_annotation(model)
        assert isinstance(transformed, GraphModule)
        return transformed

    def annotate(self, model: GraphModule) -> GraphModule:
        """Annotate as the target does, then spell every spec out."""
        self._quantizer.annotate(model)
        for node in model.graph.nodes:
            annotation = node.meta.get(Q_ANNOTATION_KEY)
            if annotation is not None:
                specs = annotation.input_qspec_map
                annotation.input_qspec_map = {source: self._spelled(spec) for source, spec in specs.items()}
                annotation.output_qspec = self._spelled(annotation.output_qspec)
        return model

    def validate(self, model: GraphModule) -> None:
        """Nothing to check: the audit of the built engine is the proof."""

    def _spelled(self, spec: Any) -> Any:
        """One spec object stays one object: tensors that share a scale share their spec."""
        if not isinstance(spec, QuantizationSpec):
            return spec
        if id(spec) not in self._specs:
            self._specs[id(spec)] = (spec, _spelled_out(spec))  # keeping `spec` keeps its id from being reused
        return self._specs[id(spec)][1]


def _spelled_out(spec: QuantizationSpec) -> QuantizationSpec:
    observer = spec.observer_or_fake_quant_ctr()
    axis = observer.ch_axis if observer.ch_axis >= 0 else None
    bounds = {"quant_min": observer.quant_min, "quant_max": observer.quant_max}
    assert observer.qscheme in (torch.per_tensor_affine, torch.per_tensor_symmetric, torch.per_channel_symmetric)
    return replace(spec, qscheme=observer.qscheme, ch_axis=axis, **bounds)


aten = torch.ops.aten


def write_batch_norms_as_affine(graph_module: GraphModule) -> None:
    """Write them out, in place, for tools that would fold every batch norm they find."""
    for norm in [node for node in graph_module.graph.nodes if is_frozen_batch_norm(node)]:
        factor, shift = BatchNorm.of(graph_module, norm).factor_and_shift()
        scaled = _apply(graph_module, norm, aten.mul.Tensor, norm.args[0], factor)
        norm.replace_all_uses_with(_apply(graph_module, norm, aten.add.Tensor, scaled, shift))
        graph_module.graph.erase_node(norm)
    graph_module.graph.eliminate_dead_code()
    drop_unread_tensors(graph_module)
    graph_module.recompile()


def _apply(graph_module: GraphModule, norm: Node, target: Any, source: Any, values: torch.Tensor) -> Node:
    """`target(source, values)` in front of `norm`, with one value per channel."""
    values = values.float().reshape(1, -1, *[1] * (norm.meta["val"].ndim - 2))
    constant = add_tensor(graph_module, f"{norm.name}_{target._schema.name[-3:]}", values, norm, trains=True)
    with graph_module.graph.inserting_before(norm):
        node = graph_module.graph.call_function(target, (source, constant))
    node.meta = dict(norm.meta)
    return node
