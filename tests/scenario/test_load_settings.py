"""Load scenarios in a scenario file."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import ScenarioError

TEXT = """\
name: loaded
dataset: {source: fashion_mnist}
models:
  net: {factory: "models.resnet:resnet8"}
"""


def load_section(load: Any, text: str) -> Any:
    return load(TEXT + "measurement:\n  load:\n" + text).measurement.load


def test_none_runs_by_default(load: Any) -> None:
    assert load(TEXT).measurement.load == {}


def test_a_name_alone_has_the_defaults_of_loadgen(load: Any) -> None:
    (settings,) = load_section(load, "    single_stream:\n").values()
    assert (settings.min_duration_ms, settings.min_query_count) == (10_000, 100)
    assert settings.target_latency_percentile == 90.0


def test_each_load_scenario_has_keys_of_its_own(load: Any) -> None:
    text = "    multi_stream: {samples_per_query: 4}\n    server: {target_qps: 50, target_latency_ms: 15}\n"
    found = load_section(load, text)
    assert found["multi_stream"].samples_per_query == 4
    assert (found["server"].target_qps, found["server"].target_latency_ms) == (50, 15)


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        ("    singel_stream: {}\n", "singel_stream", "did you mean `single_stream`?"),
        ("    server: {target_qps: 50}\n", "lacks the key `target_latency_ms`", "add `target_latency_ms: ...`"),
        ("    offline: {target_qp: 50}\n", "unknown key `target_qp`", "did you mean `target_qps`?"),
        ("    offline: {min_duration_ms: -1}\n", "must be at least 0", "write a number at least 0"),
        ("    server: {target_qps: 0, target_latency_ms: 1}\n", "must be greater than 0", "write a number"),
    ],
)
def test_mistakes_are_told_with_their_place(load: Any, text: str, message: str, fix: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        load_section(load, text)
    assert message in caught.value.message
    assert fix in str(caught.value.fix)
    assert caught.value.line == 7
