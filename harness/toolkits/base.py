"""The contract of a toolkit: from an FP32 network and calibration samples to a quantized model file."""

from __future__ import annotations

import importlib.metadata
import math
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from harness.results import Variant
from harness.targets.base import Availability

if TYPE_CHECKING:
    import torch
    from torch.fx import GraphModule

    from harness.quantization.placement.quantizer import PlacementQuantizer


@dataclass(frozen=True)
class Request:
    """What a toolkit is asked for."""

    calibrator: str
    percentile: float | None
    per_channel: bool
    weight_bits: int
    skip: tuple[str, ...]
    """Dotted names of the modules that are not quantized; patterns are resolved already."""
    target: str


@dataclass(frozen=True)
class NetworkSource:
    """The FP32 network, in whichever form a toolkit takes; nothing is made before it is asked for."""

    onnx_path: Path
    """Exported for the target; nodes are named after the modules they come from."""
    input_shape: tuple[int, int, int]
    make_network: Callable[[], torch.nn.Module]
    """A new eager network with its weights, in eval mode."""
    make_graph: Callable[[], GraphModule]
    """A new captured graph with batch norm folded."""
    make_quantizer: Callable[[], PlacementQuantizer]
    """The target's own placement and number format, with the variant's skip set."""


@dataclass(frozen=True)
class Batches:
    """Calibration samples in batches (n, C, H, W); every `iter` starts at the first one again."""

    count: int
    """Samples in all."""
    size: int
    """Samples of a batch; the last one may have fewer."""
    read: Callable[[slice], torch.Tensor]

    def __iter__(self) -> Iterator[torch.Tensor]:
        for start in range(0, self.count, self.size):
            yield self.read(slice(start, min(start + self.size, self.count)))

    def __len__(self) -> int:
        return math.ceil(self.count / self.size)

    def of(self, size: int) -> Batches:
        """The same samples in batches of another size."""
        return Batches(self.count, size, self.read)


class Toolkit(ABC):
    """Post-training quantization by other people's code. A file here defines `TOOLKIT`, or it is a plug-in."""

    name: ClassVar[str]
    distributions: ClassVar[tuple[str, ...]]
    """Packages that must be installed; their versions can change the result."""
    requirements: ClassVar[tuple[str, ...]]
    """What pip is asked for to install them; an extra of this project holds the same."""
    modules: ClassVar[tuple[str, ...]] = ()
    """That must be importable."""
    suffix: ClassVar[str] = ".onnx"
    """Suffix of the file that it writes: a Q/DQ ONNX file, or a model in a format that one target takes beside ONNX, of
    which no ONNX file exists (`Target.own_suffix`)."""

    @property
    def writes_onnx(self) -> bool:
        """Whether a Q/DQ ONNX file of its models exists."""
        return self.suffix == ".onnx"

    def availability(self) -> Availability:
        """Whether the toolkit is installed. Imports nothing."""
        versions = {}
        for distribution in self.distributions:
            try:
                versions[distribution] = importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                reason = f"the package `{distribution}` is not installed"
                return Availability(False, reason, f"pip install {shlex.join(self.requirements)}")
        return Availability(True, ", ".join(f"{name} {version}" for name, version in versions.items()))

    @abstractmethod
    def refusal(self, variant: Variant) -> str | None:
        """Why the toolkit cannot quantize the variant, or None."""

    @abstractmethod
    def quantize(self, source: NetworkSource, destination: Path, batches: Batches, request: Request) -> None:
        """Write the quantized model. `batches` hold one sample each; `batches.of` regroups them."""
