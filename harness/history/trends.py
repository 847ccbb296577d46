"""From the records of the history to series, one for each figure of each variant on each class of machines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from harness.errors import UsageError, unknown_name
from harness.figures import MEDIAN, METRICS, Figure, Margin, catalog, metric_figure
from harness.history.database import Entry
from harness.history.figures import RunRecord
from harness.history.steps import SIGNIFICANCE, Observation, Step, find_steps, standard_error
from harness.stats.terms import ChangeKind

FALSE_STEPS = 0.05
"""Largest chance of any false step among all series that are looked at together."""
_OTHER_MARGIN = Margin("ratio", 0.05)
_DAYS = "d"


@dataclass(frozen=True)
class SeriesFilter:
    """Which series are looked at; None and empty mean all, and of figures those that are followed by default."""

    scenario: str | None = None
    variants: tuple[str, ...] = ()
    """Globs on ids; one must match."""
    metrics: tuple[str, ...] = ()
    """Globs on names; the last part of a name is enough."""
    since: datetime | None = None
    machine_class: str | None = None


@dataclass(frozen=True)
class TrendStep:
    """A proven step, with the first run at the new level and the last one before it."""

    step: Step
    last_before: RunRecord
    first_after: RunRecord
    change: float
    """New minus old level, or their ratio minus 1, as the figure's rule says."""
    is_better: bool | None
    """None where more is neither better nor worse."""
    changed_packages: tuple[str, ...] = ()
    """`NAME OLD → NEW` of libraries whose version is not the same in these two runs."""
    is_shared_with_reference: bool = False
    """Absolute times only: FP32's own stepped at the same run and in the same direction."""


@dataclass(frozen=True)
class Trend:
    """One figure of one variant on machines of one class, over time."""

    scenario: str
    machine_class: str
    variant: str
    metric: str
    kind: ChangeKind
    entries: tuple[Entry, ...]
    steps: tuple[TrendStep, ...] = ()

    @property
    def values(self) -> list[float]:
        """In the order of the runs."""
        return [each.figure.value or 0.0 for each in self.entries]

    @property
    def is_noisy(self) -> bool:
        """Whether its steps need a test."""
        return any(each.figure.low is not None for each in self.entries) or len(set(self.values)) > 1


def margin_of(entry: Entry) -> Margin | None:
    """How a change of a figure is measured, and how large it must be to matter; None: followed on request only."""
    figure = _figure_of(entry)
    return None if figure is None else figure.margin


def ends_between_runs(entry: Entry) -> tuple[float | None, float | None]:
    """Ends of the interval that says how far two runs of one thing differ; None where the figure has none.

    Intervals of accuracy say how well the test samples represent all images, which are the same in every run.
    """
    described = _figure_of(entry)
    is_of_samples = described is not None and described.varies_with_samples
    return (None, None) if is_of_samples else (entry.figure.low, entry.figure.high)


def trends(entries: Sequence[Entry], choice: SeriesFilter = SeriesFilter()) -> list[Trend]:
    """Series with their steps, by scenario, machine class and variant; UsageError when the choice fits none."""
    _check_names(entries, choice)
    grouped: dict[tuple[str, str, str, str], list[Entry]] = {}
    for entry in entries:
        if entry.figure.value is not None and _is_chosen(entry, choice):
            run, figure = entry.run, entry.figure
            grouped.setdefault((run.scenario, run.machine_class, figure.variant, figure.metric), []).append(entry)
    found = []
    for (scenario, machine_class, variant, metric), of_series in sorted(grouped.items()):
        kind = (margin_of(of_series[-1]) or _OTHER_MARGIN).kind
        found.append(Trend(scenario, machine_class, variant, metric, kind, tuple(of_series)))
    noisy = sum(trend.is_noisy for trend in found)
    significance = min(SIGNIFICANCE, FALSE_STEPS / max(noisy, 1))
    return _with_references([replace(trend, steps=_steps(trend, significance)) for trend in found])


