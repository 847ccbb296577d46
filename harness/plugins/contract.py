"""What a plug-in must be: an instance of its kind's base class or a class of such instances, complete and named."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

from harness.errors import UsageError, is_interrupt, nearest
from harness.fields import NAME_PATTERN
from harness.plugin_names import Kind
from harness.registry import instance_of
from harness.training.model_files import described

BASES: dict[Kind, tuple[str, ...]] = {
    "calibrator": ("harness.quantization.calibrators.base:Calibrator",),
    "metric": ("harness.metrics.base:Metric",),
    "PTQ step": ("harness.quantization.ptq.base:WeightStep", "harness.quantization.ptq.base:CalibratedStep"),
    "data source": ("harness.data.base:DataSource",),
    "toolkit": ("harness.toolkits.base:Toolkit",),
    "load scenario": ("harness.load.base:LoadScenario",),
    "target": ("harness.targets.base:Target",),
}
"""Base classes by kind, named so that loading one kind does not import the libraries of the others."""
BUILT_IN: dict[Kind, str] = {
    "calibrator": "harness.quantization.calibrators:calibrators",
    "metric": "harness.metrics:metrics",
    "PTQ step": "harness.quantization.ptq.steps:ptq_steps",
    "data source": "harness.data.sources:data_sources",
    "toolkit": "harness.toolkits:toolkits",
    "load scenario": "harness.load.scenarios:load_scenarios",
    "target": "harness.targets:targets",
}
LOOP_PARAMETERS = ("network", "data", "context")
"""What a training loop is called with."""


class PluginError(UsageError):
    """A plug-in that cannot be used."""


def checked_plugin(kind: Kind, text: str, found: object) -> Any:
    """The plug-in that `text` names, as an instance; PluginError says what it lacks."""
    if kind == "training loop":
        return _checked_loop(text, found)
    bases = tuple(map(_named, BASES[kind]))
    cls = found if isinstance(found, type) else type(found)
    if not issubclass(cls, bases):
        wanted = " or ".join(f"`{base.__module__}.{base.__qualname__}`" for base in bases)
        what = (
            f"the class `{cls.__qualname__}`" if isinstance(found, type) else f"an object of type `{cls.__qualname__}`"
        )
        raise PluginError(f"`{text}` is no {kind}: it is {what}", fix=f"derive its class from {wanted}")
    _require_methods(kind, text, cls)
    _require_attributes(kind, text, found, cls)
    return _instance(text, found)


def _named(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _require_methods(kind: Kind, text: str, cls: type) -> None:
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        message = f"`{text}` is no complete {kind}: it lacks {_listed('method', missing)}"
        raise PluginError(message, fix=_near_or(missing[0], cls, f"define `def {_signature(cls, missing[0])}`"))


def _signature(cls: type, method: str) -> str:
    try:
        names = [name for name in inspect.signature(getattr(cls, method)).parameters if name != "self"]
    except (TypeError, ValueError):
        names = ["..."]
    return f"{method}(self, {', '.join(names)})" if names else f"{method}(self)"


def _require_attributes(kind: Kind, text: str, found: object, cls: type) -> None:
    missing = [name for name in _declared(cls) if not hasattr(found, name)]
    if missing:
        message = f"`{text}` is no complete {kind}: it lacks {_listed('attribute', missing)}"
        raise PluginError(message, fix=_near_or(missing[0], cls, f"give the class `{missing[0]} = ...`"))
    name = getattr(found, "name", None)
    if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name):
        rule = "lower-case letters, digits, `_`, `.` and `-`"
        raise PluginError(f"the name {name!r} of `{text}` is not usable", fix=f"write `name` in {rule}")
    for each in ("distributions", "requirements", "modules"):
        if each in _declared_by_us(cls) and isinstance(getattr(found, each, ()), str):
            raise PluginError(f"`{each}` of `{text}` is a text, not a tuple", fix=f"write `{each} = (...,)`")
    if name in _named(BUILT_IN[kind])():
        message = f"`{text}` has the name `{name}`, which is that of a built-in {kind}"
        raise PluginError(message, fix="give it a name of its own")


def _declared(cls: type) -> list[str]:
    """What the contract names and gives no value."""
    return [name for name in _declared_by_us(cls) if not _is_private(name)]


def _declared_by_us(cls: type) -> list[str]:
    ours = [base for base in reversed(cls.__mro__) if base.__module__.partition(".")[0] == "harness"]
    return list(dict.fromkeys(name for base in ours for name in inspect.get_annotations(base)))


def _is_private(name: str) -> bool:
    return name.startswith("_")


def _listed(what: str, names: Iterable[str]) -> str:
    words = [f"`{name}`" for name in names]
    return f"the {what}{'s' if len(words) > 1 else ''} {', '.join(words)}"


def _near_or(missing: str, cls: type, otherwise: str) -> str:
    own = [name for name in vars(cls) if not _is_private(name)]
    guess = nearest(missing, own)
    return f"rename `{guess}` to `{missing}`" if guess else otherwise


def _instance(text: str, found: object) -> Any:
    try:
        return instance_of(found)
    except BaseException as error:  # a constructor may do anything
        if is_interrupt(error):
            raise
        message = f"an instance of `{text}` cannot be made: {described(error)}"
        raise PluginError(message, fix="let the class be made without arguments, or name an instance") from error


def _checked_loop(text: str, found: object) -> Callable[..., Any]:
    if not callable(found) or isinstance(found, type):
        raise PluginError(f"`{text}` is no function", fix=f"write `def NAME({', '.join(LOOP_PARAMETERS)})`")
    try:
        inspect.signature(found).bind(*LOOP_PARAMETERS)
    except (TypeError, ValueError) as error:
        message = f"`{text}` cannot be called with ({', '.join(LOOP_PARAMETERS)}): {error}"
        raise PluginError(message, fix=f"write `def NAME({', '.join(LOOP_PARAMETERS)})`") from None
    return found
