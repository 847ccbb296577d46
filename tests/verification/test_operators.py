"""Every operator is written right into the ONNX file or refused with a message: none is wrong without a word."""

from __future__ import annotations

import pytest
from oracles.operator_checks import check_operator
from oracles.operator_table import OPERATORS, REFUSED

ONCE_WRONG = [
    "pixel_unshuffle",
    "avg_pool2d, divisor_override, ceil_mode",
    "interpolate, bilinear, 13 x 7, antialias",
    "interpolate, bicubic, 5 x 5, antialias, align_corners",
    "gru",
    "attention without heads",
]
"""The exporter writes them wrongly, or cannot; these are the fast ones of each kind."""


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("name", ONCE_WRONG)
def test_what_the_exporter_writes_wrongly_is_written_right(name: str) -> None:
    found = check_operator(name)
    assert found.outcome == "right", found


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OPERATORS.keys() - REFUSED))
def test_an_operator_is_written_right(name: str) -> None:
    found = check_operator(name)
    assert found.outcome == "right", found


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(REFUSED))
def test_an_operator_that_cannot_be_exported_is_refused_with_a_reason(name: str) -> None:
    found = check_operator(name)
    assert found.outcome == "refused"
    assert found.reason


def test_an_lstm_with_a_projection_is_refused_by_its_name() -> None:
    found = check_operator("lstm, projection")
    assert found.outcome == "refused"
    assert "`proj_size=3`" in found.reason
