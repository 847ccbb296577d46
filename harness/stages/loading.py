"""Data sets and networks as the stages need them, loaded once for the many variants that a worker sees."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeVar

import torch
from safetensors.torch import load_file
from torch.fx import GraphModule

from harness.data.load import load_splits
from harness.data.samples import Samples, Splits
from harness.engine.graph import Inputs
from harness.engine.keys import digest
from harness.errors import ModelError, StageError
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.capture.graph import CAPTURE_NOTES, capture
from harness.quantization.capture.modules import module_classes
from harness.quantization.descriptors import HistogramMethod
from harness.quantization.placement.quantizer import PlacementQuantizer
from harness.quantization.placement.rules import Rule, RuleSet
from harness.quantization.ptq.steps import change_weights
from harness.quantization.replacement.replaced import Replaced
from harness.quantization.replacement.walk import replace_as_the_model_says
from harness.stages.artifacts import STATE, WEIGHTS
from harness.stages.configs import DataConfig, ModelConfig, QuantizerConfig, TrainConfig
from harness.targets import get_target
from harness.training.factory import build_model
from harness.training.file_sums import require_unchanged
from harness.training.model_files import keep_importable
from harness.training.settings import parse_factory
from harness.training.weights import load_into

ValueT = TypeVar("ValueT")


class Recent(Generic[ValueT]):
    """The last few results of something slow: a worker sees many variants of one network and one data set."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[str, ValueT] = OrderedDict()

    def get(self, key: str, make: Callable[[], ValueT]) -> ValueT:
        """The value of `key`, made when it is not among the recent ones. Callers must not change it."""
        if key not in self._values:
            self._values[key] = make()
        self._values.move_to_end(key)
        while len(self._values) > self._size:
            self._values.popitem(last=False)
        return self._values[key]


_SPLITS: Recent[Splits] = Recent(2)
_CAPTURED: Recent[GraphModule] = Recent(2)
_TO_QUANTIZE: Recent[tuple[GraphModule, Replaced]] = Recent(2)

PREDICT_PIXELS = 32 * 28 * 28
"""Pixels of a batch. Larger batches are slower, as activations then leave the CPU's caches: 250 images of 28 x 28 take
twice the time of 32 on a small depthwise network, in torch and in ONNX Runtime alike."""


def read_splits(config: DataConfig) -> Splits:
    """The samples of a data set; StageError when it is no longer what the run started with."""
    return _SPLITS.get(digest(config), lambda: _load_splits(config))


def _load_splits(config: DataConfig) -> Splits:
    splits = load_splits(config.spec, root=config.root, seed=config.seed, download=config.download)
    if splits.fingerprint != config.fingerprint:
        raise StageError("the data set changed during the run", fix="run again")
    if config.normalisation is None:
        return splits
    mean, std = config.normalisation
    return replace(splits, calibration=replace(splits.calibration, mean=mean, std=std))


def new_model(config: ModelConfig) -> torch.nn.Module:
    """The eager network as its factory makes it; StageError when its files are no longer what the run began with.

    What it imports when it runs can be imported until the next one is made.
    """
    name = parse_factory(config.factory)
    keep_importable(name.file(config.root) if name.is_file else None)
    model = build_model(
        config.factory,
        config.args,
        root=config.root,
        seed=config.seed,
        input_shape=config.input_shape,
        n_classes=config.n_classes,
        task=config.task,
    )
    require_unchanged(config.files)
    return model


def with_weights(config: ModelConfig, weights: Path) -> torch.nn.Module:
    """The eager network with the weights of a file."""
    model = new_model(config)
    load_weights(model, weights)
    return model


def captured(config: ModelConfig, weights: Path) -> GraphModule:
    """The float graph, batch norm folded. Callers must not change it."""
    return _CAPTURED.get(digest([config, weights]), lambda: capture(with_weights(config, weights), config.input_shape))


def captured_to_quantize(config: ModelConfig, weights: Path) -> tuple[GraphModule, Replaced]:
    """The network with its counterparts for quantization, and what the model says of itself."""

    def make() -> tuple[GraphModule, Replaced]:
        model = with_weights(config, weights)
        replaced = replace_as_the_model_says(model)
        same = module_classes(replaced.model) == module_classes(model)  # capturing takes seconds
        return captured(config, weights) if same else capture(replaced.model, config.input_shape), replaced

    return _TO_QUANTIZE.get(digest([config, weights]), make)


def rules_of(config: QuantizerConfig, graph: GraphModule, replaced: Replaced) -> RuleSet:
    """What the model's file, the scenario's rules and the skip set say together."""
    return RuleSet((*replaced.rules(graph), *map(Rule.model_validate, config.rules)), config.skip)


def make_quantizer(config: QuantizerConfig, graph: GraphModule, replaced: Replaced) -> PlacementQuantizer:
    """The target's quantizer; Undeployable for a descriptor in the model that it has no format for."""
    target = get_target(config.target)
    number_format = target.number_format(config.weight_bits, config.activation_bits)
    replaced.require_deployable(number_format)
    return target.quantizer(
        number_format,
        per_channel=config.per_channel,
        weight_calibrator=make_calibrator(config.weight_calibrator, percentile=config.weight_percentile),
        rules=rules_of(config, graph, replaced),
        histogram=HistogramMethod(config.histogram_method, config.histogram_percentile),
    )


def prepared_network(model: ModelConfig, config: QuantizerConfig, weights: Path) -> GraphModule:
    """The graph with quantizers in it, without ranges."""
    return prepare_with_notes(model, config, weights)[0]


def prepare_with_notes(model: ModelConfig, config: QuantizerConfig, weights: Path) -> tuple[GraphModule, list[str]]:
    """The same, and what the PTQ steps that change weights have to say."""
    graph, replaced = captured_to_quantize(model, weights)
    quantizer = make_quantizer(config, graph, replaced)
    network, notes = change_weights(graph, config.ptq_steps)
    return quantized.prepare(network, quantizer), [*graph.meta.get(CAPTURE_NOTES, ()), *notes]


def load_quantized(model: ModelConfig, config: QuantizerConfig, inputs: Inputs) -> GraphModule:
    """The graph with the weights and ranges of the `state` input."""
    prepared = prepared_network(model, config, inputs["train"].file(WEIGHTS))
    quantized.load_state(prepared, inputs["state"].file(STATE))
    return prepared


def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Read weights that a stage wrote into the network; ModelError when it is no longer the network they were of."""
    try:
        model.load_state_dict(load_file(path))
    except Exception as error:  # whatever the network's own hooks raise
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"the weights of the FP32 row do not fit {type(model).__name__}: {first_line}",
            fix="make the factory return the same network each time that it is called",
        ) from error


def load_user_weights(model: torch.nn.Module, config: TrainConfig) -> None:
    """Read the user's weights file into the network; StageError when it is no longer the one that was planned with."""
    assert config.weights_path is not None
    with config.weights_path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != config.weights_sha256:
        raise StageError(f"{config.weights_path.name} changed during the run", fix="run again")
    load_into(model, config.weights_path, config.weights_key)


def first_batches(samples: Samples, count: int, batch_size: int) -> Iterator[torch.Tensor]:
    """The first `count` samples in batches, exactly."""
    for start in range(0, count, batch_size):
        yield samples.inputs(slice(start, min(start + batch_size, count)))


def predict_batch(samples: Samples) -> int:
    """Samples that are evaluated at once."""
    _, height, width = samples.shape
    return max(1, PREDICT_PIXELS // (height * width))
