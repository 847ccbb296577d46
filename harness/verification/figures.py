"""How alike two executions of one network are, in one figure, and when that is less than rounding can explain."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import StageError
from harness.parity.noise import error_of
from harness.results import CheckedStep, StepCheck

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Run = Callable[[Array], Array]
    """From a batch (N, C, H, W) to outputs (N, ...)."""

SIZES = (1, 3)
"""Batch sizes of every check: one alone, and another, which finds files that were made for one batch size."""
N_SAMPLES = sum(SIZES)
EXACT_DB = 60.0
"""Steps that change nothing but the order of sums. Measured: right ones 98 dB and more, planted faults 38 at most."""
FLOAT_ENGINE_DB = 40.0
"""An engine against its file in FP32, where engines may multiply in TF32, or with 16-bit activations alone."""
QUANTIZED_ENGINE_DB = 15.0
"""The same where values are rounded to 8-bit integers or FP16: what falls to the other side of a step is carried on."""
OWN_MODEL_DB = 10.0
"""An engine against another toolkit's model, of which OpenVINO does not execute all roundings: a convolution that is
fused with a sum adds its own summand unrounded. Right ones were seen at 14 dB."""
NUDGE = 1e-4
"""Share by which inputs are moved to see what rounding alone does: less than a tenth of a step of 8 bits."""
NUDGES = 2
CARRIED_DB = 3.0
"""What two disturbances of that size may differ by in their effect."""
CONSTANT_POWER = 1e-3
"""Outputs that hardly vary between samples count as if they varied by this share of their power: float rounding is
relative to what they are, not to how they vary."""
ROUNDING_DB = 20.0
"""What two right executions may differ by in their distance from one in float64."""
LEAST_DB = 30.0
"""No rounding of right steps is worse than that."""
SMALLEST_OUTPUT = 1e-6
"""Error that outputs which are zero for every sample may have."""


class StepFailed(StageError):
    """A step that does not compute what the step before it computed."""


def batches(samples: Array) -> list[Array]:
    """The samples (N_SAMPLES, C, H, W) as one batch of each of `SIZES`."""
    return np.split(samples, np.cumsum(SIZES)[:-1])


def sqnr_db(expected: Sequence[Array], got: Sequence[Array]) -> float:
    """Signal-to-noise ratio of the worst batch; infinite when all are identical, minus infinity for another shape.

    The signal is how the outputs vary between the samples: a constant offset would hide an error in all the rest.
    NaN and infinity must be in the same places.
    """
    power = _signal_power(expected)
    return min(_decibels(power, one, other) for one, other in zip(expected, got, strict=True))


def _signal_power(outputs: Sequence[Array]) -> float:
    rows = [output.astype(np.float64) for output in outputs]
    same = all(row.ndim and row.shape[1:] == rows[0].shape[1:] for row in rows)
    values = np.concatenate(rows) if same else np.concatenate([row.reshape(-1) for row in rows])
    values = np.where(np.isfinite(values), values, 0.0)
    if not values.size:
        return 0.0
    centred = values - values.mean(axis=0) if same else values
    return float(max(np.square(centred).mean(), CONSTANT_POWER * np.square(values).mean()))


def _decibels(power: float, expected: Array, got: Array) -> float:
    if expected.shape != got.shape:
        return -math.inf
    error = error_of(expected.astype(np.float64), got.astype(np.float64))
    noise = float(np.square(error).mean()) if error.size else 0.0
    if noise == 0.0 or (power == 0.0 and noise <= SMALLEST_OUTPUT**2):
        return math.inf
    return -math.inf if power == 0.0 or math.isinf(noise) else 10.0 * math.log10(power / noise)


def is_rounding(expected: Sequence[Array], got: Sequence[Array], exact: Sequence[Array] | None) -> bool:
    """Whether both are equally far from the outputs in float64: then float32 can give no better figure.

    Networks whose outputs are small differences of large numbers lose digits however they are executed.
    """
    if exact is None:
        return False
    mine, theirs = sqnr_db(exact, expected), sqnr_db(exact, got)
    return theirs >= LEAST_DB and theirs >= mine - ROUNDING_DB


def carried_db(step: CheckedStep, run: Run, inputs: Sequence[Array], outputs: Sequence[Array], fix: str) -> float:
    """How well a quantized network agrees with itself when its inputs move by far less than a step.

    In deep networks a value that falls to the other side of a step is carried on and grows. No other execution of such
    a network can be asked to agree better than that.
    """
    figures = []
    for seed in range(NUDGES):
        draw = np.random.default_rng(seed)
        nudged = [batch + (batch * draw.uniform(-NUDGE, NUDGE, batch.shape)).astype(batch.dtype) for batch in inputs]
        figures.append(sqnr_db(outputs, run_all(step, run, nudged, fix)))
    return min(figures)


def require_same_shape(step: CheckedStep, expected: Sequence[Array], got: Sequence[Array], fix: str) -> None:
    """Raise StepFailed when the outputs of a batch have another shape."""
    for one, other in zip(expected, got, strict=True):
        if one.shape != other.shape:
            raise StepFailed(
                f"{step}: the outputs are {other.shape} instead of {one.shape} for a batch of {_rows(one)}", fix=fix
            )


def _rows(array: Array) -> int:
    return len(array) if array.ndim else 1


def run_all(step: CheckedStep, run: Run, inputs: Sequence[Array], fix: str) -> list[Array]:
    """Outputs of every batch; StepFailed when one of them cannot be executed."""
    outputs = []
    for batch in inputs:
        try:
            outputs.append(np.asarray(run(batch)))
        except StageError:
            raise
        except Exception as error:  # torch, ONNX Runtime and TensorRT raise many kinds
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise StepFailed(f"{step}: a batch of {len(batch)} cannot be executed: {first}", fix=fix) from error
    return outputs


def passed(step: CheckedStep, figure: float, limit: float | None, layers: int | None = None) -> StepCheck:
    """The record of a check that was passed; identical outputs have no figure."""
    return StepCheck(
        step=step, sqnr_db=None if math.isinf(figure) and figure > 0 else figure, limit_db=limit, layers=layers
    )


def in_decibels(figure: float) -> str:
    """For messages: the outputs differ, so the figure is never plus infinity."""
    return f"{figure:.1f} dB" if math.isfinite(figure) else "NaN or infinity on one side alone"
