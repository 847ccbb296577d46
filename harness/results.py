"""The typed record of a run: what `results.json` holds and every tool reads.

The shape is stable: a field is added, never renamed, without a new `SCHEMA_VERSION`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from harness.paths import read_bounded, replace_text
from harness.record_checks import check_environment, check_rows, check_values

SCHEMA_VERSION: Final = 1
MAX_RECORD_BYTES: Final = 2**28
"""A larger file is refused before it is read."""

Method = Literal["fp32", "fp16", "bf16", "ptq", "qat"]
BatchNormMode = Literal["folded", "frozen", "live"]
Status = Literal["ok", "built", "simulated", "unavailable", "failed"]
Verdict = Literal["better", "same", "worse", "inconclusive"]
GateVerdict = Literal["pass", "fail", "inconclusive"]
Interval = tuple[float, float]
Environment = Annotated[dict[str, Any], AfterValidator(check_environment)]
"""Conditions of a run, as `execution.environment` reads them; parts may be missing."""
Link = Literal["torch_fp32", "onnx_fp32", "torch_quantized", "onnx_quantized", "onnx_fp16", "engine"]
"""What is compared on the way from the eager network to the engine, in this order."""
LayerStep = Literal["torch_quantized → onnx_quantized", "onnx_quantized → engine"]


class Record(BaseModel):
    """Base of all records: immutable, and unknown fields are errors."""

    # JSON has no infinity and no NaN; as null a file could not be read again.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    def plain(self, **options: Any) -> dict[str, Any]:
        """As JSON holds it, infinite figures as texts, which `model_dump` does not do; `options` are those of that."""
        values: dict[str, Any] = json.loads(self.model_dump_json(**options))
        return values


class Variant(Record):
    """One cell of the matrix."""

    id: str
    """Readable, unique within the run, safe as a file name."""
    model: str
    method: Method
    toolkit: str | None = None
    """Who quantized it (`torchao`, `onnxruntime`, …); None for methods that quantize nothing."""
    calibrator: str | None = None
    percentile: float | None = None
    """Only for the `percentile` calibrator, in percent."""
    per_channel: bool | None = None
    """Granularity of weight scales; None for methods that quantize nothing."""
    weight_bits: int | None = None
    activation_bits: int | None = None
    skip: tuple[str, ...] = ()
    """Module name patterns that are left unquantized."""
    ptq_steps: tuple[str, ...] = ()
    """What PTQ does beside choosing ranges, in order; QAT starts from its result."""
    learn_amax: bool | None = None
    """Whether QAT trained the ranges; None for other methods, as the next two."""
    batch_norm: BatchNormMode | None = None
    """Batch norm during QAT."""
    qat_seed: int | None = None
    """Seed of QAT; None is the scenario's."""
    target: str
    compute_capability: str | None = None
    """GPU generation that the engine is built for, for instance `SM86`, or OpenVINO's device; None where the scenario
    names none."""
    batch_size: int

    @property
    def place(self) -> str:
        """Where it is deployed: the target and, where one is named, the GPU generation."""
        return self.target if self.compute_capability is None else f"{self.target} for {self.compute_capability}"

    @property
    def group(self) -> tuple[str, str, int]:
        """Model, place and batch size: what rows that are judged against one another have in common."""
        return self.model, self.place, self.batch_size


class ClassAccuracy(Record):
    """Recall of one class: the share of its test samples that are predicted as it."""

    label: int
    name: str | None = None
    """Of the class; None where it has none."""
    n: int
    """Test samples of the class."""
    recall: float
    recall_ci95: Interval
    drop: float | None = None
    """FP32 recall minus this row's, on the same samples."""
    drop_ci95: Interval | None = None
    p_value: float | None = None
    """Exact McNemar test among the samples of the class."""
    p_value_adjusted: float | None = None
    """Corrected by Holm's method for the classes of the row."""


