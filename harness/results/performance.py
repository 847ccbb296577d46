"""What a variant takes: time, bytes, memory, energy, and what producing it cost."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from harness.results.base import Record
from harness.results.paired import ConfidenceInterval, PairedComparison
from harness.stats.terms import Verdict

_EARLIER_NAMES = {"claim": "own_verdict", "looks": "analyses"}


class Speedup(Record):
    """How much faster a row is than an FP32 row that was timed in the same rounds."""

    comparison: PairedComparison | None = None
    """Comparison of the speedup with that of FP32, which is 1: the geometric mean of FP32 time divided by this row's
    time in the same rounds. The interval holds at every interim analysis after which measuring may have stopped;
    p-values are corrected by Holm's method for all rows of the run that were timed. None for the FP32 row itself."""
    own_verdict: Verdict | None = None
    """The verdict that this row's figures support best without the correction for several rows; the p-value is its."""
    noise_floor: float | None = None
    """Relative half-width of the interval of the A/A control's ratio in the same session."""

    @model_validator(mode="before")
    @classmethod
    def _read_earlier_names(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {_EARLIER_NAMES.get(name, name): value for name, value in fields.items()}

    @property
    def speedup(self) -> float | None:
        """FP32's time divided by this row's."""
        return None if self.comparison is None else self.comparison.value

    @property
    def verdict(self) -> Verdict | None:
        """What the comparison with FP32 proves."""
        return None if self.comparison is None else self.comparison.verdict

    @property
    def speedup_interval(self) -> ConfidenceInterval | None:
        """Interval of `speedup`."""
        found = None if self.comparison is None else self.comparison.interval
        if found is None:
            return None
        return ConfidenceInterval(low=1 + found.low, high=1 + found.high, confidence=found.confidence)


class StreamThroughput(Record):
    """Samples per second of one engine while so many inferences run side by side, each with one thread."""

    streams: int
    per_s: float
    """Median block."""
    slowest_per_s: float
    fastest_per_s: float


class Latency(Speedup):
    """Time of one inference of `batch_size` samples, measured in rounds interleaved with FP32."""

    median_ms: float
    p90_ms: float | None
    p99_ms: float | None
    """None when there are too few samples for it; so may be the other quantiles."""
    p999_ms: float | None = None
    median_interval: ConfidenceInterval | None = None
    """Order-statistic interval of the quantile, in milliseconds; it takes inferences as independent."""
    p90_interval: ConfidenceInterval | None = None
    p99_interval: ConfidenceInterval | None = None
    p999_interval: ConfidenceInterval | None = None
    distribution_ms: tuple[float, float, float, float, float] | None = None
    """5th, 25th, 50th, 75th and 95th percentile of all timed inferences; None in records from before it was kept."""
    n: int
    """Timed inferences."""
    rounds: int
    """In all processes together."""
    processes: int | None = None
    """Each opened its own sessions; the unit of the speedup's interval."""
    builds: int = 1
    """Engines built from the same file; where there are several, they are the unit."""
    contaminated_rounds: dict[str, int] = Field(default_factory=dict)
    """Rounds in which the machine did something else, by label; none is left out."""
    watched: tuple[str, ...] = ()
    """Labels that this machine could have given."""
    throughput_per_s: float
    """Samples per second at the median."""
    by_streams: tuple[StreamThroughput, ...] = ()
    """With several inferences side by side; empty where the scenario asks for none, and on targets without streams."""
    share_of_peak: float | None = None
    """Time that the multiply-accumulates would take at the CPU's peak, each in the precision that the engine multiplies
    it in, divided by the median. None where a peak or a precision is not known, and on devices other than CPUs."""
    analyses: int = 1
    """Interim analyses after which measuring may have stopped; each has a share of 1 - confidence in the interval."""
    across: Speedup | None = None
    """Against the FP32 row of the scenario's reference target; None on that target, where `comparison` says it, and
    where one target was timed alone."""
    threads: int
    includes_transfers: bool
    parts_ms: dict[str, float] = Field(default_factory=dict)
    """Medians of copying to a device, computing and copying back, where the target can tell them apart."""


class Size(Record):
    """Three different numbers: a Q/DQ ONNX with FP32 weights is not four times smaller."""

    onnx_bytes: int | None
    """None where a toolkit wrote a model in the target's own format."""
    engine_bytes: int | None
    weight_bytes: int | None
    """Bytes of weights and biases as the engine holds them, scales per channel included; None without an engine."""


class Memory(Record):
    """Memory of a process of its own that opens the engine and runs inferences."""

    baseline_bytes: int
    """Resident memory of the process with the target's library loaded, before the engine is opened."""
    peak_bytes: int
    """Peak of resident memory while the engine was opened and ran."""
    increase_bytes: int
    """Peak minus baseline: what the engine takes, weights, buffers and code that was read for it."""
    source: str
    """How the peak was read: `VmHWM`, which can be reset before, or `ru_maxrss`, which cannot."""
    inferences: int
    device_bytes: int | None = None
    """Memory of the GPU that the process holds, or the increase on the whole device where that is not reported."""
    device_source: str | None = None
    """How it was read, or why it could not be; None for targets that use no GPU."""


class Energy(Record):
    """Energy of inferences in blocks of their own, one after the other; None where `reason` says why it is absent."""

    joules_per_inference: float | None = None
    """What the device drew meanwhile, idle power included, by inference of `batch_size` samples."""
    net_joules_per_inference: float | None = None
    """The same without what the device would have drawn idle in that time."""
    spread: float | None = None
    """Largest minus smallest block, as a share of the figure."""
    idle_w: float | None = None
    """With the engine open, nothing running."""
    mean_w: float | None = None
    """While inferences run."""
    seconds: float | None = None
    """All blocks together."""
    inferences: int | None = None
    source: str | None = None
    """What counted, and what of the machine."""
    reason: str | None = None
    """Why there is no figure, with the fix."""


class Cost(Record):
    """Seconds and passes that producing the variant took; from the cache's record when cached."""

    train_s: float | None = None
    calibrate_s: float | None = None
    quantize_s: float | None = None
    finetune_s: float | None = None
    export_s: float | None = None
    build_s: float | None = None
    data_passes: int | None = None
    """Passes over the calibration data that served this variant and its siblings."""
    peak_bytes: dict[str, int] = Field(default_factory=dict)
    """Peak resident memory of the process while it computed each stage, by name of the stage."""
