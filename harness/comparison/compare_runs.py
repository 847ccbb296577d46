"""Two runs, or a run and a baseline: every figure judged, every variant that came, went or failed named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.comparison.causes import VariantPair, causes_of
from harness.comparison.environments import EnvironmentDifference, differences
from harness.comparison.judge_changes import SECTIONS, Candidate, candidate_changes
from harness.comparison.snapshot import Snapshot
from harness.errors import UsageError, unknown_name
from harness.results import Row, Status, Variant
from harness.results.comparison import Comparison, Condition, Finding, StatusChange, StatusKind
from harness.stats.intervals import holm

_RANKS: Mapping[Status, int] = {"ok": 2, "built": 1, "simulated": 1, "unavailable": 0, "failed": 0}
"""How much is known of a row; less than before is a regression."""
Select = Callable[[Variant], bool]


@dataclass(frozen=True)
class CompareOptions:
    """What is judged."""

    sections: frozenset[str] = frozenset(SECTIONS)
    force: bool = False
    """Also judge figures whose conditions forbid it."""
    select: Select | None = None


@dataclass(frozen=True)
class _Scenario:
    """One scenario that both sides have."""

    base: Snapshot
    new: Snapshot
    differences: tuple[EnvironmentDifference, ...]


def sections_named(names: Iterable[str]) -> frozenset[str]:
    """What `--only` chooses; UsageError for unknown names."""
    chosen = frozenset(names)
    for name in sorted(chosen - set(SECTIONS)):
        message, fix = unknown_name("figure in --only", name, SECTIONS)
        raise UsageError(message, fix=fix)
    return chosen


def compare_runs(
    base: Mapping[str, Snapshot],
    new: Mapping[str, Snapshot],
    options: CompareOptions = CompareOptions(),
    *,
    names: tuple[str, str] = ("base", "new"),
) -> Comparison:
    """Judge what both sides hold, by scenario.

    UsageError where conditions differ so that figures must not be compared, unless forced.
    """
    shared = [
        _Scenario(base[name], new[name], differences(base[name].results, new[name].results))
        for name in base
        if name in new
    ]
    _refuse(shared, options)
    waiting = [found for scenario in shared for found in _candidates(scenario, options)]
    return Comparison(
        base=names[0],
        new=names[1],
        scenarios=tuple(scenario.new.results.scenario for scenario in shared),
        conditions=_conditions(shared),
        is_forced=options.force and any(_forbidden(scenario, options) for scenario in shared),
        findings=_judged(waiting, {scenario.new.results.scenario: scenario for scenario in shared}),
        status_changes=(*_scenario_changes(base, new), *_row_changes(shared, options)),
    )


def _candidates(scenario: _Scenario, options: CompareOptions) -> Iterator[Candidate]:
    before, after = _rows(scenario.base, options), _rows(scenario.new, options)
    for variant_id in before:
        if variant_id in after and _RANKS[after[variant_id].status] >= _RANKS[before[variant_id].status]:
            yield from candidate_changes(scenario.base, scenario.new, variant_id, options.sections)


def _judged(waiting: Sequence[Candidate], scenarios: Mapping[str, _Scenario]) -> tuple[Finding, ...]:
    tested = {id(each): found for each in waiting if (found := each.finding.comparison.p_value) is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return tuple(
        _final(each, adjusted.get(id(each)), len(adjusted), scenarios[each.finding.scenario]) for each in waiting
    )


def _final(candidate: Candidate, p_value: float | None, family_size: int, scenario: _Scenario) -> Finding:
    finding, verdict = candidate.finding, candidate.decide(1.0 if p_value is None else p_value)
    judged = {
        "verdict": verdict,
        "p_value_adjusted": p_value,
        "family_size": None if p_value is None else family_size,
    }
    update: dict[str, object] = {"comparison": finding.comparison.model_copy(update=judged)}
    if verdict in ("worse", "better"):
        pair = VariantPair(scenario.base, scenario.new, finding.variant, scenario.differences)
        update["causes"] = causes_of(pair, finding.metric)
    return finding.model_copy(update=update)


def _rows(snapshot: Snapshot, options: CompareOptions) -> dict[str, Row]:
    select = options.select
    return {name: row for name, row in snapshot.rows.items() if select is None or select(row.variant)}


def _refuse(shared: Sequence[_Scenario], options: CompareOptions) -> None:
    if options.force:
        return
    found = {each.what: each for scenario in shared for each in _forbidden(scenario, options)}
    if not found:
        return
    affected = {section for each in found.values() for section in each.affects} & options.sections
    rest = ",".join(section for section in SECTIONS if section in options.sections - affected)
    message = "the runs cannot be compared:\n" + "\n".join(f"  {each.text}" for each in found.values())
    raise UsageError(message, fix=f"`--only {rest}` judges what may be compared; `--force` judges everything")


def _forbidden(scenario: _Scenario, options: CompareOptions) -> list[EnvironmentDifference]:
    """Differences that forbid a comparison which would be made: both sides have the figure."""
    sections = {
        section
        for section in options.sections
        if all(
            any(getattr(row, section, None) is not None for row in _rows(side, options).values())
            for side in (scenario.base, scenario.new)
        )
    }
    return [
        each for each in scenario.differences if each.severity == "refuse" and not sections.isdisjoint(each.affects)
    ]


def _conditions(shared: Sequence[_Scenario]) -> tuple[Condition, ...]:
    found = {each.what: each for scenario in shared for each in scenario.differences}
    return tuple(
        Condition(
            what=each.what,
            severity=each.severity,
            affects=each.affects,
            text=each.text,
            base=each.base,
            new=each.new,
        )
        for each in found.values()
    )


def _scenario_changes(base: Mapping[str, Snapshot], new: Mapping[str, Snapshot]) -> Iterator[StatusChange]:
    for name in base:
        if name not in new:
            reason = "no run of it is on the new side"
            yield StatusChange(scenario=name, variant=None, kind="vanished", reason=reason, is_regression=True)
    for name in new:
        if name not in base:
            yield StatusChange(scenario=name, variant=None, kind="new", is_regression=False)
            yield from _new_rows(name, new[name].results.rows)


def _row_changes(shared: Sequence[_Scenario], options: CompareOptions) -> Iterator[StatusChange]:
    for scenario in shared:
        name = scenario.new.results.scenario
        before, after = _rows(scenario.base, options), _rows(scenario.new, options)
        for variant_id, row in before.items():
            if variant_id not in after:
                yield StatusChange(
                    scenario=name,
                    variant=variant_id,
                    kind="vanished",
                    base_status=row.status,
                    reason="the new run has no such variant: it is no longer in the matrix, or its id changed",
                    is_regression=True,
                )
            elif row.status != after[variant_id].status:
                yield _status_change(name, row, after[variant_id])
        yield from _new_rows(name, [row for key, row in after.items() if key not in before], named=True)


def _new_rows(scenario: str, rows: Iterable[Row], *, named: bool = False) -> Iterator[StatusChange]:
    """Variants without a counterpart: those that fail, and with `named` all of them."""
    for row in rows:
        fails = row.status == "failed"
        if fails or named:
            yield StatusChange(
                scenario=scenario,
                variant=row.variant.id,
                kind="failing" if fails else "new",
                new_status=row.status,
                reason=row.reason,
                is_regression=fails,
            )


def _status_change(scenario: str, before: Row, after: Row) -> StatusChange:
    old, new = _RANKS[before.status], _RANKS[after.status]
    kind: StatusKind = "failing" if new < old else "recovered" if new > old else "other status"
    return StatusChange(
        scenario=scenario,
        variant=after.variant.id,
        kind=kind,
        base_status=before.status,
        new_status=after.status,
        reason=after.reason,
        is_regression=new < old or (after.status == "failed"),
    )
