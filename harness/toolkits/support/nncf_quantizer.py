"""A target's quantizer in the form that NNCF reads.

The harness' specs carry their number format in the observer; NNCF looks at `qscheme`, `quant_min` and `quant_max`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.fx import GraphModule

from harness.quantization.capture.graph import quiet_torch
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
