"""`--select`: a glob on the id, or AXIS=VALUE[,VALUE]."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.results import Variant
from harness.scenario.select import matches

PTQ = Variant(
    id="resnet8-ptq-percentile99.9-perchannel-skip-head-onnxruntime-b1",
    model="resnet8",
    method="ptq",
    toolkit="harness",
    calibrator="percentile",
    percentile=99.9,
    per_channel=True,
    weight_bits=8,
    activation_bits=8,
    skip=("conv*", "head"),
    target="onnxruntime",
    batch_size=1,
)
FP32 = Variant(id="resnet8-fp32-onnxruntime-b1", model="resnet8", method="fp32", target="onnxruntime", batch_size=1)


@pytest.mark.parametrize(
    ("expression", "ptq", "fp32"),
    [
        ("resnet8-fp32-onnxruntime-b1", False, True),
        ("resnet8", True, True),
        ("perchannel", True, False),
        ("PERCHANNEL", False, False),
        ("toolkit=harness", True, False),
        ("toolkit=torchao", True, False),  # its name before
        ("toolkit=nncf", False, False),
        ("*-b1", True, True),
        ("*-ptq-*", True, False),
        ("ptq-*", False, False),  # a glob is of the whole id
        ("resnet[0-7]*", False, False),
        ("resnet?-fp32*", False, True),
    ],
)
def test_a_glob_is_of_the_id_and_a_plain_text_may_be_any_part(expression: str, ptq: bool, fp32: bool) -> None:
    assert (matches(expression, PTQ), matches(expression, FP32)) == (ptq, fp32)


@pytest.mark.parametrize(
    ("expression", "ptq", "fp32"),
    [
        ("method=ptq", True, False),
        ("method=PTQ", True, False),
        ("method=pt", False, False),
        ("method=qat, fp32", False, True),
        ("per_channel=true", True, False),
        ("per_channel=false", False, False),
        ("per_channel=none", False, True),
        ("weight_bits=7,8", True, False),
        ("percentile=99.9", True, False),
        ("skip=conv*+head", True, False),
        ("skip=", False, True),
        ("batch_size=1", True, True),
        ("batch_size=2", False, False),
    ],
)
def test_an_axis_has_one_of_the_values(expression: str, ptq: bool, fp32: bool) -> None:
    assert (matches(expression, PTQ), matches(expression, FP32)) == (ptq, fp32)


def test_an_unknown_axis_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        matches("methd=ptq", PTQ)
    assert (caught.value.message, caught.value.fix) == ("unknown axis in --select `methd`", "did you mean `method`?")
