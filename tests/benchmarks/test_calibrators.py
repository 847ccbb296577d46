"""What choosing ranges costs, once the histograms of a ResNet-18 at 224x224 are collected.

Run with `tox -e benchmarks`. Nothing here fails on a timing; the ratio to the
published entropy search stands in the benchmark's JSON as `extra_info`.
"""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import nvidia_entropy

from harness.quantization import prepared as quantized
from harness.quantization.calibrators import calibrators, entropy, make_calibrator
from harness.quantization.capture.graph import capture
from harness.targets import get_target
from harness.training.factory import build_model

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def histograms():
    """Of every activation that ONNX Runtime's placement quantizes, after 4 random images."""
    model = build_model("models/resnet.py:resnet18", {}, root=ROOT, seed=0, input_shape=(3, 224, 224), n_classes=1000)
    images = torch.randn(4, 3, 224, 224)
    with torch.no_grad():
        model.train()
        model(images)
        model.eval()
    target = get_target("onnxruntime")
    quantizer = target.quantizer(target.number_format(8, 8), per_channel=True, weight_calibrator=make_calibrator("max"))
    prepared = quantized.prepare(capture(model, (3, 224, 224)), quantizer)
    quantized.collect(prepared, images)
    return quantized.collected_histograms(prepared)


def choose_all(histograms) -> dict[str, list[float]]:
    levels = {name: 256 if histogram.minimum >= 0 else 128 for name, histogram in histograms.items()}
    return {
        name: [make_calibrator(name).amax(histogram, levels[node]) for node, histogram in histograms.items()]
        for name in calibrators()
    }


def test_all_calibrators_for_all_tensors(benchmark, histograms) -> None:
    chosen = benchmark.pedantic(choose_all, args=(histograms,), rounds=5, iterations=1)
    benchmark.extra_info["tensors"] = len(histograms)
    assert len(histograms) >= 30
    assert all(amax > 0 for values in chosen.values() for amax in values)


@pytest.mark.parametrize("levels", [128])
def test_entropy_search_against_the_published_one(benchmark, levels: int) -> None:
    """Interleaved on equal histograms of 2,048 bins, NVIDIA's default; the answers differ by at most one bin."""
    rng = np.random.default_rng(0)
    cases = [
        nvidia_entropy.histogram(values, 2048)
        for values in (rng.normal(size=200_000), rng.laplace(size=50_000), np.abs(rng.normal(size=100_000)) ** 1.5)
    ]
    entropy.best_bin(cases[0], levels)  # its table of bucket edges is made once per process
    ratios = []
    for counts in cases:
        start = time.perf_counter()
        published = nvidia_entropy.best_bin(counts, levels)
        middle = time.perf_counter()
        ours = entropy.best_bin(counts, levels)
        ratios.append((middle - start) / (time.perf_counter() - middle))
        assert abs(published - ours) <= 1
    benchmark.extra_info["times_faster_than_published"] = [round(ratio) for ratio in ratios]
    benchmark(entropy.best_bin, cases[0], levels)
