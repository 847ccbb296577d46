"""A network whose modules were replaced, and the rules that follow for its captured graph."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn
from torch.fx import GraphModule

from harness.errors import Undeployable
from harness.quantization.capture.modules import module_path, with_containers
from harness.quantization.capture.skip_connections import all_skip_connections
from harness.quantization.descriptors import TensorKind, refusal
from harness.quantization.formats import TargetFormat
from harness.quantization.replacement.instructions import QuantizedMetadata
from harness.quantization.settings import Rule, TensorDescriptor


@dataclass
class Replaced:
    """A network whose modules were replaced, and what is to be known of them when it is quantized."""

    model: nn.Module
    skipped: list[str] = field(default_factory=list)
    """Dotted names of modules that are not quantized, submodules included."""
    described: list[tuple[str, QuantizedMetadata]] = field(default_factory=list)
    """Dotted names of modules with descriptors of their own, containers first."""

    def require_deployable(self, target_format: TargetFormat) -> None:
        """Undeployable, with the place, for a descriptor that this format has no room for."""
        for path, instruction in self.described:
            kinds: tuple[tuple[TensorKind, TensorDescriptor | None], ...] = (
                ("input", instruction.input_quant_descriptor),
                ("weight", instruction.weights_quant_descriptor),
            )
            for kind, descriptor in kinds:
                refused = None if descriptor is None else refusal(kind, descriptor, target_format)
                if refused is not None:
                    key, reason = refused
                    message = f"`{key}` of the {kind} descriptor of `{path}` cannot be deployed: {reason}"
                    raise Undeployable(message, fix=f"leave `{key}` out")

    def rules(self, graph_module: GraphModule) -> tuple[Rule, ...]:
        """The rules for the captured network; none for modules that compute nothing in it, as folded batch norms."""
        places = [node for node in graph_module.graph.nodes if node.op == "call_function"]
        computing = {"", *(module_path(place) for place in (*places, *all_skip_connections(graph_module)))}
        computing |= {name for path in computing for name in with_containers(path)}
        described = [_described(path, item, self.model) for path, item in self.described if path in computing]
        return (*described, *(Rule(modules=(path,), skip=True) for path in self.skipped if path in computing))


def _described(path: str, instruction: QuantizedMetadata, model: nn.Module) -> Rule:
    kind = type(model)
    return Rule(
        modules=(path,) if path else (),
        types=() if path else (f"{kind.__module__}.{kind.__qualname__}",),
        input=instruction.input_quant_descriptor,
        weight=instruction.weights_quant_descriptor,
    )
