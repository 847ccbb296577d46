"""What ONNX Runtime's errors mean for the ONNX file: the node, and what to do about it."""

from __future__ import annotations

import re

from onnx import ModelProto

from harness.errors import StageError
from harness.exporting.onnx_file import check_operators, name_nodes

_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (?:Load model from .*? failed:)?(?:/\S+:\d+ .*?\) )?")
_UNREGISTERED = re.compile(r"(?P<domain>[\w.\-]*):(?P<op>\w+)\(-?\d+\) is not a registered function/op")
_NODES = (
    r"node with name '([^']+)'",
    r"in node \(([^)]+)\)",
    r'Node,? \("([^"]+)"',
    r"Node \(([^)]+)\)",
    r"Node:(\S+)",
)
_FIXES = (
    ("Type Error", "give all inputs of the node the type it takes, and export again"),
    ("Could not find an implementation", "export the node in another type, or replace it by operators with a kernel"),
    ("not a graph input", "export the network again: something that it needs is missing"),
)
_OTHER_FIX = "export the network again, or simplify it around the node"


def explain(error: Exception, model: ModelProto, name: str) -> StageError:
    """ONNX Runtime's error about the file `name` with the node and the fix; `model` is what is in the file."""
    name_nodes(model)
    try:
        check_operators(model, name)
    except StageError as better:
        return better
    said = _PREFIX.sub("", str(error).strip().splitlines()[0]).strip()
    unregistered = _UNREGISTERED.search(said)
    if unregistered is not None:
        return _unregistered(unregistered["domain"], unregistered["op"], model, name)
    fix = next((fix for words, fix in _FIXES if words in said), _OTHER_FIX)
    node = next((found[1] for pattern in _NODES if (found := re.search(pattern, said))), None)
    place = "" if node is None else f" at node `{node}`"
    return StageError(f"ONNX Runtime cannot build {name}{place}: {said}", fix=fix)


def _unregistered(domain: str, op: str, model: ModelProto, name: str) -> StageError:
    nodes = [node.name for node in model.graph.node if (node.domain, node.op_type) == (domain, op)]
    node = f"node `{nodes[0]}` is" if nodes else "there is"
    return StageError(
        f"{name}: {node} a `{domain}:{op}`, which ONNX Runtime does not have",
        fix="replace it by ONNX operators before exporting",
    )
