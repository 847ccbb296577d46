"""Reading ONNX files that somebody else may have written: what is wrong with one, which node it is, and the fix."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import ModelProto

from harness.errors import StageError, nearest

_STANDARD_DOMAINS = ("", "ai.onnx")
_AGAIN = "export the network again"


def load_onnx(path: Path) -> ModelProto:
    """The model of an ONNX file; StageError for a file that is missing, empty, damaged or something else."""
    if path.is_dir():
        raise StageError(f"{path} is a folder", fix="give an ONNX file")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise StageError(f"cannot read {path}: {error.strerror}", fix="check the path") from error
    if size == 0:
        raise StageError(f"{path.name} is empty", fix=_AGAIN)
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf raises kinds of its own
        raise StageError(f"{path.name} is damaged or not an ONNX file", fix=_AGAIN) from error
    if not model.graph.node:
        raise StageError(f"{path.name} is damaged or not an ONNX file: no node in it", fix=_AGAIN)
    return model


def name_nodes(model: ModelProto) -> None:
    """Give a name to every node that has none, so that messages and audits can speak of it."""
    for index, node in enumerate(model.graph.node):
        node.name = node.name or (node.output[0] if node.output and node.output[0] else f"{node.op_type}#{index}")


def check_operators(model: ModelProto, name: str) -> None:
    """StageError for operators that ONNX does not have, and for what its checker refuses. `name_nodes` comes first."""
    newest = onnx.defs.onnx_opset_version()
    for opset in model.opset_import:
        if opset.domain in _STANDARD_DOMAINS and opset.version > newest:
            raise StageError(
                f"{name} asks for opset {opset.version}; the installed onnx knows {newest} at most",
                fix="export with a lower opset, or upgrade `onnx`",
            )
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    for node in model.graph.node:
        if node.domain in _STANDARD_DOMAINS and node.op_type not in known:
            guess = nearest(node.op_type, known)
            raise StageError(
                f"{name}: node `{node.name}` is a `{node.op_type}`, which is no ONNX operator",
                fix=f"did you mean `{guess}`?" if guess else "replace it by ONNX operators before exporting",
            )
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        first = " ".join(str(error).split("==>")[0].split())
        raise StageError(f"onnx.checker refuses {name}: {first}", fix=_AGAIN) from error
