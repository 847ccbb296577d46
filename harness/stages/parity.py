"""The stages of the parity chain: ONNX files as they are written, and layers side by side.

This module is imported by workers only; `catalog.py` names the functions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch

from harness.engine.context import StageContext
from harness.engine.graph import Inputs
from harness.parity.layers import compare_layers
from harness.parity.onnx_graph import reference_session
from harness.stages.artifacts import OUTPUTS, LayersResult, PredictResult, file_of
from harness.stages.configs import LayersConfig, PredictOnnxConfig
from harness.stages.loading import first_batches, load_quantized, predict_batch, read_splits
from harness.targets import get_target

_SMALLER_BATCHES = 8
"""Unfused operators write every tensor between them: smaller batches than an engine's stay in the caches."""


def predict_onnx(config: PredictOnnxConfig, inputs: Inputs, folder: Path, context: StageContext) -> PredictResult:
    """Outputs of an ONNX file on the first test samples, operator by operator."""
    session = reference_session(file_of(inputs["onnx"]), context.threads)
    samples = read_splits(config.data).test
    count = min(config.samples, len(samples))
    name = session.get_inputs()[0].name
    outputs = []
    for batch in first_batches(samples, count, max(1, predict_batch(samples) // _SMALLER_BATCHES)):
        outputs.append(np.asarray(session.run(None, {name: batch.numpy()})[0], np.float32))
        context.progress(sum(map(len, outputs)), count)
    np.save(folder / OUTPUTS, np.concatenate(outputs))
    return PredictResult(n=count)


def layers(config: LayersConfig, inputs: Inputs, folder: Path, context: StageContext) -> LayersResult:
    """Each layer of a quantized variant: fake-quantized network, Q/DQ file and, where it can be opened, engine."""
    torch.set_num_threads(context.threads)
    prepared = engine = None
    if config.quantizer is not None:
        prepared = load_quantized(config.model, config.quantizer, inputs)
    if config.build is not None:
        target = get_target(config.build.target)
        engine = target.inside(file_of(inputs["build"]), target.options_from(config.build.options))
    samples = read_splits(config.data).test
    count = min(config.samples, len(samples))
    batches = first_batches(samples, count, max(1, predict_batch(samples) // _SMALLER_BATCHES))
    found = compare_layers(onnx.load(file_of(inputs["onnx"])), batches, prepared=prepared, engine=engine)
    return LayersResult(samples=count, layers=tuple(found))
