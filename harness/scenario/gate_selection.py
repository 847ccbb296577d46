"""Which variants a gate judges, and what is wrong with gates that judge none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.errors import ScenarioError, UsageError
from harness.results import Variant
from harness.scenario.gates import GateSpec
from harness.scenario.matrix import fits
from harness.scenario.schema import Scenario
from harness.scenario.select import matches
from harness.scenario.source import Loc


def judged_by(gate: GateSpec, variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """The variants that a gate judges, in their order; UsageError for a `select` that names an unknown axis."""
    names_rows = bool(gate.select) or gate.where is not None
    return tuple(
        variant
        for variant in variants
        if (variant.method != "fp32" or (names_rows and not gate.compares_with_fp32)) and _is_selected(gate, variant)
    )


def _is_selected(gate: GateSpec, variant: Variant) -> bool:
    return all(matches(expression, variant, where="`select`") for expression in gate.select) and (
        gate.where is None or fits(variant, gate.where)
    )


def gate_errors(scenario: Scenario, variants: Sequence[Variant]) -> Iterator[ScenarioError]:
    """Selections with unknown axes, and gates that no variant of the whole matrix is judged by."""
    for index, gate in enumerate(scenario.gates):
        loc: Loc = ("gates", index)
        try:
            chosen = judged_by(gate, variants)
        except UsageError as error:
            yield scenario.error((*loc, "select"), error.message, fix=error.fix)
            continue
        if not chosen:
            key = "select" if gate.select else "where" if gate.where is not None else "metric"
            message = f"`gates[{index}]` judges no variant of the matrix"
            yield scenario.error((*loc, key), message, fix=_why_none(gate, variants))


def _why_none(gate: GateSpec, variants: Sequence[Variant]) -> str:
    unnamed = gate.select == () and gate.where is None
    if gate.compares_with_fp32 and (unnamed or any(_is_selected(gate, variant) for variant in variants)):
        return "judge other variants: FP32 rows have no such figure, because it compares with FP32"
    if unnamed:
        return "select the FP32 rows with `select: method=fp32`, or delete the gate"
    return "correct the selection; `harness list SCENARIO` prints all variants"
