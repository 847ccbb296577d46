import pytest
from oracles.row_lab import Lab


@pytest.fixture
def lab():
    return Lab()
