"""How many wrong scales are found and located, and how many sound layers are accused.

`python tests/benchmarks/planted_scales.py [NETWORK …]` plants every scale of every weight, one at a time, 10 % too
large (and, for comparison, 2 %), in the Q/DQ file and in the engine that ONNX Runtime built, and prints the table of
docs/results/measurement.md. For TensorRT's format the file alone is checked: its engines cannot be looked into.

`… --run FOLDER` plants in the engines of a finished run of scenarios/quickstart.yaml instead: trained networks and real
images, two scales of each layer.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import onnx
import torch
from onnx import ModelProto

sys.path.insert(0, str(Path(__file__).parents[1]))

from oracles import engines
from oracles.faults import weight_scales, with_wrong_weight_scale
from oracles.first_fault import first_fault
from oracles.networks import INPUT_SHAPE, MIXED_NETWORKS, NETWORKS, captured, make_batch

from harness.data.load import load_splits
from harness.data.settings import DatasetSpec
from harness.exporting.onnx_export import export_onnx
from harness.parity.layers import compare_layers
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.results import LayerParity, Row, RunResults
from harness.targets import get_target
from harness.targets.base import EngineGraph

FACTORS = (1.1, 1.02)
BATCHES = 4
RUN_CHANNELS = 2
"""Scales of each layer of a finished run: networks have hundreds."""
Compare = Callable[[ModelProto], tuple[LayerParity, ...]]


class Case(NamedTuple):
    """One network in one format, and one link of it that may hold a wrong scale."""

    name: str
    link: str
    model: ModelProto
    compare: Compare


class Count(NamedTuple):
    """What became of the scales that were planted."""

    planted: int
    found: int
    located: int
    tensors: int
    accused: int
    """Of `tensors`, in the sound model."""


def samples() -> list[torch.Tensor]:
    """64 others than those that calibrated."""
    return [make_batch(16, seed) for seed in range(5, 5 + BATCHES)]


def cases(network: str, folder: Path) -> Iterator[Case]:
    """All formats that ONNX Runtime deploys, and TensorRT's."""
    for bits in (8, 7):
        for per_channel in (True, False):
            prepared = engines.prepare(network, per_channel=per_channel, weight_bits=bits)
            path, engine = engines.build(prepared, folder)
            yield from _onnxruntime(prepared, path, engine, f"w{bits}, per {'channel' if per_channel else 'tensor'}")
    target = get_target("tensorrt")
    for per_channel in (True, False):
        quantizer = target.quantizer(
            target.number_format(8, 8), per_channel=per_channel, weight_calibrator=make_calibrator("max")
        )
        prepared = engines.calibrated(captured(network), quantizer, make_batch())
        path = folder / "tensorrt.onnx"
        export_onnx(quantized.convert(prepared), INPUT_SHAPE, path, integer_biases=target.integer_biases)
        name = f"TensorRT's, per {'channel' if per_channel else 'tensor'}"
        yield Case(name, "Q/DQ ONNX", onnx.load(path), _from_torch(prepared))


def _onnxruntime(prepared: torch.fx.GraphModule, path: Path, engine: engines.Engine, name: str) -> Iterator[Case]:
    file, graph = onnx.load(path), engines.TARGET.inside(engine.path, engine.options)
    yield Case(name, "Q/DQ ONNX", file, _from_torch(prepared))
    yield Case(name, "engine", graph.model, _from_file(file, graph, samples()))


def _from_torch(prepared: torch.fx.GraphModule) -> Compare:
    return lambda model: compare_layers(model, samples(), prepared=prepared)


def _from_file(file: ModelProto, graph: EngineGraph, batches: list[torch.Tensor]) -> Compare:
    return lambda model: compare_layers(file, batches, engine=dataclasses.replace(graph, model=model))


def run_cases(folder: Path) -> Iterator[Case]:
    """Engines of a finished run beside their files: the first PTQ row of each model and granularity."""
    images = load_splits(DatasetSpec(source="fashion_mnist", location="embedded"), root=folder, seed=0).test
    batches = [images.inputs(slice(start, start + 16)) for start in range(0, 64, 16)]
    first: dict[tuple[str, bool | None], Row] = {}
    for row in RunResults.load(folder / "results.json").rows:
        if row.variant.method == "ptq" and row.variant.toolkit == "harness" and "engine" in row.files:
            first.setdefault((row.variant.model, row.variant.per_channel), row)
    for row in first.values():
        file = onnx.load(folder / row.files["onnx"])
        graph = engines.TARGET.inside(folder / row.files["engine"], engines.TARGET.build_options(row.variant, 1))
        name = f"{row.variant.model}, per {'channel' if row.variant.per_channel else 'tensor'}"
        yield Case(name, "engine", graph.model, _from_file(file, graph, batches))


def count(case: Case, factor: float, channels: int | None = None) -> Count:
    """Plant scales of the model, one at a time: of each layer all, or as many as `channels`, evenly spread."""
    sound = case.compare(case.model)
    planted = found = located = 0
    for layer, n_scales in weight_scales(case.model).items():
        for channel in range(0, n_scales, max(1, n_scales // channels) if channels else 1):
            faults = first_fault(case.compare(with_wrong_weight_scale(case.model, layer, channel, factor))).values()
            planted += 1
            found += bool(faults)
            right_channel = [fault.faulty_channels == (channel,) or n_scales == 1 for fault in faults]
            located += [fault.layer for fault in faults] == [layer] and all(right_channel)
    return Count(planted, found, located, len(sound), sum(each.is_fault for each in sound))


def main(arguments: list[str]) -> None:
    """Print one line for each format, link and factor, over all networks."""
    warnings.simplefilter("ignore")
    totals: dict[tuple[str, str, float], Count] = {}

    def add(case: Case, channels: int | None = None) -> None:
        for factor in FACTORS:
            key = (case.name, case.link, factor)
            before, counted = totals.get(key, Count(0, 0, 0, 0, 0)), count(case, factor, channels)
            totals[key] = Count(*(old + new for old, new in zip(before, counted, strict=True)))
        sys.stderr.write(f"{case.name}, {case.link}: done\n")

    if arguments[:1] == ["--run"]:
        for case in run_cases(Path(arguments[1])):
            add(case, channels=RUN_CHANNELS)
    for network in [] if arguments[:1] == ["--run"] else arguments or [*NETWORKS, *MIXED_NETWORKS]:
        with tempfile.TemporaryDirectory() as folder:
            for case in cases(network, Path(folder)):
                add(case)
    lines = [
        "| Weights | Wrong in | Scale off by | Planted | Found | Located | Sound tensors | Accused |",
        "| --- | --- | --: | --: | --: | --: | --: | --: |",
    ]
    for (name, link, factor), total in totals.items():
        lines.append(f"| {name} | {link} | {factor - 1:.0%} | " + " | ".join(f"{value:,}" for value in total) + " |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