class Accuracy(Record):
    """Top-1 on the test samples, and the paired difference to the FP32 row."""

    top1: float
    n: int
    top1_ci95: Interval
    reference: str | None = None
    """Variant id of the FP32 row this row is paired with; None for that row itself."""
    drop: float | None = None
    """FP32 top-1 minus this row's (positive: this row lost)."""
    drop_ci95: Interval | None = None
    p_value: float | None = None
    """Exact McNemar test of equal error rates."""
    agreement: float | None = None
    """Share of samples where this row predicts the same class as FP32."""
    margin: float | None = None
    """Non-inferiority margin that the verdict used."""
    verdict: Verdict | None = None
    """Holds for all rows of the run at once, by the p-values that are adjusted."""
    drop_bootstrap_ci95: Interval | None = None
    """Percentile bootstrap beside the score interval; None where no sample tells this row from FP32."""
    non_inferiority_p_value: float | None = None
    """One-sided score test of a loss of `margin` or more."""
    non_superiority_p_value: float | None = None
    """One-sided score test of a gain of `margin` or more."""
    p_value_adjusted: float | None = None
    """Corrected by Holm's method for the `family_size` rows of the run; so are the next two."""
    non_inferiority_p_value_adjusted: float | None = None
    non_superiority_p_value_adjusted: float | None = None
    family_size: int | None = None
    """Rows of the run that were compared with an FP32 row."""
    is_non_inferior: bool | None = None
    """Whether the loss is proven to be smaller than the margin, for all rows of the run at once."""
    agreement_ci95: Interval | None = None
    top5: float | None = None
    """Share of samples whose class is among the five largest outputs; None with five classes or fewer."""
    top5_ci95: Interval | None = None
    top5_drop: float | None = None
    """FP32 top-5 minus this row's."""
    top5_drop_ci95: Interval | None = None
    top5_p_value: float | None = None
    classes: tuple[ClassAccuracy, ...] = ()
    """One entry per class that has test samples."""


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


class Layer(Record):
    """One layer of the built engine as it really executes."""

    name: str
    op: str
    """Operator in the engine, for instance `QLinearConv`."""
    input_type: str
    weight_type: str | None
    output_type: str
    macs: int
    """Multiply-accumulates for one sample; 0 for ops that have none."""
    int8: bool
    reason: str | None = None
    """Why it runs in float; None for integer layers, and for the conversions between the two."""
    provider: str | None = None
    """ONNX Runtime's execution provider that ran it, where more than one may: `CUDA` or `CPU`."""


class Coverage(Record):
    """How much of the engine executes in INT8, from the audit."""

    int8_macs: float
    """Share of conv/gemm MACs that run as integer ops."""
    int8_layers: str
    """`done/all` over conv and gemm layers."""
    layers: tuple[Layer, ...]


class Agreement(Record):
    """How alike two stages of one variant are on the same samples."""

    top1_agreement: float
    max_abs_error: float
    sqnr_db: float | None
    """Signal-to-quantization-noise ratio; None when the outputs are identical, minus infinity when one side has NaN or
    infinity where the other has not."""
    n: int


class ParityStep(Agreement):
    """One step on the way from the eager network to the engine: what it changes on the same samples."""

    start: Link
    end: Link
    top1: float | None = None
    """After the step; None without labels, as the next three."""
    drop: float | None = None
    """Top-1 before the step minus top-1 after it, paired (positive: the step lost)."""
    drop_ci: Interval | None = None
    """At `Parity.confidence`, corrected for the number of steps."""
    p_value: float | None = None
    """Exact McNemar test of equal error rates, not corrected."""
    loses: bool | None = None
    """Whether a loss is proven, however small."""


class LayerParity(Record):
    """One tensor that two neighbouring links compute, each from the same inputs."""

    step: LayerStep
    layer: str
    """Node that computes it, named after its module; `input` for the quantizer of the network's input."""
    op: str
    tensor: str
    """Name in the Q/DQ ONNX file."""
    kind: Literal["quantized", "float"]
    """`quantized`: compared as integers. `float`: before any quantizer."""
    sqnr_db: float | None
    """Of this layer's own error; None when there is none, minus infinity when it has NaN or infinity."""
    accumulated_sqnr_db: float | None
    """With the errors of all layers before it."""
    largest_steps: float
    """Largest own error, in steps of the quantizer; for floats a step is 1/127 of the channel's largest value."""
    noise_steps2: float
    """Mean squared own error of the worst channel, in squared steps; rounding itself has 1/12."""
    is_fault: bool
    """More than two correct roundings of the same numbers can differ by."""
    faulty_channels: tuple[int, ...] = ()
    """The first few."""
    n_faulty_channels: int = 0
    n_channels: int


