"""The stages that build an engine and evaluate it: the build and its audit, predictions.

This module is imported by workers only; `catalog.py` names the functions.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from harness.engine.context import StageContext
from harness.engine.graph import Inputs
from harness.stages.artifacts import LABELS, OUTPUTS, WEIGHTS, BuildResult, PredictResult, file_of
from harness.stages.checking import Checks, expected_of
from harness.stages.configs import (
    BuildConfig,
    PredictConfig,
    PredictTorchConfig,
)
from harness.stages.loading import load_quantized, predict_batch, read_splits, with_weights
from harness.targets import get_target
from harness.training.inference import predict
from harness.verification.onnx_steps import check_engine_outputs


def build(config: BuildConfig, inputs: Inputs, folder: Path, context: StageContext) -> BuildResult:
    """The target's engine, run once where it can be, and the audit of what it executes."""
    target, checks = get_target(config.target), Checks()
    onnx_path, options = file_of(inputs["onnx"]), target.options_from(config.options)
    started = time.perf_counter()
    engine = target.build(onnx_path, folder, options)
    seconds = time.perf_counter() - started
    if target.cannot_run(options) is None:
        sizes, expected = target.checked_batches(options), expected_of(inputs["onnx"])
        session, rounds = target.open(engine.path, options), target.rounds_floats(options)
        checks.run(check_engine_outputs, session, onnx_path, expected, sizes, target, rounds_floats=rounds)
    return BuildResult(
        build_s=seconds,
        file=engine.path.name,
        weight_bytes=engine.weight_bytes,
        layers=tuple(target.audit(engine.path, onnx_path)),
        **checks.fields,
    )


def predict_torch(config: PredictTorchConfig, inputs: Inputs, folder: Path, context: StageContext) -> PredictResult:
    """Outputs of the eager network, or the fake-quantized one where a quantizer is given, on the test samples."""
    torch.set_num_threads(context.threads)
    if config.quantizer is None:
        network: torch.nn.Module = with_weights(config.model, inputs["train"].file(WEIGHTS))
    else:
        network = load_quantized(config.model, config.quantizer, inputs)
    samples = read_splits(config.data).test
    if config.samples is not None:
        samples = samples.take(torch.arange(min(config.samples, len(samples))))
    np.save(folder / OUTPUTS, predict(network, samples, predict_batch(samples), context.progress))
    if samples.labels is not None:
        np.save(folder / LABELS, samples.labels.numpy())
    return PredictResult(n=len(samples))


def predict_engine(config: PredictConfig, inputs: Inputs, folder: Path, context: StageContext) -> PredictResult:
    """Outputs of the built engine on the test samples."""
    target = get_target(config.build.target)
    samples = read_splits(config.data).test
    session = target.open(file_of(inputs["build"]), target.options_from(config.build.options))
    batches: list[npt.NDArray[np.float32]] = []
    seen = 0
    for batch in samples.batches(predict_batch(samples)):
        batches.append(np.asarray(session.run(batch.numpy()), np.float32))
        seen += len(batch)
        context.progress(seen, len(samples))
    np.save(folder / OUTPUTS, np.concatenate(batches))
    if samples.labels is not None:
        np.save(folder / LABELS, samples.labels.numpy())
    return PredictResult(n=len(samples))
