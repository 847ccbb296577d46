"""The committed weights of the quickstart are those that the documentation describes, and as accurate."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import nn

from harness.data.load import load_splits
from harness.data.settings import DatasetSpec
from harness.scenario import load_scenario
from harness.training.factory import build_model
from harness.training.inference import predict

REPOSITORY = Path(__file__).parents[1]
QUICKSTART = load_scenario(REPOSITORY / "scenarios" / "quickstart.yaml")
PAGE = (REPOSITORY / "docs" / "results" / "main-job.md").read_text(encoding="utf-8")
DOCUMENTED = {
    name: (float(top1) / 100, sha256)
    for name, top1, sha256 in re.findall(
        r"^\| `models/weights/(\w+)\.safetensors` \| ([\d.]+) % .*`([0-9a-f]{64})`", PAGE, re.MULTILINE
    )
}
MODELS = sorted(QUICKSTART.models)


def weights_of(model: str) -> Path:
    return QUICKSTART.resolve(QUICKSTART.models[model].weights)


def network_of(model: str) -> nn.Module:
    network = build_model(QUICKSTART.models[model].factory, {}, root=REPOSITORY, seed=0, input_shape=(1, 28, 28))
    network.load_state_dict(load_file(weights_of(model)))
    return network


def top1_of(model: str, test_samples: int | None) -> float:
    spec = DatasetSpec(source="fashion_mnist", location="embedded", test_samples=test_samples)
    samples = load_splits(spec, root=REPOSITORY, seed=0).test
    outputs = predict(network_of(model), samples, 32)
    return float((outputs.argmax(axis=1) == samples.required_labels().numpy()).mean())


def test_both_networks_are_documented() -> None:
    assert sorted(DOCUMENTED) == MODELS


@pytest.mark.parametrize("model", MODELS)
def test_the_file_is_the_one_that_is_documented(model: str) -> None:
    assert hashlib.sha256(weights_of(model).read_bytes()).hexdigest() == DOCUMENTED[model][1]


@pytest.mark.parametrize("model", MODELS)
def test_it_is_as_accurate_on_a_part_of_the_test_images(model: str) -> None:
    # 2,000 images: two standard errors of a share of 0.93 are 2 * sqrt(0.93 * 0.07 / 2000) = 0.011.
    assert top1_of(model, 2_000) == pytest.approx(DOCUMENTED[model][0], abs=0.012)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_it_is_as_accurate_on_all_of_them(model: str) -> None:
    assert top1_of(model, None) == pytest.approx(DOCUMENTED[model][0], abs=0.0005)  # other kernels round otherwise