CheckedStep = Literal[
    "eager → captured",
    "captured → prepared",
    "captured → ONNX",
    "fake-quantized → training graph",
    "training graph → fake-quantized",
    "fake-quantized → Q/DQ ONNX",
    "toolkit → Q/DQ ONNX",
    "ONNX → ONNX FP16",
    "ONNX → engine",
]


class StepCheck(Record):
    """One step that was checked in numbers on a few samples, and passed."""

    step: CheckedStep
    sqnr_db: float | None
    """Of the outputs, at the worse of two batch sizes; None where they are identical."""
    limit_db: float | None = None
    """None where layers are judged instead of outputs, or where quantizing may change anything."""
    layers: int | None = None
    """Tensors that were compared, each from the same inputs, where layers are judged."""


class Parity(Record):
    """Where on the way from the eager network to the engine results change."""

    torch_vs_onnx: Agreement | None = None
    """From the (fake-quantized) torch network to its ONNX file."""
    onnx_vs_engine: Agreement | None = None
    torch_vs_engine: Agreement | None = None
    """From the (fake-quantized) torch network straight to the engine, on all test samples."""
    steps: tuple[ParityStep, ...] = ()
    """In order, on the first `measurement.parity_samples` test samples."""
    confidence: float | None = None
    lossy_step: str | None = None
    """The step with the largest proven loss of accuracy, `start → end`; None where none is proven."""
    absent: dict[str, str] = Field(default_factory=dict)
    """Links that the chain of this row could not have, with the reason; `layers` where they could not be compared."""
    layers: tuple[LayerParity, ...] = ()
    """Only with `measurement.parity: layers`."""
    layer_samples: int | None = None


class LoadResult(Record):
    """One test of LoadGen in performance mode."""

    valid: bool
    reason: str | None = None
    """Why LoadGen calls the result INVALID; None when it is valid."""
    samples_per_s: float | None
    """Answered samples; None when the test was too short to tell."""
    p50_ms: float | None = None
    """Latency of a query; None for `offline`, as are the other percentiles."""
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    target_percentile: float | None = None
    """In percent; the one that is the result, or that the bound is on."""
    target_percentile_ms: float | None = None
    """LoadGen's early-stopping estimate of that percentile; None where there is none, or with too few queries."""
    target_latency_ms: float | None = None
    """Bound on that percentile; None for tests without one."""
    target_qps: float | None = None
    """Rate at which queries were issued; None where the next query waits for an answer."""
    late_queries: int | None = None
    """Queries above the bound."""
    queries: int
    samples_per_query: int
    duration_s: float


class LoadAccuracy(Record):
    """Predictions of LoadGen's accuracy mode beside those of the evaluation, sample by sample."""

    n: int
    disagreements: int
    """Samples with another class, or with none in LoadGen's log; ties are not counted."""
    ties: int
    """Samples whose two classes have outputs that are equal up to rounding."""
    first: tuple[int, ...] = ()
    """Indices of the first test samples that disagree."""


class Load(Record):
    """How one variant did under the traffic of MLCommons LoadGen."""

    results: dict[str, LoadResult]
    """By load scenario: `single_stream`, `multi_stream`, `offline`, `server`."""
    accuracy: LoadAccuracy | None = None
    """None when the variant was not evaluated."""
    overhead_us: float
    """Median time of a query that nothing answers: what LoadGen and Python add to each latency."""
    loadgen_version: str


