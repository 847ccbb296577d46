"""What of pytest's options reaches the run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.engine.store import Store
from harness.pytest_plugin import execute
from harness.pytest_plugin.state import STATE
from harness.runs import complete
from harness.runs.preparation import RunOptions
from harness.scenario import Scenario

TINY = "scenarios/tiny.yaml"
FP32 = "net-fp32-onnxruntime-b1"
MSE = "net-ptq-mse-perchannel-onnxruntime-b1"


class Started:
    """Stands where `prepare` and `run_scenario` do, and remembers what it was given."""

    scenario: Scenario
    options: RunOptions
    store: Store

    def prepare(self, scenario: Scenario, options: RunOptions) -> None:
        self.scenario, self.options = scenario, options

    def run_scenario(self, prepared: Any, directory: Path, store: Store, *rest: Any) -> None:
        self.store = store


@pytest.fixture
def start(project: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Started]:
    def start(*args: str) -> Started:
        started = Started()
        monkeypatch.setattr(execute, "prepare_run", started.prepare)
        monkeypatch.setattr(complete, "run_scenario", started.run_scenario)
        monkeypatch.setattr(complete, "render", lambda *_: [])
        config = pytester.parseconfigure("-p", "harness.pytest_plugin", *args)
        loaded = config.stash[STATE].load(project / TINY)
        execute.run_matrix(loaded, {MSE}, project / "out", config)
        return started

    return start


def test_only_the_chosen_variants_run(start) -> None:
    started = start()
    from harness.scenario import expand

    assert [variant.id for variant in expand(started.scenario) if started.options.select(variant)] == [MSE]


def test_latency_is_measured_unless_benchmarks_are_disabled(start) -> None:
    assert start().scenario.measurement.latency
    assert not start("--benchmark-disable").scenario.measurement.latency
    assert start("--benchmark-disable", "--benchmark-enable").scenario.measurement.latency


@pytest.mark.slow
def test_the_command_line_is_relative_to_where_pytest_is_started(start, project) -> None:
    assert start("--harness-store=here").store.root == project / "here"


@pytest.mark.slow
def test_the_ini_file_is_relative_to_the_root(start, project, pytester, monkeypatch) -> None:
    pytester.makeini("[pytest]\nharness_store = there\nharness_isolation = none\nharness_download = true\n")
    monkeypatch.chdir(project / "models")
    started = start()
    assert started.store.root == project / "there"
    assert started.options.isolation == "none"
    assert started.options.download


@pytest.mark.slow
def test_without_options_the_store_is_the_environments(start, project) -> None:
    started = start()
    assert started.store.root == project / "store"  # $HARNESS_STORE
    assert started.options.isolation == "process"
    assert not started.options.download


@pytest.mark.parametrize(("args", "expected"), [((), []), (("--harness-history",), [None])])
@pytest.mark.thorough(keep=1)
def test_a_run_is_appended_to_the_history_on_request(start, monkeypatch, project, args, expected) -> None:
    appended = []
    monkeypatch.setenv("HARNESS_HISTORY", str(project / "all.sqlite"))
    monkeypatch.setattr(complete, "append", lambda path, runs: appended.append((path, runs)))
    start(*args)
    assert appended == [(project / "all.sqlite", [run]) for run in expected]  # `Started` has no results


def test_an_unknown_isolation_is_a_usage_error(start, pytester) -> None:
    pytester.makeini("[pytest]\nharness_isolation = thread\n")
    with pytest.raises(pytest.UsageError, match="unknown isolation `thread`"):
        start()
