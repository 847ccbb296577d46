"""What quantizing each layer alone costs: the quantizers of a prepared network, switched on layer by layer."""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from harness.quantization.capture.graph import quiet_torch
from harness.quantization.capture.modules import module_path
from harness.quantization.prepared import set_mode, tensor_quantizers
from harness.quantization.tensor_quantizer import TensorQuantizer

with quiet_torch():
    from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

ALL = "(all layers)"


@dataclass(frozen=True)
class QuantizedLayer:
    """A module, as skip sets and the audit name it, with the quantizers that its operations ask for.

    A quantizer may belong to several layers: what one writes and another reads is quantized for both. It goes away
    only when all of them are skipped.
    """

    name: str
    """Dotted module name; empty for operations that the network itself calls."""
    operators: tuple[str, ...]
    quantizers: tuple[TensorQuantizer, ...]
    weights: int
    """Quantized weights."""
    is_container: bool
    """Other layers are inside: a skip pattern of this name would skip them too."""


@dataclass(frozen=True)
class Noise:
    """Sums over all outputs of all samples."""

    signal: float
    noise: float

    @property
    def sqnr_db(self) -> float:
        """10 log10(signal / noise): infinite when nothing changed."""
        if self.noise == 0:
            return math.inf
        return 10.0 * math.log10(max(self.signal, sys.float_info.min) / self.noise)


def layers_with_quantizers(prepared: GraphModule) -> tuple[QuantizedLayer, ...]:
    """The layers that own a quantizer, in graph order."""
    operators: dict[str, list[str]] = defaultdict(list)
    tensors: dict[str, set[str]] = defaultdict(set)
    for node in prepared.graph.nodes:
        for tensor, asking in _asked_by(node):
            layer = module_path(asking)
            tensors[layer].add(tensor)
            operators[layer].append(_operator(asking))
    parameters = dict(prepared.named_parameters())
    quantizers = tensor_quantizers(prepared)
    return tuple(
        QuantizedLayer(
            name=layer,
            operators=tuple(dict.fromkeys(operators[layer])),
            quantizers=tuple(q for q in quantizers if not tensors[layer].isdisjoint(q.names)),
            weights=sum(parameters[tensor].numel() for tensor in tensors[layer] if tensor in parameters),
            is_container=not layer or any(other.startswith(f"{layer}.") for other in tensors),
        )
        for layer in tensors
    )


def _asked_by(node: Node) -> Iterator[tuple[str, Node]]:
    """Each tensor that is quantized because of this node's annotation, and the operation that asked for it."""
    annotation = node.meta.get(Q_ANNOTATION_KEY)
    if annotation is None:
        return
    for source, spec in annotation.input_qspec_map.items():
        if spec is not None:
            yield _tensor_name(source), node
    if annotation.output_qspec is not None:
        yield _tensor_name(node), _asking(node)


def _asking(node: Node) -> Node:
    """The operation whose output `node` carries: `node`, or what precedes the activation function fused into it."""
    while not node.meta[Q_ANNOTATION_KEY].input_qspec_map:
        sources = [source for source in node.all_input_nodes if source.meta.get(Q_ANNOTATION_KEY) is not None]
        if not sources:
            break
        node = sources[0]
    return node


def _tensor_name(node: Node) -> str:
    """As `TensorQuantizer.names` has it."""
    return str(node.target) if node.op == "get_attr" else node.name


def _operator(node: Node) -> str:
    """`conv2d` of `aten.conv2d.default`."""
    return str(node.target).removeprefix("aten.").partition(".")[0]


@contextmanager
def only(prepared: GraphModule, layer: QuantizedLayer | None) -> Iterator[None]:
    """Quantize this layer and nothing else, or nothing at all for None; afterwards everything again."""
    set_mode(prepared, "off")
    try:
        for quantizer in layer.quantizers if layer is not None else ():
            quantizer.mode = "quantize"
        yield
    finally:
        set_mode(prepared, "quantize")


def layer_noise(
    prepared: GraphModule,
    layers: Sequence[QuantizedLayer],
    batches: Iterable[torch.Tensor],
    progress: Callable[[int], None] = lambda _samples: None,
) -> dict[str, Noise]:
    """Noise at the network's output from each layer alone, by its name, and from `ALL`, in one pass over the data.

    Every batch (N, C, H, W) is read once and runs once in float and once per layer. Sums are float64, so that the
    batch size does not matter. `progress` is called with the number of samples done. The network is left quantizing.
    """
    signal = 0.0
    noise = dict.fromkeys([layer.name for layer in layers] + [ALL], 0.0)
    samples = 0
    with torch.no_grad():
        for batch in batches:
            with only(prepared, None):
                reference = prepared(batch).double()
            signal += float(reference.square().sum())
            for layer in layers:
                with only(prepared, layer):
                    noise[layer.name] += _squared_error(prepared(batch), reference)
            noise[ALL] += _squared_error(prepared(batch), reference)
            samples += len(batch)
            progress(samples)
    return {name: Noise(signal, value) for name, value in noise.items()}


def _squared_error(outputs: torch.Tensor, reference: torch.Tensor) -> float:
    return float((outputs.double() - reference).square().sum())


def most_sensitive_first(layers: Sequence[QuantizedLayer], noise: dict[str, Noise]) -> list[QuantizedLayer]:
    """By noise at the output, largest first; equal ones in graph order."""
    return sorted(layers, key=lambda layer: -noise[layer.name].noise)
