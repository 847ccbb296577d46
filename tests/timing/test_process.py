"""A timing process, for real: it opens engines, times them, hands over its rounds, and may die alone."""

import sys

import pytest

from harness.errors import StageError
from harness.timing.request import TimingFailed, TimingRequest, run_process
from harness.timing.samples import AA_CONTROL

from .conftest import SHAPE


@pytest.fixture
def order(engine, plan):
    return TimingRequest(
        sessions={"net": engine, AA_CONTROL: engine},
        batch_shape=(2, *SHAPE),
        plan=plan,
        build=0,
        process=5,
        seed=1,
        limit_s=30.0,
    )


def test_times_every_session_in_every_round(order):
    block = run_process(order)
    assert (block.build, block.process, len(block.rounds)) == (0, 5, 4)
    assert all(set(each.samples_ms) == {"net", AA_CONTROL} for each in block.rounds)
    assert all((samples > 0).all() for each in block.rounds for samples in each.samples_ms.values())
    assert not block.includes_transfers
    if sys.platform == "linux":
        assert "load" in block.signals


def test_an_engine_that_does_not_load_is_named(order, engine, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no engine")
    bad = order.model_copy(update={"sessions": {"net": engine.model_copy(update={"path": broken})}})
    with pytest.raises(StageError, match=r"timing net: .*exit code 1.*broken\.onnx"):
        run_process(bad)


def test_a_crash_costs_the_process_alone(order):
    with pytest.raises(StageError, match="crashed with signal SIGABRT"):
        run_process(order, "oracles.children:abort")


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("place", ["open", "time_runs", "time_parts"])
def test_a_crash_names_the_engine_whose_turn_it_was(order, engine, tmp_path, monkeypatch, place):
    crashing = engine.model_copy(update={"target": "onnxruntime!"})
    sessions = {"good": engine, "bad": crashing, AA_CONTROL: engine}
    (tmp_path / "crashing_process.py").write_text(CRASHING.replace("PLACE", place))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TimingFailed, match="timing bad: crashed with signal SIGSEGV") as caught:
        run_process(order.model_copy(update={"sessions": sessions}), "crashing_process:main")
    assert caught.value.session == "bad"


CRASHING = """
import os
from harness.targets import get_target
from harness.timing import process

def crash(*arguments):
    os.kill(os.getpid(), 11)

class Crashing:
    needs_gpu = False

    def __init__(self):
        self.target = get_target("onnxruntime")
        self.options_from = self.target.options_from

    def open(self, path, options):
        if "PLACE" == "open":
            crash()
        session = self.target.open(path, options)
        setattr(session, "PLACE", crash)
        return session

process.get_target = lambda name: Crashing() if name.endswith("!") else get_target(name)
main = process.main
"""
