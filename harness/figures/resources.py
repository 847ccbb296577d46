"""Figures of what a variant takes beside time: memory, energy, and what it cost to make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from harness.figures.base import Better, Figure, Margin, reading
from harness.results import Cost, Energy, Load, LoadAccuracy, Memory, Row

_RESOURCE_MARGIN: Final = Margin("ratio", 0.10)


def memory_figures() -> Iterator[Figure]:
    """Figures of a process of its own that opens the engine."""
    of = partial(reading, _in_memory)
    entries: tuple[tuple[str, str, Better | None, str, Callable[[Memory], float | None], Margin | None], ...] = (
        (
            "baseline_bytes",
            "Library alone",
            None,
            "Resident memory of a process that has loaded the target's library and no engine.",
            lambda found: found.baseline_bytes,
            None,
        ),
        (
            "peak_bytes",
            "Whole process",
            "lower",
            "Peak resident memory of a fresh process that opens one engine and runs it a few times.",
            lambda found: found.peak_bytes,
            None,
        ),
        (
            "increase_bytes",
            "Engine",
            "lower",
            "Increase of that peak since the target's library was loaded.",
            lambda found: found.increase_bytes,
            _RESOURCE_MARGIN,
        ),
        (
            "device_bytes",
            "GPU",
            "lower",
            "Memory of the GPU that the process holds.",
            lambda found: found.device_bytes,
            _RESOURCE_MARGIN,
        ),
    )
    for name, header, better, definition, value, margin in entries:
        column = "" if better is None else f"memory_{name}"
        yield Figure(f"memory.{name}", header, "B", better, definition, of(value), margin, column=column)


def energy_figures() -> Iterator[Figure]:
    """Figures of energy, measured over blocks of inferences."""
    of = partial(reading, _in_energy)
    yield Figure(
        "energy.joules_per_inference",
        header="Energy",
        unit="J",
        better="lower",
        definition="What the whole device drew in blocks of inferences, divided by their number, other programs "
        "included.",
        read=of(lambda found: found.joules_per_inference),
        margin=_RESOURCE_MARGIN,
        column="joules_per_inference",
    )
    yield Figure(
        "energy.net_joules_per_inference",
        header="Without idle",
        unit="J",
        better="lower",
        definition="The same minus what the device would have drawn in that time, from its power just before with the "
        "engine open.",
        read=of(lambda found: found.net_joules_per_inference),
        column="net_joules_per_inference",
    )
    yield Figure(
        "energy.spread",
        header="Spread",
        unit="share",
        better="lower",
        definition="Largest minus smallest block, as a share of the energy of one inference.",
        read=of(lambda found: found.spread),
    )
    yield Figure(
        "energy.idle_w",
        header="Idle",
        unit="W",
        better=None,
        definition="Power with the engine open and nothing running.",
        read=of(lambda found: found.idle_w),
        column="energy_idle_w",
    )
    yield Figure(
        "energy.mean_w",
        header="Power",
        unit="W",
        better=None,
        definition="Mean power while inferences run.",
        read=of(lambda found: found.mean_w),
    )


def load_figures() -> Iterator[Figure]:
    """Figures of MLCommons LoadGen, for every load scenario."""
    yield Figure(
        "load.accuracy.disagreements",
        header="Other class",
        unit="",
        better="lower",
        definition="Test samples for which LoadGen's accuracy mode predicts another class than the evaluation.",
        read=reading(_in_load_accuracy, lambda found: found.disagreements),
    )
    yield Figure(
        "load.accuracy.ties",
        header="Ties",
        unit="",
        better=None,
        definition="Test samples whose two classes have outputs that are equal up to rounding.",
        read=reading(_in_load_accuracy, lambda found: found.ties),
    )
    yield Figure(
        "load.overhead_us",
        header="Overhead",
        unit="\N{MICRO SIGN}s",
        better="lower",
        definition="Median time of a query that nothing answers: what LoadGen and Python add to each latency.",
        read=reading(_in_load, lambda found: found.overhead_us),
    )


def cost_figures() -> Iterator[Figure]:
    """Figures of the cost of making the variant."""
    stages: tuple[tuple[str, str, Callable[[Cost], float | None]], ...] = (
        ("train", "training the FP32 network", lambda found: found.train_s),
        ("calibrate", "collecting histograms for calibration", lambda found: found.calibrate_s),
        ("quantize", "PTQ after calibration", lambda found: found.quantize_s),
        ("finetune", "QAT", lambda found: found.finetune_s),
        ("export", "writing the ONNX file", lambda found: found.export_s),
        ("build", "building the engine", lambda found: found.build_s),
    )
    for stage, what, value in stages:
        yield Figure(
            f"cost.{stage}_s",
            header=stage.capitalize(),
            unit="s",
            better="lower",
            definition=f"Time of {what}, from the store's record where it was cached.",
            read=reading(_in_cost, value),
            column=f"{stage}_s",
        )


def _in_memory(row: Row) -> Memory | None:
    return row.memory


def _in_energy(row: Row) -> Energy | None:
    return row.energy


def _in_load(row: Row) -> Load | None:
    return row.load


def _in_load_accuracy(row: Row) -> LoadAccuracy | None:
    return None if row.load is None else row.load.accuracy


def _in_cost(row: Row) -> Cost | None:
    return row.cost
