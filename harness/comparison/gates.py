"""Whether variants keep the limits that a scenario sets, judged on the interval of each figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scipy import stats

from harness.comparison.gate_figures import GateFigure, Sides, compared_figure
from harness.comparison.snapshot import Snapshot
from harness.errors import EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_OK
from harness.figures import catalog, find_figure
from harness.results import ConfidenceInterval, Gate, GateVerdict, Row
from harness.scenario.gate_selection import judged_by
from harness.scenario.gates import GateSpec
from harness.stats.intervals import holm
from harness.words.figures import difference_words, multiple_words, value_words
from harness.words.phrases import within

Relation = Literal["of", "below", "above"]
NO_VARIANT = "(none)"
"""Stands where a gate had no variant to judge."""
_FIGURE_ALONE = "no interval of this figure is known: judged on the figure alone"


@dataclass(frozen=True)
class _Case:
    """One variant before one gate."""

    gate: GateSpec
    variant: str
    figure: GateFigure
    unit: str


def judge_gates(
    gates: Sequence[GateSpec],
    run: Snapshot,
    baseline: Snapshot | None,
    *,
    baseline_file: Path | None = None,
    confidence: float = 0.95,
) -> tuple[Gate, ...]:
    """Every gate for every variant that it judges, in the order of the scenario and of the rows.

    The intervals are those of the rows. Breaches are corrected for the variants of the gate (Holm), which controls the
    family-wise error rate; each pass is proven on its own. A variant without the figure is `inconclusive` with the
    reason, and so is a gate without variants.
    """
    reference = Sides(run, baseline, baseline_file)
    return tuple(judged for gate in gates for judged in _judge(gate, reference, confidence))


def worst_exit_code(gates: Sequence[Gate], *, strict: bool) -> int:
    """What the gates make of a run: a proven breach, or with `strict` an undecided one."""
    verdicts = {gate.verdict for gate in gates}
    if "fail" in verdicts:
        return EXIT_GATE_FAILED
    return EXIT_INCONCLUSIVE if strict and "inconclusive" in verdicts else EXIT_OK


def gate_messages(gates: Sequence[Gate], scenario: str | None = None) -> list[str]:
    """What does not pass, of `scenario`. Variants that have no figure for one and the same reason share a message."""
    judged = [gate for gate in gates if gate.value is not None and gate.verdict != "pass"]
    limits: dict[tuple[str, str | None], list[str]] = {}
    for gate in gates:
        if gate.value is None:
            limits.setdefault((gate.variant, gate.reason), []).append(f"{gate.metric} must be {gate.limit}")
    variants: dict[tuple[str | None, tuple[str, ...]], list[str]] = {}
    for (variant, reason), texts in limits.items():
        variants.setdefault((reason, tuple(texts)), []).append(variant)
    return [gate_message(gate, scenario) for gate in judged] + [
        f"gate inconclusive: {within(scenario)}{', '.join(names)}: {', '.join(texts)}; {reason}"
        for (reason, texts), names in variants.items()
    ]


def gate_message(gate: Gate, scenario: str | None = None) -> str:
    """One sentence: which variant (of which scenario), which figure, what it is and what it must be."""
    subject = within(scenario) + gate.variant
    if gate.value is None:
        return f"gate {gate.verdict}: {subject}: {gate.metric} must be {gate.limit}; {gate.reason}"
    note = f" ({gate.reason})" if gate.reason else ""
    return f"gate {gate.verdict}: {subject}: {gate.metric} is {gate_figure(gate)}; it must be {_limit(gate)}{note}"


def gate_figure(gate: Gate) -> str:
    """What was compared with the limit, in its unit: `1.5 times that of ID (1.4 times to 1.6 times)`.

    Empty where there is no figure.
    """
    if gate.value is None:
        return ""
    text = in_unit(gate, gate.value)
    if gate.compared_with is not None:
        # Records from before the relation was kept say neither.
        words = {"of": " that of", "below": " below that of", "above": " above that of", None: ", compared with"}
        text += f"{words[gate.relation]} {gate.compared_with}"
    if gate.interval is not None:
        text += f" ({' to '.join(in_unit(gate, end) for end in gate.interval.ends)})"
    return text + (f", {gate.basis}" if gate.basis else "")


def in_unit(gate: Gate, number: float) -> str:
    """A number as a gate's value is: a multiple, a difference or a figure."""
    if gate.relation == "of":
        return multiple_words(number)
    if gate.unit is None:
        return f"{number:.6g}"
    known = catalog().get(gate.metric)
    is_difference = gate.relation is not None or (known is not None and known.is_difference)
    return (difference_words if is_difference else value_words)(number, gate.unit)


