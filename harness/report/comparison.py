"""A comparison as tables for the terminal and as Markdown for a pull-request comment."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from harness.report.markdown import escaped, pipe_table
from harness.report.tables import Table
from harness.report.variants import NONE
from harness.results import Verdict
from harness.results.comparison import Comparison, Finding, StatusChange
from harness.words.changes import (
    change_figure,
    comparison_summary,
    figure_with_unit,
    interval_words,
    name_of,
    sentence,
    status_sentence,
    with_one_cause,
)
from harness.words.phrases import counted, level, within

MARK = "<!-- harness compare -->"
"""Lets a bot find its own comment again."""
_ORDER: tuple[Verdict, ...] = ("worse", "inconclusive", "better", "same")
_MAX_CHARACTERS = 25_000
"""Limit of the unfolded part and of a folded table: a comment holds 65,536 characters."""


def changes_table(comparison: Comparison, verdicts: Sequence[Verdict] = _ORDER) -> Table | None:
    """One line per judged figure, what is worse first."""
    rows = [
        (
            finding.verdict,
            _within(comparison, finding) + finding.variant,
            name_of(finding),
            figure_with_unit(finding, finding.comparison.reference_value),
            figure_with_unit(finding, finding.comparison.value),
            change_figure(finding) or NONE,
            interval_words(finding) or ("exact" if finding.change is not None else NONE),
        )
        for verdict in verdicts
        for finding in comparison.with_verdict(verdict)
    ]
    intervals = (finding.comparison.interval for finding in comparison.findings)
    levels = {level(interval.confidence) for interval in intervals if interval is not None}
    interval = f"{levels.pop()} interval" if len(levels) == 1 else "Interval"
    headings = ("Verdict", "Variant", "Figure", "Base", "New", "Change", interval)
    caption = f"{comparison.new} against {comparison.base}"
    return Table(caption, headings, tuple(rows), frozenset({3, 4, 5, 6})) if rows else None


def conditions_table(comparison: Comparison) -> Table | None:
    """What differs in machine, software and data, the most severe first."""
    rows = [(each.severity, each.text) for each in comparison.conditions if each.severity != "note"]
    return Table("Conditions that differ", ("Severity", "What"), tuple(rows)) if rows else None


def change_messages(comparison: Comparison) -> Iterator[str]:
    """One line for what regressed in a variant for one cause, then for what improved: variant, changes and cause."""
    for change in comparison.status_changes:
        if change.is_regression:
            yield f"regression: {_within(comparison, change)}{status_sentence(change)}"
    for together in with_one_cause(comparison.with_verdict("worse")):
        yield f"regression: {_within(comparison, together[0])}{sentence(*together)}"
    for together in with_one_cause(comparison.with_verdict("better")):
        word = "improvement" if together[0].causes else "improvement, unexplained"
        yield f"{word}: {_within(comparison, together[0])}{sentence(*together)}"
    for change in comparison.status_changes:
        if not change.is_regression:
            yield f"changed: {_within(comparison, change)}{status_sentence(change)}"


def comparison_headline(comparison: Comparison) -> str:
    """The outcome in one line."""
    if comparison.regressions:
        return f"{counted(comparison.regressions, 'regression')} proven"
    if comparison.with_verdict("better"):
        return "No regression proven; " + counted(len(comparison.with_verdict("better")), "improvement")
    return "No regression proven"


def markdown_text(comparison: Comparison) -> str:
    """For a pull-request comment: what is worse, with its cause, in sight; everything else folded."""
    lines = [
        MARK,
        f"## {escaped(comparison_headline(comparison))}",
        "",
        f"{_sides(comparison)}. {comparison_summary(comparison)}.",
        "",
    ]
    if comparison.is_forced:
        lines += ["**Forced:** figures were compared whose conditions forbid it, see below.", ""]
    bullets = [
        f"- **Regression.** {escaped(_within(comparison, each) + status_sentence(each))}"
        for each in comparison.status_changes
        if each.is_regression
    ]
    bullets += _bullets("Regression", comparison, "worse")
    bullets += _bullets("Improvement", comparison, "better")
    bullets += [
        f"- {escaped(_within(comparison, each) + status_sentence(each))}"
        for each in comparison.status_changes
        if not each.is_regression
    ]
    shown = _fitting([len(bullet) for bullet in bullets])
    lines += bullets[:shown] + ([f"- {len(bullets) - shown} more are left out here."] if shown < len(bullets) else [])
    folded = [
        ("Every figure", changes_table(comparison)),
        ("Conditions that differ", conditions_table(comparison)),
    ]
    for heading, content in folded:
        if content is not None:
            lines += ["", f"<details><summary>{heading}</summary>", "", *_rows(content), "", "</details>"]
    return "\n".join(lines) + "\n"


def _bullets(word: str, comparison: Comparison, verdict: Verdict) -> Iterator[str]:
    for together in with_one_cause(comparison.with_verdict(verdict)):
        unexplained = "" if together[0].causes or word == "Regression" else ", unexplained"
        text = f"{_within(comparison, together[0])}{sentence(*together)}."
        yield f"- **{word}{unexplained}.** {escaped(text)}"


def _within(comparison: Comparison, change: Finding | StatusChange) -> str:
    """The scenario of a variant, where several are compared."""
    scenarios = {*comparison.scenarios, *(each.scenario for each in comparison.status_changes)}
    return within(change.scenario if len(scenarios) > 1 and change.variant is not None else None)


def _rows(content: Table) -> Iterator[str]:
    shown = content.rows[: _fitting([sum(len(cell) + len(" | ") for cell in row) for row in content.rows])]
    yield pipe_table(Table(content.caption, content.headings, shown, content.numeric))
    if len(content.rows) > len(shown):
        yield f"\n{len(content.rows) - len(shown)} more rows are left out here."


def _fitting(lengths: Sequence[int]) -> int:
    """How many of these texts, from the first on, fit."""
    return bisect_right(list(accumulate(lengths)), _MAX_CHARACTERS)


def _sides(comparison: Comparison) -> str:
    return f"{escaped(comparison.new)} against {escaped(comparison.base)}"
