"""What differs between the libraries."""

from types import SimpleNamespace

import pytest

from harness.errors import StageError
from harness.targets.tensorrt.binding import hardware_compatibility, set_compute_capability, version_compatible_flags

FLAGS = SimpleNamespace(VERSION_COMPATIBLE="compatible", EXCLUDE_LEAN_RUNTIME="without runtime")
LEVELS = SimpleNamespace(AMPERE_PLUS="ampere")
TENSORRT = SimpleNamespace(
    __name__="tensorrt", __version__="10.0.1", BuilderFlag=FLAGS, HardwareCompatibilityLevel=LEVELS
)
RTX = SimpleNamespace(__name__="tensorrt_rtx", BuilderFlag=FLAGS, ComputeCapability=SimpleNamespace())


def test_version_compatible_engines_carry_the_lean_runtime_where_there_is_one():
    assert version_compatible_flags(TENSORRT) == ("compatible",)
    assert version_compatible_flags(RTX) == ("compatible", "without runtime")


def test_only_rtx_builds_for_another_gpu():
    with pytest.raises(StageError, match="builds for the GPU of this machine only, not for SM86") as caught:
        set_compute_capability(TENSORRT, SimpleNamespace(), "SM86")
    assert "tensorrt-rtx" in str(caught.value.fix)


def test_hardware_compatibility_is_of_the_version():
    assert hardware_compatibility(TENSORRT, "ampere_plus") == "ampere"
    with pytest.raises(StageError, match=r"tensorrt 10\.0\.1 has no hardware compatibility `same_compute_capability`"):
        hardware_compatibility(TENSORRT, "same_compute_capability")


def test_rtx_would_ignore_hardware_compatibility():
    with pytest.raises(StageError, match="takes no notice"):
        hardware_compatibility(RTX, "ampere_plus")
