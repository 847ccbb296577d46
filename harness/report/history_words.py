"""Trends and steps in words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from harness.history.figures import RunRecord
from harness.history.trends import Trend, TrendStep
from harness.words.phrases import byte_size, milliseconds, p_value, percent, points, speed, three_digits

_COMMIT_CHARACTERS = 10


def step_sentence(trend: Trend, step: TrendStep) -> str:
    """`SCENARIO, VARIANT: latency.speedup fell by 9.8 % (1.52x, then 1.38x) with run … of … (commit …)`."""
    return f"{trend.scenario}, {trend.variant}: {step_change_words(trend, step)} with {first_run(step)}{_notes(step)}"


def step_change_words(trend: Trend, step: TrendStep) -> str:
    """What changed, by how much, from what to what, and how sure that is."""
    word = "rose" if step.change > 0 else "fell"
    before, after = (value_with_unit(trend, value) for value in (step.step.before, step.step.after))
    test = "exact" if step.step.p_value is None else p_value(step.step.p_value)
    return f"{trend.metric} {word} by {change(trend, step)} ({before}, then {after}; {test})"


def first_run(step: TrendStep) -> str:
    """The first run at the new level, and the commits between which the cause lies."""
    run = step.first_after
    text = f"run {run.run_id} of {day(run.started_at)}, {commit(run)}"
    before = step.last_before
    return text if before.commit in (None, run.commit) else f"{text} (before: {commit(before)})"


def kind(step: TrendStep) -> str:
    """`worse`, `better` or `changed`."""
    return "changed" if step.is_better is None else "better" if step.is_better else "worse"


def value_with_unit(trend: Trend, value: float) -> str:
    """One figure with its unit."""
    unit = trend.entries[-1].figure.unit
    by_unit: dict[str, Callable[[float], str]] = {
        "share": percent,
        "ms": milliseconds,
        "x": speed,
        "B": lambda size: byte_size(round(size)),
    }
    return by_unit[unit](value) if unit in by_unit else f"{three_digits(value)} {unit}".rstrip()


def change(trend: Trend, step: TrendStep) -> str:
    """The size of a step, without its sign."""
    if trend.kind == "ratio":
        return percent(abs(step.change), 1)
    if trend.entries[-1].figure.unit == "share":
        return f"{points(abs(step.change))} points"
    return f"{three_digits(abs(step.change))} {trend.entries[-1].figure.unit}".rstrip()


def commit(run: RunRecord) -> str:
    """`commit 1a2b3c4d5e`, with a word when the checkout had changes of its own."""
    if run.commit is None:
        return "no commit recorded"
    return f"commit {run.commit[:_COMMIT_CHARACTERS]}{' with uncommitted changes' if run.dirty else ''}"


def day(text: str) -> str:
    """An ISO 8601 time to the minute; as it is where it is none."""
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return text


def _notes(step: TrendStep) -> str:
    text = "".join(f"; {each}" for each in step.changed_packages)
    return text + ("; FP32 stepped with it" if step.is_shared_with_reference else "")
