"""Figures and variants in words, the same everywhere: conclusions, tables, plots and the command line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.results import Interval, Row, Variant
from harness.results.variant import OWN_TOOLKIT

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
_METHOD_NAMES = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16", "ptq": "PTQ", "qat": "QAT"}
NOT_FINITE = "NaN or infinity"
"""Value of a ratio of signal to error where only one side has NaN or infinity."""
_LARGEST_SPEED, _LARGEST_NOISE = 1000, 10


def step_words(name: str) -> str:
    """A step of the parity chain in words: `torch_vs_engine` is `torch to engine`."""
    return name.replace("_vs_", " to ").replace("_to_", " to ")


def method_name(method: str) -> str:
    """`ptq` as `PTQ`."""
    return _METHOD_NAMES.get(method, method)


def label(variant: Variant) -> str:
    """Short name of a variant within its model, target and batch size, for instance `PTQ entropy per-tensor`."""
    return " ".join([method_name(variant.method), *quantization_parts(variant)])


def row_name(row: Row) -> str:
    """`PTQ percentile 99.99 per-channel on openvino`."""
    return f"{label(row.variant)} on {row.variant.place}"


def quantization_parts(variant: Variant) -> list[str]:
    """What distinguishes quantized variants, without the method; empty for methods that quantize nothing."""
    if not variant.is_quantized:
        return []
    parts = [calibrator_name(variant), granularity(variant)]
    if not is_8_bit(variant):
        parts.append(bits(variant))
    if variant.toolkit not in {None, OWN_TOOLKIT}:
        parts.append(f"by {variant.toolkit}")
    if variant.skip:
        parts.append("without " + ", ".join(variant.skip))
    if variant.ptq_steps:
        parts.append("with " + ", ".join(name.replace("_", " ") for name in variant.ptq_steps))
    return [part for part in [*parts, *qat_parts(variant)] if part]


def qat_parts(variant: Variant) -> list[str]:
    """What distinguishes QAT variants beyond their quantization; defaults are left out."""
    parts = []
    if variant.learn_amax:
        parts.append("learned ranges")
    if variant.batch_norm not in {None, "folded"}:
        parts.append(f"{variant.batch_norm} batch norm")
    if variant.qat_seed is not None:
        parts.append(f"seed {variant.qat_seed}")
    return parts


def calibrator_name(variant: Variant) -> str:
    """Calibrator with its percentile, for instance `percentile 99.99`; empty when there is none."""
    if variant.calibrator is None:
        return ""
    return variant.calibrator if variant.percentile is None else f"{variant.calibrator} {variant.percentile:g}"


def granularity(variant: Variant) -> str:
    """`per-channel`, `per-tensor`, or empty."""
    if variant.per_channel is None:
        return ""
    return "per-channel" if variant.per_channel else "per-tensor"


def is_8_bit(variant: Variant) -> bool:
    """Whether weights and activations have the usual 8 bits, given or by default."""
    return (variant.weight_bits or 8) == 8 and (variant.activation_bits or 8) == 8


def bits(variant: Variant) -> str:
    """Bits of weights and activations, for instance `w4a8`."""
    return f"w{variant.weight_bits or 8}a{variant.activation_bits or 8}"


def percent(share: float, decimals: int = 2) -> str:
    """A share as percentage: 0.9171 is `91.71 %`."""
    return f"{share * 100:.{decimals}f} %"


def level(confidence: float) -> str:
    """A confidence as percentage, as short as it was written: 0.999 is `99.9 %`."""
    return f"{confidence * 100:.10g} %"


def points(share: float, *, sign: bool = False) -> str:
    """A difference of shares in percentage points, without the unit: 0.0123 is `1.23`."""
    text = f"{share * 100:{'+' if sign else ''}.2f}"
    # Rounded to zero is neither a loss nor a gain.
    if float(text) == 0:
        return "0.00"
    return text.replace("-", MINUS)


def margin_points(margin: float) -> str:
    """A margin in percentage points, as short as it was written: 0.005 is `0.5`."""
    return f"{margin * 100:g}"


def plus_minus(value: float, interval: Interval, *, sign: bool = False) -> str:
    """A difference of shares with the longer arm of its interval, in points: `2.31 ± 0.29`."""
    arm = max(interval[1] - value, value - interval[0])
    return f"{points(value, sign=sign)} ± {points(arm)}"


def point_range(values: Iterable[float]) -> str:
    """Smallest and largest of several differences, in points: `1.20 to 3.45`; one figure when they read alike."""
    ordered = sorted(values)
    low, high = points(ordered[0]), points(ordered[-1])
    return low if low == high else f"{low} to {high}"


def p_value(value: float) -> str:
    """`p = 0.82`, or `p < 0.001`."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def milliseconds(value_ms: float) -> str:
    """Three significant digits without exponent, and the unit: `0.297 ms`, `12.3 ms`, `1,230 ms`."""
    return f"{three_digits(value_ms)} ms"


def three_digits(value: float) -> str:
    """Three significant digits without exponent, trailing zeros kept: 0.52 is `0.520`."""
    if value == 0:
        return "0"
    magnitude = int(f"{abs(value):.2e}".partition("e")[2])
    rounded = round(value, 2 - magnitude)
    return f"{rounded:,.{max(0, 2 - magnitude)}f}"


def speed(ratio: float) -> str:
    """A speedup with two decimals and the multiplication sign."""
    return f"{ratio:.2f}{TIMES}"


def speed_range(ratios: Iterable[float]) -> str:
    """Smallest and largest speedup, or one figure when they read alike."""
    ordered = sorted(ratios)
    low, high = speed(ordered[0]), speed(ordered[-1])
    return low if low == high else f"{low} to {high}"


def speed_interval(interval: Interval) -> str:
    """Ends of the interval of a speedup: `0.98 to 1.05`; what a few processes that disagree say has no upper end."""
    low, high = interval
    return f"{low:.2f} to {f'{high:.2f}' if high <= _LARGEST_SPEED else f'over {_LARGEST_SPEED:,}'}"


def noise(floor: float) -> str:
    """A noise floor as percentage, or that it is larger than anything that could be measured."""
    return percent(floor, 1) if floor <= _LARGEST_NOISE else f"over {percent(_LARGEST_NOISE, 0)}"


def within(scenario: str | None) -> str:
    """In front of a variant's name where there are several scenarios, which may have variants of one name."""
    return "" if scenario is None else f"{scenario}, "


def counted(number: int, noun: str) -> str:
    """`1 variant`, `2 variants`, `10,000 images`; the noun in the singular."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(parts: Sequence[str], *, at_most: int = 4) -> str:
    """Parts joined by commas; the rest beyond `at_most` is counted."""
    shown = list(parts[:at_most])
    rest = len(parts) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def byte_size(count: int) -> str:
    """Bytes in binary units with three significant digits: 1536 is `1.50 KiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1000 or unit == "GiB":
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{three_digits(value)} {unit}"
