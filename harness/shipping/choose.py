"""Which row of a run to ship."""

from __future__ import annotations

from harness.errors import UsageError, unknown_name
from harness.results import Row, RunResults
from harness.words.decision import decisions_of, recommended_ids
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
    said = next((found.headline for found in decisions_of(results)), "")
    raise UsageError(
        f"{results.run_id} recommends nothing to ship{f': {said}' if said else ''}",
        fix=f"name a variant; the card then says what is not proven of it: {listed(engines, at_most=8) or 'none'}",
    )
