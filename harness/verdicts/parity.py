"""The verdicts on the steps of a parity chain, and the step that loses accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from harness.results import Parity, ParityStep, Row, Verdict
from harness.stats.verdict import is_proven


def judge_parity(rows: Sequence[Row]) -> list[Row]:
    """The rows of a run with what each step of their chains proves, each chain on its own.

    A step loses when its paired difference proves it (interval and exact test) at a level that is corrected for the
    number of steps: a chain without loss is accused with probability 1 - `Parity.confidence` at most.
    """
    return [row if row.parity is None else row.model_copy(update={"parity": judge_chain(row.parity)}) for row in rows]


def judge_chain(parity: Parity) -> Parity:
    """One chain."""
    steps = tuple(_judged(step) for step in parity.steps)
    worst = max((step for step in steps if step.loses), key=lambda step: step.drop or 0.0, default=None)
    lossy = None if worst is None else f"{worst.start} \N{RIGHTWARDS ARROW} {worst.end}"
    return parity.model_copy(update={"steps": steps, "lossy_step": lossy})


def _judged(step: ParityStep) -> ParityStep:
    compared = step.comparison
    if compared is None or compared.interval is None or compared.loss_interval is None or compared.p_value is None:
        return step
    proven = is_proven(compared.loss_interval, compared.p_value, 1 - compared.interval.confidence)
    verdict: Verdict = "inconclusive"
    if proven:
        verdict = "worse" if compared.loss_interval[0] > 0 else "better"
    return step.model_copy(update={"comparison": compared.model_copy(update={"verdict": verdict})})
