"""Equal engines under the names of several targets raise no alarm; the full count is `engine_trials.py`."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from harness.engine.lock import measuring

TRIALS = int(os.environ.get("ENGINE_TRIALS", "3"))


@pytest.fixture(scope="module")
def trials():
    spec = importlib.util.spec_from_file_location("engine_trials", Path(__file__).with_name("engine_trials.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_trial_runs(tmp_path, trials):
    engines = trials.make_engines(tmp_path, "onnxruntime")
    with measuring(what="benchmark"):
        found = trials.one_trial(engines, trials.default_plan(0.5), seed=0)
    assert found["processes"] >= 1
    assert len(found["words"]) == 6


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnxruntime", "openvino"])
def test_false_alarms(tmp_path, trials, kind):
    pytest.importorskip(kind)
    engines = trials.make_engines(tmp_path, kind)
    with measuring(what="benchmark"):
        found = [trials.one_trial(engines, trials.default_plan(6.0), seed) for seed in range(TRIALS)]
    # At most 5 % by construction; of 3 trials, two alarms would have a probability below 1 %.
    assert sum(bool(trial["alarms"]) for trial in found) <= max(TRIALS > 1, round(0.05 * TRIALS))
