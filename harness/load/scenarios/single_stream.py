"""`single_stream`: one sample after the other, as a camera app would."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from harness.fields import Positive, Unit
from harness.load.base import Expected, LoadScenario
from harness.load.settings import LoadSettings, TargetPercentile


class SingleStreamSettings(LoadSettings):
    """One sample per query; the next query is issued when the last one is answered."""

    target_latency_percentile: TargetPercentile = 90.0
    """The percentile that is the result."""
    target_latency_ms: Annotated[Positive, Unit("ms")] | None = None
    """Expected time of one query; no bound. Decides how many queries are made beforehand. Empty: from the warm-up."""


class SingleStream(LoadScenario):
    """The result is a latency percentile."""

    name: ClassVar[str] = "single_stream"
    loadgen_name: ClassVar[str] = "SingleStream"
    settings_type: ClassVar[type[LoadSettings]] = SingleStreamSettings
    throughput_key: ClassVar[str | None] = "result_qps_with_loadgen_overhead"
    early_stopping_key: ClassVar[str | None] = "early_stopping_latency_ss"

    def configure(self, test: Any, settings: SingleStreamSettings, expected: Expected) -> None:
        """LoadGen counts in nanoseconds and shares."""
        test.single_stream_expected_latency_ns = round((settings.target_latency_ms or expected.query_ms(1)) * 1e6)
        test.single_stream_target_latency_percentile = settings.target_latency_percentile / 100


LOAD_SCENARIO = SingleStream()
