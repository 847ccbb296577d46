"""Whether a variant can run on this machine, before anything is planned."""

from __future__ import annotations

from collections.abc import Iterable

from harness.load import MODULE, availability
from harness.results import Variant
from harness.runs.importable import import_problem
from harness.scenario import Scenario
from harness.targets import get_target
from harness.targets.base import Availability, Target
from harness.toolkits import DEFAULT, get_toolkit
from harness.toolkits.base import Toolkit


def unavailable_reason(variant: Variant) -> str | None:
    """Why the variant's target or toolkit cannot do it here, with the fix; None when they can."""
    target = get_target(variant.target)
    own_toolkit = variant.toolkit in (None, DEFAULT)
    toolkit = None if own_toolkit else get_toolkit(str(variant.toolkit))
    return (
        _missing(checked_availability(target))
        or target.refusal(variant)
        or (
            toolkit
            and (_missing(checked_availability(toolkit)) or toolkit.refusal(variant) or _cannot_build(target, toolkit))
        )
        or None
    )


def _cannot_build(target: Target, toolkit: Toolkit) -> str | None:
    if toolkit.writes_onnx or toolkit.suffix == target.own_suffix:
        return None
    return f"{toolkit.name} writes no ONNX file but a model (`{toolkit.suffix}`) that {target.name} cannot build"


def check_load(scenario: Scenario) -> None:
    """ScenarioError when the scenario asks for load scenarios and LoadGen is not installed."""
    found = availability()
    found = with_imports(found, (MODULE,)) if found.usable else found
    if scenario.measurement.load and not found.usable:
        message = f"load scenarios cannot run: {found.detail}"
        raise scenario.error(("measurement", "load"), message, fix=found.fix, on_key=True)


def checked_availability(member: Target | Toolkit) -> Availability:
    """Its availability, where it says that it is usable with its libraries tried: installed is not yet importable."""
    found = member.availability()
    return with_imports(found, member.modules) if found.usable else found


def with_imports(found: Availability, modules: Iterable[str]) -> Availability:
    """The same where these modules can be imported, else that they cannot, with the fix."""
    for module in modules:
        if (problem := import_problem(module)) is not None:
            detail = f"{found.detail} is installed, but `{module}` cannot be imported: {problem}"
            return Availability(
                False, detail, f"install it again; `python -c 'import {module}'` shows all of the error"
            )
    return found


def _missing(availability: Availability) -> str | None:
    if availability.usable:
        return None
    return f"{availability.detail}; fix: {availability.fix}" if availability.fix else availability.detail
