"""Rules and skip sets in the words that toolkits understand: names of modules that are not quantized."""

from __future__ import annotations

from torch.fx import GraphModule, Node

from harness.errors import StageError
from harness.quantization.capture.modules import module_path, with_containers
from harness.quantization.placement.rules import RuleSet


def skipped_modules(graph: GraphModule, rules: RuleSet) -> tuple[str, ...]:
    """Dotted names of the modules of which the rules skip every operation, the outermost of each subtree.

    Raises UsageError for a rule that fits nothing, and StageError for an operation that is skipped without its module:
    the add of a residual block, for instance, whose convolutions are not.
    """
    resolved = {node: rule for node, rule in rules.resolve(graph).items() if isinstance(node, Node)}  # no edges
    kept = {name for node, rule in resolved.items() if not rule.skip for name in with_containers(module_path(node))}
    found: dict[str, None] = {}
    for node, rule in resolved.items():
        if rule.skip:
            found[_outermost(node, kept)] = None
    return tuple(found)


def _outermost(node: Node, kept: set[str]) -> str:
    for name in with_containers(module_path(node)):
        if name not in kept:
            return name
    raise StageError(
        f"a rule skips `{node.name}` alone, but toolkits other than `harness` skip whole modules only",
        fix="skip the module by its name, or exclude these rows",
    )
