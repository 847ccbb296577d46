"""Reading LoadGen's own logs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import StageError
from harness.results import LoadResult

if TYPE_CHECKING:
    import numpy.typing as npt

    from harness.load.base import LoadScenario

DETAIL, SUMMARY, ACCURACY = "mlperf_log_detail.txt", "mlperf_log_summary.txt", "mlperf_log_accuracy.json"
NOT_PREDICTED = -1
_PREFIX = ":::MLLOG "
_MOMENT = "%m-%d-%Y %H:%M:%S.%f"
_PERCENTILES = {"p50_ms": "50.00", "p90_ms": "90.00", "p95_ms": "95.00", "p99_ms": "99.00", "p999_ms": "99.90"}
_CONSTRAINTS = {
    "result_perf_constraints_met": "latency bound",
    "result_min_duration_met": "shortest duration",
    "result_min_queries_met": "fewest queries",
    "early_stopping_met": "enough queries to be sure (early stopping)",
}
_ERRORS = ("error_runtime", "error_invalid_config", "error_invalid_test_settings")

Log = Mapping[str, Any]


def read_log(folder: Path) -> Log:
    """The last value of every key of a detailed log; StageError when LoadGen has written no result."""
    values: dict[str, Any] = {}
    for line in (folder / DETAIL).read_text(encoding="utf-8").splitlines():
        if line.startswith(_PREFIX):
            entry = json.loads(line.removeprefix(_PREFIX))
            values[entry["key"]] = entry["value"]
    return values


def load_result(scenario: LoadScenario, log: Log) -> LoadResult:
    """The figures of one test in performance mode; StageError when the log has none."""
    if "result_validity" not in log:
        said = "; ".join(_errors(log)) or "it does not say why"
        raise StageError(f"LoadGen's {scenario.name} test ended without a result: {said}")
    queries, samples = int(log["result_query_count"]), int(log["effective_samples_per_query"])
    duration_s = (_moment(log, "power_end") - _moment(log, "power_begin")).total_seconds()
    percentiles = {name: _latency_ms(scenario, log, percentile) for name, percentile in _PERCENTILES.items()}
    is_bounded = log["effective_target_latency_ns"] > 0
    has_rate = scenario.is_queued
    return LoadResult(
        valid=log["result_validity"] == "VALID",
        reason=None if log["result_validity"] == "VALID" else _reason(log),
        samples_per_s=_throughput(scenario, log, queries * samples, duration_s),
        **percentiles,
        target_percentile=100 * log["effective_target_latency_percentile"] if scenario.latency_key else None,
        # Zero stands for too few queries.
        target_percentile_ms=_ms(log.get(scenario.early_stopping_key or "") or None),
        target_latency_ms=_ms(log["effective_target_latency_ns"]) if is_bounded else None,
        target_qps=log["effective_target_qps"] if has_rate else None,
        late_queries=log.get("result_overlatency_query_count"),
        queries=queries,
        samples_per_query=samples,
        duration_s=duration_s,
    )


def read_predictions(path: Path, n: int) -> npt.NDArray[np.int64]:
    """Predicted class of each of `n` test samples in an accuracy log; NOT_PREDICTED where it has none."""
    classes = np.full(n, NOT_PREDICTED, np.int64)
    for entry in json.loads(path.read_text(encoding="utf-8")):
        data = bytes.fromhex(entry["data"])
        if data:
            classes[entry["qsl_idx"]] = np.frombuffer(data, "<i8")[0]
    return classes


def _latency_ms(scenario: LoadScenario, log: Log, percentile: str) -> float | None:
    return None if scenario.latency_key is None else _ms(log.get(f"result_{percentile}_{scenario.latency_key}"))


def _throughput(scenario: LoadScenario, log: Log, samples: int, duration_s: float) -> float | None:
    if scenario.throughput_key is not None:
        return float(log[scenario.throughput_key]) or None  # zero: of a single query
    return samples / duration_s if duration_s > 0 else None


def _reason(log: Log) -> str:
    """Which constraints are not met, then LoadGen's words."""
    unmet = ", ".join(words for key, words in _CONSTRAINTS.items() if log.get(key) is False)
    said = [*_errors(log), log.get("result_invalid_reason", "")]
    if not log.get("early_stopping_met"):
        said.append(log.get("early_stopping_result", ""))
    words = " ".join(" ".join(said).replace(" * ", " ").split())
    return "; ".join(filter(None, [unmet and f"not met: {unmet}", words and f"LoadGen: {words}"]))


def _errors(log: Log) -> Iterator[str]:
    yield from (str(log[key]).strip() for key in _ERRORS if key in log)


def _moment(log: Log, key: str) -> datetime:
    return datetime.strptime(log[key], _MOMENT)


def _ms(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e6
