"""Times of layers: from the engines' profilers to the layers of a row."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from oracles.engine_stages import ENGINE, INPUT_SHAPE
from oracles.engine_stages import engine as make_engine
from oracles.networks import INPUT_SHAPE as NETWORK_SHAPE
from oracles.networks import captured

from harness.engine.graph import Task
from harness.engine.local import LocalExecutor
from harness.engine.outcomes import Done
from harness.engine.store import Store
from harness.exporting.onnx_export import export_onnx
from harness.results import Layer
from harness.runs.layer_times import with_times
from harness.stages.artifacts import LayerTimesResult
from harness.stages.catalog import LAYER_TIMES
from harness.stages.configs import LayerTimesConfig, ProfiledEngine
from harness.stages.layer_times import LEAST_RUNS, MOST_RUNS, typical
from harness.targets import get_target
from harness.targets.onnxruntime.profile import _by_inference

RUNS = 12


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def profiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[Layer, ...], ...]:
    """The audited layers of an FP32 engine, and its times by inference."""
    target, folder = get_target(request.param), tmp_path_factory.mktemp(request.param)
    if not target.availability().usable:
        pytest.skip(target.availability().detail)
    path = folder / "model.onnx"
    export_onnx(captured("residual"), NETWORK_SHAPE, path, integer_biases=True)
    options = target.options_from({"threads": 1})
    engine = target.build(path, folder, options)
    batch = np.random.default_rng(0).standard_normal((1, *NETWORK_SHAPE), dtype=np.float32)
    return target.audit(engine.path, path), target.time_layers(engine.path, options, batch, RUNS)


def test_every_layer_that_multiplies_has_a_time_in_every_inference(profiled: tuple) -> None:
    layers, inferences = profiled
    assert len(inferences) == RUNS
    names = {layer.executed_as for layer in layers if layer.macs}
    assert names and None not in names
    assert all(names <= set(times) for times in inferences)
    assert all(time >= 0 for times in inferences for time in times.values())
    assert sum(sum(times.values()) for times in inferences) > 0


def test_no_time_is_of_a_layer_that_the_audit_does_not_know(profiled: tuple) -> None:
    """Else shares would be those of a part."""
    layers, inferences = profiled
    assert set(inferences[-1]) <= {layer.executed_as for layer in layers}


def test_events_of_nodes_belong_to_the_inference_in_whose_time_they_began() -> None:
    run, node = {"cat": "Session", "name": "model_run"}, {"cat": "Node"}
    events = [
        {**run, "ts": 100, "dur": 50},
        {**node, "name": "conv_kernel_time", "ts": 210, "dur": 7},  # events are in no order
        {**node, "name": "conv_kernel_time", "ts": 105, "dur": 20},
        {**node, "name": "conv_kernel_time", "ts": 130, "dur": 5},  # in a loop: once more
        {**node, "name": "fence_after", "ts": 131, "dur": 9},
        {**run, "ts": 200, "dur": 30},
    ]
    assert _by_inference(events) == [{"conv": 0.025}, {"conv": 0.007}]


def test_a_disturbed_inference_moves_nothing_and_whole_microseconds_are_averaged() -> None:
    # The middle half of 1, 2, 2, 3, 3, 3, 4, 900 is 2, 3, 3, 3: 2.75.
    times = [3, 1, 900, 2, 3, 2, 3, 4]
    assert typical([{"conv": time} for time in times]) == {"conv": 2.75}


def test_a_layer_that_one_inference_lacks_took_no_time_there() -> None:
    assert typical([{"a": 4.0}, {"a": 4.0, "b": 2.0}]) == {"a": 4.0, "b": 1.0}


def config(**targets: str) -> LayerTimesConfig:
    engines = {
        name: ProfiledEngine(build=ENGINE.model_copy(update={"target": target}), input_shape=INPUT_SHAPE, batch_size=2)
        for name, target in targets.items()
    }
    return LayerTimesConfig(machine="m", engines=engines)


def test_an_engine_without_times_leaves_the_others_theirs(
    store: Store, run_task: Callable[[Task], LayerTimesResult]
) -> None:
    found = run_task(
        Task(
            LAYER_TIMES,
            config(fine="onnxruntime", broken="openvino", silent="tensorrt-rtx"),
            {"fine": make_engine(1), "broken": make_engine(1), "silent": make_engine(1)},
        )
    )
    assert list(found.engines) == ["fine"]
    assert LEAST_RUNS <= found.engines["fine"].runs <= MOST_RUNS
    assert set(found.missing) == {"broken", "silent"}
    assert "tensorrt-rtx does not tell" in found.missing["silent"]


@pytest.fixture
def run_task(store: Store) -> Callable[[Task], LayerTimesResult]:
    def run(task: Task) -> LayerTimesResult:
        outcome = LocalExecutor(store, isolation="none").run([task])[task.key]
        assert isinstance(outcome, Done), outcome
        return outcome.artifact.result(LayerTimesResult)

    return run


def layer(name: str, executed_as: str | None) -> Layer:
    return Layer(
        name=name,
        op="Conv",
        input_type="float",
        weight_type="float",
        output_type="float",
        macs=1,
        int8=False,
        executed_as=executed_as,
    )


def test_a_kernel_of_several_layers_gives_its_time_to_the_first(store: Store) -> None:
    result = LayerTimesResult(engines={"v": {"runs": 20, "ms": {"body": 0.5, "head": 0.1}}}, missing={})
    with store.create("a" * 64, "layer times") as draft:
        draft.meta.update(result.model_dump(mode="json"))
    assert draft.artifact is not None
    layers = [layer("q", "body"), layer("k", "body"), layer("merged", None), layer("head", "head")]
    done = Done(draft.artifact, cached=False)
    assert [each.time_ms for each in with_times(layers, done, "v")] == [0.5, None, None, 0.1]
    assert [each.time_ms for each in with_times(layers, done, "another")] == [None] * 4
    assert [each.time_ms for each in with_times(layers, None, "v")] == [None] * 4


def test_profiling_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.chdir(tmp_path)
    made = make_engine(1)
    outcome = LocalExecutor(store, isolation="none").run([made])[made.key]
    assert isinstance(outcome, Done)
    target = get_target("onnxruntime")
    batch = np.zeros((1, *INPUT_SHAPE), np.float32)
    assert target.time_layers(outcome.artifact.file("engine.onnx"), target.options_from({"threads": 1}), batch, 2)
    assert list(tmp_path.glob("*.json")) == []
