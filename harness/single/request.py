"""What is asked of a build, in the words of whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.targets import get_target
from harness.targets.base import BuildOptions, Target

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

Spelling = Callable[[str], str]
"""How the caller writes an option: `--int8`, or `int8`."""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class BuildRequest:
    """One engine: from what, for what, into which file."""

    model: Path
    target: Target
    options: BuildOptions
    out: Path | None = None
    """None for a file beside the model."""
    fp16: bool = False
    """Write FP16 into the network first."""
    int8: bool = False
    """Refuse a file without Q/DQ nodes."""
    samples: Floats | None = None
    """Inputs that are checked on; None for random images."""
    samples_name: str = "`samples`"
    check: bool = True


def given_shapes(target: str, profiles: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Sizes of inputs, as the options of the target take them: it is built for one size, or for ranges."""
    if "shape_profiles" in get_target(target).options_type.model_fields:
        return {"shape_profiles": profiles}
    return {"input_shapes": {key: each["opt"] for profile in profiles for key, each in profile.items()}}


def quoted(option: str) -> str:
    """An option as Python programs write it."""
    return f"`{'out' if option == 'save_engine' else option}`"
