"""Projects of a user of the plugin: two tiny scenarios, a model file, and runs that are scripted or real."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import scipy.stats  # noqa: F401
import torch  # noqa: F401
from oracles.scripted_runs import CONFTEST

# torch and scipy are loaded before pytester takes its snapshot of `sys.modules`: they cannot be imported twice.
# Nor can pandas' types in Arrow be registered twice.
pd.DataFrame({"x": [1]}).to_parquet(io.BytesIO())

REPOSITORY = Path(__file__).parents[2]
SCENARIO = """\
name: tiny
dataset:
  source: random_images
  args: {input_shape: [1, 8, 8], n_classes: 10}
  calibration_samples: 8
  test_samples: 8
models:
  net: {factory: models/tiny.py:tiny, weights: random}
training: {batch_size: 8, augmentations: []}
targets:
  onnxruntime: {threads: 1}
matrix:
  method: [fp32, ptq]
  calibrator: [max, mse]
measurement:
  memory: false
  parity: "off"
  warmup_s: 0.01
  round_s: 0.002
  rounds_per_process: 3
  min_processes: 2
  max_processes: 2
  budget_s: 20
"""
MODEL = """\
from torch import nn

def tiny(n_classes=10):
    layers = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, n_classes)
    return nn.Sequential(*layers)
"""
PLUGINS = ("-p", "harness.pytest_plugin", "-p", "no:hypothesispytest")
"""Hypothesis would be imported anew in every session."""
Run = Callable[..., pytest.RunResult]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose stages would really run."""
    pytester.makeini("[pytest]\n")
    for folder, name, text in (("scenarios", "tiny.yaml", SCENARIO), ("models", "tiny.py", MODEL)):
        pytester.mkdir(folder)
        (pytester.path / folder / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ["PYTHONPATH"]]))
    monkeypatch.setenv("HARNESS_STORE", str(pytester.path / "store"))
    monkeypatch.setenv("HARNESS_MEASURING_LOCK", str(pytester.path / "measuring.lock"))
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):  # this session's own must not reach the inner one
        monkeypatch.delenv(name, raising=False)
    return pytester.path


@pytest.fixture
def scripted(project: Path, pytester: pytest.Pytester) -> Path:
    """A project whose runs find what `write_script` says."""
    pytester.makeconftest(CONFTEST)
    return project


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Runs pytest with the plugin in this process."""
    return lambda *args: pytester.runpytest_inprocess(*PLUGINS, *args)


@pytest.fixture
def run_apart(pytester: pytest.Pytester) -> Run:
    """Runs pytest with the plugin in a process of its own."""
    return lambda *args: pytester.runpytest_subprocess(*PLUGINS, *args)
