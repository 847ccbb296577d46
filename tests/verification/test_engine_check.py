"""An engine against its file: what rounding alone may explain, and what it may not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from harness.single.inputs import random_samples
from harness.targets import get_target
from harness.verification.figures import QUANTIZED_ENGINE_DB, SIZES, StepFailed, batches
from harness.verification.onnx_steps import ExpectedOutputs, check_engine_outputs, file_run

SHAPE = (1, 8, 8)
ON_A_STEP, BETWEEN_STEPS = 0.5, 0.3


class Engine:
    """An engine that computes with `function`."""

    def __init__(self, function: Callable[[np.ndarray], np.ndarray]) -> None:
        self.run = function


@pytest.fixture
def rounding_file(tmp_path: Path) -> Path:
    """Rounds to whole numbers, an even one where two are as near."""
    constants = [
        helper.make_tensor("scale", TensorProto.FLOAT, (), [1.0]),
        helper.make_tensor("zero", TensorProto.UINT8, (), [0]),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], name="dq"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", *SHAPE)) for name in "xy")
    model = helper.make_model(
        helper.make_graph(nodes, "rounding", [x], [y], constants), opset_imports=[helper.make_opsetid("", 21)]
    )
    onnx.save(model, tmp_path / "rounding.onnx")
    return tmp_path / "rounding.onnx"


def check(file: Path, offset: float, function: Callable[[np.ndarray], np.ndarray]):
    draw = np.random.default_rng(0)
    samples = (draw.integers(0, 2, (sum(SIZES), *SHAPE)) + offset).astype(np.float32)
    expected = ExpectedOutputs(samples, [file_run(file)(batch) for batch in batches(samples)])
    return check_engine_outputs(Engine(function), file, expected, SIZES, get_target("onnxruntime"))  # type: ignore[arg-type]


def half_up(x: np.ndarray) -> np.ndarray:
    return np.floor(x + 0.5)


def test_an_engine_may_differ_as_much_as_the_file_from_itself(rounding_file: Path) -> None:
    found = check(rounding_file, ON_A_STEP, half_up)
    assert found.sqnr_db < QUANTIZED_ENGINE_DB
    assert found.limit_db < found.sqnr_db
    assert found.limit_db == pytest.approx(0.0, abs=3.0)


def test_but_not_more(rounding_file: Path) -> None:
    with pytest.raises(StepFailed, match="the engine's outputs agree with its file"):
        check(rounding_file, ON_A_STEP, lambda x: 2.0 * half_up(x))


def test_where_nothing_lies_on_a_step_the_limit_stays(rounding_file: Path) -> None:
    with pytest.raises(StepFailed, match="15 dB are needed"):
        check(rounding_file, BETWEEN_STEPS, lambda x: half_up(x) + 0.3 * (x > 1.0))
    assert check(rounding_file, BETWEEN_STEPS, half_up).limit_db == QUANTIZED_ENGINE_DB


def test_random_images_differ_as_a_whole() -> None:
    images = random_samples((3, 32, 32))
    assert images.dtype == np.float32
    within = [np.abs(np.diff(image, axis=-1)).mean() for image in images]
    assert within == sorted(within)  # from few fields to many
    assert np.ptp(images.mean((1, 2, 3))) > 0.5


@pytest.mark.parametrize("shape", [(5,), (4, 16)])
def test_other_inputs_are_random_numbers(shape: tuple[int, ...]) -> None:
    assert random_samples(shape).shape == (sum(SIZES), *shape)
