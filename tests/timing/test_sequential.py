"""Processes are added until the verdicts are clear or the budget is spent."""

import pytest

from harness.timing.sequential import measure


class Laboratory:
    """Processes that take given seconds on a false clock."""

    def __init__(self, make_block, seconds=1.0):
        self.now, self.seconds, self.started = 0.0, seconds, []
        self._make_block = make_block

    def run_process(self, build, process, limit_s):
        self.started.append((build, process, limit_s))
        self.now += self.seconds
        return self._make_block(process, build, a=[1.0])

    def clock(self):
        return self.now


@pytest.fixture
def laboratory(make_block):
    return Laboratory(make_block)


def never(timings):
    return False


def always(timings):
    return True


def test_stops_at_the_first_look_when_all_is_clear(laboratory, plan):
    timings = measure(laboratory.run_process, plan, is_clear=always, clock=laboratory.clock)
    assert len(timings.blocks) == plan.min_processes == 2


def test_looks_only_where_the_plan_says(laboratory, plan):
    seen = []
    measure(
        laboratory.run_process,
        plan,
        is_clear=lambda timings: seen.append(len(timings.blocks)) or False,
        clock=laboratory.clock,
    )
    assert tuple(seen) == plan.analyses == (2, 3, 5, 8, 9)


def test_ends_with_the_last_process(laboratory, plan):
    assert len(measure(laboratory.run_process, plan, is_clear=never, clock=laboratory.clock).blocks) == 9


def test_no_process_begins_that_would_not_end_within_the_budget(laboratory, plan):
    # Processes of 1 s in 5.5 s: the sixth would end after 6 s.
    plan = plan.model_copy(update={"budget_s": 5.5})
    assert len(measure(laboratory.run_process, plan, is_clear=never, clock=laboratory.clock).blocks) == 5
    assert laboratory.now == 5.0


def test_the_least_number_runs_whatever_the_budget_with_its_share_as_limit(laboratory, plan):
    plan = plan.model_copy(update={"min_processes": 4, "budget_s": 2.0})
    assert len(measure(laboratory.run_process, plan, is_clear=never, clock=laboratory.clock).blocks) == 4
    assert {limit_s for _, _, limit_s in laboratory.started} == {0.5}


def test_builds_take_turns_and_each_is_measured_before_anything_is_clear(laboratory, plan):
    timings = measure(laboratory.run_process, plan, builds=3, is_clear=always, clock=laboratory.clock)
    assert [block.build for block in timings.blocks] == [0, 1, 2]
    assert timings.n_builds == 3
