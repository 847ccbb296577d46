"""One flat row per variant, for spreadsheets and data frames."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from harness.figures import AGREEMENT, METRICS, Figure, FigureValue, catalog, figures_of
from harness.report.accuracy_tables import class_name, worst_classes
from harness.results import ConfidenceInterval, Latency, Row, RunResults
from harness.text import visible
from harness.words.decision import recommended_ids

_COUNTS = (
    *(
        "weight_bits",
        "activation_bits",
        "batch_size",
        "test_samples",
        "rounds",
        "processes",
        "builds",
        "threads",
        "inferences",
    ),
    *("family_size", "worst_class_number", "worst_class_samples"),
    *(figure.column for figure in catalog().values() if figure.unit == "B" and figure.column),
    "cost_peak_bytes",
)

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Spreadsheets compute texts that begin so, those in full width too."""


def frame(results: RunResults) -> pd.DataFrame:
    """One row per variant; units are in the column names, shares are fractions, absent figures are empty."""
    recommended = recommended_ids(results)
    flat = pd.DataFrame([_flat(results, row, row.variant.id in recommended) for row in results.rows])
    # Pandas would print counts as floats where some rows have none.
    return flat.astype({name: "Int64" for name in _COUNTS if name in flat})


def csv_text(results: RunResults) -> str:
    """`frame` as CSV, with the line ends of Unix; texts that a spreadsheet would compute begin with an apostrophe."""
    plain = frame(results)
    for name in plain.select_dtypes(exclude=["number", "bool"]):
        plain[name] = plain[name].map(_as_text)
    text = plain.rename(columns=_as_text).to_csv(index=False, lineterminator="\n")
    assert isinstance(text, str)
    return text


def _as_text(value: Any) -> Any:
    """A cell: control characters as escapes, and no formula; figures are left as they are."""
    if not isinstance(value, str):
        return value
    shown = visible(value)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown


def _flat(results: RunResults, row: Row, is_recommended: bool) -> dict[str, Any]:
    variant = row.variant.model_dump()
    variant["skip"] = " ".join(row.variant.skip)
    variant["ptq_steps"] = " ".join(row.variant.ptq_steps)
    figures = partial(_figures, row, results.confidence)
    return {
        "run_id": results.run_id,
        "scenario": results.scenario,
        "confidence": results.confidence,
        **variant,
        "status": row.status,
        "reason": row.reason,
        "recommended": is_recommended,
        **figures("accuracy"),
        **_own_metrics(row, results.confidence),
        **_accuracy(row),
        **figures("latency"),
        **_latency(row),
        **_load(row),
        **_streams(row),
        **figures("size"),
        **figures("memory"),
        **figures("energy"),
        "energy_source": (row.energy.source or row.energy.reason) if row.energy else None,
        **figures("cost"),
        "cost_peak_bytes": max(row.cost.peak_bytes.values(), default=None) if row.cost else None,
        **figures("coverage"),
        "int8_layers": row.coverage.int8_layers if row.coverage else None,
        **_parity(row, results.confidence),
        **_gates(results, row),
        **{name: row.files.get(name) for name in ("onnx", "engine")},
    }


def _figures(row: Row, confidence: float, section: str) -> dict[str, float | None]:
    """Every figure of a section that has a column, with the ends of its interval where it may have one."""
    flat: dict[str, float | None] = {}
    for figure in catalog().values():
        if figure.section == section and figure.column:
            flat |= _columns(figure, figure.read(row, confidence))
    return flat


def _columns(figure: Figure, found: FigureValue | None) -> dict[str, float | None]:
    value = {figure.column: found.value if found else None}
    return value | (_ends(figure.column, found.interval if found else None) if figure.has_interval else {})


def _own_metrics(row: Row, confidence: float) -> dict[str, float | None]:
    """Metrics without a section of their own; agreement only where there are no labels, whose column it then fills."""
    flat: dict[str, float | None] = {}
    for figure in figures_of(row):
        if figure.section == METRICS and not (figure.leaf == AGREEMENT and row.accuracy is not None):
            flat |= _columns(figure, figure.read(row, confidence))
    return flat


def _gates(results: RunResults, row: Row) -> dict[str, Any]:
    """The worst verdict of the row's gates, and which of them do not pass."""
    gates = [gate for gate in results.gates if gate.variant == row.variant.id]
    verdicts = {gate.verdict for gate in gates}
    open_gates = [f"{gate.metric} {gate.limit}" for gate in gates if gate.verdict != "pass"]
    worst = next((verdict for verdict in ("fail", "inconclusive", "pass") if verdict in verdicts), None)
    return {"gates": worst, "gates_not_passed": "; ".join(open_gates) or None}


