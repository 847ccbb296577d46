"""What the CPU can multiply and add."""

from __future__ import annotations

import torch

from harness.machine.hardware import has_bf16
from harness.machine.peak import PEAK_PRECISIONS, measure_peaks


def test_every_precision_has_a_rate_or_a_reason_and_torch_is_left_as_it_was() -> None:
    before = torch.get_num_threads()
    found = measure_peaks(before + 1)
    assert torch.get_num_threads() == before
    assert {*found.macs_per_s, *found.missing} == set(PEAK_PRECISIONS)
    # No CPU that runs torch does fewer than ten million in a second, and none does a thousand million million.
    assert all(1e7 < rate < 1e15 for rate in found.macs_per_s.values())
    assert "FP32" in found.macs_per_s
    assert ("BF16" in found.macs_per_s) == has_bf16()
