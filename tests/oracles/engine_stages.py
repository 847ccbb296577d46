"""A stage that makes an engine of known size without torch, for the stages that run one."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from pydantic import BaseModel, ConfigDict

from harness.engine.context import StageContext
from harness.engine.graph import Inputs, Stage, Task
from harness.stages.artifacts import FileResult
from harness.stages.configs import BuildConfig

INPUT_SHAPE = (1, 1, 1024)
OPSET = 21
ENGINE = BuildConfig(target="onnxruntime", options={"threads": 1})


class Weights(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    mebibytes: int


def matrix(config: Weights, inputs: Inputs, folder: Path, context: StageContext) -> FileResult:
    """One matrix product with this many MiB of weights."""
    features = config.mebibytes * 1024**2 // 4 // INPUT_SHAPE[-1]
    weights = np.random.default_rng(0).standard_normal((INPUT_SHAPE[-1], features), np.float32)
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "matrix",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", *INPUT_SHAPE])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", features])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.save(model, folder / "engine.onnx")
    return FileResult(file="engine.onnx")


def engine(mebibytes: int) -> Task:
    return Task(Stage("matrix", 1, "oracles.engine_stages:matrix"), Weights(mebibytes=mebibytes))
