"""`offline`: all samples are there from the start, as in a batch job."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from harness.fields import Positive, Unit
from harness.load.base import Expected, LoadScenario
from harness.load.settings import LoadSettings

HEADROOM = 1.25
"""A warm-up on a busy machine promises too little, and the test would then end before its shortest duration."""


class OfflineSettings(LoadSettings):
    """One query with all samples, which run in batches of the variant's `batch_size`."""

    target_qps: Annotated[Positive, Unit("sample/s")] | None = None
    """Expected throughput; no bound. Decides how many samples the query has. Empty: from the warm-up."""


class Offline(LoadScenario):
    """The result is a throughput; the time of the one query says nothing more."""

    name: ClassVar[str] = "offline"
    loadgen_name: ClassVar[str] = "Offline"
    settings_type: ClassVar[type[LoadSettings]] = OfflineSettings
    throughput_key: ClassVar[str | None] = "result_samples_per_second"
    latency_key: ClassVar[str | None] = None

    def configure(self, test: Any, settings: OfflineSettings, expected: Expected) -> None:
        """LoadGen makes a query of 1.1 times what the throughput does in the shortest duration."""
        test.offline_expected_qps = settings.target_qps or expected.samples_per_s * HEADROOM


LOAD_SCENARIO = Offline()
