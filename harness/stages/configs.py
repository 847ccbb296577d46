"""Typed configurations of the stages: all that can change a result, and nothing else.

Paths are excluded from cache keys (`exclude=True`) beside the checksum or fingerprint that stands for them, so that a
checkout that moves keeps its results.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from harness.data.settings import DatasetSpec
from harness.data.tasks import Task
from harness.plugins.code import PluginCode
from harness.quantization.settings import DEFAULT_PERCENTILE
from harness.results import BatchNormMode
from harness.timing.settings import TimingPlan
from harness.training.file_sums import FileSum
from harness.training.settings import Recipe


class Config(BaseModel):
    """Base of all stage configurations."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelConfig(Config):
    """One network before it has weights."""

    factory: str
    args: dict[str, Any]
    input_shape: tuple[int, int, int]
    n_classes: int
    task: Task = "classification"
    seed: int
    """Seed of the initial weights."""
    source_sha256: str
    """Over all that making the network depends on."""
    files: tuple[FileSum, ...] = Field(default=(), exclude=True)
    """The user's files among that; a stage that finds one changed fails."""
    root: Path = Field(exclude=True)

    @property
    def user_code(self) -> str:
        """Names the network: a worker that has imported it is kept for it."""
        return f"{self.root}: {self.factory} {self.args!r}"


Normalisation: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation per channel."""


class DataConfig(Config):
    """One data set and how it is split."""

    spec: DatasetSpec
    seed: int
    fingerprint: str
    normalisation: Normalisation | None = None
    """Mean and standard deviation for the calibration images; None: those of the data set."""
    plugins: tuple[PluginCode, ...] = ()
    """The data source, where it is one of the user's. So in every configuration: plug-ins that it names."""
    root: Path = Field(exclude=True)
    download: bool = Field(default=False, exclude=True)


class TrainConfig(Config):
    """FP32 weights: trained, random, or from a file."""

    model: ModelConfig
    data: DataConfig | None
    """None when nothing is trained."""
    recipe: Recipe | None
    loop: str | None = None
    """The user's training loop; None: the harness's."""
    plugins: tuple[PluginCode, ...] = ()
    weights_sha256: str | None = None
    weights_key: str | None = None
    """Part of the weights file."""
    weights_path: Path | None = Field(default=None, exclude=True)


class CheckConfig(Config):
    """Whether the captured graph is the network."""

    model: ModelConfig
    data: DataConfig


class QuantizerConfig(Config):
    """Where quantizers are placed and what they do: the part of PTQ and QAT that does not depend on data."""

    target: str
    weight_bits: int
    activation_bits: int
    per_channel: bool
    weight_calibrator: str
    """`max`, or the calibrator that `histogram` means."""
    weight_percentile: float | None
    skip: tuple[str, ...]
    rules: tuple[dict[str, Any], ...] = ()
    """Dumps of rules, which hold only the keys that were written: a key that is left out and a default differ."""
    histogram_method: str = "percentile"
    """What `calib_method: histogram` means in a rule."""
    histogram_percentile: float = DEFAULT_PERCENTILE
    ptq_steps: tuple[str, ...] = ()
    """Decide which network is prepared: steps that need no data change its weights, others give it biases."""
    plugins: tuple[PluginCode, ...] = ()


class CalibrateConfig(Config):
    """One pass over the calibration samples, for every calibrator."""

    model: ModelConfig
    data: DataConfig
    placement: QuantizerConfig
    """Full placement of the target; narrower ones find their tensors in it. Of the PTQ steps those that change weights
    before calibration."""
    samples: int
    batch_size: int


class CorrectionConfig(Config):
    """The samples for PTQ steps that need some."""

    data: DataConfig
    samples: int
    batch_size: int


class QuantizeConfig(Config):
    """PTQ of one variant from collected histograms."""

    model: ModelConfig
    quantizer: QuantizerConfig
    calibrator: str
    percentile: float | None
    plugins: tuple[PluginCode, ...] = ()
    correction: CorrectionConfig | None = None
    """None when no PTQ step needs calibration samples."""
    verbose: bool = Field(default=False, exclude=True)
    """Tell every range that is chosen."""


class FinetuneConfig(Config):
    """QAT of one variant from its PTQ state."""

    model: ModelConfig
    quantizer: QuantizerConfig
    data: DataConfig
    recipe: Recipe
    validation_seed: int
    """Chooses the validation samples: those that FP32 training held out, whatever the seed of the recipe."""
    batch_norm: BatchNormMode = "folded"
    learn_amax: bool = False
    freeze_batch_norm_after: float = 1.0
    """Share of the steps; so is the next."""
    freeze_observers_after: float = 0.0


class TemplateConfig(Config):
    """The ONNX graph, without its numbers, of all variants that are quantized in the same places."""

    model: ModelConfig
    quantizer: QuantizerConfig


class ExportConfig(Config):
    """One ONNX file."""

    model: ModelConfig
    quantizer: QuantizerConfig | None
    """None for FP32."""
    integer_biases: bool


