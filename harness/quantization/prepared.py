"""A captured network with quantizers in it: collect, choose ranges, fake-quantize, convert, save."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.fx import GraphModule

from harness.errors import StageError
from harness.quantization.calibrators.base import Calibrator
from harness.quantization.capture.graph import quiet_torch
from harness.quantization.capture.graph_tensors import attribute
from harness.quantization.capture.operators import BATCH_NORM
from harness.quantization.histogram import Histogram
from harness.quantization.placement.quantizer import PlacementQuantizer
from harness.quantization.state_file import FIXED_SCALE, SCALE, WEIGHT_SCALE, ZERO_POINT
from harness.quantization.tensor_quantizer import Mode, TensorQuantizer, WeightQuantizer

with quiet_torch():
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e


def prepare(graph_module: GraphModule, quantizer: PlacementQuantizer) -> GraphModule:
    """A copy of the captured network with a `TensorQuantizer` wherever `quantizer` puts one.

    Batch norm is folded already, so the same graph serves PTQ and QAT.
    """
    graph_module = copy.deepcopy(graph_module)
    hide_batch_norms(graph_module)
    with quiet_torch():
        prepared = prepare_pt2e(graph_module, quantizer)
    return show_batch_norms(prepared)


def tensor_quantizers(prepared: GraphModule) -> list[TensorQuantizer]:
    """Every quantizer once, in graph order."""
    return [module for module in prepared.modules() if isinstance(module, TensorQuantizer)]


def activation_quantizers(prepared: GraphModule) -> list[TensorQuantizer]:
    """The quantizers of activations, whose ranges calibration chooses."""
    return [module for module in tensor_quantizers(prepared) if not isinstance(module, WeightQuantizer)]


def weight_quantizers(prepared: GraphModule) -> list[WeightQuantizer]:
    """The quantizers of weights."""
    return [module for module in tensor_quantizers(prepared) if isinstance(module, WeightQuantizer)]


def set_mode(prepared: GraphModule, mode: Mode) -> None:
    """Switch every quantizer of the network."""
    for quantizer in tensor_quantizers(prepared):
        quantizer.mode = mode


def collect(prepared: GraphModule, batch: torch.Tensor) -> None:
    """Add one batch (N, C, H, W) to the histograms of all activations."""
    set_mode(prepared, "collect")
    with torch.no_grad():
        prepared(batch)


def collected_histograms(prepared: GraphModule) -> dict[str, Histogram]:
    """Histogram per graph node; nodes that share a scale share a histogram."""
    return {name: quantizer.histogram for quantizer in activation_quantizers(prepared) for name in quantizer.names}


def set_ranges(prepared: GraphModule, histograms: Mapping[str, Histogram], calibrator: Calibrator) -> None:
    """Give every activation its scale and zero point, and switch fake quantization on."""
    for quantizer in activation_quantizers(prepared):
        quantizer.set_range(_histogram_of(quantizer, histograms), calibrator)
    set_mode(prepared, "quantize")


def outlier_notes(prepared: GraphModule, histograms: Mapping[str, Histogram], calibrator: Calibrator) -> list[str]:
    """One sentence for each activation with values far beyond all others, and what the calibrator makes of them."""
    quantizers = [each for each in activation_quantizers(prepared) if each.range_rule.amax is None]
    found = (_outlier_note(each, _histogram_of(each, histograms), calibrator) for each in quantizers)
    return list(filter(None, found))


def _outlier_note(quantizer: TensorQuantizer, histogram: Histogram, calibrator: Calibrator) -> str | None:
    chosen = quantizer.range_rule.calibrator or calibrator
    levels = quantizer.integer.levels(histogram.minimum)
    outliers = histogram.outliers(levels)
    if outliers is None:
        return None
    rest = histogram.without_outliers(levels).abs_max
    does = "leaves them out" if chosen.drops_outliers else "makes room for them, so that the others have few steps"
    return (
        f"calibration of `{quantizer.name}`: {outliers.n:,} of {histogram.n:,} values lie beyond {outliers.beyond:.3g} "
        f"(up to {outliers.largest:.3g}), all others below {rest:.3g}; `{chosen.name}` {does}"
    )


def _histogram_of(quantizer: TensorQuantizer, histograms: Mapping[str, Histogram]) -> Histogram:
    merged = Histogram.empty()
    seen: set[int] = set()
    for name in quantizer.names:
        histogram = histograms.get(name)
        if histogram is not None and id(histogram) not in seen:
            seen.add(id(histogram))
            merged.merge(histogram)
    if merged.n == 0:
        raise StageError(f"calibration holds no values for tensor `{quantizer.name}`")
    return merged


def convert(prepared: GraphModule) -> GraphModule:
    """The network in Q/DQ form with int8 weights folded in; `prepared` is left as it is."""
    prepared = copy.deepcopy(prepared)
    for quantizer, weight in quantized_weights(prepared):
        quantizer.fit(weight)
    hide_batch_norms(prepared)
    with quiet_torch():
        converted = convert_pt2e(prepared)
    return show_batch_norms(converted)


def quantized_weights(prepared: GraphModule) -> list[tuple[WeightQuantizer, torch.Tensor]]:
    """Every weight quantizer that reads a parameter, with that parameter."""
    modules = dict(prepared.named_modules())
    found = []
    for node in prepared.graph.nodes:
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, WeightQuantizer):
            found.append((module, attribute(prepared, str(node.args[0].target))))
    return found


def save_state(prepared: GraphModule, path: Path) -> None:
    """Write weights and activation ranges; weight scales follow from the weights unless learned or fixed."""
    inside = {id(t) for q in tensor_quantizers(prepared) for t in (*q.parameters(), *q.buffers())}
    tensors = {name: t for name, t in prepared.state_dict(keep_vars=True).items() if id(t) not in inside}
    for quantizer in activation_quantizers(prepared):
        tensors[SCALE + quantizer.name] = quantizer.scale
        tensors[ZERO_POINT + quantizer.name] = quantizer.zero_point
    tensors |= {WEIGHT_SCALE + q.name: q.scale for q in weight_quantizers(prepared) if q.learned}
    tensors |= {FIXED_SCALE + q.name: q.scale for q in weight_quantizers(prepared) if q.is_fixed and not q.learned}
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, path)


def load_state(prepared: GraphModule, path: Path) -> None:
    """Read what `save_state` wrote into a network prepared the same way, and switch fake quantization on."""
    tensors = load_file(path)
    for quantizer in activation_quantizers(prepared):
        quantizer.scale.copy_(tensors.pop(SCALE + quantizer.name))
        quantizer.zero_point.copy_(tensors.pop(ZERO_POINT + quantizer.name))
    for weight_quantizer in weight_quantizers(prepared):
        if (scale := tensors.pop(WEIGHT_SCALE + weight_quantizer.name, None)) is not None:
            weight_quantizer.set_learned(scale)
        if (scale := tensors.pop(FIXED_SCALE + weight_quantizer.name, None)) is not None:
            weight_quantizer.fix(scale)
    own = prepared.state_dict(keep_vars=True)
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)
    set_mode(prepared, "quantize")


def kept_batch_norm(*args: object) -> torch.Tensor:
    """`aten.batch_norm` under a name that passes over the graph do not know."""
    result: torch.Tensor = BATCH_NORM(*args)
    return result


def hide_batch_norms(graph_module: GraphModule) -> None:
    """Rename every batch norm of the graph, in place.

    `prepare_pt2e` and `convert_pt2e` fold batch norms themselves, whoever else reads the layer's output or weight.
    """
    _rename(graph_module, BATCH_NORM, kept_batch_norm)


def show_batch_norms(graph_module: object) -> GraphModule:
    """The network with the names of its batch norms as before."""
    assert isinstance(graph_module, GraphModule)
    _rename(graph_module, kept_batch_norm, BATCH_NORM)
    return graph_module


def _rename(graph_module: GraphModule, old: object, new: object) -> None:
    for node in graph_module.graph.nodes:
        if node.op == "call_function" and node.target is old:
            node.target = new
    graph_module.recompile()
