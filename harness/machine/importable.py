"""Whether libraries that are installed can be imported: one that is built for another machine may crash while it tries.

So each is tried once, in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache

from harness.errors import describe_exit, shortened

_LONGEST_S = 180.0
_CODE = "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[1]); importlib.import_module(sys.argv[2])"


@cache
def import_problem(module: str) -> str | None:
    """Why a module that is installed cannot be imported, in one line; None where it can."""
    if module in sys.modules:
        return None
    command = [sys.executable, "-c", _CODE, json.dumps(sys.path), module]
    try:
        tried = subprocess.run(command, capture_output=True, timeout=_LONGEST_S, check=False)  # noqa: S603 - ourselves
    except subprocess.TimeoutExpired:
        return f"importing it takes more than {_LONGEST_S:.0f} s"
    except OSError:  # no second process can be started: nothing is known of the module
        return None
    if tried.returncode == 0:
        return None
    lines = tried.stderr.decode("utf-8", errors="replace").strip().splitlines()
    if tried.returncode < 0 or not lines:
        return describe_exit(tried.returncode)
    return shortened(lines[-1].strip(), 200)