class QuantizeOnnxConfig(Config):
    """PTQ by another toolkit, which writes the Q/DQ ONNX file itself."""

    toolkit: str
    plugins: tuple[PluginCode, ...] = ()
    model: ModelConfig
    quantizer: QuantizerConfig
    """What the target would do; a toolkit takes of it what it can."""
    data: DataConfig
    samples: int
    calibrator: str
    percentile: float | None


class Fp16Config(Config):
    """FP16 written into an ONNX file."""

    data: DataConfig
    samples: int
    """Run through the network to find values that FP16 cannot hold, and to compare."""


class BuildConfig(Config):
    """One engine."""

    target: str
    plugins: tuple[PluginCode, ...] = ()
    options: dict[str, Any]
    repeat: int = 0
    """Number of the build: builders choose among kernels by timing them, so that two builds may differ."""


class PredictTorchConfig(Config):
    """Outputs of the torch network on the test samples."""

    data: DataConfig
    model: ModelConfig
    quantizer: QuantizerConfig | None = None
    """For the fake-quantized network; None for the eager one."""
    samples: int | None = None
    """The first ones of the test samples, for the comparison of steps; None: all, for accuracy."""


class PredictConfig(Config):
    """Outputs of an engine on the test samples."""

    data: DataConfig
    build: BuildConfig


class PredictOnnxConfig(Config):
    """Outputs of an ONNX file, executed as it is written."""

    data: DataConfig
    samples: int
    """The first ones of the test samples."""


class LayersConfig(Config):
    """The layers of one quantized variant, side by side."""

    data: DataConfig
    samples: int
    """The first ones of the test samples."""
    model: ModelConfig
    quantizer: QuantizerConfig | None
    """None where another toolkit quantized: there is no fake-quantized network of ours."""
    build: BuildConfig | None
    """None where the engine cannot run here."""


class MeasureConfig(Config):
    """Latency of the engines of one group, side by side."""

    run_id: str
    """Latency is measured anew in every run."""
    reference: str
    """FP32 on the reference target."""
    own_references: dict[str, str] = Field(default_factory=dict)
    """By variant id, FP32 on the variant's own target."""
    engines: dict[str, BuildConfig]
    """By variant id; the inputs of the task are named by `built`."""
    builds: int
    """Engines of every variant."""
    input_shape: tuple[int, int, int]
    batch_size: int
    plan: TimingPlan
    confidence: float
    margin: float
    comparisons: int
    """Speedups that the run will judge, in all groups."""
    seed: int


def built(variant_id: str, build: int) -> str:
    """Name of one engine among the inputs of a measuring task."""
    return f"{variant_id}#{build}"


class MemoryConfig(Config):
    """Peak memory of one engine."""

    build: BuildConfig
    input_shape: tuple[int, int, int]
    batch_size: int
    machine: str
    """Memory of equal machines is alike."""


class EnergyConfig(Config):
    """Energy of one engine's inferences."""

    run_id: str
    """Energy is measured anew in every run."""
    build: BuildConfig
    input_shape: tuple[int, int, int]
    batch_size: int
    busy_s: float
    """All blocks together."""
    idle_s: float


class StreamsConfig(Config):
    """Samples per second of one engine with several streams."""

    run_id: str
    """Measured anew in every run."""
    build: BuildConfig
    input_shape: tuple[int, int, int]
    batch_size: int
    streams: tuple[int, ...]
    busy_s: float
    """With each number of streams, all blocks together."""


class ProfiledEngine(Config):
    """One engine whose layers are timed."""

    build: BuildConfig
    input_shape: tuple[int, int, int]
    batch_size: int


class LayerTimesConfig(Config):
    """Times of the layers of all engines of a run."""

    machine: str
    """Times on equal machines are alike."""
    engines: dict[str, ProfiledEngine]
    """By variant id, as the inputs of the task."""


class PeakConfig(Config):
    """Peak multiply-accumulates per second of the CPU."""

    machine: str
    """Peaks of equal machines are alike."""
    threads: int


class LoadConfig(Config):
    """Load scenarios of one engine, through LoadGen."""

    run_id: str
    """Measured anew in every run."""
    build: BuildConfig
    data: DataConfig
    batch_size: int
    """Samples that are answered at once, at most."""
    load: dict[str, dict[str, Any]]
    """Settings by load scenario."""
    plugins: tuple[PluginCode, ...] = ()
    accuracy: bool
    """Whether LoadGen's accuracy mode runs too."""
    seed: int


class RankConfig(Config):
    """What quantizing each layer of one PTQ variant alone costs."""

    quantize: QuantizeConfig
    data: DataConfig
    calibration: DataConfig
    samples: int
    """Calibration samples for the SQNR."""
    batch_size: int
    accuracy: bool
    """Whether labels exist that mean anything."""
    top: int
    """Layers whose accuracy is judged, most sensitive first."""
    confidence: float
    seed: int
    """Seed of the held-out samples: the training recipe's, so that no weight was trained on them."""


class SearchConfig(Config):
    """The search for a skip set of one PTQ variant."""

    quantize: QuantizeConfig
    data: DataConfig
    budget: float
    """Largest loss of top-1, as a share."""
    confidence: float
    seed: int
