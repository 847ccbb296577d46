"""The file of a quantized network: what its tensors are called, and what can be read without torch's quantizers."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open

SCALE, ZERO_POINT = "activation_scale:", "activation_zero_point:"
WEIGHT_SCALE, FIXED_SCALE = "weight_scale:", "fixed_weight_scale:"
"""In front of the quantizer's name. Learned and fixed scales of weights; the others follow from the weights."""


def activation_scales(path: Path) -> dict[str, tuple[float, int]]:
    """Scale, in units of x, and zero point of every activation in a file of `save_state`; weights are not read."""
    with safe_open(path, "pt") as file:
        names = [key.removeprefix(SCALE) for key in file.keys() if key.startswith(SCALE)]  # noqa: SIM118 - no mapping
        return {name: (float(file.get_tensor(SCALE + name)), int(file.get_tensor(ZERO_POINT + name))) for name in names}
