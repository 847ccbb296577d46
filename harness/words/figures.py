"""Figures with their units: a value, a difference of two and a multiple of one are three different things."""

from __future__ import annotations

import math

from harness.words.phrases import MINUS, NOT_FINITE, TIMES

_SHARE, _RATIO = "share", "x"


def value_words(value: float, unit: str) -> str:
    """A figure: 0.9171 of unit `share` is `91.71 %`, 0.297 of unit `ms` is `0.297 ms`."""
    if math.isinf(value) and unit == "dB":
        return "identical" if value > 0 else NOT_FINITE
    if unit == _SHARE:
        return f"{_number(value * 100)} %"
    return f"{_number(value)}{TIMES}" if unit == _RATIO else f"{_number(value)} {unit}".rstrip()


def difference_words(value: float, unit: str) -> str:
    """A difference of two figures of this unit: of shares, it is in points."""
    return f"{_number(value * 100)} points" if unit == _SHARE else value_words(value, unit)


def multiple_words(value: float) -> str:
    """A figure as a multiple of another one of the same unit, which has no unit."""
    return f"{_number(value)} times"


def _number(value: float) -> str:
    """Six digits: what is this close to a limit must not read as the limit."""
    return f"{value:.6g}".replace("-", MINUS) if not math.isinf(value) else str(value)
