"""What NNCF is asked for: the harness' calibrators in its words, and what it refuses."""

from __future__ import annotations

from typing import Any

from harness.results import Variant

METHODS = ("max", "mse", "percentile")


def refusal_of_own_placement(variant: Variant) -> str | None:
    """Why NNCF cannot quantize the variant with a placement of its own; None where it can."""
    if variant.calibrator not in METHODS:
        return f"NNCF has no `{variant.calibrator}` calibrator; it has {', '.join(METHODS)}"
    if not variant.per_channel:
        return "NNCF's own placement decides the granularity of weights: per channel"
    if (variant.weight_bits, variant.activation_bits) != (8, 8):
        return "NNCF writes 8-bit weights and activations only"
    return None


def activation_ranges(calibrator: str, percentile: float | None) -> Any:
    """NNCF's `RangeEstimatorParameters`.

    `max`: NNCF's defaults, the mean over samples of each sample's smallest and largest value. Where activations have a
    range per channel (in front of depthwise convolutions), the smallest and largest of all samples.
    `percentile`: mean over samples of each sample's quantiles, with the same share cut off at both ends.
    `mse`: its histogram estimator, which minimises the squared quantization error.
    """
    from nncf.quantization.range_estimator import (
        AggregatorType,
        RangeEstimatorParameters,
        RangeEstimatorParametersSet,
        StatisticsCollectorParameters,
        StatisticsType,
    )

    if calibrator == "max":
        return RangeEstimatorParameters()
    if calibrator == "mse":
        return RangeEstimatorParametersSet.HISTOGRAM
    bound = StatisticsCollectorParameters(
        statistics_type=StatisticsType.QUANTILE,
        aggregator_type=AggregatorType.MEAN,
        quantile_outlier_prob=1.0 - (percentile or 100.0) / 100.0,
    )
    return RangeEstimatorParameters(min=bound, max=bound)
