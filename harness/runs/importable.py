"""Whether libraries that are installed can be imported: one that is built for another machine may crash while it tries.

So each is tried once, in a process of its own.
"""

from __future__ import annotations

import sys
from functools import cache

from harness.engine.child import describe_exit, run_child
from harness.errors import shortened

_LONGEST_S = 180.0


@cache
def import_problem(module: str) -> str | None:
    """Why a module that is installed cannot be imported, in one line; None where it can."""
    if module in sys.modules:
        return None
    try:
        tried = run_child("importlib:import_module", module, timeout_s=_LONGEST_S)
    except OSError:  # no second process can be started: nothing is known of the module
        return None
    if tried.exit_code is None:
        return f"importing it takes more than {_LONGEST_S:.0f} s"
    if tried.exit_code == 0:
        return None
    lines = tried.output.strip().splitlines()
    if tried.exit_code < 0 or not lines:
        return describe_exit(tried.exit_code)
    return shortened(lines[-1].strip(), 200)
