"""Samples per second over batch sizes and over streams."""

import pytest

from harness.report.throughput_tables import best_batches, best_streams, streams_table, throughput_table
from harness.report.variants import NONE
from harness.results import ConfidenceInterval, RunResults, StreamThroughput

ENVIRONMENT = {"cpu": {"model": "AMD EPYC"}}


@pytest.fixture
def at_batch():
    """A row of a batch size with a median and its interval in milliseconds."""
    from oracles.row_lab import Lab

    lab = Lab()

    def make(batch_size, median_ms, spread=0.01, **fields):
        row = lab.row("fp32", batch_size=batch_size, **fields)
        latency = row.latency.model_copy(
            update={
                "median_ms": median_ms,
                "median_interval": ConfidenceInterval(
                    low=median_ms * (1 - spread), high=median_ms * (1 + spread), confidence=0.95
                ),
                "throughput_per_s": batch_size * 1e3 / median_ms,
            }
        )
        variant = row.variant.model_copy(update={"id": f"{row.variant.id}-{fields.get('target')}-b{batch_size}"})
        return row.model_copy(update={"latency": latency, "variant": variant})

    return make


def results_of(rows):
    return RunResults(
        scenario="s", run_id="r", started_at="2025-01-01T00:00:00+00:00", wall_s=1.0, environment=ENVIRONMENT, rows=rows
    )


def table(rows):
    return throughput_table(results_of(rows))


def test_one_line_per_variant_with_the_best_batch(at_batch):
    # 1 / 0.2 ms, 8 / 1 ms and 32 / 5 ms are 5,000, 8,000 and 6,400 samples per second.
    rows = [at_batch(1, 0.2), at_batch(8, 1.0), at_batch(32, 5.0), at_batch(1, 0.1, target="openvino")]
    found = table((*rows, at_batch(8, 0.4, target="openvino")))
    assert found.headings == ("Model", "Variant", "Batch 1", "Batch 8", "Batch 32", "Best batch")
    assert [(line[1], *(cell.split(" (")[0] for cell in line[2:])) for line in found.rows] == [
        ("FP32 on onnxruntime", "5,000", "8,000", "6,400", "8"),
        ("FP32 on openvino", "10,000", "20,000", NONE, "8"),
    ]
    assert found.rows[0][3] == "8,000 (7,921 to 8,081)"


def test_sizes_whose_intervals_meet_are_both_named(at_batch):
    rows = {8: at_batch(8, 1.0), 16: at_batch(16, 1.99), 1: at_batch(1, 0.2)}
    assert best_batches(rows) == [16, 8]


def test_one_batch_size_needs_no_table(at_batch):
    assert table((at_batch(1, 0.2), at_batch(1, 0.1, target="openvino"))) is None


def test_the_best_number_of_streams_is_named_with_those_that_may_be_as_good(at_batch):
    measured = (
        StreamThroughput(streams=1, per_s=1000.4, slowest_per_s=990, fastest_per_s=1010),
        StreamThroughput(streams=2, per_s=1900, slowest_per_s=1500, fastest_per_s=2000),
        StreamThroughput(streams=4, per_s=1800, slowest_per_s=1700, fastest_per_s=1850),
    )
    row = at_batch(8, 1.0)
    row = row.model_copy(update={"latency": row.latency.model_copy(update={"by_streams": measured})})
    found = streams_table(results_of((row, at_batch(1, 0.2))))
    assert found.headings == ("Model", "Variant", "Batch", "1 stream", "2 streams", "4 streams", "Best streams")
    ((_, name, batch, one, *_, best),) = found.rows
    assert (name, batch, one, best) == ("FP32 on onnxruntime", "8", "1,000 (990 to 1,010)", "2 or 4")
    assert streams_table(results_of((at_batch(1, 0.2),))) is None
    assert best_streams((*measured, StreamThroughput(streams=8, per_s=60, slowest_per_s=50, fastest_per_s=1499))) == [
        2,
        4,
    ]
