"""The stages of a sensitivity analysis: rank the layers of a PTQ variant, then search for a skip set.

This module is imported by workers only; `catalog.py` names the functions.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from harness.data.samples import Samples
from harness.engine.context import StageContext
from harness.engine.graph import Inputs
from harness.quantization import prepared as quantized
from harness.quantization.sensitivity.layer_costs import (
    ALL,
    QuantizedLayer,
    layer_noise,
    layers_with_quantizers,
    most_sensitive_first,
    only,
)
from harness.quantization.sensitivity.skip_search import SkipSet, smallest_skip_set
from harness.results import PairedComparison
from harness.results.sensitivity import LayerCost, Ranking, SkipSearch, Trial
from harness.stages.artifacts import STATE, WEIGHTS
from harness.stages.configs import QuantizeConfig, RankConfig, SearchConfig
from harness.stages.loading import captured, first_batches, load_quantized, predict_batch, prepared_network, read_splits
from harness.stages.networks import quantize
from harness.stats.intervals import PairedDifference, paired_difference
from harness.training.inference import predict
from harness.training.validation import hold_out

Flags = npt.NDArray[np.bool_]


class HeldOutSamples(NamedTuple):
    """Labelled samples that no weight was trained on and that are not test samples."""

    samples: Samples
    sources: dict[str, int]
    """How many come from where."""


def rank(config: RankConfig, inputs: Inputs, folder: Path, context: StageContext) -> Ranking:
    """SQNR of every layer alone from one pass over the calibration samples; accuracy of the `top` ones."""
    torch.set_num_threads(context.threads)
    prepared = load_quantized(config.quantize.model, config.quantize.quantizer, inputs)
    layers = layers_with_quantizers(prepared)
    batches = first_batches(read_splits(config.calibration).calibration, config.samples, config.batch_size)
    noise = layer_noise(
        prepared, layers, batches, lambda done: context.progress(done, config.samples, "calibration samples")
    )
    ranked = most_sensitive_first(layers, noise)
    found = Ranking(
        calibration_samples=config.samples,
        data_passes=1,
        sqnr_db=_finite(noise[ALL].sqnr_db),
        layers=tuple(_cost(layer, noise[layer.name].sqnr_db) for layer in ranked),
    )
    if not config.accuracy:
        return found
    held = held_out(config)
    fp32 = _correct(captured(config.quantize.model, inputs["train"].file(WEIGHTS)), held.samples)
    quantized = _judged(fp32, _correct(prepared, held.samples), config)
    costs = list(found.layers)
    for number, layer in enumerate(ranked[: config.top]):
        with only(prepared, layer):
            alone = _judged(fp32, _correct(prepared, held.samples), config)
        costs[number] = costs[number].model_copy(update={"alone": alone})
        context.progress(number + 1, min(config.top, len(ranked)), "layers judged")
    judged = {"fp32_top1": float(fp32.mean()), "quantized": quantized, "held_out": held.sources}
    return found.model_copy(update={"layers": tuple(costs), **judged})


def search(config: SearchConfig, inputs: Inputs, folder: Path, context: StageContext) -> SkipSearch:
    """A small skip set that meets the budget; every set is quantized as its own variant would be."""
    torch.set_num_threads(context.threads)
    weights = inputs["train"].file(WEIGHTS)
    samples = held_out(config).samples
    fp32 = _correct(captured(config.quantize.model, weights), samples)
    ranking = inputs["rank"].result(Ranking).layers
    correct: dict[SkipSet, Flags] = {}

    def judge(skip: SkipSet) -> PairedDifference:
        correct[skip] = _correct(_quantized_without(skip, config.quantize, inputs), samples)
        context.progress(len(correct), text="skip sets judged")
        return _difference(fp32, correct[skip], config)

    provable = _difference(fp32, fp32, config).drop_ci[1]
    untried = SkipSearch(
        budget=config.budget,
        confidence=config.confidence,
        status="too_few_samples",
        provable_drop=provable,
        chosen=None,
        chosen_interval=None,
        trials=(),
    )
    if provable >= config.budget:
        return untried
    found = smallest_skip_set(skip_candidates(ranking), judge, config.budget)
    trials = {skip: Trial(skip=skip, judged=_judged(fp32, correct[skip], config)) for skip in found.trials}
    strict = config.model_copy(update={"confidence": 1 - (1 - config.confidence) / len(trials)})
    return untried.model_copy(
        update={
            "status": found.status,
            "chosen": trials[found.skip],
            "chosen_interval": _judged(fp32, correct[found.skip], strict).interval,
            "trials": tuple(trials.values()),
        }
    )


def skip_candidates(ranking: Sequence[LayerCost]) -> list[str]:
    """Skip patterns in the order in which they are tried: layers by what they cost, then whole containers.

    A pattern skips all that is inside, so what a container itself calls (a residual add, say) can only be excluded
    together with its layers. What the network itself calls has no name to skip it by.
    """
    named = [cost for cost in ranking if cost.layer]
    return [cost.layer for cost in named if not cost.is_container] + [cost.layer for cost in named if cost.is_container]


def held_out(config: RankConfig | SearchConfig) -> HeldOutSamples:
    """The training samples that are held out to choose the best epoch, and the calibration samples.

    Neither trains weights, and the labels of the calibration samples are used for nothing else. Test samples are not
    touched: a skip set that was chosen by them would look better on them than it is.
    """
    splits = read_splits(config.data)
    validation, calibration = hold_out(splits.train, config.seed).validation, splits.calibration
    if calibration.labels is None:
        return HeldOutSamples(validation, {"validation": len(validation)})
    both = replace(
        validation,
        images=torch.cat([validation.images, calibration.images]),
        labels=torch.cat([validation.required_labels(), calibration.required_labels()]),
    )
    return HeldOutSamples(both, {"validation": len(validation), "calibration": len(calibration)})


def _quantized_without(skip: SkipSet, config: QuantizeConfig, inputs: Inputs) -> torch.nn.Module:
    """The variant with these layers skipped too, made by the `quantize` stage itself."""
    quantizer = config.quantizer.model_copy(update={"skip": (*config.quantizer.skip, *skip)})
    config = config.model_copy(update={"quantizer": quantizer, "verbose": False})
    with tempfile.TemporaryDirectory() as name:
        quantize(config, inputs, Path(name), StageContext(threads=torch.get_num_threads()))
        prepared = prepared_network(config.model, quantizer, inputs["train"].file(WEIGHTS))
        quantized.load_state(prepared, Path(name) / STATE)
    return prepared


def _correct(network: torch.nn.Module, samples: Samples) -> Flags:
    flags: Flags = predict(network, samples, predict_batch(samples)).argmax(axis=1) == samples.required_labels().numpy()
    return flags


def _difference(fp32: Flags, correct: Flags, config: RankConfig | SearchConfig) -> PairedDifference:
    return paired_difference(fp32, correct, confidence=config.confidence, seed=config.seed)


def _judged(fp32: Flags, correct: Flags, config: RankConfig | SearchConfig) -> PairedComparison:
    found = _difference(fp32, correct, config)
    return PairedComparison.of_shares(float(correct.mean()), float(fp32.mean()), found, config.confidence)


def _cost(layer: QuantizedLayer, sqnr_db: float) -> LayerCost:
    return LayerCost(
        layer=layer.name,
        operators=layer.operators,
        weights=layer.weights,
        is_container=layer.is_container,
        sqnr_db=_finite(sqnr_db),
    )


def _finite(decibels: float) -> float | None:
    return decibels if math.isfinite(decibels) else None
