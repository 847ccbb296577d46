"""Load scenarios in the report: figures, what INVALID means, and the flat file."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from harness.report.definitions import definitions
from harness.report.flat import csv_text
from harness.report.load_tables import load_accuracy_table, load_table
from harness.report.render import html_text, markdown_text
from harness.report.variants import NONE, TOO_FEW
from harness.results import Load, LoadAccuracy, LoadResult, RunResults

REASON = "not met: latency bound; LoadGen: Reduce target QPS to improve latency."
SINGLE = LoadResult(
    valid=True,
    samples_per_s=1980.4,
    p50_ms=0.5,
    p90_ms=0.512,
    p99_ms=0.7,
    target_percentile=90.0,
    target_percentile_ms=0.5151,
    queries=19_804,
    samples_per_query=1,
    duration_s=10.0,
)
OFFLINE = LoadResult(valid=True, samples_per_s=2500.0, queries=1, samples_per_query=27_500, duration_s=11.0)
SERVER = LoadResult(
    valid=False,
    reason=REASON,
    samples_per_s=1950.0,
    p50_ms=250.0,
    p90_ms=448.0,
    p99_ms=488.0,
    target_percentile=99.0,
    target_latency_ms=15.0,
    target_qps=3000.0,
    late_queries=2922,
    queries=2949,
    samples_per_query=1,
    duration_s=1.5,
)


@pytest.fixture
def loaded(quickstart: RunResults) -> RunResults:
    """The first row was run under load, and disagrees with the evaluation for two samples."""
    load = Load(
        results={"single_stream": SINGLE, "offline": OFFLINE, "server": SERVER},
        accuracy=LoadAccuracy(n=10_000, disagreements=2, ties=1, first=(7, 70)),
        overhead_us=2.04,
        loadgen_version="6.0.17",
    )
    first, *others = quickstart.rows
    return quickstart.model_copy(update={"rows": (first.model_copy(update={"load": load}), *others)})


def test_one_line_for_each_load_scenario_of_a_variant(loaded: RunResults) -> None:
    table = load_table(loaded)
    assert table is not None
    lines = {row[1]: row[2:] for row in table.rows}
    assert lines == {
        "single stream": ("valid", "1,980", "0.500", "0.512", "0.700", "p90 0.515 ms", "19,804", "10.0 s", NONE),
        "offline": ("valid", "2,500", NONE, NONE, NONE, NONE, "1 of 27,500 samples", "11.0 s", NONE),
        "server": (
            *("INVALID", "1,950", "250", "448", "488"),
            *("p99 ≤ 15 ms at 3000 queries/s, 2,922 late", "2,949", "1.50 s", REASON),
        ),
    }


def test_too_few_queries_for_the_percentile_are_said(loaded: RunResults) -> None:
    few = SINGLE.model_copy(update={"target_percentile_ms": None})
    load = Load(results={"single_stream": few}, overhead_us=2.0, loadgen_version="6.0.17")
    rows = (loaded.rows[0].model_copy(update={"load": load}),)
    table = load_table(loaded.model_copy(update={"rows": rows}))
    assert table is not None
    assert table.rows[0][7] == "p90: too few queries"


@pytest.mark.parametrize(
    ("queries", "shown"),
    # At 95 % an upper end exists from 0.5^6, 0.9^36 and 0.99^368 on.
    [
        (5, (TOO_FEW,) * 3),
        (6, ("0.500", TOO_FEW, TOO_FEW)),
        (36, ("0.500", "0.512", TOO_FEW)),
        (367, ("0.500", "0.512", TOO_FEW)),
        (368, ("0.500", "0.512", "0.700")),
    ],
)
def test_percentiles_of_few_queries_are_not_shown(loaded: RunResults, queries: int, shown: tuple[str, ...]) -> None:
    few = SINGLE.model_copy(update={"queries": queries})
    load = Load(results={"single_stream": few}, overhead_us=2.0, loadgen_version="6.0.17")
    rows = (loaded.rows[0].model_copy(update={"load": load}),)
    table = load_table(loaded.model_copy(update={"rows": rows}))
    assert table is not None
    assert table.rows[0][4:7] == shown


def test_agreement_of_accuracy_mode(loaded: RunResults) -> None:
    table = load_accuracy_table(loaded)
    assert table is not None
    assert table.rows == ((loaded.rows[0].variant.id, "10,000", "2", "1"),)


def test_the_report_explains_invalid_and_names_the_overhead(loaded: RunResults) -> None:
    texts = dict(definitions(loaded))
    assert "lower `target_qps`" in texts["INVALID"]
    assert "2.0 µs" in texts["Load scenarios"]
    for text in (html_text(loaded), markdown_text(loaded)):
        assert "INVALID" in text
        assert "Reduce target QPS" in text


def test_the_flat_file_has_columns_of_every_load_scenario(loaded: RunResults) -> None:
    flat = pd.read_csv(io.StringIO(csv_text(loaded)))
    first = flat.iloc[0]
    assert first["load_single_stream_p50_ms"] == 0.5
    assert first["load_offline_samples_per_s"] == 2500.0
    assert first["load_server_reason"] == REASON
    assert flat["load_server_p99_ms"].notna().sum() == 1


def test_a_run_without_load_scenarios_says_nothing_of_them(quickstart: RunResults) -> None:
    assert load_table(quickstart) is None
    assert load_accuracy_table(quickstart) is None
    assert "INVALID" not in dict(definitions(quickstart))
    assert "load_" not in csv_text(quickstart).splitlines()[0]