def parse_since(text: str, now: datetime | None = None) -> datetime:
    """`30d`, a date or an ISO 8601 time; UsageError for anything else."""
    try:
        if text.endswith(_DAYS):
            return (now or datetime.now(UTC)) - timedelta(days=float(text.removesuffix(_DAYS)))
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        fix = "write a date such as 2026-01-31, or a number of days such as 30d"
        raise UsageError(f"`{text}` is not a time", fix=fix) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _is_chosen(entry: Entry, choice: SeriesFilter) -> bool:
    run, figure = entry.run, entry.figure
    return (
        choice.scenario in (None, run.scenario)
        and choice.machine_class in (None, run.machine_class)
        and (not choice.variants or any(fnmatchcase(figure.variant, glob) for glob in choice.variants))
        and (_is_named(figure.metric, choice.metrics) if choice.metrics else _is_followed(entry))
        and (choice.since is None or run.started_at >= choice.since.astimezone(UTC).isoformat())
    )


def _is_named(metric: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(metric, glob) or fnmatchcase(metric.rpartition(".")[2], glob) for glob in globs)


def _is_followed(entry: Entry) -> bool:
    return margin_of(entry) is not None


def _check_names(entries: Sequence[Entry], choice: SeriesFilter) -> None:
    """Nothing is ever left out for a slip of the pen."""
    metrics = {each.figure.metric for each in entries}
    known = (
        ("scenario", [choice.scenario], {each.run.scenario for each in entries}),
        ("machine class", [choice.machine_class], {each.run.machine_class for each in entries}),
        ("variant", choice.variants, {each.figure.variant for each in entries}),
        ("figure", choice.metrics, metrics | {name.rpartition(".")[2] for name in metrics}),
    )
    for what, given, names in known:
        for name in given:
            if name is not None and not any(fnmatchcase(other, name) for other in names):
                message, fix = unknown_name(f"{what} in the history", name, names)
                raise UsageError(message, fix=fix)


def _figure_of(entry: Entry) -> Figure | None:
    """None for figures that only earlier versions had."""
    section, _, name = entry.figure.metric.partition(".")
    if section != METRICS:
        return catalog().get(entry.figure.metric)
    return metric_figure(name, unit=entry.figure.unit, higher_is_better=bool(entry.figure.higher_is_better))


def _steps(trend: Trend, significance: float) -> tuple[TrendStep, ...]:
    wanted = margin_of(trend.entries[-1]) or _OTHER_MARGIN
    is_relative = wanted.kind == "ratio" and all(_is_positive(each) for each in trend.entries)
    margin = math.log1p(wanted.size) if is_relative else wanted.size
    found = find_steps([_observation(each, is_relative) for each in trend.entries], margin, significance)
    return tuple(_described(trend, step, is_relative) for step in found)


def _is_positive(entry: Entry) -> bool:
    return all(value is None or value > 0 for value in (entry.figure.value, entry.figure.low))


def _observation(entry: Entry, is_relative: bool) -> Observation:
    figure = entry.figure
    assert figure.value is not None
    ends = ends_between_runs(entry)
    if not is_relative:
        return Observation(figure.value, standard_error(*ends))
    low, high = (math.log(end) if end else None for end in ends)
    return Observation(math.log(figure.value), standard_error(low, high))


def _described(trend: Trend, step: Step, is_relative: bool) -> TrendStep:
    if is_relative:
        step = replace(step, before=math.exp(step.before), after=math.exp(step.after))
    before, after = trend.entries[step.index - 1], trend.entries[step.index]
    more_is_better = after.figure.higher_is_better
    rose = step.after > step.before
    return TrendStep(
        step=step,
        last_before=before.run,
        first_after=after.run,
        change=step.after / step.before - 1 if is_relative else step.after - step.before,
        is_better=None if more_is_better is None else rose == more_is_better,
        changed_packages=tuple(_changed(before.run.packages, after.run.packages)),
    )


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> Iterable[str]:
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, "none"), after.get(name, "none")
        if old != new:
            yield f"{name} {old} \N{RIGHTWARDS ARROW} {new}"


def _with_references(found: Sequence[Trend]) -> list[Trend]:
    """Mark steps of absolute times that FP32's own shares: the machine or a library moved, and not the variant."""
    moved = {
        (trend.scenario, trend.machine_class, trend.variant, each.first_after.key, each.is_better)
        for trend in found
        if trend.metric == MEDIAN
        for each in trend.steps
    }
    marked = []
    for trend in found:
        reference = trend.entries[-1].figure.reference
        steps = tuple(
            replace(
                each,
                is_shared_with_reference=trend.metric == MEDIAN
                and (trend.scenario, trend.machine_class, reference, each.first_after.key, each.is_better) in moved,
            )
            for each in trend.steps
        )
        marked.append(replace(trend, steps=steps))
    return marked
