"""One flat row per variant, for spreadsheets and data frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from harness.report.accuracy_tables import class_name, worst_classes
from harness.results import Interval, Latency, Row, RunResults

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
    *("onnx_bytes", "engine_bytes", "weight_bytes"),
    *("memory_increase_bytes", "memory_peak_bytes", "memory_device_bytes", "cost_peak_bytes"),
)


def frame(results: RunResults) -> pd.DataFrame:
    """One row per variant; units are in the column names, shares are fractions, absent figures are empty."""
    flat = pd.DataFrame([_flat(results, row) for row in results.rows])
    # Pandas would print counts as floats where some rows have none.
    return flat.astype({name: "Int64" for name in _COUNTS if name in flat})


def csv_text(results: RunResults) -> str:
    """`frame` as CSV, with the line ends of Unix."""
    text = frame(results).to_csv(index=False, lineterminator="\n")
    assert isinstance(text, str)
    return text


def _flat(results: RunResults, row: Row) -> dict[str, Any]:
    variant = row.variant.model_dump()
    variant["skip"] = " ".join(row.variant.skip)
    variant["ptq_steps"] = " ".join(row.variant.ptq_steps)
    recommended = {conclusion.recommended for conclusion in results.conclusions}
    return {
        "run_id": results.run_id,
        "scenario": results.scenario,
        "confidence": results.confidence,
        **variant,
        "status": row.status,
        "reason": row.reason,
        "recommended": row.variant.id in recommended,
        **_accuracy(row),
        **_latency(row),
        **_load(row),
        **{name: getattr(row.size, name, None) for name in ("onnx_bytes", "engine_bytes", "weight_bytes")},
        **_resources(row),
        **{name: getattr(row.coverage, name, None) for name in ("int8_macs", "int8_layers")},
        **_parity(row),
        **_gates(results, row),
        **{name: row.files.get(name) for name in ("onnx", "engine")},
    }


def _gates(results: RunResults, row: Row) -> dict[str, Any]:
    """The worst verdict of the row's gates, and which of them do not pass."""
    gates = [gate for gate in results.gates if gate.variant == row.variant.id]
    verdicts = {gate.verdict for gate in gates}
    open_gates = [f"{gate.metric} {gate.limit}" for gate in gates if gate.verdict != "pass"]
    worst = next((verdict for verdict in ("fail", "inconclusive", "pass") if verdict in verdicts), None)
    return {"gates": worst, "gates_not_passed": "; ".join(open_gates) or None}


def _accuracy(row: Row) -> dict[str, Any]:
    accuracy = row.accuracy
    plain = ("top1", "drop", "p_value", "p_value_adjusted", "non_inferiority_p_value_adjusted", "family_size")
    return {
        **{name: getattr(accuracy, name, None) for name in plain},
        **_agreement(row),
        **_ends("top1_ci95", accuracy.top1_ci95 if accuracy else None),
        **_ends("drop_ci95", accuracy.drop_ci95 if accuracy else None),
        **_ends("drop_bootstrap_ci95", accuracy.drop_bootstrap_ci95 if accuracy else None),
        **_ends("agreement_ci95", accuracy.agreement_ci95 if accuracy else None),
        **{name: getattr(accuracy, name, None) for name in ("top5", "top5_drop", "top5_p_value")},
        **_ends("top5_ci95", accuracy.top5_ci95 if accuracy else None),
        **_ends("top5_drop_ci95", accuracy.top5_drop_ci95 if accuracy else None),
        **_worst_class(row),
        "is_non_inferior": accuracy.is_non_inferior if accuracy else None,
        "accuracy_margin": accuracy.margin if accuracy else None,
        "accuracy_verdict": accuracy.verdict if accuracy else None,
    }


def _worst_class(row: Row) -> dict[str, Any]:
    found = next(iter(worst_classes(row)), None)
    return {
        "worst_class": class_name(found) if found else None,
        "worst_class_number": found.label if found else None,
        "worst_class_samples": found.n if found else None,
        "worst_class_drop": found.drop if found else None,
        "worst_class_p_value_adjusted": found.p_value_adjusted if found else None,
    }


def _agreement(row: Row) -> dict[str, Any]:
    """From the labelled samples, else from the metric that needs no labels."""
    accuracy, metric = row.accuracy, row.metrics.get("agreement")
    if accuracy is not None:
        return {"agreement": accuracy.agreement, "test_samples": accuracy.n}
    return {"agreement": metric.value if metric else None, "test_samples": metric.n if metric else None}


def _latency(row: Row) -> dict[str, Any]:
    latency = row.latency
    quantiles = ("median", "p90", "p99", "p999")
    plain = ("throughput_per_s", "speedup", "noise_floor", "rounds", "processes", "builds", "threads")
    return {
        **{f"{name}_ms": getattr(latency, f"{name}_ms", None) for name in quantiles},
        **{name: getattr(latency, name, None) for name in plain},
        **{f"{part}_ms": ms for part, ms in (latency.parts_ms if latency else {}).items()},
        "contaminated_rounds": _counts(latency.contaminated_rounds) if latency else None,
        "inferences": latency.n if latency else None,
        **_ends("speedup_ci95", latency.speedup_ci95 if latency else None),
        **{
            end: value
            for name in quantiles
            for end, value in _ends(f"{name}_ci95", getattr(latency, f"{name}_ci95", None)).items()
        },
        "latency_p_value": latency.p_value if latency else None,
        "latency_p_value_adjusted": latency.p_value_adjusted if latency else None,
        "latency_margin": latency.margin if latency else None,
        "latency_verdict": latency.verdict if latency else None,
        **_across(latency),
    }


def _across(latency: Latency | None) -> dict[str, Any]:
    """Against FP32 on another target; empty on the reference target, where `speedup` says it."""
    across = latency.across if latency else None
    return {
        "overall_reference": across.reference if across else None,
        "overall_speedup": across.overall_speedup if across else None,
        **_ends("overall_speedup_ci95", across.overall_speedup_ci95 if across else None),
        "overall_verdict": across.verdict if across else None,
    }


def _resources(row: Row) -> dict[str, Any]:
    memory, energy, cost = row.memory, row.energy, row.cost
    seconds = ("train_s", "calibrate_s", "quantize_s", "finetune_s", "export_s", "build_s")
    return {
        **{f"memory_{name}": getattr(memory, name, None) for name in ("increase_bytes", "peak_bytes", "device_bytes")},
        **{name: getattr(energy, name, None) for name in ("joules_per_inference", "net_joules_per_inference")},
        "energy_idle_w": energy.idle_w if energy else None,
        "energy_source": (energy.source or energy.reason) if energy else None,
        **{name: getattr(cost, name, None) for name in seconds},
        "cost_peak_bytes": max(cost.peak_bytes.values(), default=None) if cost else None,
    }


def _parity(row: Row) -> dict[str, Any]:
    """Each step of the chain in three columns, and what it proves; absent where no row has the step."""
    if row.parity is None:
        return {}
    flat: dict[str, Any] = {"lossy_step": row.parity.lossy_step}
    for step in row.parity.steps:
        name = f"{step.start}_to_{step.end}"
        flat |= {f"{name}_top1_agreement": step.top1_agreement, f"{name}_sqnr_db": step.sqnr_db}
        flat |= {f"{name}_drop": step.drop}
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


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    return {f"{name}_low": interval[0] if interval else None, f"{name}_high": interval[1] if interval else None}
