"""A tiny engine, and timings made of given numbers."""

import numpy as np
import pytest
import torch

from harness.exporting.onnx_export import export_onnx
from harness.quantization.capture.graph import capture
from harness.targets import get_target
from harness.timing.request import EngineFile
from harness.timing.samples import ProcessRounds, Round
from harness.timing.settings import TimingPlan

SHAPE = (1, 8, 8)


@pytest.fixture
def plan():
    return TimingPlan(
        warmup_s=0.0, round_s=0.001, rounds_per_process=4, min_processes=2, max_processes=9, budget_s=100.0
    )


@pytest.fixture
def make_block():
    """A block of rounds of one inference per session, from milliseconds by session and round."""

    def make(process=0, build=0, **milliseconds):
        rounds = [
            Round({name: np.array([ms]) for name, ms in zip(milliseconds, turn, strict=True)})
            for turn in zip(*milliseconds.values(), strict=True)
        ]
        return ProcessRounds(build, process, tuple(rounds))

    return make


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    """One convolution and one linear layer, built for the CPU."""
    folder = tmp_path_factory.mktemp("engine")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3))
    export_onnx(capture(model.eval(), SHAPE), SHAPE, folder / "model.onnx", integer_biases=False)
    target = get_target("onnxruntime")
    options = target.options_from({})
    built = target.build(folder / "model.onnx", folder, options)
    return EngineFile(target="onnxruntime", path=built.path, options=options.model_dump(mode="json"))
