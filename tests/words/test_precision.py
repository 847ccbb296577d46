"""Whether an engine multiplies in the precision that its method says."""

import pytest

from harness.results import Layer, Method
from harness.words.precision import other_precisions


def layer(weight_type: str | None, macs: int, *, int8: bool = False) -> Layer:
    return Layer(
        name="l", op="Conv", input_type="float", weight_type=weight_type, output_type="float", macs=macs, int8=int8
    )


@pytest.mark.parametrize(
    ("method", "spelling"), [("fp32", "float"), ("fp32", "Float"), ("fp16", "Half"), ("bf16", "bfloat16")]
)
def test_the_precision_of_the_method_is_not_told_however_it_is_written(method: Method, spelling: str) -> None:
    assert other_precisions(method, [layer(spelling, 10), layer(None, 0)]) is None


def test_another_precision_is_told_with_its_share() -> None:
    # 30 of 40 multiply-accumulates.
    assert other_precisions("fp32", [layer("bfloat16", 30), layer("float", 10)]) == (
        "not only FP32: the engine computes 75.0 % of its multiply-accumulates in BF16"
    )


def test_layers_of_unknown_types_are_left_out() -> None:
    assert other_precisions("fp32", [layer("unknown", 30), layer("float", 10)]) is None


@pytest.mark.parametrize("method", ["ptq", "qat"])
def test_quantized_engines_are_mixed_and_their_coverage_tells_it(method: Method) -> None:
    assert other_precisions(method, [layer("int8", 30, int8=True), layer("float", 10)]) is None
