"""The stages that build an engine and evaluate it: the build and its audit, predictions, latency.

This module is imported by workers only; `catalog.py` names the functions.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from harness.engine.context import StageContext
from harness.engine.graph import Inputs
from harness.plugins.code import LOADER
from harness.stages.artifacts import LABELS, LATENCY, OUTPUTS, BuildResult, LatencyResult, PredictResult, file_of
from harness.stages.checking import Checks, expected_of
from harness.stages.configs import (
    BuildConfig,
    MeasureConfig,
    PredictConfig,
    PredictTorchConfig,
    built,
)
from harness.stages.loading import (
    WEIGHTS,
    load_quantized,
    predict_batch,
    read_splits,
    with_weights,
)
from harness.targets import get_target
from harness.timing import request as timing
from harness.timing.exclusion import ExcludingFailures
from harness.timing.request import EngineFile, SetupCall, TimingRequest
from harness.timing.samples import AA_CONTROL, ProcessRounds
from harness.timing.sequential import measure
from harness.training.inference import predict
from harness.verdicts.latency import is_clear
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


def measure_latency(config: MeasureConfig, inputs: Inputs, folder: Path, context: StageContext) -> LatencyResult:
    """Every inference of every engine of the group, in interleaved rounds, beside an A/A control of the reference."""
    from harness.engine.lock import measuring

    plan = config.plan
    analyses = len(plan.analyses)
    plugins = dict.fromkeys(plugin for each in config.engines.values() for plugin in each.plugins)
    before = tuple(SetupCall(function=LOADER, arguments=plugin.arguments) for plugin in plugins)

    def make_order(build: int, process: int, limit_s: float) -> TimingRequest:
        context.progress(process, plan.max_processes, "processes")
        sessions = {name: _engine(each, inputs[built(name, build)]) for name, each in config.engines.items()}
        return TimingRequest(
            sessions=sessions | {AA_CONTROL: sessions[config.reference]},
            before=before,
            batch_shape=(config.batch_size, *config.input_shape),
            plan=plan,
            build=build,
            process=process,
            seed=config.seed,
            limit_s=limit_s,
        )

    def run_process(order: TimingRequest) -> ProcessRounds:
        context.elsewhere()  # the process has a limit of its own, which costs one engine and not the group
        try:
            return timing.run_process(order)
        finally:
            context.working()

    run = ExcludingFailures(make_order, config.reference, run_process)
    clear = partial(
        is_clear,
        reference=config.reference,
        confidence=config.confidence,
        margin=config.margin,
        analyses=analyses,
        comparisons=config.comparisons,
        own_references=config.own_references,
    )
    with measuring(lambda holder: context.waiting(f"waiting for another measurement: {holder}")):
        context.working()
        timings = measure(run, plan, builds=config.builds, is_clear=clear)
    timings.to_frame().to_parquet(folder / LATENCY, index=False)
    for reason in run.failed.values():
        context.note(f"no longer timed: {reason}")
    return LatencyResult(
        reference=config.reference,
        failed={**run.failed},
        analyses=analyses,
        watched=tuple(timings.signals()),
        includes_transfers=timings.includes_transfers,
        parts_ms={name: dict(parts) for name, parts in timings.parts_ms().items()},
    )


def _engine(config: BuildConfig, artifact: Any) -> EngineFile:
    return EngineFile(target=config.target, path=file_of(artifact), options=config.options)