def _limit(gate: Gate) -> str:
    """The limit as the scenario has it; shares also as a reader says them."""
    if gate.unit == "share" and gate.relation != "of" and gate.bound is not None:
        return f"{gate.limit}, which is {in_unit(gate, gate.bound)}"
    return gate.limit


def _judge(gate: GateSpec, sides: Sides, confidence: float) -> Iterator[Gate]:
    rows: Mapping[str, Row] = sides.run.rows
    chosen = judged_by(gate, [row.variant for row in rows.values()])
    if not chosen:
        reason = "none of the variants that it judges is part of this run"
        yield Gate(
            variant=NO_VARIANT, metric=gate.metric, limit=str(gate), value=None, verdict="inconclusive", reason=reason
        )
        return
    cases = [
        _Case(gate, variant.id, compared_figure(gate, row, sides), _unit(row, gate.metric))
        for variant, row in ((variant, rows[variant.id]) for variant in chosen)
    ]
    adjusted = iter(holm([_breach_p_value(case, confidence) for case in cases if case.figure.value is not None]))
    for case in cases:
        p_value = next(adjusted) if case.figure.value is not None else 1.0
        yield _gate(case, _verdict(case, p_value, confidence), confidence)


def _gate(case: _Case, verdict: GateVerdict, confidence: float) -> Gate:
    figure = case.figure
    alone = figure.value is not None and figure.interval is None and not figure.is_exact
    return Gate(
        variant=case.variant,
        metric=case.gate.metric,
        limit=str(case.gate),
        value=figure.value,
        verdict=verdict,
        reason=figure.reason or (_FIGURE_ALONE if alone else None),
        interval=None if figure.interval is None else ConfidenceInterval.of(figure.interval, confidence),
        compared_with=figure.compared_with,
        relation=None if figure.compared_with is None else _relation(case.gate),
        unit=case.unit,
        bound=case.gate.limit,
        basis=figure.basis,
    )


def _unit(row: Row, name: str) -> str:
    figure = find_figure(row, name)
    return "" if figure is None else figure.unit


def _relation(gate: GateSpec) -> Relation | None:
    found: tuple[Relation, ...] = ("of", "below", "above")
    return next((each for each in found if getattr(gate, each) is not None), None)


def _verdict(case: _Case, breach_p_value: float, confidence: float) -> GateVerdict:
    figure = case.figure
    if figure.value is None:
        return "inconclusive"
    low, high = figure.interval or (figure.value, figure.value)
    limit = case.gate.limit
    if high <= limit if case.gate.at_most is not None else low >= limit:
        return "pass"
    is_beyond = low > limit if case.gate.at_most is not None else high < limit
    return "fail" if is_beyond and breach_p_value <= (1 - confidence) / 2 else "inconclusive"


def _breach_p_value(case: _Case, confidence: float) -> float:
    """One-sided, of a figure that keeps the limit; from the arm of the interval that points to it."""
    figure = case.figure
    assert figure.value is not None
    beyond = figure.value - case.gate.limit if case.gate.at_most is not None else case.gate.limit - figure.value
    if figure.interval is None:
        return 0.0 if beyond > 0 else 1.0
    low, high = figure.interval
    arm = figure.value - low if case.gate.at_most is not None else high - figure.value
    if arm <= 0:
        return 0.0 if beyond > 0 else 1.0
    tail = (1 - confidence) / 2
    quantile = float(stats.t.isf(tail / figure.analyses, figure.degrees))
    p_value = min(1.0, figure.analyses * float(stats.t.sf(beyond / arm * quantile, figure.degrees)))
    # An interval that just leaves the limit out must count as proof where it is the only one.
    return p_value if beyond < arm else min(tail, p_value)
