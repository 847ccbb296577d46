"""What a run and a sensitivity analysis begin with: an executor, and plans whose FP32 accuracy was checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from harness.engine.local import LocalExecutor
from harness.engine.outcomes import Listener
from harness.engine.store import Store
from harness.runs.expected import expect_accuracy
from harness.runs.preparation import Prepared, RunOptions

Display = Callable[[], AbstractContextManager[Listener]]
"""Shows progress while the block runs."""


@contextmanager
def executing(
    prepared: Prepared, store: Store, options: RunOptions, display: Display
) -> Iterator[tuple[LocalExecutor, Prepared]]:
    """An executor for the scenario's tasks, and the scenario without models that fall short of `expect`."""
    with display() as listener:
        executor = LocalExecutor(
            store,
            jobs=options.jobs,
            isolation=options.isolation,
            progress=listener,
            timeout_s=prepared.resolved.stage_timeout_s,
        )
        plans = expect_accuracy(prepared.resolved.networks, prepared.plans, prepared.planner, executor)
        yield executor, replace(prepared, plans=plans)
