"""What one training step of QAT costs beside one of FP32, in interleaved steps.

Run with `tox -e benchmarks`. Nothing here fails on a timing; the ratios stand in the benchmark's JSON as `extra_info`.
The goal: `folded` at most 1.2 x an FP32 step in contiguous layout, and 1.6 x one in channels-last.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.capture.graph import capture
from harness.quantization.qat.graph import training_graph
from harness.targets import get_target
from harness.training.factory import build_model
from harness.training.inference import set_training

ROOT = Path(__file__).parents[2]
MODELS = {"resnet8": "models/resnet.py:resnet8", "mobilenet": "models/mobilenet.py:mobilenet_v2_small"}
SHAPE, BATCH, ROUNDS = (1, 28, 28), 128, 15
Step = Callable[[], float]
pytestmark = pytest.mark.slow


def make_network(name: str) -> torch.nn.Module:
    """With batch norm statistics that fit the inputs, in training."""
    model = build_model(MODELS[name], {}, root=ROOT, seed=0, input_shape=SHAPE, n_classes=10).train()
    with torch.no_grad():
        for _ in range(10):
            model(torch.randn(BATCH, *SHAPE))
    return model


def make_prepared(model: torch.nn.Module) -> torch.fx.GraphModule:
    target = get_target("onnxruntime")
    quantizer = target.quantizer(target.number_format(8, 8), per_channel=True, weight_calibrator=make_calibrator("max"))
    prepared = quantized.prepare(capture(model, SHAPE), quantizer)
    quantized.collect(prepared, torch.randn(BATCH, *SHAPE))
    quantized.set_ranges(prepared, quantized.collected_histograms(prepared), make_calibrator("max"))
    return prepared


def make_step(model: torch.nn.Module, *, channels_last: bool) -> Step:
    """Forward, loss, backward, optimizer; returns the loss."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model.to(memory_format=layout)
    set_training(model, True)
    images = torch.randn(BATCH, *SHAPE).to(memory_format=layout)
    labels = torch.arange(BATCH) % 10
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, nesterov=True)

    def step() -> float:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


@pytest.mark.parametrize("name", MODELS)
def test_a_qat_step_beside_an_fp32_step(benchmark, name: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        prepared = make_prepared(make_network(name))
        steps = {
            "fp32": make_step(make_network(name), channels_last=False),
            "fp32_channels_last": make_step(make_network(name), channels_last=True),
            "folded": make_step(training_graph(prepared), channels_last=True),
            "frozen": make_step(training_graph(prepared, batch_norm="frozen"), channels_last=True),
            "live": make_step(training_graph(prepared, batch_norm="live"), channels_last=True),
            "learned_ranges": make_step(training_graph(prepared, learn_ranges=True), channels_last=True),
            # The prepared graph itself: ReLU in passes of its own.
            "unfused": make_step(prepared, channels_last=True),
        }
        seconds: dict[str, list[float]] = {key: [] for key in steps}

        def one_round() -> list[float]:
            losses = []
            for key, step in steps.items():
                start = time.perf_counter()
                losses.append(step())
                seconds[key].append(time.perf_counter() - start)
            return losses

        losses = benchmark.pedantic(one_round, rounds=ROUNDS, iterations=1, warmup_rounds=2)
    finally:
        torch.set_num_threads(threads)
    median = {key: statistics.median(times[-ROUNDS:]) for key, times in seconds.items()}
    benchmark.extra_info["median_ms"] = {key: round(value * 1e3, 1) for key, value in median.items()}
    for base in ("fp32", "fp32_channels_last"):
        ratios = {key: round(value / median[base], 2) for key, value in median.items()}
        benchmark.extra_info[f"times_{base}"] = ratios
    assert all(loss < 20 for loss in losses)
