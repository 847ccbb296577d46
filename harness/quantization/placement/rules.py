"""From rules to what holds for every node of a captured graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch.fx import GraphModule, Node

from harness.errors import UsageError, unknown_name
from harness.quantization.capture.modules import Modules, matches_name, module_path
from harness.quantization.capture.skip_connections import MarkedEdge, all_skip_connections
from harness.quantization.descriptors import NodeRule
from harness.quantization.placement.roles import nodes_of_role
from harness.quantization.settings import Rule, TensorDescriptor

__all__ = ["NodeRule", "Rule", "RuleSet", "TensorDescriptor", "Unmatched"]

_TYPE, _ROLE = "type:", "role:"


class Unmatched(NamedTuple):
    """A selector that matches nothing: which one of the rule, and the message with its fix."""

    key: str
    number: int
    message: str
    fix: str


@dataclass(frozen=True)
class RuleSet:
    """Rules and skip patterns of one variant.

    A skip pattern is a rule that skips: a module's name, glob or `re:` expression, a class name (also `type:NAME`), or
    `role:ROLE`. Skip patterns come after the rules.
    """

    rules: tuple[Rule, ...] = ()
    skip: tuple[str, ...] = ()

    def resolve(self, graph_module: GraphModule) -> Mapping[Node | MarkedEdge, NodeRule]:
        """The rule of each call and skip connection; UsageError, with the nearest name, for an unused rule."""
        modules = Modules.of(graph_module)
        calls: list[Node | MarkedEdge] = [node for node in graph_module.graph.nodes if node.op == "call_function"]
        calls += all_skip_connections(graph_module)
        resolved = dict.fromkeys(calls, NodeRule())
        rules = [*self.rules, *(skip_rule(pattern, modules) for pattern in self.skip)]
        for rule in sorted(rules, key=lambda rule: rule.strength):
            chosen = [node for node in calls if _selects_node(rule, node, modules, graph_module)]
            if not chosen:
                raise _nothing(rule, modules)
            resolved |= {node: resolved[node].changed_by(rule) for node in chosen}
        return resolved


def skip_rule(pattern: str, modules: Modules) -> Rule:
    """The rule of a skip pattern."""
    if pattern.startswith(_TYPE):
        return Rule(types=(pattern.removeprefix(_TYPE),), skip=True)
    if pattern.startswith(_ROLE):
        return Rule.model_validate({"roles": (pattern.removeprefix(_ROLE),), "skip": True})
    is_type = pattern in modules.type_names and not any(matches_name(pattern, name) for name in modules.names)
    return Rule(types=(pattern,), skip=True) if is_type else Rule(modules=(pattern,), skip=True)


def unmatched(rule: Rule, modules: Modules) -> Iterator[Unmatched]:
    """Selectors of a rule that no module of the network fits, each by itself; roles are known to graphs only."""
    known = [*modules.names, *modules.type_names]
    for index, pattern in enumerate(rule.modules):
        if not any(matches_name(pattern, name) for name in modules.names):
            message, fix = unknown_name("module", pattern, known)
            yield Unmatched("modules", index, message, fix)
    for index, kind in enumerate(rule.types):
        if not any(modules.is_instance(name, [kind], subclasses=rule.subclasses) for name in modules.classes):
            message, fix = unknown_name("module type", kind, modules.type_names)
            yield Unmatched("types", index, message, fix)


def matches_modules(rule: Rule, modules: Modules) -> bool:
    """Whether a rule can select anything of a network, as far as its modules tell."""
    return any(selects(rule, path, modules) for path in modules.classes)


def _selects_node(rule: Rule, node: Node | MarkedEdge, modules: Modules, graph_module: GraphModule) -> bool:
    if not selects(rule, module_path(node), modules):
        return False
    return not rule.roles or any(node in nodes_of_role(role, graph_module) for role in rule.roles)


def selects(rule: Rule, path: str, modules: Modules) -> bool:
    """Whether the module at `path` fits a rule, as far as its name and type tell."""
    if rule.modules and not any(matches_name(pattern, path) for pattern in rule.modules):
        return False
    return not rule.types or modules.is_instance(path, rule.types, subclasses=rule.subclasses)


def _nothing(rule: Rule, modules: Modules) -> UsageError:
    for problem in unmatched(rule, modules):
        return UsageError(problem.message, fix=problem.fix)
    selectors = ", ".join(
        f"{name} {', '.join(values)}"
        for name, values in (("modules", rule.modules), ("types", rule.types), ("roles", rule.roles))
        if values
    )
    return UsageError(f"the rule for {selectors} matches no operation", fix="correct the rule, or delete it")
