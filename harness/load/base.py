"""The contract of a load scenario: one file that says how LoadGen is configured and which of its figures count."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from harness.load.settings import LoadSettings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from harness.results import LoadResult


@dataclass(frozen=True)
class Expected:
    """What a short warm-up promises; LoadGen makes its queries before the test, so it must know about how many."""

    single_ms: float
    """One sample alone."""
    batch_ms: float
    """One batch of `batch_size` samples."""
    batch_size: int

    def query_ms(self, samples: int) -> float:
        """A query of that many samples, answered in batches."""
        return self.single_ms if samples == 1 else math.ceil(samples / self.batch_size) * self.batch_ms

    @property
    def samples_per_s(self) -> float:
        """In full batches."""
        return self.batch_size / self.batch_ms * 1e3


@dataclass(frozen=True, eq=False)
class LoadMeasured:
    """What LoadGen found out about one variant."""

    results: dict[str, LoadResult]
    overhead_us: float
    version: str
    predictions: npt.NDArray[np.int64] | None
    """Class of each test sample in accuracy mode, -1 where LoadGen has logged none; None when it did not run."""


class LoadScenario(ABC):
    """One of LoadGen's traffic patterns; a file in `scenarios/` that defines `LOAD_SCENARIO`, or a plug-in."""

    name: ClassVar[str]
    """Its key under `measurement.load`."""
    loadgen_name: ClassVar[str]
    """Name of the member of LoadGen's `TestScenario`."""
    settings_type: ClassVar[type[LoadSettings]]
    is_queued: ClassVar[bool] = False
    """Queries arrive while others are being answered."""
    throughput_key: ClassVar[str | None] = None
    """Samples per second in LoadGen's log; None: samples divided by the duration."""
    latency_key: ClassVar[str | None] = "percentile_latency_ns"
    """End of the log's keys of latency percentiles; None where a latency means nothing."""
    early_stopping_key: ClassVar[str | None] = None
    """LoadGen's own estimate of the target percentile in the log."""

    @abstractmethod
    def configure(self, test: Any, settings: Any, expected: Expected) -> None:
        """Set what is this scenario's own in a `mlperf_loadgen.TestSettings`."""
