"""`server`: single samples at random moments, as requests reach a service."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from harness.fields import Positive, Unit
from harness.load.base import Expected, LoadScenario
from harness.load.settings import LoadSettings, TargetPercentile

HOPELESS = 20
"""Times as many unanswered queries as may be there within the latency bound: then the test ends early."""
_FEWEST_OUTSTANDING = 1000


class ServerSettings(LoadSettings):
    """One sample per query, at the moments of a Poisson process. Queries that wait are answered in one batch."""

    target_qps: Annotated[Positive, Unit("query/s")]
    """Mean rate of the queries."""
    target_latency_ms: Annotated[Positive, Unit("ms")]
    """Bound on the percentile of the latency, counted from the moment at which the query was due."""
    target_latency_percentile: TargetPercentile = 99.0
    """The share of queries that must meet the bound."""


class Server(LoadScenario):
    """The result is whether this rate is served within the bound."""

    name: ClassVar[str] = "server"
    loadgen_name: ClassVar[str] = "Server"
    settings_type: ClassVar[type[LoadSettings]] = ServerSettings
    is_queued: ClassVar[bool] = True
    throughput_key: ClassVar[str | None] = "result_completed_samples_per_sec"

    def configure(self, test: Any, settings: ServerSettings, expected: Expected) -> None:
        """Without a limit of unanswered queries, a rate far too high would take hours to work off."""
        within_bound = settings.target_qps * settings.target_latency_ms / 1e3
        test.server_target_qps = settings.target_qps
        test.server_target_latency_ns = round(settings.target_latency_ms * 1e6)
        test.server_target_latency_percentile = settings.target_latency_percentile / 100
        test.server_max_async_queries = max(_FEWEST_OUTSTANDING, round(HOPELESS * within_bound))


LOAD_SCENARIO = Server()
