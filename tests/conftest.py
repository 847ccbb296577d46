"""Shared by all tests."""

import os
import sys
from pathlib import Path

pytest_plugins = ["pytester"]

# Helpers such as `oracles` are imported by name, in this process and in the ones that tests start.
_TESTS = str(Path(__file__).parent)
sys.path.insert(0, _TESTS)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_TESTS, os.environ.get("PYTHONPATH")]))
