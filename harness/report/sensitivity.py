"""A sensitivity analysis as tables and sentences, for the terminal and as Markdown."""

from __future__ import annotations

from pathlib import Path

from harness.figures import TOP1, heading
from harness.report import markdown
from harness.report.tables import Table
from harness.report.variants import NONE
from harness.results import PairedComparison
from harness.results.sensitivity import Analysis, LayerCost, SensitivityRecord, SkipSearch
from harness.words.phrases import counted, label, margin_points, percent, points

NETWORK = "(network itself)"
_IDENTICAL = "identical"


def layer_costs_table(analysis: Analysis) -> Table:
    """Every layer, most sensitive first; the column of accuracy only where it was judged."""
    judged = any(cost.alone is not None for cost in analysis.layers)
    skipped = _skipped(analysis)
    rows = [
        (
            str(rank),
            layer_name(cost),
            ", ".join(cost.operators),
            f"{cost.weights:,}" if cost.weights else NONE,
            decibels_text(cost.sqnr_db),
            *([drop(cost.alone)] if judged else []),
            *(["skipped" if cost.layer in skipped else ""] if analysis.search is not None else []),
        )
        for rank, cost in enumerate(analysis.layers, start=1)
    ]
    headings = ["#", "Layer", "Operators", "Weights", "SQNR, dB"]
    headings += [heading("accuracy.drop")] if judged else []
    headings += ["Skip set"] if analysis.search is not None else []
    return Table(
        analysis_title(analysis), tuple(headings), tuple(rows), frozenset({0, 3, 4, 5} if judged else {0, 3, 4})
    )


def accuracy_table(analysis: Analysis) -> Table | None:
    """FP32, everything quantized, and the skip set, on the held-out samples; None without labels."""
    if analysis.fp32_top1 is None or analysis.quantized is None:
        return None
    rows = [
        ("FP32", percent(analysis.fp32_top1), NONE),
        ("all layers quantized", _top1(analysis.quantized), drop(analysis.quantized)),
    ]
    chosen = analysis.search.chosen if analysis.search is not None else None
    if chosen is not None and chosen.skip:
        rows.append((f"without {', '.join(chosen.skip)}", _top1(chosen.judged), drop(chosen.judged)))
    return Table(
        f"Top-1 on {_held_out(analysis)}",
        ("Network", heading(TOP1), heading("accuracy.drop")),
        tuple(rows),
        frozenset({1, 2}),
    )


def analysis_title(analysis: Analysis) -> str:
    """Model, target and variant."""
    return f"{analysis.variant.model} on {analysis.variant.target}: {label(analysis.variant)}"


def layer_name(cost: LayerCost) -> str:
    """The module; where it holds other layers, that only its own operations are meant."""
    if not cost.layer:
        return NETWORK
    return f"{cost.layer} (itself)" if cost.is_container else cost.layer


def decibels_text(sqnr_db: float | None) -> str:
    """One decimal; infinite is `identical`."""
    return _IDENTICAL if sqnr_db is None else f"{sqnr_db:.1f}"


def drop(judged: PairedComparison | None) -> str:
    """Loss against FP32 with its interval, in points."""
    if judged is None or judged.loss is None or judged.loss_interval is None:
        return NONE
    low, high = judged.loss_interval
    return f"{points(judged.loss)} ({points(low)} to {points(high)})"


def _top1(judged: PairedComparison) -> str:
    return NONE if judged.value is None else percent(judged.value)


def conclusion(analysis: Analysis) -> str:
    """What the search found, in one or two sentences."""
    search = analysis.search
    if search is None:
        return "No accuracy to judge: the layers are ranked by SQNR alone, and no skip set was searched."
    budget = f"the budget of {margin_points(search.budget)} points"
    if search.status == "too_few_samples":
        return (
            f"{counted(analysis.n, 'held-out sample')} cannot prove {budget}: with no prediction changed they prove "
            f"a loss below {points(search.provable_drop)} points. Raise the budget, or use more training samples."
        )
    if search.status == "nothing_to_skip":
        return f"All layers quantized meet {budget}: nothing needs to be skipped."
    assert search.chosen is not None
    figures = f"loss {drop(search.chosen.judged)} points on {counted(analysis.n, 'held-out sample')}"
    if search.status == "unreachable":
        what = ", ".join(search.chosen.skip) or "nothing"
        return f"No skip set meets {budget}. The closest skips {what}: {figures}."
    skipped = f"Skipping {counted(len(search.chosen.skip), 'layer')} meets {budget}: {', '.join(search.chosen.skip)}"
    return f"{skipped} ({figures}). {_caution(search)}"


def _caution(search: SkipSearch) -> str:
    """That the best of many looks better than it is, with the interval that allows for it."""
    assert search.chosen_interval is not None
    low, high = points(0.0 - search.chosen_interval.high), points(0.0 - search.chosen_interval.low)
    return (
        f"It is the pick of {counted(len(search.trials), 'skip set')}; when that is allowed for, the interval is "
        f"{low} to {high}. Run the scenario with it to see the loss on test samples."
    )


def markdown_text(record: SensitivityRecord) -> str:
    """The whole record as Markdown, fragments included by name."""
    parts = [f"# Sensitivity of {markdown.escaped(record.scenario)}", f"{record.scenario_file}, {record.started_at}"]
    for analysis in record.analyses:
        parts += _analysis(analysis)
    for failure in record.failures:
        parts += [f"## {markdown.escaped(failure.variant_id)}", f"Failed: {markdown.escaped(failure.reason)}"]
    return "\n\n".join(parts) + "\n"


def _analysis(analysis: Analysis) -> list[str]:
    parts = [f"## {markdown.escaped(analysis_title(analysis))}", markdown.escaped(conclusion(analysis))]
    if analysis.fragment is not None:
        parts.append(f"To paste into the scenario: [{analysis.fragment}]({analysis.fragment})")
    accuracy = accuracy_table(analysis)
    if accuracy is not None:
        parts += [f"{accuracy.caption}:", markdown.pipe_table(accuracy)]
    parts += [_how(analysis), markdown.pipe_table(layer_costs_table(analysis))]
    return parts


def _how(analysis: Analysis) -> str:
    passes = counted(analysis.data_passes, "pass").replace("passs", "passes")
    return (
        f"SQNR of the network's output with one layer quantized and the others not, from {passes} over "
        f"{counted(analysis.calibration_samples, 'calibration sample')}; all layers together: "
        f"{decibels_text(analysis.sqnr_db)} dB. Most sensitive first."
    )


def render_sensitivity(record: SensitivityRecord, directory: Path) -> Path:
    """Write `sensitivity.md` into `directory`."""
    path = directory / "sensitivity.md"
    path.write_text(markdown_text(record), encoding="utf-8", newline="\n")
    return path


def _held_out(analysis: Analysis) -> str:
    parts = ", ".join(f"{count:,} {name}" for name, count in analysis.held_out.items())
    return f"{counted(analysis.n, 'held-out sample')} of the training part ({parts}); the test samples are not used"


def _skipped(analysis: Analysis) -> frozenset[str]:
    search: SkipSearch | None = analysis.search
    return frozenset(search.chosen.skip) if search is not None and search.chosen is not None else frozenset()
