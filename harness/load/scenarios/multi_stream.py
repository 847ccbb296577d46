"""`multi_stream`: a fixed number of samples at once, as from several cameras."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from harness.fields import Count, Positive, Unit
from harness.load.base import Expected, LoadScenario
from harness.load.settings import LoadSettings, TargetPercentile


class MultiStreamSettings(LoadSettings):
    """Several samples per query; the next query is issued when all of the last one are answered."""

    samples_per_query: Annotated[Count, Unit("sample")] = 8
    """Samples of one query. They run in batches of at most the variant's `batch_size`."""
    target_latency_percentile: TargetPercentile = 99.0
    """The percentile that is the result."""
    target_latency_ms: Annotated[Positive, Unit("ms")] | None = None
    """Expected time of one query; no bound. Decides how many queries are made beforehand. Empty: from the warm-up."""


class MultiStream(LoadScenario):
    """The result is a percentile of the time in which all samples of a query are answered."""

    name: ClassVar[str] = "multi_stream"
    loadgen_name: ClassVar[str] = "MultiStream"
    settings_type: ClassVar[type[LoadSettings]] = MultiStreamSettings
    latency_key: ClassVar[str | None] = "percentile_per_query_latency_ns"
    early_stopping_key: ClassVar[str | None] = "early_stopping_latency_ms"

    def configure(self, test: Any, settings: MultiStreamSettings, expected: Expected) -> None:
        """LoadGen counts in nanoseconds and shares."""
        samples = settings.samples_per_query
        test.multi_stream_samples_per_query = samples
        test.multi_stream_expected_latency_ns = round((settings.target_latency_ms or expected.query_ms(samples)) * 1e6)
        test.multi_stream_target_latency_percentile = settings.target_latency_percentile / 100


LOAD_SCENARIO = MultiStream()
