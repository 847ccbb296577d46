"""One run of a scenario: plan, execute, measure, judge, and write what was found into a folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from harness.comparison.gates import judge_gates
from harness.comparison.snapshot import snapshot_of_run
from harness.data.doubts import doubts
from harness.engine.graph import Task
from harness.engine.local import LocalExecutor
from harness.engine.outcomes import Done, Outcome
from harness.engine.store import Store
from harness.machine.environment import fingerprint
from harness.metrics.base import Evidence
from harness.results import Example, Gate, Row, RunResults, StageRun
from harness.runs.choices import choose
from harness.runs.energy import energy_tasks
from harness.runs.executing import Display, executing
from harness.runs.explanations import calibrations, keep_log, networks
from harness.runs.latency import latency_tasks, run_latency, timed_by_variant
from harness.runs.layer_times import layer_times_tasks
from harness.runs.load import keep_logs, load_tasks, streams_tasks
from harness.runs.own_metrics import compute_own
from harness.runs.passes import Measured, Pass, TasksOf, by_variant, run_tasks_of
from harness.runs.peak import peak_tasks, recorded_peaks, run_peaks
from harness.runs.plan import VariantPlan
from harness.runs.preparation import Prepared, RunOptions, baseline_file
from harness.runs.rescue import Problems, save_record
from harness.runs.rows import RunOutcomes, collect_evidence, copy_name, make_row
from harness.runs.sample_files import PREDICTIONS, keep_predictions
from harness.runs.shippable import EXAMPLES, keep_deployment, keep_examples, keep_outputs
from harness.runs.trained_weights import keep_weights
from harness.stages.artifacts import LATENCY, CalibrateResult, QuantizeResult, file_of, onnx_of
from harness.stages.configs import MeasureConfig
from harness.targets.base import AUDIT_SUFFIX
from harness.verdicts.run import judge_run
from harness.verdicts.seeds import seed_spreads
from harness.words.chance import chance_warnings, guessing_warnings
from harness.words.conclusions import conclude
from harness.words.decision import decisions_of

LATENCY_SAMPLES = "samples/latency.parquet"
_TASKS: dict[str, TasksOf] = {
    "latency": latency_tasks,
    "energy": energy_tasks,
    "load": load_tasks,
    "streams": streams_tasks,
    "layer_times": layer_times_tasks,
}
"""What measures after the builds, in this order: nothing else runs meanwhile."""
_PASSES: dict[str, Pass] = {name: run_tasks_of(tasks_of) for name, tasks_of in _TASKS.items()} | {
    "latency": run_latency  # has more to do where a group fails
}


def run_scenario(
    prepared: Prepared, directory: Path, store: Store, options: RunOptions, display: Display
) -> RunResults:
    """Execute the plans and fill `directory` with `results.json`, models, engines and samples."""
    with prepared.plugins.active():
        return _run(prepared, directory, store, options, display)


def _run(prepared: Prepared, directory: Path, store: Store, options: RunOptions, display: Display) -> RunResults:
    started, clock = datetime.now(UTC), time.perf_counter()
    run_id = directory.name
    # Of the beginning: what was committed then is what runs, and the load is that of others.
    environment = fingerprint(prepared.about.root)
    with executing(prepared, store, options, display) as (executor, checked):
        prepared = checked
        # In the key of whatever is measured anew in each run.
        measurement_id = f"{run_id} {started.isoformat()}"
        executor.expect(_after(None, prepared, None, measurement_id))
        outcomes = executor.run([task for plan in prepared.plans for task in plan.all_tasks])
        measured = _measure(prepared, executor, outcomes, measurement_id)
        timed = timed_by_variant(measured["latency"])
        measured["peak"] = run_peaks(prepared, executor, timed)
    after_builds = [each for found in measured.values() for each in found]
    run_outcomes = RunOutcomes(
        outcomes | {task.key: outcome for task, outcome, _ in after_builds},
        latency=timed,
        peaks=by_variant(measured["peak"]),
        energy=by_variant(measured["energy"]) if prepared.resolved.measurement.energy else None,
        load=by_variant(measured["load"]),
        streams=by_variant(measured["streams"]),
        layer_times=by_variant(measured["layer_times"]),
    )
    about, verdict, seed = prepared.about, prepared.resolved.verdict, prepared.resolved.seed
    rows, evidence = _rows(prepared, run_outcomes)
    rows = judge_run(rows, confidence=verdict.confidence, correction=verdict.correction)
    problems = Problems()
    rows = _keep_all(rows, evidence, run_outcomes, measured["latency"], prepared, directory, problems)
    rows, examples = _keep_examples(rows, evidence, prepared, directory, problems)
    correct = {item.variant.id: item.correct for item in evidence if item.correct is not None}
    results = RunResults(
        scenario=about.name,
        scenario_file=about.path.name,
        question=about.question,
        run_id=run_id,
        started_at=started.isoformat(timespec="seconds"),
        wall_s=time.perf_counter() - clock,
        confidence=verdict.confidence,
        environment=environment | _settings(prepared) | recorded_peaks(measured["peak"], prepared.plans, timed),
        datasets=prepared.datasets,
        weights=prepared.weights,
        fp32_weights=keep_weights(prepared.plans, run_outcomes, directory, problems),
        rows=tuple(rows),
        conclusions=conclude(rows, correct, confidence=verdict.confidence, seed=seed, correction=verdict.correction),
        choices=choose(rows, evidence, verdict) if prepared.resolved.measurement.latency else (),
        qat_seeds=seed_spreads(rows),
        examples=examples,
        stages=_stage_runs(prepared.plans, run_outcomes, [(task, ids) for task, _, ids in after_builds]),
        calibration_samples=_calibration_samples(prepared.plans, run_outcomes),
        calibrations=calibrations(prepared.plans, run_outcomes),
        networks=networks(prepared.plans, run_outcomes),
        warnings=_warnings(prepared, rows, run_outcomes),
    )
    results = results.model_copy(update={"decisions": decisions_of(results)})
    results = results.model_copy(update={"gates": _gates(prepared, results, directory)})
    save_record(results.model_dump_json(indent=2) + "\n", directory / "results.json", store.root)
    problems.raise_first(directory)
    return results


def _measure(
    prepared: Prepared, executor: LocalExecutor, outcomes: Mapping[str, Outcome], measurement_id: str
) -> dict[str, Measured]:
    """What each pass found."""
    measured = {}
    for name, run in _PASSES.items():
        executor.expect(_after(name, prepared, outcomes, measurement_id))
        measured[name] = run(prepared, executor, outcomes, measurement_id)
    return measured


def _after(
    name: str | None, prepared: Prepared, outcomes: Mapping[str, Outcome] | None, measurement_id: str
) -> list[Task]:
    """The tasks of all passes after one, or after the builds; before these those that are to be expected."""
    tasks = {each: tasks_of(prepared, outcomes, measurement_id) for each, tasks_of in _TASKS.items()}
    timed = {variant_id for ids in tasks["latency"].values() for variant_id in ids}
    names = list(tasks)
    later = names if name is None else names[names.index(name) + 1 :]
    return [*(task for each in later for task in tasks[each]), *peak_tasks(prepared, timed)]


def _warnings(prepared: Prepared, rows: Sequence[Row], run_outcomes: RunOutcomes) -> tuple[str, ...]:
    steps = dict(prepared.splits.reading.preprocessing)
    return (
        *doubts(prepared.splits),
        *chance_warnings(rows, prepared.splits.n_classes, steps),
        *guessing_warnings(rows, steps),
        *_outliers(prepared.plans, run_outcomes),
    )


def _keep_all(
    rows: Sequence[Row],
    evidence: Sequence[Evidence],
    run_outcomes: RunOutcomes,
    measured: Measured,
    prepared: Prepared,
    directory: Path,
    problems: Problems,
) -> list[Row]:
    """Models, engines and samples go into the run's folder; the rows name their files."""
    rows = [
        _keep_files(row, plan, run_outcomes, prepared, directory, problems)
        for row, plan in zip(rows, prepared.plans, strict=True)
    ]
    timed: str | None = None
    with problems.noted(directory / LATENCY_SAMPLES):
        timed = _keep_samples(directory, measured)
    rows = [_with_files(row, {"latency_samples": timed}) if timed and row.latency else row for row in rows]
    files: dict[str, str] = {}
    with problems.noted(directory / PREDICTIONS):
        files = keep_predictions(directory, evidence)
    predicted = {item.variant.id for item in evidence if item.network_outputs is not None}
    return [_with_files(row, files) if row.variant.id in predicted else row for row in rows]


