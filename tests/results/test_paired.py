"""The record of a paired comparison."""

from __future__ import annotations

import json
import math

import pytest

from harness.results import ConfidenceInterval, Latency, PairedComparison
from harness.results.checks import check_values

INTERVAL = ConfidenceInterval(low=-0.02, high=0.01, confidence=0.9)


def compared(**fields: object) -> PairedComparison:
    plain = {"value": 0.8, "reference_value": 0.81, "difference": -0.01, "interval": INTERVAL}
    return PairedComparison.model_validate(plain | fields)


def test_a_loss_is_positive_whichever_way_is_better() -> None:
    assert (compared().loss, compared().loss_interval) == (0.01, (-0.01, 0.02))
    less = compared(higher_is_better=False)
    assert (less.loss, less.loss_interval) == (-0.01, (-0.02, 0.01))
    assert math.copysign(1, compared(difference=0.0).loss or 0.0) == 1  # no minus zero in a table


def test_what_is_absent_is_not_written_and_comes_back() -> None:
    plain = json.loads(compared(value=None).model_dump_json())
    assert {"value", "reference_value", "difference", "kind", "interval"} <= plain.keys()
    assert "p_value" not in plain
    assert PairedComparison.model_validate(plain) == compared(value=None)


def latency(**fields: object) -> Latency:
    speed = {"value": 1.5, "reference_value": 1.0, "kind": "ratio", "difference": 0.5, "interval": None}
    plain = {"median_ms": 1.0, "p90_ms": None, "p99_ms": None, "n": 9, "rounds": 3, "throughput_per_s": 1e3}
    return Latency.model_validate(plain | {"threads": 1, "includes_transfers": False, "comparison": speed | fields})


def test_a_speedup_has_the_interval_of_its_difference_around_one() -> None:
    found = latency(interval=INTERVAL).speedup_interval
    assert found == ConfidenceInterval(low=0.98, high=1.01, confidence=0.9)
    assert latency().speedup_interval is None


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"value": -1.5}, "latency.comparison.value` cannot be"),
        ({"interval": {"low": -1.5, "high": 2.0, "confidence": 0.95}}, "interval.low` cannot be"),
        ({"interval": {"low": 0.5, "high": 0.2, "confidence": 0.95}}, "ends before it begins"),
        ({"interval": {"low": 0.2, "high": 0.5, "confidence": 95}}, "confidence` cannot be"),
        ({"p_value_adjusted": 1.5}, "p_value_adjusted` cannot be"),
        ({"difference": math.inf}, "is infinite"),
    ],
)
def test_impossible_values_are_refused(wrong: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_values(latency(**wrong), "latency")


def test_the_interval_of_few_processes_has_no_end() -> None:
    check_values(latency(interval={"low": -1.0, "high": math.inf, "confidence": 0.95}), "latency")
