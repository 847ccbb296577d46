"""Figures of the engine: its time, its bytes, and how much of it runs in INT8."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from harness.figures.base import TIME_MARGIN, Figure, Margin, reading
from harness.results import ConfidenceInterval, Coverage, Latency, Row, Size

SPEEDUP: Final = "latency.speedup"
MEDIAN: Final = "latency.median_ms"


def latency_figures() -> Iterator[Figure]:
    """Figures of the section `latency`."""
    yield from _times()
    yield from _speedups()
    yield _share_of_peak()


def _times() -> Iterator[Figure]:
    time = partial(Figure, unit="ms", better="lower", has_interval=True)
    of = partial(reading, _in_latency)
    yield time(
        MEDIAN,
        header="Median",
        definition="Time of one inference: the median over all timed inferences.",
        read=of(lambda found: found.median_ms, lambda found: found.median_interval),
        margin=TIME_MARGIN,
        column="median_ms",
        carries_verdict=True,
        from_speedup="time",
    )
    tails: tuple[
        tuple[str, str, Callable[[Latency], float | None], Callable[[Latency], ConfidenceInterval | None]], ...
    ] = (
        ("p90", "90 %", lambda found: found.p90_ms, lambda found: found.p90_interval),
        ("p99", "99 %", lambda found: found.p99_ms, lambda found: found.p99_interval),
        ("p999", "99.9 %", lambda found: found.p999_ms, lambda found: found.p999_interval),
    )
    for name, share, value, interval in tails:
        yield time(
            f"latency.{name}_ms",
            header="p99.9" if name == "p999" else name,
            definition=f"Time of one inference that {share} of all timed inferences stay below.",
            read=of(value, interval),
            column=f"{name}_ms",
        )
    yield Figure(
        "latency.throughput_per_s",
        header="Throughput",
        unit="1/s",
        better="higher",
        definition="Samples per second at the median time of one inference.",
        read=of(lambda found: found.throughput_per_s),
        column="throughput_per_s",
        from_speedup="rate",
    )


def _share_of_peak() -> Figure:
    return Figure(
        "latency.share_of_peak",
        header="Of peak",
        unit="share",
        better="higher",
        definition="Time that the engine's multiply-accumulates would take at the most that this CPU does in a second, "
        "each in the precision that the engine multiplies it in, divided by the median time of one inference.",
        read=reading(_in_latency, lambda found: found.share_of_peak),
        column="share_of_peak",
    )


def _speedups() -> Iterator[Figure]:
    of = partial(reading, _in_latency)
    yield Figure(
        SPEEDUP,
        header="Speedup",
        unit="x",
        better="higher",
        definition="FP32's time divided by the variant's in the same round: geometric mean over processes.",
        read=of(lambda found: found.speedup, lambda found: found.speedup_interval),
        margin=TIME_MARGIN,
        words="speed",
        column="speedup",
        has_interval=True,
        compares_with_fp32=True,
        carries_verdict=True,
        from_speedup="rate",
    )
    yield Figure(
        "latency.across.speedup",
        header="Speedup over the reference target",
        unit="x",
        better="higher",
        definition="Time of FP32 on the scenario's reference target divided by the variant's in the same round.",
        read=of(
            lambda found: found.across.speedup if found.across else None,
            lambda found: found.across.speedup_interval if found.across else None,
        ),
        column="overall_speedup",
        has_interval=True,
        compares_with_fp32=True,
    )


def size_figures() -> Iterator[Figure]:
    """Figures of the section `size`: ONNX file, engine, weights in the engine."""
    size = partial(Figure, unit="B", better="lower", margin=Margin("ratio", 0.01))
    of = partial(reading, _in_size)
    yield size(
        "size.onnx_bytes",
        header="ONNX",
        definition="Size of the ONNX file.",
        read=of(lambda found: found.onnx_bytes),
        column="onnx_bytes",
    )
    yield size(
        "size.engine_bytes",
        header="Engine",
        definition="Size of the engine that is deployed.",
        read=of(lambda found: found.engine_bytes),
        column="engine_bytes",
    )
    yield size(
        "size.weight_bytes",
        header="Weights",
        definition="Weights and biases as the engine holds them, with their scales per channel.",
        read=of(lambda found: found.weight_bytes),
        column="weight_bytes",
    )


def coverage_figures() -> Iterator[Figure]:
    """Figures of the section `coverage`, from the audit of the engine."""
    yield Figure(
        "coverage.int8_macs",
        header="INT8 MACs",
        unit="share",
        better="higher",
        definition="Share of the multiply-accumulates of convolutions and matrix products that the built engine "
        "executes as integer operations.",
        read=reading(_in_coverage, lambda found: found.int8_macs),
        margin=Margin("difference", 0.0005),
        words="INT8 coverage",
        column="int8_macs",
    )


def _in_latency(row: Row) -> Latency | None:
    return row.latency


def _in_size(row: Row) -> Size | None:
    return row.size


def _in_coverage(row: Row) -> Coverage | None:
    return row.coverage
