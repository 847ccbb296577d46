"""From what a user names to a comparison: `harness compare` and `harness.compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.comparison.compare_runs import CompareOptions, compare_runs, sections_named
from harness.comparison.judge_changes import SECTIONS
from harness.comparison.sources import machine_classes_of, read_side
from harness.results.comparison import Comparison
from harness.scenario.select import selector


def compare(
    base: Path | str,
    new: Path | str,
    *,
    only: Sequence[str] | str = (),
    select: Sequence[str] | str = (),
    force: bool = False,
) -> Comparison:
    """Compare a run with a baseline or another run, as `harness compare` does.

    `findings` holds what was judged; `exit_code()` is 1 when a regression is proven.

    Args:
        base: a baseline file, a run's folder or its `results.json`, or a folder of them.
        new: the run to judge, or a folder of runs.
        only: judge only these: `accuracy`, `latency`, `size`, `coverage`, `parity` and so on. Default: all.
        select: judge only variants that match, as in `run`.
        force: compare although machine, software or data forbid it.

    Raises UsageError for what is neither a run nor a baseline, and for runs that must not be compared.
    """
    sections, expressions = ([given] if isinstance(given, str) else list(given) for given in (only, select))
    options = CompareOptions(
        sections=sections_named(sections) if sections else frozenset(SECTIONS),
        force=force,
        select=selector(expressions),
    )
    after = read_side(Path(new))
    before = read_side(Path(base), machine_classes_of(after))
    return compare_runs(before, after, options, names=(str(base), str(new)))