def _keep_examples(
    rows: Sequence[Row], evidence: Sequence[Evidence], prepared: Prepared, directory: Path, problems: Problems
) -> tuple[list[Row], tuple[Example, ...]]:
    """A few test samples and the outputs of every engine for them; the rows name their files."""
    examples: tuple[Example, ...] = ()
    files: Mapping[str, str] = {}
    with problems.noted(directory / EXAMPLES):
        examples = keep_examples(directory, prepared.splits)
        files = keep_outputs(directory, examples, evidence)
    kept = [
        _with_files(row, {"example_outputs": files[row.variant.id]}) if row.variant.id in files else row for row in rows
    ]
    return kept, examples


def _gates(prepared: Prepared, results: RunResults, directory: Path) -> tuple[Gate, ...]:
    if not prepared.gates:
        return ()
    return judge_gates(
        prepared.gates,
        snapshot_of_run(results, directory, results.run_id),
        prepared.baseline,
        baseline_file=baseline_file(prepared.about).relative_to(prepared.about.root),
        confidence=prepared.resolved.verdict.confidence,
    )


def _rows(prepared: Prepared, run_outcomes: RunOutcomes) -> tuple[list[Row], list[Evidence]]:
    resolved, splits = prepared.resolved, prepared.splits
    by_id = {plan.variant.id: plan for plan in prepared.plans}
    evidence = [
        collect_evidence(
            plan,
            by_id.get(plan.reference_id),
            run_outcomes,
            resolved.verdict,
            resolved.targets[plan.variant.target].threads,
            resolved.seed,
            splits.task,
            splits.reading.class_names,
        )
        for plan in prepared.plans
    ]
    own = compute_own(prepared.plugins, evidence, resolved.network_timeout_s)
    made = zip(prepared.plans, evidence, own, strict=True)
    return [make_row(plan, item, run_outcomes, figures) for plan, item, figures in made], evidence


