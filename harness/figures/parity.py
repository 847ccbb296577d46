"""Figures of the parity chain: how alike two representations on the way from the network to the engine are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations
from typing import Final, get_args

from harness.figures.base import SHARE_MARGIN, Figure, FigureValue, Margin, Read, reading, wilson
from harness.results import Agreement, ParityStep, Representation, Row

# Twice the noise is 3 dB; above 60 dB it is the rounding of float kernels.
_NOISE_MARGIN: Final = Margin("difference", 3.0, ceiling=60.0)
_NETWORK: Final = "the network, fake-quantized where it is quantized,"


def direct_figures() -> Iterator[Figure]:
    """From one of network, ONNX file and engine straight to another."""
    for name, before, after in (
        ("torch_vs_onnx", _NETWORK, "its ONNX file"),
        ("onnx_vs_engine", "the ONNX file", "the engine"),
        ("torch_vs_engine", _NETWORK, "the engine"),
    ):
        yield from _agreement(f"parity.{name}", f"{before} and {after}", partial(_pair, name), in_csv=False)


def step_figures() -> Iterator[Figure]:
    """Figures of every step that a chain may have, `parity.START_to_END.FIGURE`."""
    for start, end in combinations(get_args(Representation), 2):
        yield from _step(start, end)


def _step(start: Representation, end: Representation) -> Iterator[Figure]:
    prefix, names = f"parity.{start}_to_{end}", f"{start} and {end}"
    column = f"{start}_to_{end}"
    step = partial(_step_of, start, end)
    yield from _agreement(prefix, names, step, in_csv=True)
    yield Figure(
        f"{prefix}.top1",
        header="Top-1",
        unit="share",
        better="higher",
        definition=f"Top-1 of {end} on the samples of the parity chain.",
        read=reading(step, lambda found: found.top1),
    )
    yield Figure(
        f"{prefix}.drop",
        header="Loss",
        unit="share",
        better="lower",
        definition=f"Top-1 of {start} minus top-1 of {end} on the same samples.",
        read=reading(step, lambda found: found.drop),
        column=f"{column}_drop",
        is_difference=True,
    )


def _agreement(
    prefix: str, names: str, section: Callable[[Row], Agreement | None], *, in_csv: bool
) -> Iterator[Figure]:
    column = prefix.removeprefix("parity.") if in_csv else ""
    yield Figure(
        f"{prefix}.top1_agreement",
        header="Same top-1",
        unit="share",
        better="higher",
        definition=f"Share of test samples for which {names} predict the same class.",
        read=_counted(section, lambda found: found.top1_agreement),
        margin=SHARE_MARGIN,
        words="same top-1",
        column=column and f"{column}_top1_agreement",
    )
    yield Figure(
        f"{prefix}.max_abs_error",
        header="Largest error",
        unit="",
        better="lower",
        definition=f"Largest absolute difference of the outputs of {names}.",
        read=reading(section, lambda found: found.max_abs_error),
    )
    yield Figure(
        f"{prefix}.sqnr_db",
        header="SQNR",
        unit="dB",
        better="higher",
        definition=f"Signal-to-quantization-noise ratio between the outputs of {names}, infinite where they are "
        "identical.",
        read=reading(section, _sqnr_db),
        margin=_NOISE_MARGIN,
        words="SQNR",
        column=column and f"{column}_sqnr_db",
    )


def _counted(section: Callable[[Row], Agreement | None], value: Callable[[Agreement], float]) -> Read:
    """A share of `n` samples whose record holds no interval."""

    def read(row: Row, confidence: float) -> FigureValue | None:
        record = section(row)
        return None if record is None else wilson(value(record), record.n, confidence)

    return read


def _sqnr_db(found: Agreement) -> float | None:
    if found.sqnr_db is None and found.max_abs_error == 0.0:
        return math.inf  # the outputs are identical
    return found.sqnr_db


def _pair(name: str, row: Row) -> Agreement | None:
    found: Agreement | None = getattr(row.parity, name, None)
    return found


def _step_of(start: Representation, end: Representation, row: Row) -> ParityStep | None:
    steps = () if row.parity is None else row.parity.steps
    return next((step for step in steps if (step.start, step.end) == (start, end)), None)
