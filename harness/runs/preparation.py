"""A scenario checked against this machine before any work starts: data, networks, rules, and a plan per variant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.comparison.baseline import FOLDER, baseline_path
from harness.comparison.snapshot import Snapshot
from harness.comparison.sources import read_baseline
from harness.data.load import load_splits
from harness.data.samples import Splits
from harness.engine.local import Isolation
from harness.errors import DataError, ScenarioError
from harness.machine.environment import fingerprint
from harness.quantization.capture.modules import Modules
from harness.results import Dataset, Variant, WeightsFile
from harness.runs.availability import check_load
from harness.runs.calibration_data import CalibrationData, data_config, load_calibration
from harness.runs.expected import check_expected
from harness.runs.networks import Networks, describe_networks
from harness.runs.plan import Planner, VariantPlan
from harness.runs.plugins import Plugins
from harness.runs.registries import check_registries
from harness.runs.resolve import About, Resolved, model_config, resolve, resolve_network
from harness.runs.rule_checks import check_rules
from harness.runs.selection import reference_of, selected, timing_reference_of
from harness.scenario import GateSpec, Scenario, expand
from harness.scenario.source import joined
from harness.words.chance import input_words


@dataclass(frozen=True)
class RunOptions:
    """How to run, as opposed to what."""

    jobs: int = 2
    isolation: Isolation = "process"
    download: bool = False
    select: Callable[[Variant], bool] | None = None
    """Which variants to run; the FP32 row of a chosen one is always run."""


@dataclass(frozen=True)
class Prepared:
    """A scenario that was checked against this machine, ready to run."""

    about: About
    resolved: Resolved
    splits: Splits
    datasets: tuple[Dataset, ...]
    """Where the samples come from, with the arguments that the scenario gives to the data sources."""
    plans: tuple[VariantPlan, ...]
    planner: Planner
    gates: tuple[GateSpec, ...] = ()
    weights: tuple[WeightsFile, ...] = ()
    baseline: Snapshot | None = None
    """What gates compare with; None where no gate does, or where it is missing."""
    plugins: Plugins = field(default_factory=Plugins)
    faults: Mapping[str, ScenarioError] = field(default_factory=dict)
    """Models whose network cannot be used; their rows are `failed`."""

    @property
    def is_usable(self) -> bool:
        """Whether any network can be used."""
        return any(plan.broken is None for plan in self.plans)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say before the run starts: which models fail, and how weights files were read."""
        failed = [f"model `{name}` cannot be used, its rows fail: {fault}" for name, fault in self.faults.items()]
        read = [f"weights of `{file.model}`: {file.source}: {file.note}" for file in self.weights if file.note]
        given = input_words(dict(self.splits.reading.preprocessing)) if self.weights else ""
        fits = "must be what the weights were trained with, else set it in `dataset.args`"
        return (*failed, *read, *([f"input of the networks: {given}; {fits}"] if given else []))


def prepare_run(scenario: Scenario, options: RunOptions) -> Prepared:
    """Check everything that can be wrong with the input before any work starts.

    A network that cannot be used costs its own rows. Raises ScenarioError with the place in the file for unknown names,
    missing data, and where no network can be used.
    """
    return prepare_runs([scenario], options)[0]


def prepare_runs(scenarios: Sequence[Scenario], options: RunOptions) -> list[Prepared]:
    """The same for several scenarios, all of which are checked before the first one runs.

    A scenario without a network that can be used fails as a whole only where that holds for all of them.
    """
    prepared = [_prepare(scenario, options) for scenario in scenarios]
    if not any(item.is_usable for item in prepared):
        raise joined([fault for item in prepared for fault in item.faults.values()])
    return prepared


def _prepare(scenario: Scenario, options: RunOptions) -> Prepared:
    plugins = check_registries(scenario, download=options.download)
    with plugins.active():
        return _prepare_with(plugins, plugins.with_settings(scenario), options)


def _prepare_with(plugins: Plugins, scenario: Scenario, options: RunOptions) -> Prepared:
    check_load(scenario)
    splits = _load_data(scenario, plugins, options)
    data = data_config(scenario, splits.fingerprint, plugins, download=options.download)
    calibration = load_calibration(scenario, splits, data, plugins, download=options.download)
    variants = selected(expand(scenario), options.select)
    described = describe_networks(scenario, splits)
    networks = {
        name: resolve_network(
            scenario,
            name,
            model_config(scenario, name, splits, facts),
            Modules(facts.classes),
            data,
            plugins,
            facts.weights,
        )
        for name, facts in described.facts.items()
    }
    resolved = resolve(scenario, data, calibration.config, networks, described.reasons)
    planner = Planner(resolved, plugins)
    check_rules(scenario, variants, {name: network.modules for name, network in networks.items()})
    plans = tuple(
        replace(
            planner.plan(variant, reference_of(variant, variants).id),
            timing_reference_id=timing_reference_of(variant, variants, scenario.reference_target).id,
        )
        for variant in variants
    )
    faults = {name: fault for name, fault in described.faults.items() if name in {each.model for each in variants}}
    about = About(scenario.name, scenario.question, scenario.path, scenario.root)
    return Prepared(
        about=about,
        resolved=resolved,
        splits=splits,
        datasets=_datasets(scenario, splits, calibration),
        plans=plans,
        planner=planner,
        gates=scenario.gates,
        weights=tuple(_weights_files(scenario, described)),
        baseline=_baseline(about, scenario.gates),
        plugins=plugins,
        faults=faults,
    )


def _datasets(scenario: Scenario, splits: Splits, calibration: CalibrationData) -> tuple[Dataset, ...]:
    found = [(splits.provenance(), scenario.dataset.args)]
    if calibration.provenance is not None and scenario.calib_dataset is not None:
        found.append((calibration.provenance, scenario.calib_dataset.args))
    return tuple(dataset.model_copy(update={"args": dict(args)}) for dataset, args in found)


def _weights_files(scenario: Scenario, described: Networks) -> Iterator[WeightsFile]:
    for name, facts in described.facts.items():
        if (found := facts.weights) is not None:
            source = scenario.models[name].weights
            yield WeightsFile(model=name, source=source, sha256=found.sha256, part=found.part, note=found.note)


def baseline_file(about: About) -> Path:
    """Where the baseline of this scenario and this machine is stored."""
    return baseline_path(about.root / FOLDER, fingerprint(about.root), about.name)


def _baseline(about: About, gates: Sequence[GateSpec]) -> Snapshot | None:
    """The stored baseline where a gate compares with it; UsageError for a file that is none."""
    if not any(gate.reference == "baseline" for gate in gates):
        return None
    path = baseline_file(about)
    return read_baseline(path) if path.is_file() else None


def _load_data(scenario: Scenario, plugins: Plugins, options: RunOptions) -> Splits:
    spec = data_config(scenario, "", plugins, download=options.download).spec
    try:
        splits = load_splits(spec, root=scenario.root, seed=scenario.seed, download=options.download)
    except DataError as error:
        raise scenario.error(("dataset",), error.message, fix=error.fix) from error
    check_expected(scenario, splits)
    for name in scenario.models:
        if scenario.models[name].weights == "train" and not splits.has_labels:
            raise scenario.error(
                ("dataset", "source"),
                f"data source `{scenario.dataset.source}` has no labels to train `{name}` with",
                fix="use labelled data, or set `weights: random` or a weights file",
            )
    return splits
