"""Which build of ONNX Runtime is installed, found without importing it.

The packages `onnxruntime` and `onnxruntime-gpu` write into the same folder, and the one installed last wins; what pip
lists does not tell which. The folder does.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

_PROVIDER = "capi/libonnxruntime_providers_cuda.so"
_BUILD = "capi/build_and_package_info.py"


@dataclass(frozen=True)
class Build:
    """One build of ONNX Runtime."""

    package: str
    version: str
    cuda: str | None
    """CUDA version that it was built with; None for the CPU build."""

    def __str__(self) -> str:
        return f"{self.package} {self.version}" + (f" (CUDA {self.cuda})" if self.cuda else "")


def installed_build() -> Build | None:
    """The build in the folder `onnxruntime`; None when there is none."""
    spec = importlib.util.find_spec("onnxruntime")
    return None if spec is None or spec.origin is None else read_build(Path(spec.origin).parent)


def read_build(folder: Path) -> Build | None:
    """The build in a folder."""
    try:
        text = (folder / _BUILD).read_text(encoding="utf-8")
    except OSError:
        return None
    said = dict(re.findall(r"^(\w+) = '([^']*)'", text, flags=re.MULTILINE))
    has_cuda = (folder / _PROVIDER).is_file()
    return Build(
        package=said.get("package_name", "onnxruntime"),
        version=said.get("__version__", "unknown"),
        cuda=said.get("cuda_version", "unknown") if has_cuda else None,
    )
