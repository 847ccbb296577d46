import pytest
from oracles.row_lab import Lab


@pytest.fixture
def lab():
    return Lab()


@pytest.fixture
def small_lab():
    return Lab(n=200)
