"""The harness' calibrators in NNCF's words."""

from __future__ import annotations

from typing import Any

METHODS = ("max", "mse", "percentile")


def activation_ranges(calibrator: str, percentile: float | None) -> Any:
    """NNCF's `RangeEstimatorParameters`.

    `max`: mean over samples of each sample's smallest and largest value, NNCF's default for activations.
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
        return RangeEstimatorParametersSet.MEAN_MINMAX
    if calibrator == "mse":
        return RangeEstimatorParametersSet.HISTOGRAM
    bound = StatisticsCollectorParameters(
        statistics_type=StatisticsType.QUANTILE,
        aggregator_type=AggregatorType.MEAN,
        quantile_outlier_prob=1.0 - (percentile or 100.0) / 100.0,
    )
    return RangeEstimatorParameters(min=bound, max=bound)
