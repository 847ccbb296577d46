"""Files that targets cannot build, each with one thing wrong."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper
from oracles.onnx_files import INPUT_SHAPE, float_network, qdq_network, save


def _truncated(path: Path) -> None:
    whole = qdq_network(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _foreign(path: Path) -> None:
    magic = helper.make_node("Magic", ["input"], ["output"], name="trick", domain="my.domain")
    save(path, [magic], [], opsets=[helper.make_opsetid("my.domain", 1)])


def _mixed(path: Path) -> None:
    cast = helper.make_node("Cast", ["input"], ["whole"], to=TensorProto.INT32, name="round")
    save(path, [cast, helper.make_node("Add", ["input", "whole"], ["output"], name="sum")], [])


def _dynamic(path: Path) -> None:
    shape = ["batch", INPUT_SHAPE[0], "height", INPUT_SHAPE[2]]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)]
    save(path, [helper.make_node("Relu", ["input"], ["output"], name="relu")], [], inputs=inputs)


def _one_node(op: str, source: str, name: str, opset: int = 21) -> Callable[[Path], object]:
    return lambda path: save(path, [helper.make_node(op, [source], ["output"], name=name)], [], opset=opset)


_KINDS: dict[str, Callable[[Path], object]] = {
    "missing": lambda _: None,
    "folder": Path.mkdir,
    "empty": Path.touch,
    "text": lambda path: path.write_text("name: a scenario, not a model\n"),
    "truncated": _truncated,
    "misspelt": _one_node("Conf", "input", "odd"),
    "loose": _one_node("Relu", "nothing", "loose"),
    "opset": _one_node("Relu", "input", "relu", opset=99),
    "foreign": _foreign,
    "mixed": _mixed,
    "dynamic": _dynamic,
    "uint8": lambda path: qdq_network(path, activation_type=np.uint8, zero_point=128),
    "good": float_network,
}


def make(kind: str, folder: Path) -> Path:
    """The file of a kind."""
    path = folder / f"{kind}.onnx"
    _KINDS[kind](path)
    return path
