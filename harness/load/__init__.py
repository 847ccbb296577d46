"""Load scenarios: a loaded engine under the traffic of MLCommons LoadGen.

Needs the package `mlcommons-loadgen`; only `run.py` and `system.py` import it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util

from harness.targets.base import Availability

DISTRIBUTION = "mlcommons-loadgen"
MODULE = "mlperf_loadgen"


def availability() -> Availability:
    """Whether LoadGen is installed; imports nothing of it."""
    if importlib.util.find_spec(MODULE) is None:
        return Availability(False, "MLCommons LoadGen is not installed", f"pip install {DISTRIBUTION}")
    return Availability(True, f"LoadGen {version()}")


def version() -> str:
    """Version of the installed package."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:  # built from source
        return "of unknown version"
