"""Shared by the tests of the TensorRT targets."""

import pytest

from harness.targets import get_target
from harness.targets.base import Target


@pytest.fixture
def rtx() -> Target:
    """The target that builds without a GPU."""
    target = get_target("tensorrt-rtx")
    availability = target.availability()
    if not availability.usable:
        pytest.skip(f"{availability.detail}; {availability.fix}")
    return target
