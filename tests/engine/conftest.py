import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.engine.store import Store

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Each run of an example stage adds a line here, from whatever process."""
    path = tmp_path / "journal.txt"
    path.touch()
    return path


@pytest.fixture
def start_run() -> Callable[..., "subprocess.Popen[str]"]:
    """Starts `separate_run.py` in a process of its own."""

    def start(*arguments: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, str(HERE / "separate_run.py"), *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
