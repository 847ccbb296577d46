"""A figure against that of a reference: one record, whatever the figure and whatever the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import SerializerFunctionWrapHandler, model_serializer

from harness.results.base import Record
from harness.stats.terms import ChangeKind, Interval, Verdict

if TYPE_CHECKING:
    from harness.stats.intervals import PairedDifference


class ConfidenceInterval(Record):
    """Where the true value of a figure lies, at a confidence of its own."""

    low: float
    high: float
    confidence: float
    """Share of such intervals that hold the true value."""

    @classmethod
    def of(cls, ends: Interval, confidence: float) -> ConfidenceInterval:
        """From the two ends."""
        return cls(low=ends[0], high=ends[1], confidence=confidence)

    @property
    def ends(self) -> Interval:
        """Low and high."""
        return self.low, self.high


class PairedComparison(Record):
    """One figure against that of a reference, both of the same samples or of the same rounds.

    Between two runs, whose sessions have no rounds in common, each figure is one that was paired with FP32 in its own
    run, or one that stands on its own; `Finding.is_paired` says which.
    """

    reference: str | None = None
    """Id of the variant, or name of the run, that the figure is compared with."""
    value: float | None
    """None, as the next one and `difference`, where a run lacks the figure."""
    reference_value: float | None
    kind: ChangeKind = "difference"
    difference: float | None
    """`value - reference_value`; for `ratio` `value / reference_value - 1`."""
    higher_is_better: bool = True
    interval: ConfidenceInterval | None = None
    """Interval of `difference`; None where it is exact, or where too few samples differ for one."""
    margin: float | None = None
    """Difference that still counts as the same."""
    p_value: float | None = None
    """p-value of a difference; for latency, of the verdict in `own_verdict`."""
    p_value_adjusted: float | None = None
    """Corrected for all `family_size` comparisons that were judged together; so are the other adjusted ones."""
    non_inferiority_p_value: float | None = None
    """One-sided, of a loss of `margin` or more."""
    non_inferiority_p_value_adjusted: float | None = None
    non_superiority_p_value: float | None = None
    """One-sided, of a gain of `margin` or more."""
    non_superiority_p_value_adjusted: float | None = None
    family_size: int | None = None
    is_non_inferior: bool | None = None
    """Whether the loss is proven to be smaller than the margin, for all comparisons at once."""
    verdict: Verdict | None = None
    """What is proven, for all comparisons at once; None until it is judged (`harness.verdicts`)."""

    @classmethod
    def of_shares(
        cls,
        value: float,
        reference_value: float,
        found: PairedDifference,
        confidence: float,
        *,
        reference: str | None = None,
        margin: float | None = None,
    ) -> PairedComparison:
        """Two shares of right predictions on the same samples, not judged yet; with a margin also its tests."""
        low, high = found.drop_ci
        against_margin = None if margin is None else found.margin_tests(margin)
        return cls(
            reference=reference,
            value=value,
            reference_value=reference_value,
            difference=0.0 - found.drop,
            interval=ConfidenceInterval(low=0.0 - high, high=0.0 - low, confidence=confidence),
            margin=margin,
            p_value=found.p_value,
            non_inferiority_p_value=against_margin and against_margin.non_inferiority,
            non_superiority_p_value=against_margin and against_margin.non_superiority,
        )

    @model_serializer(mode="wrap")
    def _without_absent(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A thousand classes with a comparison each should not say a thousand times what they have not."""
        found: dict[str, Any] = serialize(self)
        fields = type(self).model_fields
        return {name: value for name, value in found.items() if value is not None or fields[name].is_required()}

    @property
    def loss(self) -> float | None:
        """What was lost (positive: the value is worse than the reference's), whichever way is better."""
        if self.difference is None:
            return None
        return 0.0 - self.difference if self.higher_is_better else self.difference

    @property
    def loss_interval(self) -> Interval | None:
        """Interval of `loss`."""
        if self.interval is None:
            return None
        low, high = self.interval.ends
        return (0.0 - high, 0.0 - low) if self.higher_is_better else (low, high)