def _accuracy(row: Row) -> dict[str, Any]:
    accuracy, agreement = row.accuracy, row.metrics.get(AGREEMENT)
    compared, top5 = (accuracy.comparison, accuracy.top5_comparison) if accuracy else (None, None)
    bootstrap = accuracy.drop_bootstrap_interval if accuracy else None
    tests = ("p_value", "p_value_adjusted", "non_inferiority_p_value_adjusted", "family_size")
    return {
        "test_samples": accuracy.n if accuracy else agreement.n if agreement else None,
        **{name: getattr(compared, name, None) for name in tests},
        **_ends("drop_bootstrap", bootstrap),
        "top5_p_value": top5.p_value if top5 else None,
        **_worst_class(row),
        "is_non_inferior": compared.is_non_inferior if compared else None,
        "accuracy_margin": compared.margin if compared else None,
        "accuracy_verdict": compared.verdict if compared else None,
    }


def _worst_class(row: Row) -> dict[str, Any]:
    found = next(iter(worst_classes(row)), None)
    return {
        "worst_class": class_name(found) if found else None,
        "worst_class_number": found.label if found else None,
        "worst_class_samples": found.n if found else None,
        "worst_class_drop": found.drop if found else None,
        "worst_class_p_value_adjusted": found.comparison.p_value_adjusted if found and found.comparison else None,
    }


def _latency(row: Row) -> dict[str, Any]:
    latency = row.latency
    compared = latency.comparison if latency else None
    plain = ("noise_floor", "rounds", "processes", "builds", "threads")
    return {
        **{name: getattr(latency, name, None) for name in plain},
        **{f"{part}_ms": ms for part, ms in (latency.parts_ms if latency else {}).items()},
        "contaminated_rounds": _counts(latency.contaminated_rounds) if latency else None,
        "inferences": latency.n if latency else None,
        "latency_p_value": compared.p_value if compared else None,
        "latency_p_value_adjusted": compared.p_value_adjusted if compared else None,
        "latency_margin": compared.margin if compared else None,
        "latency_verdict": compared.verdict if compared else None,
        **_across(latency),
    }


def _across(latency: Latency | None) -> dict[str, Any]:
    """Against FP32 on another target; empty on the reference target, where `speedup` says it."""
    compared = latency.across.comparison if latency and latency.across else None
    return {
        "overall_reference": compared.reference if compared else None,
        "overall_verdict": compared.verdict if compared else None,
    }


def _parity(row: Row, confidence: float) -> dict[str, Any]:
    """Each step of the chain in three columns, and what it proves; absent where no row has the step."""
    if row.parity is None:
        return {}
    steps = {f"parity.{step.start}_to_{step.end}" for step in row.parity.steps}
    flat: dict[str, Any] = {"lossy_step": row.parity.lossy_step}
    for figure in catalog().values():
        if figure.column and figure.name.rpartition(".")[0] in steps:
            flat |= _columns(figure, figure.read(row, confidence))
    if row.parity.layers:
        faults = [layer.layer for layer in row.parity.layers if layer.is_fault]
        flat |= {"layers_at_fault": len(faults), "first_layer_at_fault": next(iter(faults), None)}
    return flat


def _counts(labels: Mapping[str, int]) -> str:
    """`load 12, waited 3`."""
    return ", ".join(f"{label} {count}" for label, count in sorted(labels.items()))


def _load(row: Row) -> dict[str, Any]:
    """Only of runs with load scenarios: most have none."""
    figures = ("valid", "reason", "samples_per_s", "p50_ms", "p90_ms", "p99_ms", "target_percentile_ms", "queries")
    results = row.load.results if row.load else {}
    return {f"load_{name}_{figure}": getattr(result, figure) for name, result in results.items() for figure in figures}


def _streams(row: Row) -> dict[str, float]:
    """Only of runs that measured several streams."""
    measured = row.latency.by_streams if row.latency else ()
    return {f"streams_{each.streams}_per_s": each.per_s for each in measured}


def _ends(name: str, interval: ConfidenceInterval | None) -> dict[str, float | None]:
    return {f"{name}_low": interval.low if interval else None, f"{name}_high": interval.high if interval else None}
