"""Which row of a run to ship."""

from __future__ import annotations

from collections.abc import Iterator

from harness.errors import UsageError, unknown_name
from harness.results import Row, RunResults
from harness.words.phrases import listed


def chosen_row(results: RunResults, variant_id: str | None) -> Row:
    """The named row, else the only one that the run recommends.

    UsageError with the names to choose from where the run recommends none or several, and for an unknown name.
    """
    if variant_id is None:
        return results.row(_only_recommended(results))
    known = [row.variant.id for row in results.rows]
    if variant_id not in known:
        message, fix = unknown_name("variant", variant_id, known)
        raise UsageError(message, fix=fix)
    return results.row(variant_id)


def recommended_ids(results: RunResults) -> list[str]:
    """What the run recommends, each once: the best over all targets where that is decided, else one of each target."""
    return list(dict.fromkeys(_recommended(results)))


def _recommended(results: RunResults) -> Iterator[str]:
    best = {(choice.model, choice.batch_size): choice.best for choice in results.choices if choice.best is not None}
    for conclusion in results.conclusions:
        found = best.get((conclusion.model, conclusion.batch_size), conclusion.recommended)
        if found is not None:
            yield found


def _only_recommended(results: RunResults) -> str:
    found = recommended_ids(results)
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{results.run_id} recommends {len(found)} variants: {', '.join(found)}",
            fix="name the one to ship, for instance `harness ship RUN " + found[0] + "`",
        )
    engines = [row.variant.id for row in results.rows if "engine" in row.files]
    said = next((conclusion.text.splitlines()[0] for conclusion in results.conclusions if conclusion.text), "")
    raise UsageError(
        f"{results.run_id} recommends nothing to ship{f': {said}' if said else ''}",
        fix=f"name a variant; the card then says what is not proven of it: {listed(engines, at_most=8) or 'none'}",
    )
