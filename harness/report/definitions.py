"""How the figures of a report were made, with the constants that this run used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.figures import AGREEMENT, MEDIAN, METRICS, SPEEDUP, TOP1, figure, figures_of, header
from harness.results import Accuracy, Latency, Load, PairedComparison, Parity, RunResults
from harness.words.phrases import level, listed, margin_points, noise, percent


def definitions(results: RunResults) -> tuple[tuple[str, str], ...]:
    """Term and explanation; only of what the run measured."""
    accuracies = [row.accuracy for row in results.rows if row.accuracy]
    latencies = [row.latency for row in results.rows if row.latency]
    confidence = level(results.confidence)
    found = []
    if accuracies:
        found += _accuracy(accuracies, confidence)
    if not accuracies and any(AGREEMENT in row.metrics for row in results.rows):
        found.append(
            (
                header("accuracy.agreement"),
                f"{_means('accuracy.agreement')} With its {confidence} Wilson interval. The samples have no labels: a "
                "class that changed may have been wrong before. Several crops of one photo are not independent: the "
                "interval is then too narrow.",
            )
        )
    if latencies:
        found += _latency(latencies, confidence)
    if any(each.share_of_peak is not None for each in latencies):
        found.append(
            (
                header("latency.share_of_peak"),
                f"{_means('latency.share_of_peak')} The rest is what remains for better kernels, but also what "
                "memory, small layers and operations other than convolutions and matrix products cost.",
            )
        )
    loads = [row.load for row in results.rows if row.load]
    if loads:
        found += _load(loads)
    if any(row.size for row in results.rows):
        found.append(
            (
                "Sizes",
                f"{_each('size.onnx_bytes', 'size.engine_bytes', 'size.weight_bytes')} An ONNX file with Q/DQ nodes "
                "may hold its weights in FP32 or INT8; the engine decides what is deployed.",
            )
        )
    found += _resources(results)
    if any(row.coverage for row in results.rows):
        found.append(
            (
                header("coverage.int8_macs"),
                f"{_means('coverage.int8_macs')} It is read from the engine and not from the model that was given to "
                "it; below it the number of such layers.",
            )
        )
    found += _layer_times(results)
    found += _parity([row.parity for row in results.rows if row.parity])
    found += _own_metrics(results)
    if results.calibration_samples:
        counts = listed([f"{name} {count:,}" for name, count in results.calibration_samples.items()])
        found.append(("Calibration", f"Samples in the one pass that served all calibrators: {counts}."))
    return tuple(found)


def _resources(results: RunResults) -> list[tuple[str, str]]:
    found = []
    if any(row.memory for row in results.rows):
        found.append(
            (
                "Memory",
                f"{_each('memory.peak_bytes', 'memory.increase_bytes')} The engine holds weights, buffers, and the "
                "library's code that is read from disk when it first runs, which dominates for small networks.",
            )
        )
    if any(row.energy and row.energy.joules_per_inference is not None for row in results.rows):
        found.append(
            (
                "Energy",
                _each("energy.joules_per_inference", "energy.net_joules_per_inference", "energy.spread"),
            )
        )
    if any(row.cost and row.cost.peak_bytes for row in results.rows):
        found.append(
            (
                "Cost",
                "Seconds of each stage, and the peak resident memory of the process while it ran, libraries such as "
                "torch (hundreds of MiB) included. From the store's record where a stage was cached.",
            )
        )
    return found


def _accuracy(accuracies: list[Accuracy], confidence: str) -> list[tuple[str, str]]:
    margins = _distinct(each.margin for each in _compared(accuracies))
    margin = listed([margin_points(value) for value in margins]) or "0"
    return [
        (header(TOP1), f"{_means(TOP1)} Below it the {confidence} Wilson interval."),
        (
            header("accuracy.drop"),
            f"{_means('accuracy.drop')} In percentage points; below it the {confidence} interval of this paired "
            "difference: Tango's score interval. Intervals are those of each row alone.",
        ),
        (
            "Verdict on accuracy",
            f"same: a loss and a gain of {margin} points or more are ruled out. worse, better: they are not, and the "
            "interval leaves out zero, and the exact McNemar test agrees. inconclusive: anything else. "
            + _family(accuracies),
        ),
        (
            "QAT against PTQ",
            "Each QAT variant is compared with the PTQ variant of the same calibration, granularity, bits and skips, "
            "never with the best of many, whose figure is too good on average (winner's curse).",
        ),
        (header("accuracy.agreement"), _means("accuracy.agreement")),
    ]


def _layer_times(results: RunResults) -> list[tuple[str, str]]:
    layers = (layer for row in results.rows if row.coverage for layer in row.coverage.layers)
    if all(layer.time_ms is None for layer in layers):
        return []
    return [
        (
            "Time of a layer",
            "From the profiler of the engine (ONNX Runtime's node events, OpenVINO's performance counters), in a "
            "session of its own after warm-up: the mean of the middle half of at least 20 inferences. Profilers "
            "count whole microseconds and slow the engine, and what happens between layers is no layer's: the sum "
            "differs from the latency, which is measured without a profiler. A kernel that executes several layers "
            "gives its time to the first. TensorRT's engines and those on GPUs are not profiled, and have no "
            "times here.",
        )
    ]


def _parity(parities: list[Parity]) -> list[tuple[str, str]]:
    found = []
    steps = [step for parity in parities for step in parity.steps]
    if steps:
        confidence = listed([level(value) for value in _distinct(parity.confidence for parity in parities)])
        found.append(
            (
                "Parity",
                "What each step from the eager network to the engine changes, on the same "
                f"{max(step.n for step in steps):,} test samples. ONNX files run in ONNX Runtime without "
                "optimizations. A step counts as losing accuracy only where the paired difference of top-1 proves it "
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


def _family(accuracies: list[Accuracy]) -> str:
    sizes = _distinct(each.family_size for each in _compared(accuracies))
    if not sizes:
        return "Each row is judged on its own; there is no correction for the number of rows."
    corrected = any(each.p_value_adjusted != each.p_value for each in _compared(accuracies))
    if not corrected:
        return "No correction for the number of rows was needed or asked for."
    return (
        f"The verdicts control the family-wise error rate over all {sizes[0]:g} compared rows (Holm), the intervals do "
        "not: an interval may leave out zero, or lie within the margin, where the verdict is inconclusive."
    )


_ACROSS = (
    " FP32 is the row of the same target. Targets on one kind of device took their turns in the same rounds; under "
    "Engines compared, speedup is over FP32 on the reference target. Accuracy is always compared with FP32 on the own "
    "target. Which engine to take must hold for all such comparisons of the run at once: an interval of one alone that "
    "leaves out 1 may not suffice."
)


def _latency(latencies: list[Latency], confidence: str) -> list[tuple[str, str]]:
    threads = listed([str(value) for value in _distinct(latency.threads for latency in latencies)])
    with_transfers = {latency.includes_transfers for latency in latencies}
    transfers = {True: "included", False: "not included"}
    copies = transfers[next(iter(with_transfers))] if len(with_transfers) == 1 else "included for some rows"
    margin = listed([percent(value, 1) for value in _distinct(each.margin for each in _compared(latencies))]) or "0 %"
    floors = _distinct(latency.noise_floor for latency in latencies)
    floor = f" (here up to {noise(max(floors))})" if floors else ""
    corrected = any(each.p_value_adjusted != each.p_value for each in _compared(latencies))
    together = ", or what is not significant after Holm's correction over all rows of the run"
    return [
        (
            "Latency",
            f"{_means(MEDIAN)} In milliseconds, with {threads} thread{'' if threads == '1' else 's'}; transfers to and "
            f"from a device {copies}. Quantiles have order-statistic intervals, which know the processes that "
            "ran and not the next one; p99 and p99.9 are shown only when the samples suffice for one.",
        ),
        (
            header(SPEEDUP),
            f"{_means(SPEEDUP)} Of each process, the trimmed mean over rounds counts. Variants take turns in rounds, "
            "in an order shuffled anew each round, in process after process. Below it the "
            f"{confidence} interval over processes, corrected for the interim analyses."
            f"{_ACROSS if any(latency.across for latency in latencies) else ''}",
        ),
        (
            "Noise floor",
            f"How far two sessions of one engine (the A/A control) differ in the same rounds{floor}.",
        ),
        (
            "Verdict on latency",
            f"The band is the margin of {margin}, or the noise floor where that is larger. better: the interval lies "
            "above 1 + band. worse: below 1 / (1 + band). same: within the margin either way. inconclusive: anything "
            f"else{together if corrected else ''}.",
        ),
        (
            "Contaminated rounds",
            f"Rounds in which something else happened are labelled, counted and kept. {_watched(latencies)} "
            "`samples/latency.parquet` has the labels.",
        ),
    ]


_LABELS = {
    "waited": "a timing thread waited for a core",
    "load": "other programs kept more than a quarter of a core busy",
    "stolen": "the hypervisor gave a core away",
    "clock": "the clock changed by more than 5 %",
    "throttled": "a core was too hot",
    "gpu_shared": "another process computed on the GPU",
    "gpu_throttled": "the GPU lowered its clocks",
}


def _watched(latencies: list[Latency]) -> str:
    """What could have been seen: no label proves nothing of what this machine does not show."""
    seen = {label for latency in latencies for label in latency.watched}
    if not seen:
        return "This machine shows nothing of it, so that the absence of labels says nothing."
    words = [f"{label} ({text})" for label, text in _LABELS.items() if label in seen]
    unseen = [label for label in _LABELS if label not in seen and not label.startswith("gpu_")]
    not_shown = f" Not shown by this machine: {', '.join(unseen)}." if unseen else ""
    return f"Watched: {', '.join(words)}.{not_shown}"


def _load(loads: list[Load]) -> list[tuple[str, str]]:
    versions = listed(sorted({load.loadgen_version for load in loads}))
    overhead = max(load.overhead_us for load in loads)
    return [
        (
            "Load scenarios",
            f"MLCommons LoadGen {versions} issues the queries, measures the time and gives the verdict. Single stream: "
            "one sample after the other. Multi stream: a fixed number of samples per query. Offline: all samples at "
            "once. Server: single samples at random moments with a mean rate. Samples run in batches of at most the "
            "variant's batch size. Latency is of a query, from the moment at which it was issued (server: due). It "
            "includes the overhead of LoadGen and Python, measured with a query that nothing answers: "
            f"{overhead:.1f} µs at most (median). "
            "LoadGen's logs are kept in the run's folder.",
        ),
        (
            "INVALID",
            "A condition of the load scenario was not met, so LoadGen rejects the figures: they are shown, but prove "
            "nothing. The reason begins with that condition. Latency bound: more than the allowed share of queries "
            "took longer; lower `target_qps`, or raise `target_latency_ms`. Shortest duration, fewest queries: the "
            "test ended early, because it ran out of queries (the expected latency or rate was far off) or because "
            "unanswered queries piled up (the rate is too high, whatever else LoadGen advises). Enough queries to be "
            "sure: the percentile is not yet known well enough; raise `min_duration_ms` or `min_query_count`.",
        ),
        (
            "LoadGen's accuracy mode",
            "All test samples once, in batches of the variant's batch size. LoadGen's log must name the class that the "
            "evaluation found, sample by sample; otherwise the row is failed. Ties are samples whose two classes have "
            "outputs that are equal up to rounding.",
        ),
    ]


def _means(name: str) -> str:
    return figure(name).definition


def _each(*names: str) -> str:
    """`Header: definition` of several figures."""
    return " ".join(f"{header(name)}: {_lower_first(_means(name))}" for name in names)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _own_metrics(results: RunResults) -> list[tuple[str, str]]:
    """Metrics without a section of their own, in the words of their classes; records of earlier versions have none."""
    described = {
        each.name: (each.header, each.definition)
        for row in results.rows
        for each in figures_of(row)
        if each.section == METRICS and row.metrics[each.leaf].definition and each.leaf != AGREEMENT
    }
    return list(described.values())


def _compared(records: Sequence[Accuracy] | Sequence[Latency]) -> list[PairedComparison]:
    return [record.comparison for record in records if record.comparison is not None]


def _distinct(values: Iterable[float | None]) -> list[float]:
    return sorted({value for value in values if value is not None})
