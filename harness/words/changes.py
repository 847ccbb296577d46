"""Findings of a comparison in words: which variant, what changed by how much, and why as far as it is known."""

from __future__ import annotations

import math
from collections.abc import Iterable

from harness.figures import SPEEDUP, catalog
from harness.results import Interval
from harness.results.comparison import Comparison, Finding, StatusChange
from harness.words.phrases import MINUS, NOT_FINITE, byte_size, counted, p_value, percent, points, speed, step_words

UNEXPLAINED = "nothing in the scenario, the code, the libraries or the machine that was recorded explains it"


def sentence(finding: Finding, *others: Finding) -> str:
    """`VARIANT: slower by 9.8 % (7.1 to 12.5 %), 1.38x the speed of FP32 after 1.52x. Cause: …`.

    `others` are of the same variant and have the same causes, see `with_one_cause`.
    """
    text = f"{finding.variant}: {'; '.join(map(change_words, (finding, *others)))}"
    if finding.verdict in ("worse", "better"):
        text += f". {cause_words(finding)}"
    elif finding.note:
        text += f". {finding.note}"
    return text


def with_one_cause(findings: Iterable[Finding]) -> list[list[Finding]]:
    """The findings of a variant that have the same causes together, in the order of the first of each."""
    groups: dict[object, list[Finding]] = {}
    for finding in findings:
        key = (finding.scenario, finding.variant, finding.causes or finding.metric)
        groups.setdefault(key, []).append(finding)
    return list(groups.values())


def cause_words(finding: Finding) -> str:
    """The causes as one sentence, or that there is none."""
    if not finding.causes:
        return f"Cause: {UNEXPLAINED}"
    return f"{'Cause' if len(finding.causes) == 1 else 'Causes'}: {'; '.join(finding.causes)}"


def change_words(finding: Finding) -> str:
    """What changed, by how much, and from what to what."""
    base, new = finding.comparison.reference_value, finding.comparison.value
    if finding.change is None or base is None or new is None:
        return f"{name_of(finding)} {figure_with_unit(finding, base)}, now {figure_with_unit(finding, new)}"
    if finding.metric == SPEEDUP:
        return _speed_words(finding)
    amount = _amount(finding, finding.change)
    ends = f" ({_range(finding)})" if finding.comparison.interval is not None else ""
    values = f"{figure_with_unit(finding, new)} after {figure_with_unit(finding, base)}"
    if finding.change == 0:
        return f"{name_of(finding)} is unchanged{ends}, {values}"
    word = "rose" if finding.change > 0 else "fell"
    return f"{name_of(finding)} {word} by {amount}{ends}, {values}{_test(finding)}"


def status_sentence(change: StatusChange) -> str:
    """What came, went or fails."""
    subject = change.variant if change.variant is not None else f"scenario {change.scenario}"
    reason = f": {change.reason}" if change.reason else ""
    if change.kind == "vanished":
        return f"{subject} vanished{reason}"
    if change.kind == "new":
        return f"{subject} is new" + (f" ({change.new_status}{reason})" if change.new_status else "")
    if change.base_status is None:
        return f"{subject} is new and {change.new_status}{reason}"
    return f"{subject} is {change.new_status}, before {change.base_status}{reason}"


def comparison_summary(comparison: Comparison) -> str:
    """How many figures were judged, and with which outcome."""
    parts = [counted(len(comparison.findings), "figure") + " judged"]
    for verdict in ("worse", "better", "inconclusive", "same"):
        found = len(comparison.with_verdict(verdict))
        if found:
            parts.append(f"{found} {verdict}")
    regressed = sum(change.is_regression for change in comparison.status_changes)
    if regressed:
        parts.append(counted(regressed, "variant") + " gone or failing")
    return ", ".join(parts)


def name_of(finding: Finding) -> str:
    """The figure as it is called."""
    found = catalog().get(finding.metric)
    called = finding.metric if found is None else found.words or found.name
    if found is not None and found.section == "parity":
        return f"parity {step_words(found.name.split('.')[1])}, {called}"
    return called


def figure_with_unit(finding: Finding, value: float | None) -> str:
    """One figure with its unit."""
    if value is None:
        return "not measured"
    if math.isinf(value) and finding.unit == "dB":
        return "identical" if value > 0 else NOT_FINITE
    if finding.unit == "x":
        return speed(value)
    if finding.unit == "share":
        return percent(value)
    if finding.unit == "B":
        return byte_size(round(value))
    return f"{value:.4g} {finding.unit}".rstrip()


def interval_words(finding: Finding) -> str:
    """Ends of the interval of the change; empty for exact figures."""
    return "" if finding.comparison.interval is None else _range(finding, is_signed=True)


def change_figure(finding: Finding) -> str:
    """The change with its sign: `-1.20 points`, `+3.4 %`."""
    if finding.change is None:
        return ""
    return ("+" if finding.change > 0 else "\N{MINUS SIGN}" if finding.change < 0 else "") + _amount(
        finding, finding.change
    )


def _speed_words(finding: Finding) -> str:
    """In time, which is what a reader of `slower by 10 %` takes it for."""
    compared = finding.comparison
    assert finding.change is not None and compared.value is not None and compared.reference_value is not None
    time = 1 / (1 + finding.change) - 1
    word = "slower" if time > 0 else "faster"
    ends = ""
    if compared.interval is not None:
        low, high = sorted(1 / (1 + end) - 1 for end in compared.interval.ends)
        ends = f" ({_percent_range((low, high), time)})"
    return (
        f"{word} by {percent(abs(time), 1)}{ends} as a multiple of FP32's time, {speed(compared.value)} the speed of "
        f"FP32 after {speed(compared.reference_value)}" + (f", {finding.note}" if finding.note else "") + _test(finding)
    )


def _amount(finding: Finding, change: float) -> str:
    if finding.comparison.kind == "ratio":
        return percent(abs(change), 1)
    if finding.unit == "share":
        return f"{points(abs(change))} points"
    return f"{abs(change):.3g} {finding.unit}".rstrip()


def _range(finding: Finding, *, is_signed: bool = False) -> str:
    assert finding.comparison.interval is not None and finding.change is not None
    low, high = finding.comparison.interval.ends
    if finding.comparison.kind == "ratio":
        return _percent_range((low, high), 1.0 if is_signed else finding.change)
    if not is_signed and finding.change < 0:
        low, high = -high, -low
    if finding.unit == "share":
        return f"{points(low)} to {points(high)}"
    return f"{low:.3g} to {high:.3g} {finding.unit}".rstrip().replace("-", MINUS)


def _percent_range(interval: Interval, change: float) -> str:
    low, high = interval if change >= 0 else (-interval[1], -interval[0])
    return f"{points(low)} to {points(high)} %"


def _test(finding: Finding) -> str:
    """How it was tested: in pairs or not, and the corrected p-value."""
    parts = []
    if finding.is_paired is not None:
        parts.append("same samples, in pairs" if finding.is_paired else "other samples or none kept: not in pairs")
    adjusted = finding.comparison.p_value_adjusted
    if adjusted is not None:
        parts.append(f"{p_value(adjusted)} corrected")
    return f" [{'; '.join(parts)}]" if parts else ""
