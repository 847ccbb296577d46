"""The typed record of a comparison of two runs: what `harness compare --json` writes."""

from __future__ import annotations

from typing import Any, Literal

from harness.errors import EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_OK
from harness.results import PairedComparison, Record, Status, Verdict

Severity = Literal["refuse", "warn", "note"]
"""What a difference of conditions means for comparing two runs."""
StatusKind = Literal["vanished", "new", "failing", "recovered", "other status"]


class Condition(Record):
    """One condition under which the two runs were made that is not the same."""

    what: str
    severity: Severity
    affects: tuple[str, ...]
    text: str
    base: Any = None
    new: Any = None


class Finding(Record):
    """One figure of one variant in both runs."""

    scenario: str
    variant: str
    metric: str
    unit: str = ""
    """Empty where the figure has none."""
    comparison: PairedComparison
    """The new run against the base, adjusted by Holm's method for all figures of both runs that have an interval."""
    is_paired: bool | None = None
    """Accuracy only: both runs predicted the same samples, and each sample is compared with itself."""
    note: str | None = None
    causes: tuple[str, ...] = ()
    """What may explain a change, as far as it was recorded; empty where nothing does."""

    @property
    def verdict(self) -> Verdict:
        """What is proven."""
        return self.comparison.verdict or "inconclusive"

    @property
    def change(self) -> float | None:
        """As `comparison.kind` says; None where one of the two is missing or not finite."""
        return self.comparison.difference


class StatusChange(Record):
    """A variant or scenario that came, went, or has another status."""

    scenario: str
    variant: str | None
    """None: the whole scenario."""
    kind: StatusKind
    base_status: Status | None = None
    new_status: Status | None = None
    reason: str | None = None
    is_regression: bool


class Comparison(Record):
    """The comparison of two runs, or of a run and a baseline."""

    comparison_version: Literal[2] = 2
    base: str
    new: str
    scenarios: tuple[str, ...]
    """Those that both sides have."""
    conditions: tuple[Condition, ...] = ()
    is_forced: bool = False
    """Figures were compared whose conditions forbid it."""
    findings: tuple[Finding, ...] = ()
    status_changes: tuple[StatusChange, ...] = ()

    def with_verdict(self, verdict: Verdict) -> tuple[Finding, ...]:
        """Findings of one verdict."""
        return tuple(finding for finding in self.findings if finding.verdict == verdict)

    @property
    def regressions(self) -> int:
        """What is proven worse, vanished, or fails now."""
        return len(self.with_verdict("worse")) + sum(change.is_regression for change in self.status_changes)

    def exit_code(self, *, strict: bool = False) -> int:
        """1 for a proven regression; with `strict` 4 for figures that are undecided."""
        if self.regressions:
            return EXIT_GATE_FAILED
        return EXIT_INCONCLUSIVE if strict and self.with_verdict("inconclusive") else EXIT_OK
