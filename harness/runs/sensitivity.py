"""Which layers of a PTQ variant are sensitive, and which few not to quantize: plan, execute, record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.engine.graph import Task
from harness.engine.outcomes import Done, Failed, Outcome
from harness.engine.store import Store
from harness.errors import StageError, UsageError, unknown_name
from harness.machine.environment import fingerprint
from harness.results import Variant
from harness.results.sensitivity import Analysis, Failure, Ranking, SensitivityRecord, SkipSearch
from harness.runs.executing import Display, executing
from harness.runs.network_plan import CALIBRATION_BATCH
from harness.runs.plan import VariantPlan
from harness.runs.preparation import Prepared, RunOptions
from harness.runs.rescue import save_record
from harness.scenario import Scenario, expand
from harness.scenario.fragment import include_fragment, with_fragment
from harness.stages.catalog import RANK, SEARCH
from harness.stages.configs import QuantizeConfig, RankConfig, SearchConfig
from harness.toolkits import DEFAULT

DEFAULT_TOP = 5


@dataclass(frozen=True)
class SensitivityOptions:
    """What to find out, as opposed to how to run."""

    budget: float | None = None
    """Largest loss of top-1, as a share; None for the scenario's accuracy margin."""
    top: int = DEFAULT_TOP
    """Layers whose accuracy is judged."""


@dataclass(frozen=True)
class AnalysisPlan:
    """The tasks of one variant."""

    variant: Variant
    rank: Task
    search: Task | None
    """None where accuracy means nothing: no labels, or random weights."""


def check_choice(scenario: Scenario, *, model: str | None, target: str | None, budget: float | None) -> None:
    """UsageError for a model or target that the scenario does not have, or a budget (in points) that is none."""
    variants = expand(scenario)
    for axis, name in (("model", model), ("target", target)):
        known = {str(getattr(variant, axis)) for variant in variants}
        if name is not None and name not in known:
            message, fix = unknown_name(f"{axis} in --{axis}", name, known)
            raise UsageError(message, fix=fix)
    if budget is not None and not 0 < budget < 100:
        raise UsageError(f"--budget {budget:g} is no loss of accuracy", fix="give points between 0 and 100, such as 1")


def plan_analyses(prepared: Prepared, options: SensitivityOptions) -> list[AnalysisPlan]:
    """One analysis for each model and place of deployment: of the first PTQ row that our own toolkit quantizes.

    UsageError when there is none, or when it cannot run on this machine.
    """
    first: dict[tuple[str, str], VariantPlan] = {}
    for plan in prepared.plans:
        if plan.variant.method == "ptq" and plan.variant.toolkit in (None, DEFAULT):
            first.setdefault((plan.variant.model, plan.variant.place), plan)
    if not first:
        raise UsageError(
            f"{prepared.about.path} has no ptq row of the toolkit {DEFAULT} to analyse",
            fix="add `ptq` to `matrix.method`, or choose other variants with --select, --model or --target",
        )
    for plan in first.values():
        if plan.unavailable is not None:
            raise UsageError(
                f"{plan.variant.id} cannot run here: {plan.unavailable}", fix="choose another variant with --select"
            )
    return [_plan(plan, prepared, options) for plan in first.values() if plan.broken is None]


def _broken(prepared: Prepared) -> list[Failure]:
    """One for each PTQ row of the scenario whose network cannot be used."""
    return [
        Failure(variant_id=plan.variant.id, reason=plan.broken)
        for plan in prepared.plans
        if plan.broken is not None and plan.variant.method == "ptq"
    ]


def _plan(plan: VariantPlan, prepared: Prepared, options: SensitivityOptions) -> AnalysisPlan:
    resolved, variant = prepared.resolved, plan.variant
    network, confidence = resolved.networks[variant.model], resolved.verdict.confidence
    quantize = plan.tasks["quantize"]
    assert isinstance(quantize.config, QuantizeConfig)
    inputs = {**quantize.inputs, "state": quantize}
    judges = resolved.measurement.accuracy and prepared.splits.has_labels and not network.has_random_weights
    rank = RankConfig(
        quantize=quantize.config,
        data=resolved.data,
        calibration=resolved.calibration_data,
        samples=network.calibration_samples,
        batch_size=CALIBRATION_BATCH,
        accuracy=judges,
        top=options.top,
        confidence=confidence,
        seed=resolved.seed,
    )
    task = Task(RANK, rank, inputs, label=f"rank the layers of {variant.id}")
    if not judges:
        return AnalysisPlan(variant, task, None)
    search = SearchConfig(
        quantize=quantize.config,
        data=resolved.data,
        budget=resolved.verdict.accuracy_margin if options.budget is None else options.budget,
        confidence=confidence,
        seed=resolved.seed,
    )
    label = f"search a skip set for {variant.id}"
    return AnalysisPlan(variant, task, Task(SEARCH, search, {**inputs, "rank": task}, label=label))


