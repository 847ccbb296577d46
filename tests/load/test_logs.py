"""What is read from LoadGen's logs, from logs in its format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import StageError
from harness.load.logs import ACCURACY, DETAIL, NOT_PREDICTED, load_result, read_log, read_predictions
from harness.load.scenarios import load_scenarios

SERVER = {
    "power_begin": "11-25-2026 23:59:59.500",
    "power_end": "11-26-2026 00:00:02.000",
    "effective_samples_per_query": 1,
    "effective_target_qps": 300,
    "effective_target_latency_ns": 5_000_000,
    "effective_target_latency_percentile": 0.99,
    "result_validity": "VALID",
    "result_perf_constraints_met": True,
    "result_min_duration_met": True,
    "result_min_queries_met": True,
    "early_stopping_met": True,
    "early_stopping_result": " * Run successful.",
    "result_query_count": 750,
    "result_overlatency_query_count": 2,
    "result_completed_samples_per_sec": 299.5,
    "result_50.00_percentile_latency_ns": 718_000,
    "result_90.00_percentile_latency_ns": 1_172_000,
    "result_99.00_percentile_latency_ns": 1_944_000,
}


def result(name: str, changes: dict[str, Any]) -> Any:
    return load_result(load_scenarios()[name], SERVER | changes)


class TestFigures:
    def test_latencies_are_in_milliseconds(self) -> None:
        found = result("server", {})
        assert (found.p50_ms, found.p90_ms, found.p99_ms) == (0.718, 1.172, 1.944)
        assert found.target_latency_ms == 5.0

    def test_the_duration_is_that_between_begin_and_end(self) -> None:
        assert result("server", {}).duration_s == 2.5

    def test_a_server_has_its_rate_and_its_late_queries(self) -> None:
        found = result("server", {})
        assert (found.target_qps, found.samples_per_s, found.late_queries) == (300, 299.5, 2)

    def test_multi_stream_counts_samples_and_the_latency_of_whole_queries(self) -> None:
        found = result(
            "multi_stream",
            {
                "effective_samples_per_query": 8,
                "effective_target_latency_ns": 0,
                "result_99.00_percentile_per_query_latency_ns": 9_000_000,
                "early_stopping_latency_ms": 9_500_000,
            },
        )
        assert found.samples_per_s == 750 * 8 / 2.5
        assert (found.p99_ms, found.target_percentile, found.target_percentile_ms) == (9.0, 99.0, 9.5)
        assert (found.target_latency_ms, found.target_qps) == (None, None)

    def test_an_estimate_of_zero_is_none(self) -> None:
        found = result("single_stream", {"result_qps_with_loadgen_overhead": 9.0, "early_stopping_latency_ss": 0})
        assert found.target_percentile_ms is None

    def test_offline_has_a_throughput_and_no_latency(self) -> None:
        found = result("offline", {"result_samples_per_second": 2000.0, "effective_target_latency_ns": 0})
        assert found.samples_per_s == 2000.0
        assert (found.p50_ms, found.p99_ms, found.target_percentile) == (None, None, None)

    def test_a_single_query_has_no_rate(self) -> None:
        assert result("single_stream", {"result_qps_with_loadgen_overhead": 0.0}).samples_per_s is None


class TestInvalid:
    def test_the_reason_names_what_was_not_met_and_then_what_loadgen_says(self) -> None:
        found = result(
            "server",
            {
                "result_validity": "INVALID",
                "result_perf_constraints_met": False,
                "early_stopping_met": False,
                "result_invalid_reason": "Reduce target QPS to improve latency. ",
                "early_stopping_result": " * Run unsuccessful.  * Processed 750 queries.",
                "error_runtime": "Ending early: Too many outstanding queries.",
            },
        )
        assert not found.valid
        assert found.reason == (
            "not met: latency bound, enough queries to be sure (early stopping); "
            "LoadGen: Ending early: Too many outstanding queries. Reduce target QPS to improve latency. "
            "Run unsuccessful. Processed 750 queries."
        )

    def test_early_stopping_is_left_out_where_it_is_not_the_reason(self) -> None:
        found = result(
            "server",
            {"result_validity": "INVALID", "result_min_queries_met": False, "result_invalid_reason": "Go on."},
        )
        assert found.reason == "not met: fewest queries; LoadGen: Go on."

    def test_a_valid_result_has_no_reason(self) -> None:
        assert result("server", {}).reason is None

    def test_a_log_without_a_result_is_an_error_that_quotes_loadgen(self) -> None:
        log = {"error_invalid_config": "Multiple conf files are used."}
        with pytest.raises(StageError, match=r"server.*Multiple conf files"):
            load_result(load_scenarios()["server"], log)


def test_the_last_value_of_a_key_counts(tmp_path: Path) -> None:
    lines = [":::MLLOG " + json.dumps({"key": "message", "value": text}) for text in ("first", "last")]
    (tmp_path / DETAIL).write_text("\n".join([*lines, "no entry"]), encoding="utf-8")
    assert read_log(tmp_path) == {"message": "last"}


def test_predictions_are_little_endian_integers_by_sample(tmp_path: Path) -> None:
    path = tmp_path / ACCURACY
    entries = [
        {"seq_id": 0, "qsl_idx": 3, "data": "0900000000000000"},
        {"seq_id": 1, "qsl_idx": 0, "data": "0001000000000000"},  # 1 * 256
        {"seq_id": 2, "qsl_idx": 2, "data": ""},
    ]
    path.write_text(json.dumps(entries), encoding="utf-8")
    assert read_predictions(path, 4).tolist() == [256, NOT_PREDICTED, NOT_PREDICTED, 9]
