"""The scenario file: typed, immutable, and strict at every level."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import MaxLen, MinLen
from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, field_serializer
from pydantic_core import PydanticCustomError

from harness.data.settings import CalibDataset, DatasetSpec
from harness.errors import ScenarioError, nearest
from harness.fields import (
    ByName,
    Count,
    FreeMapping,
    Listed,
    Name,
    Positive,
    Section,
    Seed,
    Share,
    Text,
    Unit,
    mapping,
)
from harness.load.settings import LoadSettings
from harness.paths import expanded
from harness.plugin_names import PluginName
from harness.quantization.settings import QuantizationParams
from harness.scenario.axes import Matrix
from harness.scenario.gates import GateSpec
from harness.scenario.load_settings import ByLoadScenario
from harness.scenario.package_files import PACKAGE_PREFIX, package_path, parse_package_file
from harness.scenario.source import Loc, ScenarioSource
from harness.scenario.target_options import ByTarget, options_types
from harness.targets import targets
from harness.targets.settings import TargetOptions
from harness.timing.settings import TimingPlan
from harness.training.settings import FactoryText, PreLaunchCallback, QATParams, Training
from harness.verdicts.settings import Judgement

WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".pth.tar")


def _weights_text(text: str) -> str:
    if text in {"train", "random"} or text.endswith(WEIGHT_SUFFIXES):
        if text.startswith(PACKAGE_PREFIX):
            parse_package_file(text)
        return text
    guess = nearest(text, ("train", "random"))
    fix = f"did you mean `{guess}`?" if guess else "write `train`, `random` or a file: " + ", ".join(WEIGHT_SUFFIXES)
    raise PydanticCustomError(
        "weights", "`{text}` is neither `train`, `random` nor a weights file", {"text": text, "fix": fix}
    )


class ModelSpec(Section):
    """One network: how to build it, and where its weights come from."""

    factory: FactoryText
    """`FILE.py:FUNCTION` (relative to the project root) or `package.module:FUNCTION`; returns a `torch.nn.Module`."""
    args: FreeMapping = Field(default_factory=dict)
    """Handed to the factory as keyword arguments."""
    weights: Annotated[str, AfterValidator(_weights_text)] = "train"
    """`train`: train the FP32 baseline; `random`: leave as initialised (accuracy is then not reported); or a
    `.safetensors`, `.pt`, `.pth`, `.ckpt`, `.bin` or `.pth.tar` file, relative to the project root, or
    `package:NAME/FILE` for a file inside an installed Python package, which is not imported."""
    weights_key: Text | None = None
    """Part of the weights file to take, for instance `ema_net` or `checkpoint.state_dict`. Empty: the part that fits
    the network; of several that fit, the averaged (EMA) one. The report says which part was taken."""
    expected_top1: Share | None = None
    """Top-1 that the FP32 network is known to have on this data (a share: 0.7188 for 71.88 %). Where the eager network
    has another, all rows of the model are failed before anything is quantized. Empty: not checked."""
    expected_top1_tolerance: Share = 0.02
    """Difference from `expected_top1` that is accepted. With few test samples chance alone makes a difference: about
    2 / sqrt(4 n) for n samples."""
    training: Training = Field(default_factory=Training)
    """Keys of `training` that are different for this model; see `Scenario.effective_training`."""

    @field_serializer("training")
    def _only_overrides(self, training: Training) -> dict[str, Any]:
        # Defaults that were not written must not come back as overrides when a dump is read again.
        return training.model_dump(exclude_unset=True)


class Measurement(TimingPlan):
    """What is measured, and for how long."""

    accuracy: bool = True
    """Evaluate every variant on the test samples."""
    latency: bool = True
    """Time every variant in rounds interleaved with its FP32 row, and with the rows of other targets on the same kind
    of device."""
    memory: bool = True
    """Peak memory of every engine in a process of its own; about a second per variant, then from the store."""
    energy: bool = False
    """Energy of every engine's inferences, from RAPL (CPU) or NVML (GPU); absent with the reason where neither can be
    read. Measured anew in every run."""
    energy_s: Annotated[Positive, Unit("s")] = 3.0
    """Inferences of one variant while its energy is counted, in three blocks."""
    energy_idle_s: Annotated[Positive, Unit("s")] = 1.0
    """Counting idle power before them."""
    streams: Listed[Count] = ()
    """Numbers of inferences side by side, one thread each: samples per second with each of them, for every variant of
    `onnxruntime` and `openvino` on the CPU; needs `latency`. Empty: not measured. Measured anew in every run."""
    streams_s: Annotated[Positive, Unit("s")] = 1.0
    """Inferences of one variant with one number of streams, in five blocks."""
    parity: Literal["off", "chain", "layers"] = "chain"
    """`chain`: compare every step from the eager network to the engine, and name the step that loses accuracy; needs
    `accuracy`. `layers`: also every layer on its own, with the inputs of its reference. `off`: only the fake-quantized
    network with the engine."""
    parity_samples: Annotated[Count, Unit("sample")] = 1000
    """Number of test samples for the chain, the first ones; also for comparing a fake-quantized network with its
    engine. Accuracy is that of all test samples, whatever this is. Its ONNX files run without optimizations, and torch
    simulates integers: both are slow."""
    builds: Annotated[Count, Unit("build")] = 1
    """Engines built of each variant. Processes take them in turn. With several, verdicts hold for builds that were
    not made, and need three or more of them."""
    metrics: Listed[PluginName] = ()
    """[Metrics of your own](plugins/metric.md), beside those of the harness: `FILE.py:NAME`, or the name of an
    installed one. Each is a column of the report, and `metrics.NAME` in gates."""
    load: Annotated[dict[str, LoadSettings], ByLoadScenario(), BeforeValidator(mapping)] = Field(default_factory=dict)
    """Load scenarios of MLCommons LoadGen by name: `single_stream`, `multi_stream`, `offline`, `server`. Those that
    are named run for every variant, alone on the machine. Needs `pip install mlcommons-loadgen`."""


class Timeouts(Section):
    """How long code of the project may run without a sign of progress before its process is ended.

    `HARNESS_TIMEOUT_S` in the environment replaces both.
    """

    network_s: Annotated[Positive, Unit("s")] = 120.0
    """Importing a model file, calling its factory, loading the weights and trying the network, each."""
    stage_s: Annotated[Positive, Unit("s")] = 3600.0
    """A stage, such as training or building an engine; a finished batch, epoch or process is progress. Waiting for
    another run does not count."""


class Scenario(Section):
    """One question, answered by one command: models, quantization variants, targets and how to judge them."""

    schema_version: Literal[1] = 1
    """Version of this format."""
    name: Name
    """Lower-case letters, digits, `_`, `.` and `-`; the report's folder is named after it."""
    question: Text | None = None
    """What the scenario finds out; printed in the report."""
    seed: Seed = 0
    """Seed of splits, initial weights, augmentation and shuffling."""
    dataset: DatasetSpec
    calib_dataset: CalibDataset | None = None
    """Empty: calibration takes samples of `dataset`'s training part, without augmentation."""
    models: Annotated[ByName[ModelSpec], MinLen(1)]
    """Networks by name."""
    training: Training = Field(default_factory=Training)
    quantization_params: QuantizationParams = Field(default_factory=QuantizationParams)
    qat_params: QATParams = Field(default_factory=QATParams)
    pre_launch_callbacks_list: Annotated[Listed[PreLaunchCallback], MaxLen(1)] = ()
    """So that a recipe's list can be pasted: what it says of `QATRecipeModificationCallback` is taken as `qat_params`.
    Give one or the other."""
    targets: Annotated[dict[PluginName, TargetOptions], ByTarget(), BeforeValidator(mapping)] = Field(
        default_factory=dict
    )
    """Options by name of the target; a target of the matrix that is not named here has the defaults."""
    matrix: Matrix = Field(default_factory=Matrix)
    reference_target: PluginName | None = None
    """Target whose FP32 row is the reference of all rows that are timed together: those of one model and batch size, of
    all targets on one kind of device, such as the targets `onnxruntime` and `openvino` on this machine's CPU. Empty:
    the first target of the matrix. Accuracy is always compared with FP32 on the row's own target."""
    measurement: Measurement = Field(default_factory=Measurement)
    timeouts: Timeouts = Field(default_factory=Timeouts)
    verdict: Judgement = Field(default_factory=Judgement)
    gates: Listed[GateSpec] = ()
    """Limits that variants must keep; a run in which one is proven broken ends with exit code 1."""

    _source: ScenarioSource = PrivateAttr(default_factory=ScenarioSource)

    def with_source(self, source: ScenarioSource) -> Scenario:
        """The same scenario, knowing which file and which places it came from."""
        copy = self.model_copy()
        copy._source = source
        return copy

    def with_callbacks_applied(self) -> Scenario:
        """The same scenario with `qat_params` in place of `pre_launch_callbacks_list`."""
        if not self.pre_launch_callbacks_list:
            return self
        params = self.pre_launch_callbacks_list[0].QATRecipeModificationCallback
        return self.model_copy(update={"qat_params": params, "pre_launch_callbacks_list": ()})

    @property
    def source(self) -> ScenarioSource:
        """The file, with the place of every value."""
        return self._source

    @property
    def path(self) -> Path:
        """The file it was loaded from, as the user named it."""
        return self._source.path

    @property
    def root(self) -> Path:
        """Absolute folder that paths in the file are relative to."""
        return self._source.root

    def resolve(self, text: str) -> Path:
        """A path of the file, or a file of an installed package, as an absolute path."""
        if text.startswith(PACKAGE_PREFIX):
            return package_path(text)
        return self.root / expanded(text)

    def error(self, loc: Loc, message: str, *, fix: str | None = None, on_key: bool = False) -> ScenarioError:
        """An error to raise about the value (or, `on_key`, the key) at `loc`, for instance `("dataset", "source")`.

        Where the file does not hold that key, the error points at the nearest level that it does hold.
        """
        return self._source.error(loc, message, fix=fix, on_key=on_key)

    def effective_training(self, model_name: str) -> Training:
        """`training` with the overrides of one model; KeyError when there is no such model."""
        overrides = self.models[model_name].training
        return self.training.model_copy(update={key: getattr(overrides, key) for key in overrides.model_fields_set})

    @property
    def calibration_pool(self) -> int:
        """Samples that there are to calibrate on."""
        return self.dataset.calibration_samples if self.calib_dataset is None else self.calib_dataset.samples

    def calibration_count(self, model_name: str) -> int:
        """Samples that calibrate one model."""
        batch_size = self.effective_training(model_name).batch_size
        return self.quantization_params.calib_params.samples(batch_size, self.calibration_pool)

    def target_options(self, target: str) -> TargetOptions:
        """Options of one target: as written, or the defaults.

        Where `threads` is written for other targets on the same kind of device alone, and the same for all of these,
        that number is the default: targets are compared with equal threads unless the scenario says otherwise.
        """
        own = self.targets.get(target) or options_types().get(target, TargetOptions)()
        known = targets()
        if "threads" in own.model_fields_set or target not in known:
            return own
        device = known[target].device_class(None)
        written = {
            options.threads
            for name, options in self.targets.items()
            if "threads" in options.model_fields_set and name in known and known[name].device_class(None) == device
        }
        return own.model_copy(update={"threads": written.pop()}) if len(written) == 1 else own
