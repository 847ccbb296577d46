from pathlib import Path

import pytest

from harness.engine.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Each run of an example stage adds a line here, from whatever process."""
    path = tmp_path / "journal.txt"
    path.touch()
    return path
