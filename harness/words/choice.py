"""Which engine to deploy, in words."""

from __future__ import annotations

from collections.abc import Iterator

from harness.results import EngineChoice, Row
from harness.verdicts.choice import Contest, Decision, SpeedRanking, speed_over_reference
from harness.words.phrases import byte_size, label, listed, milliseconds, speed, speed_interval


def choice_title(found: EngineChoice) -> str:
    """`resnet8, batch 1, engines on the CPU compared`."""
    return f"{found.model}, batch {found.batch_size}, engines on the {found.device} compared"


def row_name(row: Row) -> str:
    """`PTQ percentile 99.99 per-channel on openvino`."""
    return f"{label(row.variant)} on {row.variant.place}"


def choice(contest: Contest, found: Decision, device: str) -> EngineChoice:
    """The record of a decision; the first line of its text is the conclusion."""
    first, ranking = contest.rows[0].variant, found.ranking
    floats = found.floats
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
        text="\n".join([_headline(contest, found), *_details(contest, found)]),
    )


def _headline(contest: Contest, found: Decision) -> str:
    ranking = found.ranking
    if ranking is None:
        return "No engine can be recommended: no variant is proven to keep its accuracy."
    if not found.is_judged:
        return f"Accuracy was not measured, so that none is recommended. Fastest: {_fastest(contest, ranking)}."
    if found.verdict == "undecided" and found.unproven and ranking.fastest.variant.method == "fp32":
        row = found.unproven[0]
        return (
            f"No best engine is proven on this machine: {row_name(row)} is faster, {_speed(contest, row)}, but not "
            "proven to keep its accuracy within the margin."
        )
    if found.verdict == "undecided":
        return f"No best engine is proven on this machine: {_ties(ranking)}{_without(contest, found)}."
    assert found.best is not None
    if found.verdict == "equal":
        return (
            f"On this machine the engine does not matter: {_ties(ranking)}. The least work: {row_name(found.best)}, "
            f"{_speed(contest, found.best)}{_without(contest, found)}."
        )
    return f"On this machine: {row_name(found.best)}, {_speed(contest, found.best)}{_without(contest, found)}."


def _details(contest: Contest, found: Decision) -> Iterator[str]:
    ranking = found.ranking
    if ranking is not None and found.verdict == "best":
        if found.best is not None and found.best is not ranking.fastest:
            fastest = ranking.fastest
            yield f"Fastest as observed, with more work: {row_name(fastest)}, {_speed(contest, fastest)}."
        others = [row_name(tie.row) for tie in ranking.ties if tie.row is not found.best]
        if others:
            yield f"Not proven slower: {listed(others)}."
    if found.smallest is not None and found.smallest.size and found.smallest.size.engine_bytes:
        kept = "Smallest engine that keeps its accuracy" if found.is_judged else "Smallest engine"
        yield f"{kept}: {row_name(found.smallest)}, {byte_size(found.smallest.size.engine_bytes)}."
    if ranking is not None and ranking.fastest.variant.method == "fp32" and found.unproven:
        yield f"Fastest that keeps it: {_fastest(contest, ranking)}."
    if found.unproven:
        parts = [f"{row_name(row)} ({_ratio(contest, row)})" for row in found.unproven]
        yield f"Faster, but not proven to keep its accuracy: {listed(parts)}."
    threads = {row.variant.place: row.latency.threads for row in contest.rows if row.latency}
    if len(set(threads.values())) > 1:
        yield f"Threads differ, as the scenario says: {', '.join(f'{name} {n}' for name, n in threads.items())}."


def _fastest(contest: Contest, ranking: SpeedRanking) -> str:
    if ranking.ties:
        return _ties(ranking)
    return f"{row_name(ranking.fastest)}, {_speed(contest, ranking.fastest)}"


def _ties(ranking: SpeedRanking) -> str:
    """`A on x cannot be distinguished from B on y (1.02x, 0.97 to 1.07)`."""
    same = [row_name(tie.row) for tie in ranking.ties if tie.is_same]
    unclear = [
        f"{row_name(tie.row)} ({speed(tie.judged.estimate.ratio)}, {speed_interval(tie.judged.ci)})"
        for tie in ranking.ties
        if not tie.is_same
    ]
    parts = [f"is as fast as {listed(same)} up to the margin"] if same else []
    parts += [f"cannot be distinguished from {listed(unclear)}"] if unclear else []
    return f"{row_name(ranking.fastest)} {', and '.join(parts)}"


def _without(contest: Contest, found: Decision) -> str:
    """What there is without quantization, where that is not the decision itself."""
    floats = found.floats
    if floats is None or found.ranking is None:
        return ""
    shown = (found.best,) if found.best is not None else found.ranking.first
    if all(row in floats.first for row in shown):
        return ""
    if floats.ties:
        return f"; without quantization {_ties(floats)}"
    if floats.fastest.variant.id == contest.reference:
        return f"; without quantization {row_name(floats.fastest)} is the fastest"
    return f"; without quantization {row_name(floats.fastest)} gives {_ratio(contest, floats.fastest)}"


def _speed(contest: Contest, row: Row) -> str:
    """`2.20x (1.95 to 2.51) the speed of FP32 on onnxruntime, 0.085 ms instead of 0.193 ms`."""
    reference = next(each for each in contest.rows if each.variant.id == contest.reference)
    assert row.latency is not None
    assert reference.latency is not None
    median = milliseconds(row.latency.median_ms)
    judged = speed_over_reference(contest, row)
    if judged is None:
        return f"{median}, the reference"
    return (
        f"{speed(judged.estimate.ratio)} ({speed_interval(judged.ci)}) the speed of {row_name(reference)}, {median} "
        f"instead of {milliseconds(reference.latency.median_ms)}"
    )


def _ratio(contest: Contest, row: Row) -> str:
    judged = speed_over_reference(contest, row)
    return speed(1.0 if judged is None else judged.estimate.ratio)
