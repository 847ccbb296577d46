"""Where two runs were made under conditions that differ, and whether their figures may still be compared.

Conditions are those of `RunResults.environment`; what each means is in `environment_rules.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, get_args

from harness.comparison.environment_rules import EVERYTHING, Quantity, rule_for
from harness.errors import UsageError
from harness.results import RunResults, Split
from harness.results.comparison import Severity
from harness.targets import get_target

_SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
_DOT_PRODUCTS = {"amx_int8": "amx", "avx512_vnni": "vnni", "avx_vnni": "vnni", "asimddp": "dotprod"}
_VECTORS = {"avx512f": "avx512", "avx2": "avx2"}
_NO_NAME = re.compile(r"\((?:r|tm|c)\)|@.*$|\b(?:cpu|processor|\d+-core)\b", re.IGNORECASE)
_SLUG_LENGTH = 40
_LONGEST_CLASS = 200
"""Characters, so that it can be the name of a folder."""


@dataclass(frozen=True)
class EnvironmentDifference:
    """One condition that two runs do not share."""

    what: str
    """Dotted place in the record, for instance `cpu.model` or `packages.onnxruntime`."""
    base: Any
    new: Any
    """As recorded; None where a run did not record it."""
    severity: Severity
    """`refuse`: the figures that it affects must not be compared. `warn`: they may be, and what differs between them
    may come from this. `note`: for the record."""
    affects: tuple[Quantity, ...]
    text: str
    """One sentence for the user."""


def differences(base: RunResults, new: RunResults) -> tuple[EnvironmentDifference, ...]:
    """Every condition that differs, the most severe first; nothing when both runs were made under equal conditions.

    What only one run recorded counts one step less. Differences of GPUs are notes unless rows were timed on one.
    """
    found = list(_compared(base, new))
    if not _timed_on_gpu(base, new):
        found = [replace(each, severity="note") if each.what.startswith("gpus.") else each for each in found]
    found += [*_uncommitted(base, new), *_data(base, new), *_data_arguments(base, new), *_weights(base, new)]
    return tuple(sorted(found, key=lambda each: _SEVERITIES.index(each.severity)))


def refused(found: Iterable[EnvironmentDifference], quantity: Quantity) -> tuple[EnvironmentDifference, ...]:
    """Those that forbid comparing one quantity; it may be compared when there are none."""
    return tuple(each for each in found if each.severity == "refuse" and quantity in each.affects)


def machine_class(environment: Mapping[str, Any]) -> str:
    """Short name that machines share whose times may be compared, for instance `x86_64-vnni-2core-amd-epyc-9r14`.

    Safe as a file name. Two machines of one class may still differ in what `differences` refuses.
    """
    cpu = environment.get("cpu") or {}
    gpus = [_slug(str(gpu.get("name", "gpu"))) for gpu in environment.get("gpus") or ()]
    cores = cpu.get("usable_cores") or cpu.get("logical_cores") or 0
    architecture, vectors = _slug(str(environment.get("architecture") or "unknown")), _vectors(cpu.get("flags") or {})
    parts = (architecture, vectors, f"{_slug(str(cores))}core")
    name = "-".join([*parts, _slug(str(cpu.get("model") or "unknown")), *gpus])
    return name[:_LONGEST_CLASS].rstrip("-")


def _compared(base: RunResults, new: RunResults) -> Iterator[EnvironmentDifference]:
    before, after = _flat(base.environment), _flat(new.environment)
    for what in sorted(before.keys() | after.keys()):
        values, rule = (before.get(what), after.get(what)), rule_for(what)
        if rule.severity is None or _are_alike(*values) or what == "git.dirty":
            continue
        group = what.partition(".")[0]
        recorded = [
            what in flat or (rule.absent_is_none and group in run.environment)
            for flat, run in ((before, base), (after, new))
        ]
        severity = rule.severity if all(recorded) else _one_step_less(rule.severity)
        shown = [_shown(value, is_recorded=known) for value, known in zip(values, recorded, strict=True)]
        name = rule.subject.format(name=what.partition(".")[2], leaf=what.rpartition(".")[2], place=what)
        text = f"The {name} differs: {shown[0]} in the base, {shown[1]} in the new run; {rule.why}."
        yield EnvironmentDifference(what, *values, severity, rule.affects, text)


def _are_alike(base: Any, new: Any) -> bool:
    """Also where one run did not look for what the other did not find."""
    return base == new or (base in (None, False) and new in (None, False))


def _uncommitted(base: RunResults, new: RunResults) -> Iterator[EnvironmentDifference]:
    """Also when both are: two runs with changes of their own may differ in anything."""
    before, after = ((run.environment.get("git") or {}).get("dirty") for run in (base, new))
    dirty = [name for name, state in (("base", before), ("new run", after)) if state]
    if dirty:
        who = " and ".join(f"the {name}" for name in dirty)
        text = f"Uncommitted changes were in the checkout of {who}; the commit does not identify what ran."
        yield EnvironmentDifference("git.dirty", before, after, "warn", EVERYTHING, text)


def _data(base: RunResults, new: RunResults) -> Iterator[EnvironmentDifference]:
    before, after = _splits(base), _splits(new)
    for what in sorted(before.keys() | after.keys()):
        old, now = before.get(what), after.get(what)
        if old == now:
            continue
        texts = [f"{split.n:,} samples, sha256 {split.sha256[:12]}" if split else "none" for split in (old, now)]
        tests = what.endswith(".test")
        why = (
            "accuracy on different samples cannot be compared" if tests else "the networks were made from other samples"
        )
        text = f"The samples of `{what}` differ: {texts[0]} in the base, {texts[1]} in the new run; {why}."
        severity: Severity = "refuse" if tests else "warn"
        yield EnvironmentDifference(f"datasets.{what}", texts[0], texts[1], severity, ("accuracy",), text)


def _data_arguments(base: RunResults, new: RunResults) -> Iterator[EnvironmentDifference]:
    """Arguments of the data sources and steps of preprocessing, where both runs recorded them."""
    for kind, words in (("args", "argument"), ("preprocessing", "preprocessing step")):
        before, after = (_recorded(run, kind) for run in (base, new))
        for name in sorted(before.keys() & after.keys()):
            old, now = before[name], after[name]
            for key in sorted(key for key in old.keys() | now.keys() if old.get(key) != now.get(key)):
                shown = f"{old.get(key)} in the base, {now.get(key)} in the new run"
                text = f"The {words} `{key}` of data set `{name}` differs: {shown}."
                place = f"datasets.{name}.{kind}.{key}"
                yield EnvironmentDifference(place, old.get(key), now.get(key), "warn", ("accuracy",), text)


def _recorded(run: RunResults, kind: str) -> dict[str, Mapping[str, Any]]:
    """Arguments (`args`) or steps (`preprocessing`, never empty where they were recorded) by data set."""
    found = {each.name: getattr(each, kind) for each in run.datasets}
    return {name: values for name, values in found.items() if values is not None and (values or kind == "args")}


def _splits(run: RunResults) -> dict[str, Split]:
    return {f"{dataset.name}.{split.name}": split for dataset in run.datasets for split in dataset.splits}


def _weights(base: RunResults, new: RunResults) -> Iterator[EnvironmentDifference]:
    before, after = ({file.model: file.sha256 for file in run.weights} for run in (base, new))
    for model in sorted(before.keys() & after.keys()):
        if before[model] != after[model]:
            text = f"The weights file of `{model}` differs; the networks start from other weights."
            yield EnvironmentDifference(
                f"weights.{model}", before[model], after[model], "warn", ("accuracy", "latency"), text
            )


def _timed_on_gpu(*runs: RunResults) -> bool:
    return any(_is_on_gpu(row.variant.target) for run in runs for row in run.rows if row.latency is not None)


def _is_on_gpu(target: str) -> bool:
    try:
        return get_target(target).needs_gpu
    except UsageError:  # a target of a plug-in that is not installed here: nothing is known of it
        return True


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted place; lists of records by number (an empty one has none), other lists as one value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
            found |= _flat({str(number): item for number, item in enumerate(value)}, f"{prefix}{key}.")
        elif isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _one_step_less(severity: Severity) -> Severity:
    return "warn" if severity == "refuse" else "note"


def _shown(value: Any, *, is_recorded: bool) -> str:
    if not is_recorded:
        return "not recorded"
    return "none" if value is None else f"`{value}`"


def _vectors(flags: Mapping[str, bool]) -> str:
    known = _DOT_PRODUCTS | _VECTORS
    return next((name for flag, name in known.items() if flags.get(flag)), "baseline")


def _slug(name: str) -> str:
    words = re.sub(r"[^a-z0-9_]+", "-", _NO_NAME.sub(" ", name).lower()).strip("-")
    return words[:_SLUG_LENGTH].strip("-") or "unnamed"
