"""A scenario resolved against this machine: after this, nothing reads the scenario."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.data.samples import Splits
from harness.quantization.capture.modules import Modules
from harness.quantization.placement.rules import Rule
from harness.quantization.settings import QuantizationParams
from harness.runs.plugins import Plugins
from harness.runs.rule_checks import rules_for
from harness.runs.timeouts import network_timeout_s, stage_timeout_s
from harness.scenario import Measurement, Scenario, expand
from harness.stages.configs import DataConfig, ModelConfig, TrainConfig
from harness.stages.network_probe import NetworkFacts, WeightsFacts
from harness.targets.settings import TargetOptions
from harness.training.settings import QATParams, Recipe
from harness.verdicts.settings import Judgement


@dataclass(frozen=True)
class About:
    """What the record and the folder of a run say of its scenario."""

    name: str
    question: str | None
    path: Path
    """As the user named it."""
    root: Path
    """Folder of the project."""


@dataclass(frozen=True)
class NetworkInfo:
    """One model of the scenario: what is known of it before anything runs."""

    train: TrainConfig
    """How it comes by its FP32 weights."""
    recipe: Recipe
    """Recipe of FP32 training, whether it is trained here or not: QAT starts from it."""
    modules: Modules
    """Names and types, which rules refer to."""
    rules: tuple[Rule, ...]
    """Those of the scenario that can match something of it."""
    calibration_samples: int
    has_random_weights: bool
    expected_top1: float | None
    expected_top1_tolerance: float

    @property
    def config(self) -> ModelConfig:
        """The network before it has weights."""
        return self.train.model


@dataclass(frozen=True)
class Resolved:
    """What is to be run, and how it is judged."""

    seed: int
    measurement: Measurement
    verdict: Judgement
    quantization: QuantizationParams
    qat: QATParams
    targets: Mapping[str, TargetOptions]
    """By name, those of the matrix."""
    data: DataConfig
    calibration_data: DataConfig
    networks: Mapping[str, NetworkInfo]
    """By model, those that can be used."""
    network_timeout_s: float
    """Limit for each step of code of the user's."""
    stage_timeout_s: float
    """Limit for a stage, between two signs of progress."""
    broken: Mapping[str, str] = field(default_factory=dict)
    """By model, why it cannot be used."""


def resolve(
    scenario: Scenario,
    data: DataConfig,
    calibration_data: DataConfig,
    networks: Mapping[str, NetworkInfo],
    broken: Mapping[str, str] | None = None,
) -> Resolved:
    """The scenario with the data and the networks that were found for it."""
    targets = dict.fromkeys(variant.target for variant in expand(scenario))
    return Resolved(
        seed=scenario.seed,
        measurement=scenario.measurement,
        verdict=scenario.verdict,
        quantization=scenario.quantization_params,
        qat=scenario.qat_params,
        targets={name: scenario.target_options(name) for name in targets},
        data=data,
        calibration_data=calibration_data,
        networks=networks,
        network_timeout_s=network_timeout_s(scenario),
        stage_timeout_s=stage_timeout_s(scenario),
        broken=broken or {},
    )


def model_config(scenario: Scenario, name: str, splits: Splits, facts: NetworkFacts) -> ModelConfig:
    """One model of the scenario, as stages build it."""
    spec = scenario.models[name]
    return ModelConfig(
        factory=spec.factory,
        args=dict(spec.args),
        input_shape=splits.input_shape,
        n_classes=splits.n_classes,
        task=splits.task,
        seed=scenario.seed,
        source_sha256=facts.dependencies.sha256,
        files=facts.dependencies.files,
        root=scenario.root,
    )


def resolve_network(
    scenario: Scenario,
    name: str,
    model: ModelConfig,
    modules: Modules,
    data: DataConfig,
    plugins: Plugins,
    weights: WeightsFacts | None = None,
) -> NetworkInfo:
    """One model of the scenario; `weights` is what its weights file turned out to be."""
    spec, training = scenario.models[name], scenario.effective_training(name)
    recipe, trains = training.recipe(scenario.seed), spec.weights == "train"
    loop = training.factory if trains else None
    return NetworkInfo(
        train=TrainConfig(
            model=model,
            data=data if trains else None,
            recipe=recipe if trains else None,
            loop=loop,
            plugins=plugins.codes(("training loop", [loop])),
            weights_sha256=weights and weights.sha256,
            weights_key=spec.weights_key,
            weights_path=scenario.resolve(spec.weights) if weights is not None else None,
        ),
        recipe=recipe,
        modules=modules,
        rules=rules_for(scenario, modules),
        calibration_samples=scenario.calibration_count(name),
        has_random_weights=spec.weights == "random",
        expected_top1=spec.expected_top1,
        expected_top1_tolerance=spec.expected_top1_tolerance,
    )
