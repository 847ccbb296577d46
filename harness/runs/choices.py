"""One decision per model, batch size and kind of device, where the scenario has several targets there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from harness.metrics.base import Evidence
from harness.results import EngineChoice, Row
from harness.runs.selection import device_class
from harness.verdicts.choice import Contest, choice_record, decide, n_comparisons
from harness.verdicts.seeds import representatives, seed_spreads
from harness.verdicts.settings import Judgement

_Key = tuple[str, int, str]


def choose(rows: Sequence[Row], evidence: Sequence[Evidence], judgement: Judgement) -> tuple[EngineChoice, ...]:
    """The decisions, in the order of the rows; none where each kind of device has one target.

    Of QAT variants that differ in their seed alone, the one with the median accuracy represents all.
    """
    shown = representatives(rows, seed_spreads(rows))
    by_id = {each.variant.id: each for each in evidence}
    groups: dict[_Key, list[Row]] = {}
    for row in shown:
        variant = row.variant
        groups.setdefault((variant.model, variant.batch_size, device_class(variant)), []).append(row)
    several = {key: group for key, group in groups.items() if len(_places(group)) > 1}
    contests = {key: contest for key, group in several.items() for contest in _contest(group, by_id, judgement)}
    corrects = judgement.correction == "holm"
    comparisons = sum(map(n_comparisons, contests.values())) if corrects else 1
    return tuple(
        choice_record(contests[key], decide(contests[key], comparisons), key[2])
        if key in contests
        else EngineChoice(model=key[0], batch_size=key[1], device=key[2], verdict="none")
        for key in several
    )


def _places(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.variant.place for row in rows))


def _contest(rows: Sequence[Row], evidence: dict[str, Evidence], judgement: Judgement) -> Iterator[Contest]:
    """None or one: the rows that share their rounds with those of another target."""
    timed = [row for row in rows if row.status == "ok" and row.latency is not None]
    references = Counter(evidence[row.variant.id].timing_reference_id for row in timed)
    for reference, _ in references.most_common():
        together = tuple(row for row in timed if evidence[row.variant.id].timing_reference_id == reference)
        timings, analyses = evidence[together[0].variant.id].timings, evidence[together[0].variant.id].analyses
        has_reference = any(row.variant.id == reference for row in together)
        if reference is None or timings is None or not has_reference or len(_places(together)) < 2:
            continue
        yield Contest(together, timings, reference, judgement.latency_margin, judgement.confidence, analyses)
        return
