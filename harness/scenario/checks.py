"""Checks of a scenario that is well formed: its values against each other, against files, and against known names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from harness.errors import ScenarioError, nearest, shortened, unknown_name
from harness.figures import METRICS
from harness.paths import file_problem
from harness.plugin_names import FORM, Kind, parse_file_name
from harness.scenario.gates import extra_metrics
from harness.scenario.package_files import PACKAGE_PREFIX, is_installed, parse_package_file
from harness.scenario.plugin_uses import named_plugins, plugin_uses
from harness.scenario.schema import Scenario
from harness.scenario.source import Loc, joined
from harness.training.settings import Training, parse_factory

Use = tuple[Loc, str]
"""A name that a scenario uses, with its place."""


def consistency_errors(scenario: Scenario) -> Iterator[ScenarioError]:
    """What cannot be seen from one value alone: keys that contradict each other, and files that do not exist."""
    for name in scenario.models:
        yield from _file_errors(scenario, name)
        yield from _training_errors(scenario, name)
    yield from _plugin_file_errors(scenario)
    yield from _gate_metric_errors(scenario)
    if scenario.pre_launch_callbacks_list and "qat_params" in scenario.model_fields_set:
        message = "`qat_params` and `pre_launch_callbacks_list` say the same thing twice"
        yield scenario.error(("pre_launch_callbacks_list",), message, fix="delete one of them", on_key=True)


def _file_errors(scenario: Scenario, name: str) -> Iterator[ScenarioError]:
    spec = scenario.models[name]
    factory = parse_factory(spec.factory)
    if factory.is_file:
        yield from _missing_file(scenario, ("models", name, "factory"), factory.place, "model file")
    if spec.weights not in {"train", "random"}:
        yield from _missing_file(scenario, ("models", name, "weights"), spec.weights, "weights file")
    elif spec.weights_key is not None:
        message = f"`weights_key` is not used by `weights: {spec.weights}`"
        fix = "name a weights file, or delete `weights_key`"
        yield scenario.error(("models", name, "weights_key"), message, fix=fix, on_key=True)


def _plugin_file_errors(scenario: Scenario) -> Iterator[ScenarioError]:
    for use in plugin_uses(scenario):
        name = parse_file_name(use.name)
        if name is not None:
            yield from _missing_file(scenario, use.loc, name.file, f"{use.kind} file", on_key=use.is_key)


def _gate_metric_errors(scenario: Scenario) -> Iterator[ScenarioError]:
    """Gates on metrics that are not computed; the names of own metrics are known when these are loaded."""
    if not scenario.measurement.metrics:
        yield from unknown_metric_errors(scenario, ())


def unknown_metric_errors(scenario: Scenario, own: Collection[str]) -> Iterator[ScenarioError]:
    """Gates on metrics that are neither the harness's nor among the scenario's `own`."""
    known = {*extra_metrics(), *(f"{METRICS}.{name}" for name in own)}
    for index, gate in enumerate(scenario.gates):
        if gate.metric.startswith(f"{METRICS}.") and gate.metric not in known:
            message, fix = unknown_name("metric", gate.metric, known)
            yield scenario.error(("gates", index, "metric"), message, fix=fix)


def _missing_file(
    scenario: Scenario, loc: Loc, text: str, what: str, *, on_key: bool = False
) -> Iterator[ScenarioError]:
    path = scenario.resolve(text)
    problem = file_problem(path)
    if problem is None:
        return
    if problem != "does not exist":
        fix = f"name a {what} that can be read"
        yield scenario.error(loc, f"the {what} `{shortened(text)}` {problem}", fix=fix, on_key=on_key)
        return
    if path.is_dir():
        yield scenario.error(loc, f"the {what} `{text}` is a folder", fix="name the file in it", on_key=on_key)
        return
    if text.startswith(PACKAGE_PREFIX) and not is_installed(text):
        package = parse_package_file(text).package
        fix = "pip install the distribution that holds it; the scenario's comment names it"
        yield scenario.error(loc, f"the package `{package}` is not installed", fix=fix)
        return
    near = _files_beside(path)
    guess = nearest(path.name, near)
    folder = text.removesuffix(path.name)
    fix = f"did you mean `{folder}{guess}`?" if guess else f"paths are relative to {scenario.root}"
    yield scenario.error(loc, f"the {what} `{shortened(text)}` does not exist", fix=fix, on_key=on_key)


def _files_beside(path: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in path.parent.glob("*") if entry.suffix == path.suffix)
    except OSError:  # no rights
        return []


def _training_errors(scenario: Scenario, name: str) -> Iterator[ScenarioError]:
    training = scenario.effective_training(name)
    overrides = scenario.models[name].training.model_fields_set
    at: Loc = ("models", name, "training") if overrides else ("training",)
    warmup, epochs = training.lr_warmup_epochs, training.max_epochs
    if warmup > epochs:
        message = f"`lr_warmup_epochs` {warmup} is more than `max_epochs` {epochs} of `{name}`"
        key = "lr_warmup_epochs" if not overrides or "lr_warmup_epochs" in overrides else "max_epochs"
        yield scenario.error((*at, key), message, fix="lower `lr_warmup_epochs` or raise `max_epochs`")
    wanted, available = scenario.calibration_count(name), scenario.calibration_pool
    if wanted > available:
        pool = "dataset.calibration_samples" if scenario.calib_dataset is None else "calib_dataset.samples"
        message = (
            f"`num_calib_batches` asks for {wanted} samples of `{name}` (batches of {training.batch_size}), "
            f"but `{pool}` is {available}"
        )
        loc: Loc = ("quantization_params", "calib_params", "num_calib_batches")
        yield scenario.error(loc, message, fix=f"raise `{pool}` to {wanted}")


def check_names(
    scenario: Scenario,
    *,
    sources: Iterable[str] | None = None,
    targets: Iterable[str] | None = None,
    toolkits: Iterable[str] | None = None,
    augmentations: Iterable[str] | None = None,
    metrics: Iterable[str] | None = None,
    load_scenarios: Iterable[str] | None = None,
    loops: Iterable[str] | None = None,
) -> None:
    """ScenarioError, at its place in the file, for every name that is not among those given; None checks nothing.

    Names of plug-ins in files are left to those who load them.
    """
    uses: list[tuple[str, Iterable[str] | None, Iterable[Use]]] = [
        ("data source", sources, _source_uses(scenario)),
        ("target", targets, _target_uses(scenario)),
        ("toolkit", toolkits, _axis_uses(scenario, "toolkit")),
        ("augmentation", augmentations, _augmentation_uses(scenario)),
        ("metric of your own", metrics, _uses_of(scenario, "metric")),
        ("load scenario", load_scenarios, _uses_of(scenario, "load scenario")),
        ("training loop", loops, _uses_of(scenario, "training loop")),
    ]
    errors = [
        _unknown(scenario, what, loc, name, list(known))
        for what, known, names in uses
        if known is not None
        for loc, name in names
        if name not in known and parse_file_name(name) is None
    ]
    if errors:
        raise joined(errors)


def _unknown(scenario: Scenario, what: str, loc: Loc, name: str, known: list[str]) -> ScenarioError:
    message, fix = unknown_name(what, name, known)
    fix = fix if known else f"write {FORM}"
    return scenario.error(loc, message, fix=fix, on_key=loc[0] == "targets" or "load" in loc)


def _uses_of(scenario: Scenario, kind: Kind) -> Iterator[Use]:
    return ((use.loc, use.name) for use in named_plugins(scenario) if use.kind == kind)


def _source_uses(scenario: Scenario) -> Iterator[Use]:
    yield ("dataset", "source"), scenario.dataset.source
    if scenario.calib_dataset is not None:
        yield ("calib_dataset", "source"), scenario.calib_dataset.source


def _axis_uses(scenario: Scenario, axis: str) -> Iterator[Use]:
    for loc, axes in scenario.matrix.located():
        for index, name in enumerate(axes.given().get(axis, ())):
            yield (*loc, axis, index), name


def _target_uses(scenario: Scenario) -> Iterator[Use]:
    yield from ((("targets", name), name) for name in scenario.targets)
    yield from _axis_uses(scenario, "target")


def _augmentation_uses(scenario: Scenario) -> Iterator[Use]:
    trainings: list[tuple[Loc, Training]] = [(("training",), scenario.training)]
    trainings += [(("models", name, "training"), spec.training) for name, spec in scenario.models.items()]
    for loc, training in trainings:
        if "augmentations" in training.model_fields_set:
            for index, name in enumerate(training.augmentations):
                yield (*loc, "augmentations", index), name
