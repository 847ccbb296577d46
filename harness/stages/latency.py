"""The stage `measure`: the latency of a group of engines.

It runs engines and nothing else, so it imports no torch.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from harness.engine.context import StageContext
from harness.engine.graph import Inputs
from harness.engine.lock import measuring
from harness.plugins.code import LOADER
from harness.stages.artifacts import LATENCY, LatencyResult, file_of
from harness.stages.configs import BuildConfig, MeasureConfig, built
from harness.timing import request as timing
from harness.timing.exclusion import ExcludingFailures
from harness.timing.request import EngineFile, SetupCall, TimingRequest
from harness.timing.samples import AA_CONTROL, ProcessRounds
from harness.timing.sequential import measure
from harness.verdicts.latency import is_clear


def measure_latency(config: MeasureConfig, inputs: Inputs, folder: Path, context: StageContext) -> LatencyResult:
    """Every inference of every engine of the group, in interleaved rounds, beside an A/A control of the reference."""
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
