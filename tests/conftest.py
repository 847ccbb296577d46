"""Shared by all tests."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.engine.store import Store

pytest_plugins = ["pytester"]

# Workers side by side share the cores. A pool of threads in each would slow them all. Set before torch is loaded.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts what runs in the background with SIGINT ignored, and so would be the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Helpers such as `oracles` are imported by name, in this process and in the ones that tests start.
_TESTS = str(Path(__file__).parent)
sys.path.insert(0, _TESTS)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_TESTS, os.environ.get("PYTHONPATH")]))


@pytest.hookimpl(tryfirst=True)  # before `-m` is applied
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test with the marker `thorough(keep=N)` the first N cases stay as they are, and the others are slow."""
    seen: Counter[object] = Counter()
    for item in items:
        marker = item.get_closest_marker("thorough")
        if marker is not None and isinstance(item, pytest.Function):
            seen[item.function] += 1
            if seen[item.function] > marker.kwargs["keep"]:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="session")
def _store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests find out about networks is not left in the user's cache, and what is there does not help them."""
    with pytest.MonkeyPatch.context() as patch:
        if "HARNESS_STORE" not in os.environ:
            patch.setenv("HARNESS_STORE", str(tmp_path_factory.mktemp("store")))
        yield


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
def lab() -> Any:
    from oracles.row_lab import Lab

    return Lab()


@pytest.fixture
def small_lab() -> Any:
    from oracles.row_lab import Lab

    return Lab(n=200)
