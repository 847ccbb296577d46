"""What a descriptor makes of a number format, and which descriptors a target cannot deploy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from harness.quantization.calibrators import make_calibrator
from harness.quantization.calibrators.base import Calibrator
from harness.quantization.formats import BYTE, IntegerFormat, TargetFormat
from harness.quantization.settings import DEFAULT_PERCENTILE, Rule, TensorDescriptor

TensorKind = Literal["input", "weight"]
_CHANNEL_AXES = (0, 1)


@dataclass(frozen=True)
class HistogramMethod:
    """What `calib_method: histogram` means."""

    method: str = "percentile"
    percentile: float = DEFAULT_PERCENTILE

    def calibrator(self, descriptor: TensorDescriptor) -> Calibrator | None:
        """The calibrator that a descriptor asks for; None when it leaves the choice to the variant."""
        if descriptor.calib_method is None:
            return None
        name = self.method if descriptor.calib_method == "histogram" else descriptor.calib_method
        return make_calibrator(name, percentile=descriptor.percentile or self.percentile)


@dataclass(frozen=True)
class RangeRule:
    """How the range of one tensor differs from what the variant's calibrator gives."""

    amax: tuple[float, ...] | None = None
    scale_amax: float = 1.0
    unsigned: bool = False
    calibrator: Calibrator | None = None
    learn: bool | None = None

    @classmethod
    def of(cls, descriptor: TensorDescriptor, histogram: HistogramMethod) -> RangeRule:
        """The range part of a descriptor."""
        return cls(
            amax=descriptor.amax,
            scale_amax=descriptor.scale_amax or 1.0,
            unsigned=descriptor.unsigned,
            calibrator=histogram.calibrator(descriptor),
            learn=descriptor.learn_amax,
        )


class NodeRule(NamedTuple):
    """What the rules say about one node."""

    skip: bool = False
    input: TensorDescriptor = TensorDescriptor()
    weight: TensorDescriptor = TensorDescriptor()

    def changed_by(self, rule: Rule) -> NodeRule:
        """This one, with what `rule` gives in place of what was there."""
        return NodeRule(
            skip=self.skip if rule.skip is None else rule.skip,
            input=self.input.overridden_by(rule.input),
            weight=self.weight.overridden_by(rule.weight),
        )


def integer_format(descriptor: TensorDescriptor, default: IntegerFormat) -> IntegerFormat:
    """The integer format of one tensor."""
    bits = default.bits if descriptor.num_bits is None else descriptor.num_bits
    narrow = default.narrow and descriptor.narrow_range
    return replace(default, bits=bits, narrow=narrow)


def refusal(kind: TensorKind, descriptor: TensorDescriptor, target_format: TargetFormat) -> tuple[str, str] | None:
    """The key that a target with this format cannot deploy, and why; None when it can.

    Widths are not judged here: a width without kernels makes the variant a simulated one.
    """
    if kind == "weight":
        return _weight_refusal(descriptor, target_format)
    given = descriptor.given()
    if given.get("axis") is not None:
        return "axis", "activations have one scale per tensor on every target"
    if descriptor.amax is not None and len(descriptor.amax) > 1:
        return "amax", "activations have one scale per tensor, so one amax"
    if descriptor.unsigned and target_format.activations.symmetric:
        return "unsigned", f"{target_format.name} takes signed activations with zero point 0 only"
    if "narrow_range" in given and descriptor.narrow_range:
        return "narrow_range", "Q/DQ of activations in ONNX always use all integers of the type"
    return None


def _weight_refusal(descriptor: TensorDescriptor, target_format: TargetFormat) -> tuple[str, str] | None:
    if descriptor.axis is not None and descriptor.axis not in _CHANNEL_AXES:
        return "axis", "engines take one weight scale per output channel (axis 0, transposed: 1) or per tensor (empty)"
    if descriptor.unsigned:
        return "unsigned", f"{target_format.name} takes signed symmetric weights only"
    if descriptor.num_bits is not None and descriptor.num_bits > BYTE:
        return "num_bits", f"weights have at most {BYTE} bits"
    return None