class MetricValue(Record):
    """A figure of a metric that has no section of its own."""

    value: float
    unit: str
    higher_is_better: bool
    ci95: Interval | None = None
    n: int | None = None
    """Samples that the figure is of."""
    is_quality: bool = False
    """It says how good the predictions are, where the task has no top-1: verdicts and conclusions rest on it."""
    reference: str | None = None
    """Variant id of the FP32 row it is paired with; None for that row itself."""
    drop: float | None = None
    """What was lost against FP32 on the same samples (positive: this row is worse), whichever way is better."""
    drop_ci95: Interval | None = None
    p_value: float | None = None
    """Of a difference: randomization test over samples."""
    non_inferiority_p_value: float | None = None
    non_superiority_p_value: float | None = None
    """Of a loss, and of a gain, of `margin` or more: bootstrap over samples."""
    p_value_adjusted: float | None = None
    """Corrected by Holm's method for the `family_size` rows of the run; so are the next two."""
    non_inferiority_p_value_adjusted: float | None = None
    non_superiority_p_value_adjusted: float | None = None
    family_size: int | None = None
    is_non_inferior: bool | None = None
    margin: float | None = None
    verdict: Verdict | None = None


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


class Row(Record):
    """One variant with everything that was found out about it."""

    variant: Variant
    status: Status
    reason: str | None = None
    accuracy: Accuracy | None = None
    latency: Latency | None = None
    size: Size | None = None
    coverage: Coverage | None = None
    parity: Parity | None = None
    memory: Memory | None = None
    energy: Energy | None = None
    load: Load | None = None
    cost: Cost | None = None
    checks: tuple[StepCheck, ...] = ()
    """Steps from the network to the engine that were checked in numbers, in order; none in files of older versions."""
    metrics: dict[str, MetricValue] = Field(default_factory=dict)
    """Further figures by the name of their metric."""
    files: dict[str, str] = Field(default_factory=dict)
    """Paths relative to the run folder: `onnx`, `engine`, `audit`, `load`, `predictions`, `top_classes`,
    `latency_samples`."""


class Gate(Record):
    """One limit that the scenario set, and how a variant did against it."""

    variant: str
    metric: str
    limit: str
    """In words, for instance `at most 0.35 of fp32`."""
    value: float | None
    """What the limit is held against: the figure, or how it compares with `compared_with`."""
    verdict: GateVerdict
    """`pass`: the whole interval keeps the limit. `fail`: a breach is proven. `inconclusive`: anything else."""
    reason: str | None = None
    interval: Interval | None = None
    """Of `value`; None where it is exact or no interval is known."""
    compared_with: str | None = None
    """Id of the FP32 row, or the file of the baseline."""
    relation: Literal["of", "below", "above"] | None = None
    """What `value` is: a multiple of the other figure, or how far below or above it; None for the figure itself."""
    unit: str | None = None
    """Of the figure; None in records from before it was kept."""
    bound: float | None = None
    """The number in `limit`."""
    basis: str | None = None
    """In what both figures were compared, where that is not the figure itself."""


class Split(Record):
    """One part of the data."""

    name: Literal["train", "calibration", "test"]
    n: int
    sha256: str
    """Of the samples and labels in order."""


class FileCounts(Record):
    """What became of the files of a data set: every file is counted once."""

    read: int
    """Image files that give samples."""
    unused: int = 0
    """Image files outside the parts that are used."""
    unreadable: int = 0
    """Left out because the scenario says `unreadable: skip`."""
    skipped: int = 0
    """No images by suffix or kind."""
    ignored: int = 0
    """Dot-files, and what operating systems leave behind."""


class SharedSamples(Record):
    """Equal images in two parts, found by their pixels."""

    part: Literal["train", "calibration"]
    other: Literal["calibration", "test"]
    n: int
    """Samples of `part` whose photo, or whose pixels after preprocessing, are in `other`."""


class Dataset(Record):
    """Where the samples came from, and how they were read."""

    name: str
    source: str
    """How it was found, for instance `embedded` or `system: /usr/share/…`."""
    splits: tuple[Split, ...]
    args: dict[str, Any] | None = None
    """That the scenario gave to the data source; None in records from before they were kept."""
    class_names: tuple[str, ...] = ()
    """By class number; empty where classes have no names."""
    preprocessing: dict[str, str] = Field(default_factory=dict)
    """Steps from stored values to the network's input, in order."""
    files: FileCounts | None = None
    shared: tuple[SharedSamples, ...] = ()
    """Pairs of parts that were compared; a pair that is missing here was not."""
    notes: tuple[str, ...] = ()


