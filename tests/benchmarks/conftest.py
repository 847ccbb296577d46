"""Benchmarks run once, untimed, unless `tox -e benchmarks` asks for times."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture


@pytest.fixture
def benchmark(benchmark: BenchmarkFixture, pytestconfig: pytest.Config) -> BenchmarkFixture:
    benchmark.disabled = benchmark.disabled or not pytestconfig.getoption("benchmark_enable")
    return benchmark
