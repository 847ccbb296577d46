"""What a run proves about each model on each target, in words with the figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.figures import AGREEMENT
from harness.results import Conclusion, Method, QatGain, Row, SeedSpread, Status
from harness.stats.family import Correction
from harness.stats.intervals import DEFAULT_RESAMPLES
from harness.verdicts.contrast import Contrast, Correct, contrasts
from harness.verdicts.quality import quality
from harness.verdicts.recommend import recommend
from harness.verdicts.seeds import representatives, seed_spreads
from harness.words.accuracy import (
    accuracy_headline,
    baseline,
    contrast_details,
    method_details,
    seed_details,
)
from harness.words.phrases import (
    bits,
    counted,
    label,
    listed,
    method_name,
    milliseconds,
    noise,
    percent,
    speed,
    speed_interval,
    speed_range,
)
from harness.words.task_metrics import task_details, task_headline

_METHODS: tuple[Method, ...] = ("fp16", "bf16", "ptq", "qat")
_LEFT_OUT: dict[Status, str] = {
    "failed": "failed",
    "unavailable": "unavailable here",
    "built": "built but not run here",
}


@dataclass(frozen=True)
class RowGroup:
    """The rows of one model, target and batch size, and QAT against PTQ among them."""

    model: str
    target: str
    batch_size: int
    rows: tuple[Row, ...]
    pairs: tuple[Contrast, ...]
    spreads: tuple[SeedSpread, ...] = ()

    def with_status(self, status: Status) -> list[Row]:
        """The rows with this status."""
        return [row for row in self.rows if row.status == status]


def conclude(
    rows: Sequence[Row],
    correct: Correct,
    *,
    confidence: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    correction: Correction = "holm",
) -> tuple[Conclusion, ...]:
    """One conclusion per model, target and batch size, in the order of the rows.

    `correct` holds, per variant id, one boolean per test sample (all in the same order); rows without it are left out
    of the QAT-against-PTQ tests (see `harness.verdicts.contrast`). Of variants that differ in their QAT seed alone the
    one with the median accuracy stands for all (see `harness.verdicts.seeds`). The margins are those of the rows. The
    first line of a text sums up the others, which are the figures behind the decision (`harness.words.decision`).
    Simulated rows are spoken of apart and are never recommended; where accuracy was not measured nothing is recommended
    either.
    """
    spreads = seed_spreads(rows)
    shown = representatives(rows, spreads)
    pairs = contrasts(shown, correct, confidence=confidence, resamples=resamples, seed=seed, correction=correction)
    return tuple(
        _conclusion(
            RowGroup(
                *key,
                tuple(row for row in shown if row.variant.group == key),
                tuple(pair for pair in pairs if pair.qat.variant.group == key),
                tuple(spread for spread in spreads if spread.group == key),
            )
        )
        for key in dict.fromkeys(row.variant.group for row in rows)
    )


def _conclusion(cell: RowGroup) -> Conclusion:
    deployed = cell.with_status("ok")
    found = recommend(deployed)
    lines = [_headline(cell, deployed), *_lines(cell, deployed)]
    return Conclusion(
        model=cell.model,
        target=cell.target,
        batch_size=cell.batch_size,
        text="\n".join(dict.fromkeys(lines)),
        recommended=found.row.variant.id if found else None,
        qat_gains=tuple(QatGain(qat=pair.qat.variant.id, comparison=pair.comparison) for pair in cell.pairs),
    )


def _headline(cell: RowGroup, deployed: Sequence[Row]) -> str:
    accuracy = accuracy_headline(deployed, _pairs_of(cell, deployed)) or task_headline(deployed)
    if accuracy:
        return accuracy
    simulated = next(_simulated_headlines(cell), None)
    if simulated:
        return simulated
    latency = _latency_headline(deployed)
    if latency:
        return latency
    agreements = _agreements(deployed)
    if agreements:
        return agreements
    if deployed:
        return "Nothing to compare: only " + listed([label(row.variant) for row in deployed]) + " gave figures."
    return _left_out(cell, "No figures") or "No figures."


def _lines(cell: RowGroup, deployed: Sequence[Row]) -> Iterator[str]:
    is_judged = any(quality(row) for row in deployed)
    if is_judged:
        yield from filter(None, [baseline(deployed), *(method_details(deployed, each) for each in _METHODS)])
        yield from filter(None, [contrast_details(_pairs_of(cell, deployed))])
        yield from task_details(deployed)
    yield from (seed_details(spread, cell.rows) for spread in cell.spreads)
    yield from filter(None, [_latency(deployed) if is_judged else _each_speed(deployed)])
    if deployed and not is_judged:
        yield from filter(None, [_agreements(deployed)])
        yield "Accuracy was not measured, so that no variant can be recommended."
    yield from _simulated_headlines(cell)
    yield from _simulated_details(cell)
    if any(quality(row) or row.latency for row in cell.rows):
        yield from filter(None, [_left_out(cell)])


def _latency_headline(deployed: Sequence[Row]) -> str | None:
    ratios = _ratios(deployed)
    if not ratios:
        return None
    parts = [f"{method_name(method)} {speed_range(values)}" for method, values in ratios.items()]
    return f"{', '.join(parts)} the speed of FP32; accuracy was not measured."


def _each_speed(deployed: Sequence[Row]) -> str | None:
    """Every variant by name, where no verdict on accuracy says which of them matter."""
    parts = [
        f"{label(row.variant)} {speed(row.latency.speedup)} ({speed_interval(row.latency.speedup_interval.ends)})"
        for row in deployed
        if row.latency and row.latency.speedup and row.latency.speedup_interval
    ]
    return (
        f"{_speed_of(deployed)}: {listed(parts, at_most=8)}{_noise(deployed)}{_contamination(deployed)}."
        if parts
        else None
    )


def _agreements(deployed: Sequence[Row]) -> str | None:
    """What predictions without labels tell; None when there are none."""
    found = [(row, row.metrics[AGREEMENT]) for row in deployed if AGREEMENT in row.metrics]
    if not found:
        return None
    parts = [f"{label(row.variant)} {percent(metric.value, 1)}" for row, metric in found]
    return f"Same class as FP32 on {found[0][1].n} images: {listed(parts, at_most=8)}."


def _ratios(deployed: Sequence[Row]) -> dict[Method, list[float]]:
    """Speedups by method, methods without any left out."""
    found = {
        method: [
            row.latency.speedup
            for row in deployed
            if row.variant.method == method and row.latency and row.latency.speedup
        ]
        for method in _METHODS
    }
    return {method: values for method, values in found.items() if values}


def _latency(deployed: Sequence[Row]) -> str | None:
    """Speed of each method against FP32; None when it was not measured."""
    parts = [f"{method_name(method)} {speed_range(values)}" for method, values in _ratios(deployed).items()]
    if not parts:
        return None
    undecided = sum(row.latency is not None and row.latency.verdict == "inconclusive" for row in deployed)
    open_rows = f"; {counted(undecided, 'variant')} undecided" if undecided else ""
    return f"{_speed_of(deployed)}: {', '.join(parts)}{_noise(deployed)}{open_rows}{_contamination(deployed)}."


def _speed_of(deployed: Sequence[Row]) -> str:
    reference = next((row.latency for row in deployed if row.variant.method == "fp32" and row.latency), None)
    return "Speed as a multiple of FP32" + (f" ({milliseconds(reference.median_ms)})" if reference else "")


def _noise(deployed: Sequence[Row]) -> str:
    floors = [row.latency.noise_floor for row in deployed if row.latency and row.latency.noise_floor is not None]
    return f"; noise floor of the session {noise(max(floors))}" if floors else ""


def _contamination(deployed: Sequence[Row]) -> str:
    """What else the machine did in the rounds, which are those of the whole group."""
    latency = next((row.latency for row in deployed if row.latency), None)
    if latency is None or not latency.contaminated_rounds:
        return ""
    counts = sorted(latency.contaminated_rounds.items(), key=lambda each: -each[1])
    labels = listed([f"{name} in {count:,}" for name, count in counts], at_most=3)
    return f"; of {latency.rounds:,} rounds, contaminated: {labels}"


def _simulated_groups(cell: RowGroup) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in cell.with_status("simulated"):
        groups.setdefault(bits(row.variant), []).append(row)
    return groups


def _simulated_headlines(cell: RowGroup) -> Iterator[str]:
    for name, rows in _simulated_groups(cell).items():
        text = accuracy_headline(rows, _pairs_of(cell, rows))
        if text:
            yield f"Simulated {name} (no integer kernel runs it): {text}"


def _simulated_details(cell: RowGroup) -> Iterator[str]:
    for name, rows in _simulated_groups(cell).items():
        for text in (*(method_details(rows, each) for each in _METHODS), contrast_details(_pairs_of(cell, rows))):
            if text:
                yield f"Simulated {name}: {text}"


def _pairs_of(cell: RowGroup, rows: Sequence[Row]) -> list[Contrast]:
    ids = {row.variant.id for row in rows}
    return [pair for pair in cell.pairs if {pair.qat.variant.id, pair.ptq.variant.id} <= ids]


def _left_out(cell: RowGroup, introduction: str = "Not among these figures") -> str | None:
    """How many rows have no figures, with the reason where they share one; None when all have."""
    parts = []
    for status, words in _LEFT_OUT.items():
        rows = cell.with_status(status)
        if rows:
            reasons = Counter(row.reason for row in rows if row.reason)
            reason = f" ({next(iter(reasons))})" if len(reasons) == 1 else ""
            parts.append(f"{counted(len(rows), 'variant')} {words}{reason}")
    return f"{introduction}: {', '.join(parts)}." if parts else None