class WeightsFile(Record):
    """The file that a network's FP32 weights came from."""

    model: str
    source: str
    """As the scenario names it."""
    sha256: str
    part: str | None = None
    """Part of the file that was taken, for instance `state_dict`; None for all of it, or in records before this."""
    note: str | None = None
    """What was done to make the file fit: the part, prefixes that were removed, number formats."""


class Fp32Weights(Record):
    """The FP32 weights that every variant of a network was made from, trained in this run or read from a file."""

    model: str
    sha256: str
    """Of the file in the artifact store."""


class StageRun(Record):
    """One stage of the graph in this run."""

    stage: str
    key: str
    cached: bool
    seconds: float
    variants: tuple[str, ...]
    """Ids of the variants that use it."""


class Spread(Record):
    """How far apart several values of one figure are."""

    n: int
    mean: float
    sd: float
    """Standard deviation with n - 1."""
    min: float
    max: float


class SeedSpread(Record):
    """QAT variants that differ in their seed alone."""

    model: str
    target: str
    """The place: the target and, where one is named, the GPU generation."""
    batch_size: int
    variants: tuple[str, ...]
    """Variant ids, one per seed."""
    representative: str
    """Variant id of the seed with the median value: what conclusions speak of."""
    metric: str
    """`top-1`, or the metric of the task."""
    value: Spread
    drop: Spread | None = None
    """What was lost against FP32."""

    @property
    def group(self) -> tuple[str, str, int]:
        """As `Variant.group`."""
        return self.model, self.target, self.batch_size


class Conclusion(Record):
    """What the run proves about one model on one target, in words."""

    model: str
    target: str
    """The place: the target and, where one is named, the GPU generation."""
    batch_size: int
    text: str
    recommended: str | None = None
    """Variant id to ship, or None when nothing is proven."""


class RunResults(Record):
    """Everything one run found out."""

    schema_version: Literal[1] = SCHEMA_VERSION
    scenario: str
    scenario_file: str | None = None
    question: str | None = None
    run_id: str
    started_at: str
    """ISO 8601 with time zone."""
    wall_s: float
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Level of all intervals, whatever their fields are called."""
    environment: Environment
    datasets: tuple[Dataset, ...] = ()
    weights: tuple[WeightsFile, ...] = ()
    fp32_weights: tuple[Fp32Weights, ...] = ()
    """Empty in records from before it was kept."""
    rows: tuple[Row, ...]
    conclusions: tuple[Conclusion, ...] = ()
    qat_seeds: tuple[SeedSpread, ...] = ()
    """Where QAT was trained from several seeds."""
    gates: tuple[Gate, ...] = ()
    stages: tuple[StageRun, ...] = ()
    calibration_samples: dict[str, int] = Field(default_factory=dict)
    """Samples consumed by the calibration pass of each model."""
    warnings: tuple[str, ...] = ()
    """What makes the whole run doubtful, most of it about the data; shown at the top of every report."""

    def row(self, variant_id: str) -> Row:
        """The row of one variant; KeyError when there is none."""
        return next_or_raise(self.rows, variant_id)

    def save(self, path: Path) -> None:
        """Write as JSON: all of it, or nothing. OSError where that cannot be done."""
        replace_text(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> RunResults:
        """Read what `save` wrote; ValueError (pydantic's included) when it does not fit, OSError when it is no file."""
        results = cls.model_validate_json(read_bounded(path, MAX_RECORD_BYTES))
        check_rows(results.rows)
        check_values(results)
        return results


def next_or_raise(rows: tuple[Row, ...], variant_id: str) -> Row:
    """The row whose variant has this id."""
    for row in rows:
        if row.variant.id == variant_id:
            return row
    raise KeyError(variant_id)