def _keep_files(
    row: Row, plan: VariantPlan, run_outcomes: RunOutcomes, prepared: Prepared, directory: Path, problems: Problems
) -> Row:
    """Copy the variant's ONNX file and engine into the run's folder, those that there is room for."""
    with problems.noted(directory / "models" / copy_name(plan, prepared.splits.input_shape)):
        files = _files_of(plan, run_outcomes, prepared, directory)
        deployment = keep_deployment(directory, plan, prepared.splits) if "engine" in files else None
        return row.model_copy(update={"files": files, "deployment": deployment})
    return row


def _files_of(plan: VariantPlan, run_outcomes: RunOutcomes, prepared: Prepared, directory: Path) -> dict[str, str]:
    files: dict[str, str] = {}
    export, build = run_outcomes.artifact(plan, "export"), run_outcomes.artifact(plan, "build")
    onnx = None if export is None else onnx_of(export)
    if onnx is not None:
        name = copy_name(plan, prepared.splits.input_shape)
        files["onnx"] = _copy(onnx, directory, Path("models") / name)
    if build is not None:
        source = file_of(build)
        files["engine"] = _copy(source, directory, Path("engines") / f"{plan.variant.id}{source.suffix}")
        record = source.with_suffix(AUDIT_SUFFIX)
        if record.is_file():
            files["audit"] = _copy(record, directory, Path("engines") / f"{plan.variant.id}{AUDIT_SUFFIX}")
    log = keep_log(plan, run_outcomes, directory)
    if log is not None:
        files["log"] = log
    load = run_outcomes.load.get(plan.variant.id)
    if isinstance(load, Done):
        files["load"] = keep_logs(load.artifact, directory, plan.variant.id)
    return files


