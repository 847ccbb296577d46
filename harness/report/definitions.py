"""How the figures of a report were made, with the constants that this run used."""

from __future__ import annotations

from collections.abc import Iterable

from harness.compare.wording import listed, margin_points, percent
from harness.results import Accuracy, Latency, Parity, RunResults


def definitions(results: RunResults) -> tuple[tuple[str, str], ...]:
    """Term and explanation; only of what the run measured."""
    accuracies = [row.accuracy for row in results.rows if row.accuracy]
    latencies = [row.latency for row in results.rows if row.latency]
    found = []
    if accuracies:
        found += _accuracy(accuracies)
    if not accuracies and any("agreement" in row.metrics for row in results.rows):
        found.append(
            (
                "Agreement",
                "Share of test samples for which the variant predicts the same class as FP32, with its 95 % Wilson "
                "interval. The samples have no labels: a class that changed may have been wrong before. Several crops "
                "of one photo are not independent, so that the interval is then too narrow.",
            )
        )
    if latencies:
        found += _latency(latencies)
    if any(row.size for row in results.rows):
        found.append(
            (
                "Sizes",
                "The ONNX file, the engine that is deployed, and the weights and biases as the engine holds them.",
            )
        )
    if any(row.coverage for row in results.rows):
        found.append(
            (
                "INT8 MACs",
                "Share of the multiply-accumulates of convolutions and matrix products that the built engine executes "
                "as integer operations, read from the engine and not from the model that was given to it; below it the "
                "number of such layers.",
            )
        )
    found += _parity([row.parity for row in results.rows if row.parity])
    if results.calibration_samples:
        counts = listed([f"{name} {count:,}" for name, count in results.calibration_samples.items()])
        found.append(("Calibration", f"Samples in the one pass that served all calibrators: {counts}."))
    return tuple(found)


def _accuracy(accuracies: list[Accuracy]) -> list[tuple[str, str]]:
    margins = _distinct(accuracy.margin for accuracy in accuracies)
    margin = listed([margin_points(value) for value in margins]) or "0"
    return [
        ("Top-1", "Share of test samples whose class is predicted; below it the 95 % Wilson interval."),
        (
            "Drop",
            "Top-1 of FP32 minus top-1 of the variant on the same samples, in percentage points: what was lost is "
            "positive. Below it the 95 % interval of this paired difference: bootstrap over samples; Tango's score "
            "interval where fewer than 20 samples tell the two apart; the exact bound (about 3/n) where none does.",
        ),
        (
            "Verdict on accuracy",
            f"same: the interval lies within the margin of {margin} points either way. worse, better: it does not, it "
            "leaves out zero, and the exact McNemar test agrees (p at most 0.05). inconclusive: anything else. Each "
            "row is judged on its own; there is no correction for the number of rows.",
        ),
        (
            "QAT against PTQ",
            "Each QAT variant is compared with the PTQ variant of the same calibration, granularity, bits and skips, "
            "never with the best-looking one of many, whose figure is partly luck.",
        ),
        ("Agreement", "Share of test samples for which the variant predicts the same class as FP32."),
    ]


def _parity(parities: list[Parity]) -> list[tuple[str, str]]:
    found = []
    steps = [step for parity in parities for step in parity.steps]
    if steps:
        confidence = listed([percent(value, 0) for value in _distinct(parity.confidence for parity in parities)])
        found.append(
            (
                "Parity",
                "What each step from the eager network to the engine changes, on the same "
                f"{max(step.n for step in steps):,} test samples. ONNX files run in ONNX Runtime without "
                "optimizations. A step is said to lose accuracy only where the paired difference of top-1 proves it "
                f"({confidence}, corrected for the number of steps of the chain).",
            )
        )
    layers = [parity.layer_samples for parity in parities if parity.layers]
    if layers:
        found.append(
            (
                "Layers at fault",
                f"Each layer gets what its reference computed before it, on {layers[0]} test samples, so that it "
                "answers for its own error alone. A step is the distance of two integers; for tensors that are not "
                "quantized it is 1/127 of the channel's largest value. Two correct roundings of the same number differ "
                "by one step at most, and rarely: a channel is at fault with a larger error, or with a mean squared "
                "error above 1/12 steps², which is what rounding itself makes.",
            )
        )
    return found


def _latency(latencies: list[Latency]) -> list[tuple[str, str]]:
    threads = listed([str(value) for value in _distinct(latency.threads for latency in latencies)])
    with_transfers = {latency.includes_transfers for latency in latencies}
    transfers = {True: "included", False: "not included"}
    copies = transfers[next(iter(with_transfers))] if len(with_transfers) == 1 else "included for some rows"
    margin = listed([percent(value, 1) for value in _distinct(latency.margin for latency in latencies)]) or "0 %"
    floors = _distinct(latency.noise_floor for latency in latencies)
    floor = f" (here up to {percent(max(floors), 1)})" if floors else ""
    return [
        (
            "Latency",
            f"Time of one inference, in milliseconds, with {threads} thread{'' if threads == '1' else 's'}; transfers "
            f"to and from a device {copies}. p99 is shown only when the samples suffice for an interval around it.",
        ),
        (
            "Speedup",
            "Variants take turns in rounds, in an order shuffled anew each round. Speedup is the geometric mean over "
            "rounds of FP32's time divided by the variant's; below it the 95 % bootstrap interval over rounds.",
        ),
        (
            "Noise floor",
            f"How far two copies of one engine differ when measured against each other in the same session{floor}.",
        ),
        (
            "Verdict on latency",
            f"The band is the margin of {margin}, or the noise floor where that is larger. better: the interval lies "
            "above 1 + band. worse: below 1 / (1 + band). same: between the two. inconclusive: anything else.",
        ),
    ]


def _distinct(values: Iterable[float | None]) -> list[float]:
    return sorted({value for value in values if value is not None})
