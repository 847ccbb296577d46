"""One ONNX file gives one engine file, byte for byte, in whatever process it is built."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from oracles.engines import variant
from oracles.networks import INPUT_SHAPE, captured, make_batch

from harness.exporting.onnx_export import export_onnx
from harness.targets import get_target
from harness.targets.onnxruntime.canonical import canonicalize

BUILD = """\
import sys
from pathlib import Path
from harness.targets import get_target
from oracles.engines import variant
target = get_target("onnxruntime")
for each in sys.argv[1:]:
    path = Path(each)
    target.build(path, path.parent, target.build_options(variant(method="fp32"), threads=1))
"""
NETWORKS = ("residual", "depthwise", "concat", "hardswish", "encoder")


@pytest.mark.slow
def test_processes_write_the_same_bytes(tmp_path: Path) -> None:
    """FP32 networks: ONNX Runtime adds most to those."""
    found: dict[str, set[str]] = {}
    paths = {}
    for name in NETWORKS:
        (tmp_path / name).mkdir()
        paths[name] = tmp_path / name / "model.onnx"
        export_onnx(captured(name), INPUT_SHAPE, paths[name], integer_biases=True)
    for _ in range(4):
        command = [sys.executable, "-c", BUILD, *map(str, paths.values())]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
        for path in paths.values():
            for file in path.parent.glob("engine*"):
                found.setdefault(f"{path.parent.name}/{file.name}", set()).add(
                    hashlib.sha256(file.read_bytes()).hexdigest()
                )
    assert len(found) == 2 * len(NETWORKS)
    assert {name: len(sums) for name, sums in found.items() if len(sums) > 1} == {}


@pytest.mark.parametrize("order", [("reorder_token_9", "reorder"), ("reorder", "reorder_token_4")])
def test_made_up_names_are_numbered_in_the_order_of_the_nodes(order: tuple[str, str]) -> None:
    first, second = order
    nodes = [
        helper.make_node("Relu", ["x"], [first], name="Reorder_token_7"),
        helper.make_node("Relu", [first], [second], name="Reorder"),
        helper.make_node("Relu", [second], ["y"], name="mine_token_3"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    engine = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:]))
    own = helper.make_node("Relu", ["x"], ["y"], name="mine_token_3")
    canonicalize(engine, helper.make_model(helper.make_graph([own], "g", values[:1], values[1:])))
    assert [node.name for node in engine.graph.node] == ["Reorder", "Reorder_token_1", "mine_token_3"]
    assert [list(node.output) for node in engine.graph.node] == [["reorder"], ["reorder_token_1"], ["y"]]
    onnx.checker.check_model(engine)


def test_a_name_that_is_a_number_only_does_not_become_empty() -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    source = helper.make_model(
        helper.make_graph([helper.make_node("Relu", ["x"], ["y"], name="own")], "g", values[:1], values[1:])
    )
    for number in ("_token_3", "_token_17"):
        nodes = [helper.make_node("Relu", ["x"], [number]), helper.make_node("Relu", [number], ["y"], name=number)]
        engine = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:]))
        canonicalize(engine, source)
        onnx.checker.check_model(engine)
        assert [list(node.output) for node in engine.graph.node] == [["added"], ["y"]]


def test_independent_nodes_stand_as_the_source_has_them() -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    left, right = helper.make_node("Relu", ["x"], ["left"]), helper.make_node("Neg", ["x"], ["right"])
    added = [helper.make_node("Abs", [name], [f"{name}_token_1"]) for name in ("left", "right")]
    plain = helper.make_node("Add", ["left", "right"], ["y"])
    joined = helper.make_node("Add", ["left_token_1", "right_token_1"], ["y"])
    source = helper.make_model(helper.make_graph([left, right, plain], "g", values[:1], values[1:]))
    files = set()
    for nodes in ([left, right, *added, joined], [right, added[1], left, added[0], joined]):
        engine = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:]))
        canonicalize(engine, source)
        onnx.checker.check_model(engine)
        files.add(engine.SerializeToString())
    assert len(files) == 1


def test_the_engine_computes_as_before(tmp_path: Path) -> None:
    target, network = get_target("onnxruntime"), captured("residual")
    path = tmp_path / "model.onnx"
    export_onnx(network, INPUT_SHAPE, path, integer_biases=True)
    options = target.build_options(variant(method="fp32"), threads=1)
    session = target.open(target.build(path, tmp_path, options).path, options)
    batch = make_batch()
    torch.testing.assert_close(torch.from_numpy(session.run(batch.numpy())), network(batch))
