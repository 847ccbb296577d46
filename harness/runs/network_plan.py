"""From a variant to the tasks that make its network: weights, quantization, ONNX file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from harness.engine.graph import Task
from harness.quantization.placement.rules import Rule
from harness.results import Variant
from harness.runs.plugins import Plugins
from harness.runs.resolve import NetworkInfo, Resolved
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
    WRITE_TEMPLATE,
)
from harness.stages.configs import (
    CalibrateConfig,
    CheckConfig,
    CorrectionConfig,
    ExportConfig,
    FinetuneConfig,
    Fp16Config,
    ModelConfig,
    PredictTorchConfig,
    QuantizeConfig,
    QuantizeOnnxConfig,
    QuantizerConfig,
    TemplateConfig,
)
from harness.targets.base import Target
from harness.toolkits import get_toolkit
from harness.training.settings import qat_recipe

CALIBRATION_BATCH = 64
"""Has no influence on the ranges: histograms are merged exactly."""
FP16_SAMPLES = 32
"""Calibration samples on which an FP16 file is checked against the FP32 one."""
CORRECTION_BATCH = 32
"""Has no influence on what PTQ steps do beyond rounding. Small batches keep the larger activations in the cache."""


class NetworkPlanner:
    """Makes the tasks of a variant's network."""

    def __init__(self, resolved: Resolved, plugins: Plugins) -> None:
        self._resolved = resolved
        self._plugins = plugins

    def train(self, variant: Variant) -> Task:
        """The FP32 weights of the variant's network."""
        config = self._network(variant).train
        trains = config.recipe is not None
        return Task(TRAIN, config, label=f"train {variant.model}" if trains else f"weights of {variant.model}")

    def network(self, variant: Variant) -> dict[str, Task]:
        """Its weights, and whether the captured graph is the network: every row of the model depends on both."""
        train = self.train(variant)
        config = CheckConfig(model=self._network(variant).config, data=self._resolved.data)
        return {"train": train, "check": Task(CHECK, config, {"train": train}, label=f"check {variant.model}")}

    def own_toolkit(
        self, variant: Variant, network: Mapping[str, Task], target: Target, *, exports: bool, runs: bool
    ) -> dict[str, Task]:
        """From the weights to the ONNX file by our own quantizer, and the predictions of the torch network.

        Where the engine `runs`, accuracy is the engine's, and the torch network is only compared with it.
        """
        model = self._network(variant).config
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
                    verbose=self._resolved.quantization.calib_params.verbose,
                ),
                {**network, "calibrate": tasks["calibrate"]},
                label=f"quantize {variant.id}",
            )
            inputs["state"] = tasks["quantize"]
        if variant.method == "qat" and quantizer is not None:
            finetune = self._finetune(variant, model, quantizer)
            tasks["finetune"] = Task(FINETUNE, finetune, dict(inputs), label=f"finetune {variant.id}")
            inputs["state"] = tasks["finetune"]
        if exports:
            export = ExportConfig(model=model, quantizer=quantizer, integer_biases=target.integer_biases)
            sources = dict(inputs)
            if quantizer is not None:
                sources["template"] = self._template(variant, model, quantizer, network)
            tasks["export"] = Task(EXPORT, export, sources, label=f"export {variant.id}")
        if self._resolved.measurement.accuracy:
            samples = self._resolved.measurement.parity_samples if runs else None
            predict = PredictTorchConfig(data=self._resolved.data, model=model, quantizer=quantizer, samples=samples)
            inputs.pop("check")
            tasks["torch_outputs"] = Task(PREDICT_TORCH, predict, inputs, label=f"evaluate torch {variant.id}")
        return tasks

    def _template(
        self, variant: Variant, model: ModelConfig, quantizer: QuantizerConfig, network: Mapping[str, Task]
    ) -> Task:
        """One task for all variants that are quantized in the same places."""
        label = f"write the graph of {variant.model} for {variant.target}"
        return Task(WRITE_TEMPLATE, TemplateConfig(model=model, quantizer=quantizer), network, label=label)

    def other_toolkit(self, variant: Variant, network: Mapping[str, Task], target: Target) -> dict[str, Task]:
        """The ONNX file that another toolkit quantizes."""
        model = self._network(variant).config
        fp32 = ExportConfig(model=model, quantizer=None, integer_biases=target.integer_biases)
        source = Task(EXPORT, fp32, network, label=f"export {variant.model} for {variant.toolkit}")
        config = QuantizeOnnxConfig(
            toolkit=str(variant.toolkit),
            plugins=self._plugins.codes(("toolkit", [variant.toolkit])),
            model=model,
            quantizer=self.quantizer(variant),
            data=self._resolved.calibration_data,
            samples=self._network(variant).calibration_samples,
            calibrator=str(variant.calibrator),
            percentile=variant.percentile,
        )
        stage = replace(QUANTIZE_ONNX, libraries=get_toolkit(str(variant.toolkit)).distributions)
        return {
            "export": Task(stage, config, {"train": network["train"], "onnx": source}, label=f"quantize {variant.id}")
        }

    def to_fp16(self, variant: Variant, export: Task) -> Task:
        """The same ONNX file with FP16 inside."""
        config = Fp16Config(data=self._resolved.calibration_data, samples=FP16_SAMPLES)
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
            model=self._network(variant).config,
            data=self._resolved.calibration_data,
            placement=placement,
            samples=self._network(variant).calibration_samples,
            batch_size=CALIBRATION_BATCH,
        )
        return Task(CALIBRATE, config, network, label=f"calibrate {variant.model} for {variant.target}")

    def _correction(self, variant: Variant) -> CorrectionConfig | None:
        if self._before_calibration(variant) == variant.ptq_steps:
            return None
        samples = self._network(variant).calibration_samples
        return CorrectionConfig(data=self._resolved.calibration_data, samples=samples, batch_size=CORRECTION_BATCH)

    def quantizer(self, variant: Variant) -> QuantizerConfig:
        """How the variant's network is quantized."""
        params = self._resolved.quantization
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
            # What does not count must not change the key.
            **({"histogram_method": method, "histogram_percentile": params.calib_params.percentile} if rules else {}),
        )

    def _finetune(self, variant: Variant, model: ModelConfig, quantizer: QuantizerConfig) -> FinetuneConfig:
        params, learns = self._resolved.qat, bool(variant.learn_amax)
        recipe = qat_recipe(self._network(variant).recipe, params, learned_ranges=learns)
        seed = self._resolved.seed if variant.qat_seed is None else variant.qat_seed
        batch_norm = variant.batch_norm or "folded"
        return FinetuneConfig(
            model=model,
            quantizer=quantizer,
            data=self._resolved.data,
            recipe=recipe.model_copy(update={"seed": seed}),
            validation_seed=self._resolved.seed,
            batch_norm=batch_norm,
            learn_amax=learns,
            # A setting that does not count must not change the key.
            freeze_batch_norm_after=params.freeze_batch_norm_after if batch_norm == "live" else 1.0,
            freeze_observers_after=0.0 if learns else params.freeze_observers_after,
        )

    def rules(self, variant: Variant) -> tuple[Rule, ...]:
        """The rules of the scenario for the variant's network; none for methods that quantize nothing."""
        if not variant.is_quantized:
            return ()
        return self._network(variant).rules

    def _network(self, variant: Variant) -> NetworkInfo:
        return self._resolved.networks[variant.model]

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