def _with_files(row: Row, files: Mapping[str, str]) -> Row:
    return row.model_copy(update={"files": {**row.files, **files}})


def _copy(source: Path, directory: Path, relative: Path) -> str:
    (directory / relative).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, directory / relative)
    return relative.as_posix()


def _keep_samples(directory: Path, measured: Measured) -> str | None:
    """Every timed inference, so that all statistics can be recomputed; the file in the run's folder, None without."""
    samples = directory / "samples"
    samples.mkdir(parents=True, exist_ok=True)
    # Every group has an A/A control of its own: `group` is the FP32 row that the inferences were interleaved with.
    frames = [
        pd.read_parquet(outcome.artifact.file(LATENCY)).assign(group=task.config.reference)
        for task, outcome, _ in measured
        if isinstance(outcome, Done) and isinstance(task.config, MeasureConfig)
    ]
    if not frames:
        return None
    pd.concat(frames, ignore_index=True).to_parquet(directory / LATENCY_SAMPLES, index=False)
    return LATENCY_SAMPLES


def _settings(prepared: Prepared) -> dict[str, dict[str, int]]:
    """Seeds and threads of the run, by what they are of."""
    resolved, variants = prepared.resolved, [plan.variant for plan in prepared.plans]
    seeds = {variant.qat_seed for variant in variants if variant.qat_seed is not None}
    return {
        "seeds": {"scenario": resolved.seed} | {f"qat {seed}": seed for seed in sorted(seeds)},
        "threads": {variant.target: resolved.targets[variant.target].threads for variant in variants},
    }


def _stage_runs(
    plans: Sequence[VariantPlan], run_outcomes: RunOutcomes, measured: Sequence[tuple[Task, tuple[str, ...]]]
) -> tuple[StageRun, ...]:
    users: dict[str, tuple[Task, list[str]]] = {}
    for plan in plans:
        for task in plan.all_tasks:
            users.setdefault(task.key, (task, []))[1].append(plan.variant.id)
    users |= {task.key: (task, list(variant_ids)) for task, variant_ids in measured}
    runs = []
    for key, (task, ids) in users.items():
        outcome = run_outcomes.outcomes.get(key)
        if isinstance(outcome, Done):
            runs.append(
                StageRun(
                    stage=task.stage.name,
                    key=key,
                    cached=outcome.cached,
                    seconds=outcome.seconds,
                    variants=tuple(dict.fromkeys(ids)),
                )
            )
    return tuple(runs)


def _calibration_samples(plans: Sequence[VariantPlan], run_outcomes: RunOutcomes) -> dict[str, int]:
    samples: dict[str, int] = {}
    for plan in plans:
        found = run_outcomes.result(plan, "calibrate", CalibrateResult)
        if found is not None:
            samples[f"{plan.variant.model} for {plan.variant.target}"] = found.samples
    return samples


def _outliers(plans: Sequence[VariantPlan], run_outcomes: RunOutcomes) -> tuple[str, ...]:
    """What calibration left out, once for all variants that say the same."""
    notes: dict[str, list[str]] = {}
    for plan in plans:
        found = run_outcomes.result(plan, "quantize", QuantizeResult)
        for note in found.outliers if found is not None else ():
            notes.setdefault(note, []).append(plan.variant.id)
    return tuple(
        f"{note} ({ids[0]}{f' and {len(ids) - 1} more' if len(ids) > 1 else ''})" for note, ids in notes.items()
    )
