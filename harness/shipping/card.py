"""The model card: what was measured of a row, and what was not proven."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.figures import Figure, figures_of
from harness.report.markdown import escaped, pipe_table
from harness.report.tables import Table
from harness.results import Row, RunResults
from harness.verdicts.quality import quality
from harness.verdicts.recommend import keeps_accuracy
from harness.version import __version__
from harness.words.decision import recommended_ids
from harness.words.figures import value_words
from harness.words.phrases import byte_size, label, level, milliseconds, percent, points, speed

_SECTIONS = ("accuracy", "metrics", "latency", "size", "coverage", "memory", "energy", "load")
_NONE = "\N{EN DASH}"


def card_text(results: RunResults, row: Row, missing: Sequence[str]) -> str:
    """Markdown; names of the scenario and of the data appear as text. `missing` is what the folder lacks."""
    parts = [
        f"# {escaped(row.variant.model)}: {escaped(label(row.variant))} on {escaped(row.variant.place)}",
        f"Variant {escaped(row.variant.id)} of run {escaped(results.run_id)} ({escaped(results.started_at)}), scenario "
        f"{escaped(results.scenario)}, batch size {row.variant.batch_size}. {_standing(results, row)}",
        _usage(missing),
        "## Measured",
        f"Intervals are at {level(results.confidence)}. FP32 is the same network on the same target.",
        pipe_table(_figures(results, row)),
        "## Not proven, or proven against it",
        *_bullets(not_proven(results, row)),
        "## Where and on what",
        *_bullets(_circumstances(results, row)),
        "## From image to input",
        *_bullets(f"{name}: {step}" for name, step in _preprocessing(results)),
        f"`predict.py` and `support/` come from quant-harness {__version__} (Apache-2.0).",
    ]
    return "\n\n".join(parts) + "\n"


def not_proven(results: RunResults, row: Row) -> Iterator[str]:
    """What the run does not show of a row, or shows against it."""
    if row.status != "ok":
        yield f"The row is {row.status}{f': {row.reason}' if row.reason else ''}."
    elif row.reason:
        yield row.reason
    yield from _doubts_of_accuracy(row)
    if row.latency is None:
        yield "Latency was not measured."
    elif row.latency.verdict not in (None, "better"):
        yield f"That it is faster than FP32: the verdict is {row.latency.verdict}."
    for gate in results.gates:
        if gate.variant == row.variant.id and gate.verdict != "pass":
            yield f"The gate {gate.metric} {gate.limit}: {gate.verdict}{f', {gate.reason}' if gate.reason else ''}."
    yield from results.warnings
    yield "Latency on another CPU or GPU, with other versions or under other load."
    yield "Accuracy on images of another kind."


def _doubts_of_accuracy(row: Row) -> Iterator[str]:
    found = quality(row)
    if found is None:
        yield "Accuracy was not measured."
        return
    if found.verdict == "worse":
        yield f"It loses accuracy, which is proven: {found.name} is worse than that of FP32."
    elif not keeps_accuracy(row):
        yield f"That it keeps {found.name} within the margin: the samples are too few, or it loses more."
    for each in row.accuracy.classes if row.accuracy else ():
        if each.comparison is not None and each.comparison.verdict == "worse":
            yield f"The class {each.name or each.label} loses, which is proven."


def _standing(results: RunResults, row: Row) -> str:
    recommended = row.variant.id in recommended_ids(results)
    return "The run recommends it." if recommended else "**The run does not recommend it.**"


def _usage(missing: Sequence[str]) -> str:
    if missing:
        return "\n".join(_bullets(missing))
    return (
        "```bash\npip install -r requirements.txt\n"
        "python predict.py FILE...     # of the kind that evaluation read, such as those in `samples/`\n"
        "python predict.py --check     # whether the samples give the outputs that were measured\n"
        "sha256sum --check SHA256SUMS\n```"
    )


def _figures(results: RunResults, row: Row) -> Table:
    """Every figure of the row that stands in `results.csv`, with that of FP32."""
    reference = results.fp32_of(row.variant) or row
    lines: dict[str, tuple[str, str, str]] = {}
    for figure in figures_of(row):
        value = _shown(figure, row, results.confidence) if figure.section in _SECTIONS else None
        if value is not None and (figure.column or figure.section == "metrics"):
            of_fp32 = _shown(figure, reference, results.confidence) or _NONE
            lines.setdefault(figure.header, (figure.header, value, of_fp32))
    return Table("", ("Figure", "This variant", "FP32"), tuple(lines.values()), frozenset({1, 2}))


def _shown(figure: Figure, row: Row, confidence: float) -> str | None:
    found = figure.read(row, confidence)
    if found is None:
        return None
    value = _in_words(figure, found.value)
    if found.interval is None:
        return value
    low, high = (_in_words(figure, end) for end in found.interval.ends)
    return f"{value} ({low} to {high})"


def _in_words(figure: Figure, value: float) -> str:
    if figure.unit == "share":
        return f"{points(value)} points" if figure.is_difference else percent(value)
    printed = {"B": lambda: byte_size(int(value)), "ms": lambda: milliseconds(value), "x": lambda: speed(value)}
    return printed.get(figure.unit, lambda: value_words(value, figure.unit))()


def _circumstances(results: RunResults, row: Row) -> Iterator[str]:
    environment = results.environment
    yield f"CPU: {(environment.get('cpu') or {}).get('model', 'unknown')}"
    for gpu in environment.get("gpus") or ():
        yield f"GPU: {gpu.get('name', 'unknown')}"
    yield from row.deployment.requirements if row.deployment else ()
    for dataset in results.datasets:
        for split in dataset.splits:
            yield f"{dataset.name}, {split.name}: {split.n:,} samples, sha256 {split.sha256}"


def _preprocessing(results: RunResults) -> Sequence[tuple[str, str]]:
    return tuple(results.datasets[0].preprocessing.items()) or (("none", "as the data source gives them"),)


def _bullets(lines: Iterator[str] | Sequence[str]) -> list[str]:
    return ["\n".join(f"- {escaped(line)}" for line in lines)]
