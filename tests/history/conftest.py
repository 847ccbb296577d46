"""Histories of recorded runs."""

from datetime import UTC, datetime, timedelta

import pytest
from oracles.recorded_runs import ENVIRONMENT, FP32, MACS, PTQ, Recorded

START = datetime(2026, 1, 1, 2, tzinfo=UTC)


def night(number, *, commit=None, packages=None, cpu=None, speedup=1.5, fp32_ms=1.0, run_id=None, **ptq):
    """The record of the run of one night, with a commit of its own."""
    environment = ENVIRONMENT | {
        "git": {"commit": commit or f"{number:040x}", "dirty": False},
        "packages": ENVIRONMENT["packages"] | (packages or {}),
        "cpu": ENVIRONMENT["cpu"] | ({} if cpu is None else {"model": cpu}),
    }
    started = (START + timedelta(days=number)).isoformat()
    run = Recorded(environment=environment, started_at=started)
    run.add(FP32, floats=dict.fromkeys(MACS, "not quantized"), fp32_ms=fp32_ms)
    run.add(PTQ, speedup=speedup, fp32_ms=fp32_ms, **ptq)
    return run.results.model_copy(update={"run_id": run_id or f"night-{number}"})


@pytest.fixture
def database(tmp_path):
    return tmp_path / "history.sqlite"
