"""`parity`: whether every step from the eager network to the engine computes the same."""

from __future__ import annotations

from typing import ClassVar

from harness.metrics.base import Evidence, Metric
from harness.parity.chain import agreement, parity_of
from harness.results import Parity


class ParityMetric(Metric):
    """The chain of the variant, the step that loses accuracy, and its layers where they were asked for."""

    name: ClassVar[str] = "parity"
    section: ClassVar[str | None] = "parity"

    def compute(self, evidence: Evidence) -> Parity | None:
        """Top-1 agreement, largest absolute difference, SQNR and paired loss of accuracy of each step."""
        whole = None
        if evidence.torch_outputs is not None and evidence.outputs is not None:
            n = len(evidence.torch_outputs)  # the torch network may have run on the first samples only
            whole = agreement(evidence.torch_outputs, evidence.outputs[:n])
        chain, judgement = evidence.chain, evidence.judgement
        if whole is None and (chain is None or not (chain.outputs or chain.layers or chain.absent)):
            return None
        found = Parity() if chain is None else parity_of(chain, confidence=judgement.confidence, seed=evidence.seed)
        return found.model_copy(update={"torch_vs_engine": whole})


METRIC = ParityMetric()
