"""Which row to deploy, of several targets on one machine: accuracy kept, proven fastest, no more work than needed.

Rows are compared with each other in the rounds that they shared, not by way of FP32. A claim that one row is the
fastest may be wrong in as many ways as there are others, and all decisions of a run count (Bonferroni): the chance of a
wrong `best`, of one claim or more, is at most 1 - confidence however many rows there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.results import ChoiceVerdict, EngineChoice, Row
from harness.timing.samples import Timings
from harness.verdicts.latency import JudgedSpeedup, judge_speedup
from harness.verdicts.quality import quality
from harness.verdicts.recommend import WORK, keeps_accuracy

FLOATS = frozenset({"fp32", "fp16", "bf16"})


@dataclass(frozen=True)
class Contest:
    """Rows of one model, batch size and kind of device, all timed in the same rounds."""

    rows: tuple[Row, ...]
    """Status `ok` and a latency; the reference is among them."""
    timings: Timings
    reference: str
    """Variant id of FP32 on the reference target, whose engine the A/A control runs."""
    margin: float
    confidence: float = 0.95
    analyses: int = 1

    def compare(self, slower: Row, faster: Row) -> JudgedSpeedup:
        """How many times as fast the second is."""
        return judge_speedup(
            self.timings,
            slower.variant.id,
            faster.variant.id,
            confidence=self.confidence,
            margin=self.margin,
            analyses=self.analyses,
            aa_control_of=self.reference,
        )


@dataclass(frozen=True)
class Tie:
    """A row that is not proven to be slower than the fastest."""

    row: Row
    judged: JudgedSpeedup
    """The fastest against it."""
    is_same: bool
    """Proven to be as fast, up to the margin."""


@dataclass(frozen=True)
class SpeedRanking:
    """The row that was the fastest as observed, and those that may be as fast."""

    fastest: Row
    ties: tuple[Tie, ...]

    @property
    def first(self) -> tuple[Row, ...]:
        """All that may be the fastest."""
        return (self.fastest, *(tie.row for tie in self.ties))


@dataclass(frozen=True)
class ContestOutcome:
    """What a contest proves."""

    verdict: ChoiceVerdict
    is_judged: bool
    """Whether accuracy was measured; else all rows are ranked, and nothing is chosen."""
    best: Row | None = None
    ranking: SpeedRanking | None = None
    floats: SpeedRanking | None = None
    """SpeedRanking of the rows without quantization."""
    smallest: Row | None = None
    unproven: tuple[Row, ...] = ()
    """Proven to be faster than the fastest, undecided on accuracy; the fastest of them first."""


def n_comparisons(contest: Contest) -> int:
    """Pairs that `decide` judges at most."""
    candidates = _candidates(contest.rows)
    floats = [row for row in candidates if row.variant.method in FLOATS]
    # The fastest against the others, and the one with the least work against those of other targets.
    return 2 * max(0, len(candidates) - 1) + max(0, len(floats) - 1) + sum(map(_is_undecided, contest.rows))


def decide(contest: Contest, comparisons: int) -> ContestOutcome:
    """The choice among all rows of a contest.

    Candidates are rows that are proven to keep their accuracy against FP32 on their own target. Of those that are not
    proven slower than the fastest one, and are proven faster than every candidate on another target, the one with the
    least work is the best: FP32, FP16 or BF16, PTQ, QAT in this order, then the smallest engine. Nothing is decided
    where FP32 is left because the rows that are faster are undecided on accuracy.

    Args:
        contest: the rows and their times.
        comparisons: pairs that are judged in all contests of the run; 1 for no correction.
    """
    is_judged = any(quality(row) for row in contest.rows)
    candidates = _candidates(contest.rows)
    if not candidates:
        return ContestOutcome("none", is_judged)
    threshold = (1 - contest.confidence) / max(1, comparisons)
    ranking = _rank(contest, candidates, threshold)
    floats = [row for row in candidates if row.variant.method in FLOATS]
    unproven = [
        row
        for row in contest.rows
        if _is_undecided(row) and _is_faster(contest.compare(ranking.fastest, row), threshold)
    ]
    found = ContestOutcome(
        verdict=_verdict(ranking, unproven) if is_judged else "none",
        is_judged=is_judged,
        ranking=ranking,
        floats=_rank(contest, floats, threshold) if floats else None,
        smallest=_smallest(candidates),
        unproven=tuple(sorted(unproven, key=lambda row: -_ratio(contest, row))),
    )
    best = _best(contest, found, candidates, threshold)
    return replace(found, best=best)


def choice_record(contest: Contest, found: ContestOutcome, device: str) -> EngineChoice:
    """What the contest proves, as the run keeps it."""
    first, ranking, floats = contest.rows[0].variant, found.ranking, found.floats
    return EngineChoice(
        model=first.model,
        batch_size=first.batch_size,
        device=device,
        reference=contest.reference,
        verdict=found.verdict,
        best=found.best.variant.id if found.best else None,
        fastest=ranking.fastest.variant.id if ranking else None,
        as_fast=tuple(tie.row.variant.id for tie in ranking.ties) if ranking else (),
        smallest=found.smallest.variant.id if found.smallest else None,
        without_quantization=floats.fastest.variant.id if floats and not floats.ties else None,
        unproven=tuple(row.variant.id for row in found.unproven),
    )


def least_work(rows: Sequence[Row]) -> Row:
    """The row to take of several that are as fast: the least work, then the smallest engine."""
    return min(rows, key=_preference)


def speed_over_reference(contest: Contest, row: Row) -> JudgedSpeedup | None:
    """Against FP32 on the reference target; None for that row itself."""
    if row.variant.id == contest.reference:
        return None
    reference = next(each for each in contest.rows if each.variant.id == contest.reference)
    return contest.compare(reference, row)


def _candidates(rows: Sequence[Row]) -> list[Row]:
    """Rows that keep their accuracy; all where it was not measured."""
    if not any(quality(row) for row in rows):
        return list(rows)
    return [row for row in rows if keeps_accuracy(row)]


def _rank(contest: Contest, rows: Sequence[Row], threshold: float) -> SpeedRanking:
    fastest = max(rows, key=lambda row: _ratio(contest, row))
    judged = [(row, contest.compare(row, fastest)) for row in rows if row is not fastest]
    return SpeedRanking(
        fastest,
        tuple(
            Tie(row, each, each.own_verdict.verdict == "same" and each.own_verdict.p_value <= threshold)
            for row, each in judged
            if not _is_faster(each, threshold)
        ),
    )


def _verdict(ranking: SpeedRanking, unproven: Sequence[Row]) -> ChoiceVerdict:
    if unproven and ranking.fastest.variant.method == "fp32":
        return "undecided"
    elsewhere = [tie for tie in ranking.ties if tie.row.variant.place != ranking.fastest.variant.place]
    if not elsewhere:
        return "best"
    return "equal" if all(tie.is_same for tie in elsewhere) else "undecided"


def _best(contest: Contest, found: ContestOutcome, candidates: Sequence[Row], threshold: float) -> Row | None:
    if found.verdict not in ("best", "equal") or found.ranking is None:
        return None
    least = least_work(found.ranking.first)
    if found.verdict == "equal":
        return least
    place = found.ranking.fastest.variant.place
    others = [row for row in candidates if row.variant.place != place]
    is_proven = all(_is_faster(contest.compare(row, least), threshold) for row in others)
    return least if is_proven else found.ranking.fastest


def _ratio(contest: Contest, row: Row) -> float:
    found = speed_over_reference(contest, row)
    return 1.0 if found is None else found.estimate.ratio


def _is_faster(judged: JudgedSpeedup, threshold: float) -> bool:
    return judged.own_verdict.verdict == "better" and judged.own_verdict.p_value <= threshold


def _is_undecided(row: Row) -> bool:
    """On accuracy; a row that provably loses is out of question."""
    found = quality(row)
    return found is not None and not keeps_accuracy(row) and found.verdict != "worse"


def _smallest(rows: Sequence[Row]) -> Row | None:
    """The first of equally small ones; None where no size is known."""
    sized = [(row.size.engine_bytes, row) for row in rows if row.size is not None and row.size.engine_bytes is not None]
    return min(sized, key=lambda each: each[0])[1] if sized else None


def _preference(row: Row) -> tuple[int, int, str]:
    size = row.size.engine_bytes if row.size is not None else None
    return WORK[row.variant.method], size or 0, row.variant.id
