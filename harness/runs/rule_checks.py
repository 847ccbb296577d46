"""Rules and skip sets of a scenario against its networks and targets, before any work starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.errors import ScenarioError
from harness.quantization.capture.modules import Modules
from harness.quantization.descriptors import TensorKind, refusal
from harness.quantization.placement.rules import Rule, matches_modules, selects, skip_rule, unmatched
from harness.results import Variant
from harness.scenario import Scenario
from harness.scenario.source import Loc, joined
from harness.targets import get_target

RULES: Loc = ("quantization_params", "rules")
_SKIP_MODULES: Loc = ("quantization_params", "selective_quantizer_params", "skip_modules")


def check_rules(scenario: Scenario, variants: Sequence[Variant], networks: Mapping[str, Modules]) -> None:
    """ScenarioError, with the place and the nearest names, for what matches nothing or cannot be deployed.

    A model that is not among `networks` cannot be used; what rules match in it is not known.
    """
    errors = [*_unmatched_skips(scenario, variants, networks)]
    if networks.keys() == scenario.models.keys():
        errors += _unmatched_rules(scenario, networks)
    targets = dict.fromkeys(variant.target for variant in variants if variant.weight_bits is not None)
    if scenario.quantization_params.rules:  # a target's number format imports torchao, which takes a second
        errors += [error for target in targets for error in _undeployable(scenario, target, networks)]
    if errors:
        raise joined(errors)


def rules_for(scenario: Scenario, network: Modules) -> tuple[Rule, ...]:
    """The rules that can match something of one network; each matches at least one network of the scenario."""
    return tuple(rule for rule in scenario.quantization_params.rules if matches_modules(rule, network))


def _unmatched_rules(scenario: Scenario, networks: Mapping[str, Modules]) -> Iterator[ScenarioError]:
    for index, rule in enumerate(scenario.quantization_params.rules):
        if any(matches_modules(rule, network) for network in networks.values()):
            continue
        problems = [problem for network in networks.values() for problem in unmatched(rule, network)]
        if not problems:
            message = "the rule matches nothing: no module fits all of its selectors"
            yield scenario.error((*RULES, index), message, fix="correct the rule, or delete it")
        for problem in dict.fromkeys(problems):
            yield scenario.error((*RULES, index, problem.key, problem.number), problem.message, fix=problem.fix)


def _unmatched_skips(
    scenario: Scenario, variants: Sequence[Variant], networks: Mapping[str, Modules]
) -> Iterator[ScenarioError]:
    uses = dict.fromkeys((variant.model, pattern) for variant in variants for pattern in variant.skip)
    for model, pattern in uses:
        if model not in networks:
            continue
        for problem in unmatched(skip_rule(pattern, networks[model]), networks[model]):
            message = f"{problem.message} of `{model}` in a skip set"
            yield scenario.error(_place_of(scenario, pattern), message, fix=problem.fix)


def _place_of(scenario: Scenario, pattern: str) -> Loc:
    for loc, axes in scenario.matrix.located():
        for index, skip_set in enumerate(axes.skip or ()):
            if pattern in skip_set:
                return (*loc, "skip", index)
    return _SKIP_MODULES


def _undeployable(scenario: Scenario, target_name: str, networks: Mapping[str, Modules]) -> Iterator[ScenarioError]:
    target_format = get_target(target_name).number_format(8, 8)
    for index, rule in enumerate(scenario.quantization_params.rules):
        kinds: tuple[TensorKind, ...] = ("input", "weight")
        for kind in kinds:
            descriptor = rule.input if kind == "input" else rule.weight
            refused = None if descriptor is None else refusal(kind, descriptor, target_format)
            if refused is not None:
                key, reason = refused
                message = f"{target_name} cannot deploy `{kind}.{key}` of this rule: {reason}"
                yield scenario.error((*RULES, index, kind, key), message, fix=f"delete `{key}`")
        yield from _wrong_axis(scenario, index, rule, networks)


def _wrong_axis(scenario: Scenario, index: int, rule: Rule, networks: Mapping[str, Modules]) -> Iterator[ScenarioError]:
    """Weight axes that are not those of the output channels."""
    axis = None if rule.weight is None else rule.weight.axis
    if axis is None:
        return
    for network in networks.values():
        for path, classes in network.classes.items():
            channel_axis = _channel_axis(classes[0])
            if channel_axis not in (None, axis) and selects(rule, path, network):
                message = f"`weight.axis: {axis}` is not the axis of the output channels of `{path}` ({classes[0]})"
                yield scenario.error((*RULES, index, "weight", "axis"), message, fix=f"write `axis: {channel_axis}`")
                return


def _channel_axis(class_name: str) -> int | None:
    """Axis of the output channels in the weight of a module of this class; None when it has none."""
    module, _, name = class_name.rpartition(".")
    if module == "torch.nn.modules.conv":
        return 1 if "Transpose" in name else 0
    return 0 if class_name == "torch.nn.modules.linear.Linear" else None
