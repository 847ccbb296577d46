"""An engine that ends the timing process is timed no longer, and costs the others nothing."""

import pytest

from harness.errors import StageError
from harness.timing.exclusion import ExcludingFailures
from harness.timing.request import TimingFailed, TimingRequest
from harness.timing.samples import AA_CONTROL, Timings
from harness.timing.sequential import measure


class Machine:
    """Runs orders, and fails while a culprit takes part: in its own turn, or in that of a victim."""

    def __init__(self, make_block, culprits=(), victim=None, from_process=0):
        self._make_block, self._culprits, self._victim = make_block, set(culprits), victim
        self._from = from_process
        self.ran = []

    def __call__(self, order):
        self.ran.append(tuple(order.sessions))
        guilty = self._culprits & set(order.sessions)
        if guilty and order.process >= self._from:
            name = min(guilty)
            raise TimingFailed(f"timing {name}: crashed", session=self._victim or name)
        return self._make_block(order.process, order.build, **{name: [1.0, 1.0] for name in order.sessions})


@pytest.fixture
def make_order(engine, plan):
    def make(build, process, limit_s):
        sessions = dict.fromkeys(("fp32", "ptq", "qat", AA_CONTROL), engine)
        shape = (1, 1, 8, 8)
        return TimingRequest(
            sessions=sessions, batch_shape=shape, plan=plan, build=build, process=process, seed=0, limit_s=limit_s
        )

    return make


def never(timings):
    return False


def timed(make_order, machine, plan):
    run = ExcludingFailures(make_order, "fp32", machine)
    timings = measure(run, plan, is_clear=never)
    return run.failed, timings


def test_without_failures_every_process_runs_once(make_block, make_order, plan):
    machine = Machine(make_block)
    failed, timings = timed(make_order, machine, plan)
    assert not failed
    assert len(machine.ran) == len(timings.blocks) == plan.max_processes


def test_the_session_at_fault_is_left_out_and_the_process_repeated(make_block, make_order, plan):
    failed, timings = timed(make_order, Machine(make_block, ["ptq"]), plan)
    assert failed == {"ptq": "timing ptq: crashed"}
    assert timings.names == ("fp32", "qat", AA_CONTROL)
    assert len(timings.blocks) == plan.max_processes


def test_what_was_timed_of_it_before_is_dropped(make_block, make_order, plan):
    failed, timings = timed(make_order, Machine(make_block, ["qat"], from_process=3), plan)
    assert set(failed) == {"qat"}
    assert len(timings.blocks) == plan.max_processes
    assert all("qat" not in each.samples_ms for each in timings.rounds)
    assert len(timings.samples("ptq")) == 2 * plan.max_processes


def test_several_may_fail(make_block, make_order, plan):
    failed, timings = timed(make_order, Machine(make_block, ["ptq", "qat"]), plan)
    assert set(failed) == {"ptq", "qat"}
    assert timings.names == ("fp32", AA_CONTROL)


@pytest.mark.parametrize("victim", ["fp32", AA_CONTROL])
def test_one_that_ends_the_reference_is_found(make_block, make_order, plan, victim):
    failed, timings = timed(make_order, Machine(make_block, ["qat"], victim=victim), plan)
    assert set(failed) == {"qat"}
    assert timings.names == ("fp32", "ptq", AA_CONTROL)


@pytest.mark.parametrize("culprit", ["fp32", AA_CONTROL])
def test_a_reference_that_fails_alone_fails_the_group(make_block, make_order, plan, culprit):
    with pytest.raises(StageError, match=f"timing {culprit}: crashed"):
        timed(make_order, Machine(make_block, [culprit]), plan)


def test_timings_of_all_blocks_keep_the_common_sessions(make_block):
    timings = Timings([make_block(0, a=[1.0], b=[2.0]), make_block(1, a=[3.0])]).of_all_blocks()
    assert timings.names == ("a",)
    assert list(timings.samples("a")) == [1.0, 3.0]
