"""What a variant takes: time, bytes, memory, energy, and what producing it cost."""

from __future__ import annotations

from pydantic import Field

from harness.results.base import Record
from harness.stats.terms import Interval, Verdict


class AcrossTargets(Record):
    """Speed of a row against FP32 on another target, in the same rounds."""

    reference: str
    """Variant id of the FP32 row of the scenario's reference target."""
    overall_speedup: float
    """Geometric mean of that row's time divided by this row's."""
    overall_speedup_ci95: Interval
    noise_floor: float | None = None
    margin: float
    p_value: float
    p_value_adjusted: float | None = None
    """Corrected by Holm's method for all speedups of the run, those within a target included."""
    verdict: Verdict
    """Holds for all rows of the run at once."""


class Latency(Record):
    """Time of one inference of `batch_size` samples, measured in rounds interleaved with FP32."""

    median_ms: float
    p90_ms: float | None
    p99_ms: float | None
    """None when there are too few samples for it; so may be the other quantiles."""
    p999_ms: float | None = None
    median_ci95: Interval | None = None
    """Order-statistic interval of the quantile, in milliseconds; it takes inferences as independent."""
    p90_ci95: Interval | None = None
    p99_ci95: Interval | None = None
    p999_ci95: Interval | None = None
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
    reference: str | None = None
    speedup: float | None = None
    """Geometric mean of FP32 time divided by this row's time in the same rounds."""
    speedup_ci95: Interval | None = None
    """Holds at every look that measuring may have stopped at."""
    looks: int = 1
    """How often measuring may have stopped: each look has a share of 1 - confidence in the interval."""
    noise_floor: float | None = None
    """Relative half-width of the A/A twin's ratio interval in the same session."""
    margin: float | None = None
    p_value: float | None = None
    """Of the verdict that this row's figures support best."""
    p_value_adjusted: float | None = None
    """Corrected by Holm's method for all rows of the run that were timed."""
    verdict: Verdict | None = None
    """Holds for all rows of the run at once."""
    across: AcrossTargets | None = None
    """None on the reference target, where `speedup` says it, and where one target was timed alone."""
    threads: int
    includes_transfers: bool
    parts_ms: dict[str, float] = Field(default_factory=dict)
    """Medians of copying to a device, computing and copying back, where the target can tell them apart."""


class Size(Record):
    """Three different numbers: a Q/DQ ONNX with FP32 weights is not four times smaller."""

    onnx_bytes: int
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
    """Memory of the GPU that the process holds, or the increase on the whole device where that is not told."""
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
