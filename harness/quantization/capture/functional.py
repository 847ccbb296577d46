"""A captured graph without side effects: nothing is written to in place, no state changes, no identities."""

from __future__ import annotations

import operator

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from harness.errors import ModelError

aten = torch.ops.aten
_DROPOUTS = {
    aten.dropout.default,
    aten.dropout_.default,
    aten.feature_dropout.default,
    aten.feature_dropout_.default,
    aten.alpha_dropout.default,
    aten.feature_alpha_dropout.default,
}


def functional_graph(exported: ExportedProgram) -> GraphModule:
    """The graph of an exported network, where every call returns a new tensor.

    Raises ModelError when the outputs depend on a buffer that the network changes while it runs: an engine has no
    state. Buffers that only count are dropped.
    """
    graph_module = _module(exported)
    if any(_is_seen_by_others(node) for node in graph_module.graph.nodes if _writes(node)):
        graph_module = _module(exported.run_decompositions({}))
        _restore_batch_norms(graph_module)
        _make_copies_differentiable(graph_module)
    written = {str(node.args[0].target) for node in graph_module.graph.nodes if _writes(node) and _is_state(node)}
    for node in list(graph_module.graph.nodes):
        if _writes(node):
            _make_functional(graph_module, node)
    _drop_identities(graph_module)
    graph_module.graph.eliminate_dead_code()
    _require_no_state(graph_module, written)
    graph_module.recompile()
    return graph_module


def _module(exported: ExportedProgram) -> GraphModule:
    graph_module = exported.module(check_guards=False)
    assert isinstance(graph_module, GraphModule)
    return graph_module


def _writes(node: Node) -> bool:
    """Whether the call changes its first argument."""
    target = node.target
    if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload) or not node.args:
        return False
    arguments = target._schema.arguments
    return bool(arguments) and arguments[0].alias_info is not None and arguments[0].alias_info.is_write


def _is_state(node: Node) -> bool:
    return isinstance(node.args[0], Node) and node.args[0].op == "get_attr"


def _is_seen_by_others(node: Node) -> bool:
    """Whether something else may read the memory that the call writes to, through another view of it."""
    written = node.args[0]
    if not isinstance(written, Node) or written.op == "get_attr":
        return False
    return len(written.users) > 1 or _is_view(written)


def _is_view(node: Node) -> bool:
    target = node.target
    if node.op != "call_function":
        return False
    if not isinstance(target, torch._ops.OpOverload):
        return target is operator.getitem
    aliases = [argument.alias_info for argument in target._schema.arguments]
    return any(alias is not None and not alias.is_write for alias in aliases)


def _make_functional(graph_module: GraphModule, node: Node) -> None:
    """`add_` becomes `add`; writing back into a buffer goes."""
    target = node.target
    assert isinstance(target, torch._ops.OpOverload)
    if target is aten.copy_.default and _is_state(node):
        node.replace_all_uses_with(node.args[1])  # type: ignore[arg-type]  # a node: what is written
        graph_module.graph.erase_node(node)
        return
    packet = getattr(torch.ops.aten, target._schema.name.removeprefix("aten::").removesuffix("_"), None)
    overload = getattr(packet, target._overloadname, None)
    if target.namespace == "aten" and overload is not None:
        node.target = overload


def _require_no_state(graph_module: GraphModule, written: set[str]) -> None:
    for node in graph_module.graph.nodes:
        if node.op == "get_attr" and str(node.target) in written and node.users:
            raise ModelError(
                f"the outputs depend on buffer `{node.target}`, which the network changes while it runs",
                fix="leave the buffer unchanged in evaluation (`if self.training:`); an engine keeps no state",
            )


def _restore_batch_norms(graph_module: GraphModule) -> None:
    """What `run_decompositions` splits although folding has to find it."""
    split = aten._native_batch_norm_legit_no_training.default
    for node in list(graph_module.graph.nodes):
        if node.op != "call_function" or node.target is not split:
            continue
        with graph_module.graph.inserting_before(node):
            source, gamma, beta, mean, variance, momentum, eps = node.args
            arguments = (source, gamma, beta, mean, variance, False, momentum, eps, False)
            norm = graph_module.graph.call_function(aten.batch_norm.default, arguments)
        norm.meta = dict(node.meta)
        norm.meta["val"] = node.meta["val"][0]
        for user in list(node.users):
            if user.target is operator.getitem and user.args[1] == 0:
                user.replace_all_uses_with(norm)


def _make_copies_differentiable(graph_module: GraphModule) -> None:
    """`copy` is the value that it copies, in the shape of what it would have overwritten; it has no derivative."""
    for node in graph_module.graph.nodes:
        if node.op == "call_function" and node.target is aten.copy.default:
            node.target, node.args, node.kwargs = aten.expand_as.default, (node.args[1], node.args[0]), {}


def _drop_identities(graph_module: GraphModule) -> None:
    """Remove dropout that is off, so that what follows finds its producer."""
    for node in list(graph_module.graph.nodes):
        if node.op == "call_function" and node.target in _DROPOUTS and not node.args[2]:
            node.replace_all_uses_with(node.args[0])
            graph_module.graph.erase_node(node)
