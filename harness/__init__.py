"""Benchmark post-training and quantization-aware INT8 networks on the engine they deploy to.

`run`, `load_scenario`, `load_results` and `compare` do what the commands do. `quantize`, `export`, `build` and `audit`
take one network to an engine, without a scenario. Importing this package loads no library; each name does, when it is
used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from harness import moved_modules
from harness.version import __version__

if TYPE_CHECKING:
    from harness.comparison.compare import compare
    from harness.comparison.sources import load_results
    from harness.errors import HarnessError
    from harness.results import RunResults
    from harness.runs.complete import run
    from harness.scenario import load_scenario
    from harness.single.audit import audit
    from harness.single.build import build
    from harness.single.export import export
    from harness.single.quantize import quantize

__all__ = [
    "HarnessError",
    "RunResults",
    "__version__",
    "audit",
    "build",
    "compare",
    "export",
    "load_results",
    "load_scenario",
    "quantize",
    "run",
]

_PLACES = {
    "HarnessError": "harness.errors",
    "RunResults": "harness.results",
    "audit": "harness.single.audit",
    "build": "harness.single.build",
    "compare": "harness.comparison.compare",
    "export": "harness.single.export",
    "load_results": "harness.comparison.sources",
    "load_scenario": "harness.scenario",
    "quantize": "harness.single.quantize",
    "run": "harness.runs.complete",
}

moved_modules.install()


def __getattr__(name: str) -> object:
    """Import a name when it is first used (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
