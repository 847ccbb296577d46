"""Process after process until every verdict is clear or the budget is spent."""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.timing.samples import ProcessRounds, Timings
from harness.timing.settings import TimingPlan

RunProcess = Callable[[int, int, float], ProcessRounds]
"""Time all sessions in a new process: number of the build, number of the process, seconds that it may take."""


def measure(
    run_process: RunProcess,
    plan: TimingPlan,
    *,
    builds: int = 1,
    is_clear: Callable[[Timings], bool],
    clock: Callable[[], float] = time.perf_counter,
) -> Timings:
    """Add processes until `is_clear` at an interim analysis of the plan, or the next would exceed the budget.

    `min_processes` are always run, each in its share of the budget. With several builds, processes take them in turn,
    and nothing is clear before each has had one.
    """
    timings = Timings()
    analyses = set(plan.analyses)
    start = clock()
    longest = 0.0
    for process in range(plan.max_processes):
        begun = clock()
        if process >= max(plan.min_processes, builds) and begun + longest > start + plan.budget_s:
            break
        block = run_process(process % builds, process, plan.process_s)
        timings = Timings([*timings.blocks, block]).of_all_blocks()
        longest = max(longest, clock() - begun)
        done = process + 1
        if done in analyses and done >= builds and is_clear(timings):
            break
    return timings
