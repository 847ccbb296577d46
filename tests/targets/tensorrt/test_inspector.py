"""What an engine holds is asked of the inspector where there is a GPU, else read in the builder's log."""

import pytest
from oracles.tensorrt_double import World

from harness.targets.tensorrt.builder import engine_layers
from harness.targets.tensorrt.inspector import inspected_layers
from harness.targets.tensorrt.logger import process_logger
from harness.targets.tensorrt.options import TensorRtBuildOptions

VERSIONS = ["tensorrt-10.0", "tensorrt-10.16", "tensorrt-11.4", "tensorrt-rtx-1.7"]
OPTIONS = TensorRtBuildOptions()
LOGGED = (
    "Layers:\nName: conv9, LayerType: correlation, Inputs: [], Constants: [], Outputs: [], TacticName: , Metadata: "
)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The messages of the double's process."""
    logger = process_logger(World("tensorrt-11.4").trt)
    monkeypatch.setattr(logger, "messages", [("VERBOSE", LOGGED)])
    return logger.messages


@pytest.mark.parametrize("version", VERSIONS)
def test_the_inspector_is_told_the_shapes_without_which_it_tells_no_types(version: str):
    world = World(version, profiles=((1, 8),))
    (layer,) = inspected_layers(world.engine(), world.trt)
    assert (layer.name, layer.inputs, layer.outputs) == ("conv1", ("Int8",), ("Int8",))
    assert "set_input_shape 8" in world.calls  # the size that the profile is tuned for


def test_with_a_gpu_the_engine_is_inspected(said: list[tuple[str, str]]):
    world = World("tensorrt-10.16")
    assert [layer.name for layer in engine_layers(world.trt, b"good", OPTIONS, has_gpu=True)] == ["conv1"]
    assert world.calls[0] == "deserialize, host code not allowed"


def test_an_engine_with_a_lean_runtime_is_allowed_to_run_it(said: list[tuple[str, str]]):
    world, options = World("tensorrt-10.16"), TensorRtBuildOptions(version_compatible=True)
    engine_layers(world.trt, b"good", options, has_gpu=True)
    assert world.calls[0] == "deserialize, host code allowed"


@pytest.mark.parametrize(("plan", "has_gpu"), [(b"good", False), (b"other", True)], ids=["no_gpu", "not_loadable"])
def test_else_the_log_is_read(said: list[tuple[str, str]], plan: bytes, has_gpu: bool):
    layers = engine_layers(World("tensorrt-10.16").trt, plan, OPTIONS, has_gpu=has_gpu)
    assert [layer.name for layer in layers] == ["conv9"]
