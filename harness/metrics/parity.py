"""`parity`: whether the engine computes what the torch network computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.metrics.base import Evidence, Metric
from harness.results import Agreement, Parity

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class ParityMetric(Metric):
    """Agreement of the fake-quantized torch network and the engine on the same samples."""

    name: ClassVar[str] = "parity"
    section: ClassVar[str | None] = "parity"

    def compute(self, evidence: Evidence) -> Parity | None:
        """Top-1 agreement, largest absolute difference and SQNR of the outputs."""
        if evidence.torch_outputs is None or evidence.outputs is None:
            return None
        return Parity(torch_vs_engine=agreement(evidence.torch_outputs, evidence.outputs))


def agreement(reference: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> Agreement:
    """How alike two sets of outputs (n, classes) are.

    SQNR in dB is 10 log10(sum(reference**2) / sum((reference - other)**2)).
    """
    import numpy as np

    noise = float(np.square(reference.astype(np.float64) - other).sum())
    signal = float(np.square(reference.astype(np.float64)).sum())
    return Agreement(
        top1_agreement=float((reference.argmax(1) == other.argmax(1)).mean()),
        max_abs_error=float(np.abs(reference - other).max(initial=0.0)),
        sqnr_db=10.0 * float(np.log10(signal / noise)) if noise > 0 and signal > 0 else None,
        n=len(reference),
    )


METRIC = ParityMetric()
