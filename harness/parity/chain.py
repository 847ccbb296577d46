"""From the eager network to the engine in steps, and the step that loses accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, get_args

from harness.parity.noise import decibels, error_of
from harness.results import (
    Agreement,
    LayerParity,
    PairedComparison,
    Parity,
    ParityStep,
    Representation,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Outputs = npt.NDArray[np.float32]

REPRESENTATIONS: tuple[Representation, ...] = get_args(Representation)
_FP32: set[Representation] = {"torch_fp32", "onnx_fp32"}
_QUANTIZED: set[Representation] = {"torch_quantized", "onnx_quantized"}
_TO_ONNX: set[tuple[Representation, Representation]] = {
    ("torch_fp32", "onnx_fp32"),
    ("torch_quantized", "onnx_quantized"),
}
_TO_ENGINE: set[tuple[Representation, Representation]] = {
    ("onnx_fp32", "engine"),
    ("onnx_quantized", "engine"),
    ("onnx_fp16", "engine"),
}


@dataclass(frozen=True)
class ChainEvidence:
    """What the links of one variant computed on the test samples."""

    outputs: Mapping[Representation, Outputs] = field(default_factory=dict)
    """(n, classes); n differs, as some links run on the first samples only."""
    labels: npt.NDArray[np.int64] | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    """Links that this variant could not have, with the reason; `layers` where they could not be compared."""
    layers: tuple[LayerParity, ...] = ()
    layer_samples: int | None = None


def parity_of(chain: ChainEvidence, *, confidence: float, seed: int) -> Parity:
    """All steps between neighbouring representations, on the samples that every representation has.

    Intervals and adjusted p-values are corrected for the number of steps (Bonferroni); `harness.verdicts` says which
    steps lose.
    """
    representations = [representation for representation in REPRESENTATIONS if representation in chain.outputs]
    pairs = list(pairwise(representations))
    n = min((len(chain.outputs[representation]) for representation in representations), default=0)
    strict = 1 - (1 - confidence) / max(len(pairs), 1)
    steps = tuple(_step(chain, pair, n, strict, seed, len(pairs)) for pair in pairs)
    return Parity(
        torch_vs_onnx=_between(chain, pairs, _TO_ONNX, n),
        onnx_vs_engine=_between(chain, pairs, _TO_ENGINE, n),
        steps=steps,
        confidence=confidence if steps else None,
        absent=dict(chain.absent),
        layers=chain.layers,
        layer_samples=chain.layer_samples,
    )


def _step(
    chain: ChainEvidence,
    representations: tuple[Representation, Representation],
    n: int,
    confidence: float,
    seed: int,
    steps: int,
) -> ParityStep:
    from harness.stats.intervals import paired_difference

    start, end = representations
    before, after = chain.outputs[start][:n], chain.outputs[end][:n]
    plain = ParityStep(start=start, end=end, **agreement(before, after).model_dump())
    if chain.labels is None or chain.labels.ndim > 1:  # a class per pixel: pixels of one image are not independent
        return plain
    labels = chain.labels[:n]
    right, right_before = after.argmax(axis=1) == labels, before.argmax(axis=1) == labels
    found = paired_difference(right_before, right, confidence=confidence, seed=seed)
    comparison = PairedComparison.of_shares(
        float(right.mean()), float(right_before.mean()), found, confidence, reference=start
    )
    corrected = {"p_value_adjusted": min(1.0, found.p_value * steps), "family_size": steps}
    return plain.model_copy(update={"comparison": comparison.model_copy(update=corrected)})


def _between(
    chain: ChainEvidence,
    pairs: list[tuple[Representation, Representation]],
    wanted: set[tuple[Representation, Representation]],
    n: int,
) -> Agreement | None:
    """The last pair of those that are wanted; of a quantized network its own files count, not the FP32 one."""
    is_quantized = any(representation in _QUANTIZED for representation in (*chain.outputs, *chain.absent))
    found = [pair for pair in pairs if pair in wanted and not (is_quantized and pair[0] in _FP32)]
    return agreement(*(chain.outputs[representation][:n] for representation in found[-1])) if found else None


def agreement(reference: Outputs, other: Outputs) -> Agreement:
    """How alike two sets of outputs (n, classes) are.

    SQNR in dB is 10 log10(sum(reference**2) / sum((reference - other)**2)). NaN or infinity on one side alone is an
    infinite error; the same on both sides is none.
    """
    import numpy as np

    expected = reference.astype(np.float64)
    error = error_of(expected, other.astype(np.float64))
    signal = float(np.square(expected[np.isfinite(expected)]).sum())
    return Agreement(
        top1_agreement=float((reference.argmax(1) == other.argmax(1)).mean()),
        max_abs_error=float(np.abs(error).max(initial=0.0)),
        sqnr_db=decibels(signal, float(np.square(error).sum())),
        n=len(reference),
    )