def analyse(
    prepared: Prepared, store: Store, run: RunOptions, options: SensitivityOptions, display: Display
) -> SensitivityRecord:
    """Execute the analyses."""
    started = datetime.now(UTC)
    with prepared.plugins.active(), executing(prepared, store, run, display) as (executor, checked):
        prepared = checked
        plans = plan_analyses(prepared, options)
        outcomes = executor.run([task for plan in plans for task in (plan.rank, plan.search) if task is not None])
    return SensitivityRecord(
        scenario=prepared.about.name,
        scenario_file=prepared.about.path.name,
        started_at=started.isoformat(timespec="seconds"),
        environment=fingerprint(prepared.about.root),
        analyses=tuple(analysis for plan in plans if (analysis := _analysis(plan, outcomes)) is not None),
        failures=(
            *_broken(prepared),
            *(failure for plan in plans if (failure := _failure(plan, outcomes)) is not None),
        ),
    )


def keep(record: SensitivityRecord, scenario: Scenario, directory: Path, store: Store) -> SensitivityRecord:
    """Fill `directory` with `sensitivity.json` and the scenario fragments, which the record then names."""
    analyses = tuple(_with_fragment(analysis, scenario, directory) for analysis in record.analyses)
    record = record.model_copy(update={"analyses": analyses})
    save_record(record.model_dump_json(indent=2) + "\n", directory / "sensitivity.json", store.root)
    return record


def _analysis(plan: AnalysisPlan, outcomes: Mapping[str, Outcome]) -> Analysis | None:
    ranked = outcomes.get(plan.rank.key)
    if not isinstance(ranked, Done):
        return None
    searched = outcomes.get(plan.search.key) if plan.search is not None else None
    done = [outcome for outcome in (ranked, searched) if isinstance(outcome, Done)]
    return Analysis(
        variant=plan.variant,
        search=searched.artifact.result(SkipSearch) if isinstance(searched, Done) else None,
        seconds={outcome.artifact.manifest.stage: outcome.seconds for outcome in done},
        cached=all(outcome.cached for outcome in done),
        **dict(ranked.artifact.result(Ranking)),
    )


def _with_fragment(analysis: Analysis, scenario: Scenario, directory: Path) -> Analysis:
    """Write the skip set as an `include` entry, after the scenario itself has taken it."""
    search = analysis.search
    if search is None or search.status != "found" or search.chosen is None:
        return analysis
    skip = tuple(sorted({*analysis.variant.skip, *search.chosen.skip}))
    variant = analysis.variant.model_copy(update={"skip": skip})
    judged = search.chosen.judged
    assert judged.loss is not None and judged.loss_interval is not None
    low, high = judged.loss_interval
    comment = (
        f"{analysis.variant.id}: a skip set for a loss of at most {search.budget * 100:g} points "
        f"of top-1.\nOn {analysis.n} held-out samples: {judged.loss * 100:.2f} points "
        f"({low * 100:.2f} to {high * 100:.2f}), the pick of {len(search.trials)} sets.\n"
        f"Add the entry to `matrix.include` of {scenario.path.name}; `harness run` then judges it on test samples."
    )
    text = include_fragment([variant], comment)
    same = {"id": ""}
    if variant.model_copy(update=same) not in [v.model_copy(update=same) for v in with_fragment(scenario, text)]:
        raise StageError(f"the fragment does not make the variant that it was written for:\n{text}")
    place = "-".join(filter(None, (variant.target, variant.compute_capability)))
    name = f"skip-{variant.model}-{place.lower()}.yaml"
    (directory / name).write_text(text, encoding="utf-8")
    return analysis.model_copy(update={"fragment": name})


def _failure(plan: AnalysisPlan, outcomes: Mapping[str, Outcome]) -> Failure | None:
    for task in (plan.rank, plan.search):
        outcome = outcomes.get(task.key) if task is not None else None
        if isinstance(outcome, Failed):
            return Failure(variant_id=plan.variant.id, reason=f"{outcome.label}: {outcome.reason}")
    return None
