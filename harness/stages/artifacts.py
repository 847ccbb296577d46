"""What the artifacts of stages hold: the names of their files, and what stages return. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

from pydantic import ConfigDict, Field

from harness.engine.store import Artifact
from harness.results import Layer, LayerParity, LoadResult, Record, StepCheck, StreamThroughput
from harness.training.log import TrainLog

WEIGHTS = "weights.safetensors"
STATE = "state.safetensors"
HISTOGRAMS = "histograms.npz"
OUTPUTS = "outputs.npy"
LABELS = "labels.npy"
ONNX = "model.onnx"
TEMPLATE = "template.onnx"
LATENCY = "latency.parquet"


class Result(Record):
    """Base of what stages return. What was stored can be read as any base of the class that it was stored as."""

    model_config = ConfigDict(extra="ignore")


class Checked(Result):
    """A stage that was checked against the one before it; `check` returns nothing else."""

    checks: tuple[StepCheck, ...] = ()
    check_s: float = 0.0


class FileResult(Checked):
    """A stage whose artifact is a file: of ONNX, or an engine."""

    file: str


class TrainResult(Result):
    """Result of `train`."""

    train_s: float | None = None
    """None where nothing was trained."""
    log: TrainLog | None = None
    """None where nothing was trained, and for training loops of the user's own."""


class CalibrateResult(Checked):
    """Result of `calibrate`."""

    calibrate_s: float
    samples: int
    data_passes: int = 1
    """Passes over the calibration samples."""


class QuantizeResult(Checked):
    """Result of `quantize`, by our own quantizer."""

    quantize_s: float
    data_passes: int
    notes: tuple[str, ...]
    outliers: tuple[str, ...]
    """The notes that tell of values which calibration left out."""


class FinetuneResult(Checked):
    """Result of `finetune`."""

    finetune_s: float
    log: TrainLog


class TemplateResult(Result):
    """Result of `write_template`."""

    found: bool
    """False for a network whose numbers cannot be told apart in its graph: each of its variants is exported alone."""


class ExportResult(FileResult):
    """Result of the stages that write the ONNX file of a variant."""

    file: str = ONNX
    quantize_s: float | None = None
    """Where another toolkit quantized and exported in one."""


class BuildResult(FileResult):
    """Result of `build`."""

    build_s: float
    weight_bytes: int
    layers: tuple[Layer, ...]
    """As they were audited."""


class PredictResult(Result):
    """Result of the stages that evaluate a network, a file or an engine."""

    n: int
    """Test samples."""


class LatencyResult(Result):
    """Result of `measure`, for all engines of a group."""

    reference: str
    """The FP32 row that all were timed with."""
    failed: dict[str, str]
    """Why engines were no longer timed, by variant id."""
    analyses: int
    """How often the verdicts may have been looked at before measuring stopped."""
    watched: tuple[str, ...]
    """What of the machine was watched."""
    includes_transfers: bool
    parts_ms: dict[str, dict[str, float]]
    """Medians of the parts of an inference, by variant id."""


class StreamsResult(Result):
    """Result of `streams`, for one engine."""

    by_streams: tuple[StreamThroughput, ...]


class PeakResult(Result):
    """Result of `peak`, for the CPU with one number of threads."""

    macs_per_s: dict[str, float]
    """Multiply-accumulates per second, by precision: `FP32`, `BF16`, `INT8`."""
    missing: dict[str, str]
    """Why a precision has none."""


class LoadResults(Result):
    """Result of `load`, for one engine."""

    results: dict[str, LoadResult]
    """By load scenario."""
    overhead_us: float
    version: str
    """Version of LoadGen."""


class LayerTimes(Record):
    """What the layers of one engine take."""

    runs: int
    """Inferences."""
    ms: dict[str, float]
    """By the layer's name in the engine."""


class LayerTimesResult(Result):
    """Result of `layer times`."""

    engines: dict[str, LayerTimes]
    """By variant id."""
    missing: dict[str, str]
    """Why an engine has none."""


class LayersResult(Result):
    """Result of `parity`, for one quantized variant."""

    samples: int
    layers: tuple[LayerParity, ...] = Field(default=())


def file_of(artifact: Artifact) -> Path:
    """The ONNX file, or the engine, that an artifact holds."""
    return artifact.file(artifact.result(FileResult).file)


def onnx_of(artifact: Artifact) -> Path | None:
    """The ONNX file in an artifact with a model; None where the model is in a target's own format."""
    path = file_of(artifact)
    return path if path.name == ONNX else None
