"""From a variant to the tasks that make its network: weights, quantization, ONNX file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.engine.graph import Task
from harness.quantization.capture.modules import Modules
from harness.quantization.placement.rules import Rule
from harness.results import Variant
from harness.runs.plugins import Plugins
from harness.runs.rule_checks import rules_for
from harness.scenario import Scenario
from harness.stages.catalog import (
    CALIBRATE,
    CHECK,
    EXPORT,
    FINETUNE,
    PREDICT_TORCH,
    QUANTIZE,
    QUANTIZE_ONNX,
    TO_FP16,
    TRAIN,
)
from harness.stages.configs import (
    CalibrateConfig,
    CheckConfig,
    CorrectionConfig,
    DataConfig,
    ExportConfig,
    FinetuneConfig,
    Fp16Config,
    ModelConfig,
    PredictConfig,
    QuantizeConfig,
    QuantizeOnnxConfig,
    QuantizerConfig,
    TrainConfig,
)
from harness.targets.base import Target
from harness.toolkits import get_toolkit
from harness.training.settings import Recipe, qat_recipe

CALIBRATION_BATCH = 64
"""Has no influence on the ranges: histograms are merged exactly."""
FP16_SAMPLES = 32
"""Calibration samples on which an FP16 file is checked against the FP32 one."""
CORRECTION_BATCH = 32
"""Has no influence on what PTQ steps do beyond rounding. Small batches keep the larger activations in the cache."""


@dataclass(frozen=True)
class NetworkInfo:
    """What is known of one model of the scenario before anything runs."""

    config: ModelConfig
    weights_path: Path | None
    weights_sha256: str | None
    modules: Modules
    """Names and types, which rules refer to."""


class NetworkPlanner:
    """Makes the tasks of a variant's network."""

    def __init__(
        self,
        scenario: Scenario,
        data: DataConfig,
        calibration_data: DataConfig,
        networks: Mapping[str, NetworkInfo],
        plugins: Plugins,
    ) -> None:
        self._plugins = plugins
        self._scenario = scenario
        self._data = data
        self._calibration_data = calibration_data
        self._networks = networks

    def train(self, variant: Variant) -> Task:
        """The FP32 weights of the variant's network."""
        network = self._networks[variant.model]
        trains = self._scenario.models[variant.model].weights == "train"
        loop = self._scenario.effective_training(variant.model).factory
        config = TrainConfig(
            model=network.config,
            data=self._data if trains else None,
            recipe=self._recipe(variant.model) if trains else None,
            loop=loop if trains else None,
            plugins=self._plugins.codes(("training loop", [loop if trains else None])),
            weights_sha256=network.weights_sha256,
            weights_key=self._scenario.models[variant.model].weights_key,
            weights_path=network.weights_path,
        )
        return Task(TRAIN, config, label=f"train {variant.model}" if trains else f"weights of {variant.model}")

    def network(self, variant: Variant) -> dict[str, Task]:
        """Its weights, and whether the captured graph is the network: every row of the model depends on both."""
        train = self.train(variant)
        config = CheckConfig(model=self._networks[variant.model].config, data=self._data)
        return {"train": train, "check": Task(CHECK, config, {"train": train}, label=f"check {variant.model}")}

    def own_toolkit(
        self, variant: Variant, network: Mapping[str, Task], target: Target, *, simulated: bool
    ) -> dict[str, Task]:
        """From the weights to the ONNX file by our own quantizer, and the predictions of the torch network."""
        model = self._networks[variant.model].config
        tasks: dict[str, Task] = {}
        quantizer: QuantizerConfig | None = None
        inputs = dict(network)
        if variant.is_quantized:
            quantizer = self.quantizer(variant)
            tasks["calibrate"] = self._calibrate(variant, network)
            tasks["quantize"] = Task(
                QUANTIZE,
                QuantizeConfig(
                    model=model,
                    quantizer=quantizer,
                    calibrator=str(variant.calibrator),
                    percentile=variant.percentile,
                    plugins=self._plugins.codes(("calibrator", [variant.calibrator])),
                    correction=self._correction(variant),
                    verbose=self._scenario.quantization_params.calib_params.verbose,
                ),
                {**network, "calibrate": tasks["calibrate"]},
                label=f"quantize {variant.id}",
            )
            inputs["state"] = tasks["quantize"]
        if variant.method == "qat" and quantizer is not None:
            finetune = self._finetune(variant, model, quantizer)
            tasks["finetune"] = Task(FINETUNE, finetune, dict(inputs), label=f"finetune {variant.id}")
            inputs["state"] = tasks["finetune"]
        if not simulated:
            export = ExportConfig(model=model, quantizer=quantizer, integer_biases=target.integer_biases)
            tasks["export"] = Task(EXPORT, export, dict(inputs), label=f"export {variant.id}")
        if self._scenario.measurement.accuracy:
            predict = PredictConfig(data=self._data, model=model, quantizer=quantizer)
            inputs.pop("check")
            tasks["torch_outputs"] = Task(PREDICT_TORCH, predict, inputs, label=f"evaluate torch {variant.id}")
        return tasks

    def other_toolkit(self, variant: Variant, network: Mapping[str, Task], target: Target) -> dict[str, Task]:
        """The ONNX file that another toolkit quantizes."""
        model = self._networks[variant.model].config
        fp32 = ExportConfig(model=model, quantizer=None, integer_biases=target.integer_biases)
        source = Task(EXPORT, fp32, network, label=f"export {variant.model} for {variant.toolkit}")
        config = QuantizeOnnxConfig(
            toolkit=str(variant.toolkit),
            plugins=self._plugins.codes(("toolkit", [variant.toolkit])),
            model=model,
            quantizer=self.quantizer(variant),
            data=self._calibration_data,
            samples=self._scenario.calibration_count(variant.model),
            calibrator=str(variant.calibrator),
            percentile=variant.percentile,
        )
        stage = replace(QUANTIZE_ONNX, libraries=get_toolkit(str(variant.toolkit)).distributions)
        return {
            "export": Task(stage, config, {"train": network["train"], "onnx": source}, label=f"quantize {variant.id}")
        }

    def to_fp16(self, variant: Variant, export: Task) -> Task:
        """The same ONNX file with FP16 inside."""
        config = Fp16Config(data=self._calibration_data, samples=FP16_SAMPLES)
        return Task(TO_FP16, config, {"onnx": export}, label=f"convert {variant.id} to FP16")

    def _calibrate(self, variant: Variant, network: Mapping[str, Task]) -> Task:
        """One task per model, target and PTQ steps that change weights before it.

        The full placement at 8 bits sees every tensor that others need.
        """
        before = self._before_calibration(variant)
        placement = QuantizerConfig(
            target=variant.target,
            weight_bits=8,
            activation_bits=8,
            per_channel=True,
            weight_calibrator="max",
            weight_percentile=None,
            skip=(),
            ptq_steps=before,
            plugins=self._plugins.codes(("target", [variant.target]), ("PTQ step", before)),
        )
        config = CalibrateConfig(
            model=self._networks[variant.model].config,
            data=self._calibration_data,
            placement=placement,
            samples=self._scenario.calibration_count(variant.model),
            batch_size=CALIBRATION_BATCH,
        )
        return Task(CALIBRATE, config, network, label=f"calibrate {variant.model} for {variant.target}")

    def _correction(self, variant: Variant) -> CorrectionConfig | None:
        if self._before_calibration(variant) == variant.ptq_steps:
            return None
        samples = self._scenario.calibration_count(variant.model)
        return CorrectionConfig(data=self._calibration_data, samples=samples, batch_size=CORRECTION_BATCH)

    def quantizer(self, variant: Variant) -> QuantizerConfig:
        """How the variant's network is quantized."""
        params = self._scenario.quantization_params
        histogram = params.selective_quantizer_params.calibrator_w == "histogram"
        method = params.calib_params.histogram_calib_method
        rules = self.rules(variant)
        return QuantizerConfig(
            target=variant.target,
            weight_bits=variant.weight_bits or 8,
            activation_bits=variant.activation_bits or 8,
            per_channel=bool(variant.per_channel),
            weight_calibrator=method if histogram else "max",
            weight_percentile=params.calib_params.percentile if histogram and method == "percentile" else None,
            skip=variant.skip,
            ptq_steps=variant.ptq_steps,
            rules=tuple(rule.model_dump(mode="json") for rule in rules),
            plugins=self._plugins.codes(
                ("target", [variant.target]),
                ("PTQ step", variant.ptq_steps),
                ("calibrator", _calibrators_of(rules)),
            ),
            histogram_method=method if rules else "percentile",
            histogram_percentile=params.calib_params.percentile if rules else 99.99,
        )

    def _finetune(self, variant: Variant, model: ModelConfig, quantizer: QuantizerConfig) -> FinetuneConfig:
        scenario, params, learns = self._scenario, self._scenario.qat_params, bool(variant.learn_amax)
        recipe = qat_recipe(self._recipe(variant.model), params, learned_ranges=learns)
        seed = scenario.seed if variant.qat_seed is None else variant.qat_seed
        batch_norm = variant.batch_norm or "folded"
        return FinetuneConfig(
            model=model,
            quantizer=quantizer,
            data=self._data,
            recipe=recipe.model_copy(update={"seed": seed}),
            validation_seed=scenario.seed,
            batch_norm=batch_norm,
            learn_amax=learns,
            # A setting that does not count must not change the key.
            freeze_batch_norm_after=params.freeze_batch_norm_after if batch_norm == "live" else 1.0,
            freeze_observers_after=0.0 if learns else params.freeze_observers_after,
        )

    def _recipe(self, model: str) -> Recipe:
        return self._scenario.effective_training(model).recipe(self._scenario.seed)

    def rules(self, variant: Variant) -> tuple[Rule, ...]:
        """The rules of the scenario for the variant's network; none for methods that quantize nothing."""
        if not variant.is_quantized:
            return ()
        return rules_for(self._scenario, self._networks[variant.model].modules)

    def _before_calibration(self, variant: Variant) -> tuple[str, ...]:
        if not variant.ptq_steps:
            return ()
        from harness.quantization.ptq.steps import before_calibration  # imports torch

        own = {name: facts for name in variant.ptq_steps if (facts := self._plugins.of("PTQ step", name))}
        first = before_calibration([name for name in variant.ptq_steps if name not in own])
        return tuple(name for name in variant.ptq_steps if name in first or (name in own and own[name].changes_weights))


def _calibrators_of(rules: Iterable[Rule]) -> Iterator[str | None]:
    for rule in rules:
        yield from (each.calib_method for each in (rule.input, rule.weight) if each is not None)
