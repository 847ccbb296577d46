"""The stage `peak`: what the CPU can multiply and add, beside which engines are looked at.

This module is imported by workers only; `catalog.py` names the function.
"""

from __future__ import annotations

from pathlib import Path

from harness.engine.context import StageContext
from harness.engine.graph import Inputs
from harness.engine.lock import measuring
from harness.machine.peak import measure_peaks
from harness.stages.artifacts import PeakResult
from harness.stages.configs import PeakConfig


def measure_peak(config: PeakConfig, inputs: Inputs, folder: Path, context: StageContext) -> PeakResult:
    """Multiply-accumulates per second by precision, while nothing else of this harness measures."""
    with measuring(lambda holder: context.waiting(f"waiting for another measurement: {holder}")):
        context.working()
        found = measure_peaks(config.threads)
    return PeakResult(macs_per_s=dict(found.macs_per_s), missing=dict(found.missing))
