"""How figures and variants read."""

import math

import pytest

from harness.results import Variant
from harness.words import phrases as wording


def variant(**fields):
    return Variant(**({"id": "v", "model": "m", "method": "ptq", "target": "onnxruntime", "batch_size": 1} | fields))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"method": "fp32"}, "FP32"),
        ({"calibrator": "entropy", "per_channel": False}, "PTQ entropy per-tensor"),
        ({"calibrator": "percentile", "percentile": 99.99, "per_channel": True}, "PTQ percentile 99.99 per-channel"),
        ({"method": "qat", "calibrator": "max", "weight_bits": 4, "activation_bits": 8}, "QAT max w4a8"),
        ({"calibrator": "max", "toolkit": "harness"}, "PTQ max"),
        ({"calibrator": "max", "toolkit": "onnxruntime"}, "PTQ max by onnxruntime"),
        ({"calibrator": "max", "skip": ("head", "conv1")}, "PTQ max without head, conv1"),
    ],
)
def test_labels(fields, text):
    assert wording.label(variant(**fields)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5196, "0.520"),
        (0.05196, "0.0520"),
        (12.34, "12.3"),
        (123.4, "123"),
        (1234.0, "1,230"),
        (9.996, "10.0"),
        (0, "0"),
    ],
)
def test_three_digits(value, text):
    assert wording.three_digits(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(999, "999 B"), (1536, "1.50 KiB"), (92_004, "89.8 KiB"), (46_748_878, "44.6 MiB"), (1022 * 1024, "0.998 MiB")],
)
def test_byte_sizes(count, text):
    assert wording.byte_size(count) == text


def test_points_never_show_a_negative_zero():
    assert wording.points(-0.00001) == "0.00"
    assert wording.points(-0.0123) == f"{wording.MINUS}1.23"
    assert wording.points(0.0123, sign=True) == "+1.23"


def test_plus_minus_takes_the_longer_arm():
    # Arms 0.2 and 0.4 points.
    assert wording.plus_minus(0.02, (0.018, 0.024)) == "2.00 ± 0.40"


def test_ranges_collapse_when_they_read_alike():
    assert wording.point_range([0.03, 0.01]) == "1.00 to 3.00"
    assert wording.speed_range([1.701, 1.702]) == f"1.70{wording.TIMES}"


def test_counts_and_lists():
    assert wording.counted(1, "variant") == "1 variant"
    assert wording.counted(10_000, "image") == "10,000 images"
    assert wording.listed(["a", "b", "c"], at_most=2) == "a, b and 1 more"


def test_p_values():
    assert wording.p_value(0.0004) == "p < 0.001"
    assert wording.p_value(0.821) == "p = 0.82"


def test_what_two_processes_that_disagree_say_is_not_printed_to_forty_digits():
    assert wording.speed_interval((0.981, 1.052)) == "0.98 to 1.05"
    assert wording.speed_interval((1.8e-29, 3.3e28)) == "0.00 to over 1,000"
    assert wording.speed_interval((0.0, math.inf)) == "0.00 to over 1,000"
    assert wording.noise(0.012) == "1.2 %"
    assert wording.noise(math.inf) == wording.noise(7e59) == "over 1000 %"


@pytest.mark.parametrize(("confidence", "text"), [(0.95, "95 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")])
def test_levels_are_as_short_as_they_were_written(confidence, text):
    assert wording.level(confidence) == text
