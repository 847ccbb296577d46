"""The plan and the order of work, without running anything."""

from pathlib import Path

import pytest
from oracles.example_stages import task

from harness.engine.graph import Task
from harness.engine.outcomes import Done, Event, Failed, TaskFinished, ignore
from harness.engine.schedule import TaskSchedule, make_plan
from harness.engine.store import Store

JOURNAL = Path("journal")


def done(store: Store, made: Task) -> Done:
    with store.create(made.key, made.stage.name) as draft:
        pass
    assert draft.artifact is not None
    return Done(draft.artifact, cached=False)


@pytest.fixture
def chain() -> tuple[Task, Task, Task]:
    first = task("add", JOURNAL, 1)
    second = task("add", JOURNAL, 2, {"in": first})
    return first, second, task("add", JOURNAL, 3, {"in": second})


class TestPlan:
    def test_all_is_pending_in_a_new_store(self, store: Store, chain: tuple[Task, ...]) -> None:
        plan = make_plan([chain[-1]], store)
        assert list(plan.pending) == [item.key for item in chain]
        assert plan.cached == {}

    def test_inputs_of_a_cached_task_are_not_needed(self, store: Store, chain: tuple[Task, ...]) -> None:
        done(store, chain[1])
        plan = make_plan([chain[-1]], store)
        assert list(plan.pending) == [chain[2].key]
        assert list(plan.cached) == [chain[1].key]

    def test_unless_they_are_asked_for(self, store: Store, chain: tuple[Task, ...]) -> None:
        done(store, chain[1])
        assert list(make_plan(chain, store).pending) == [chain[0].key, chain[2].key]

    def test_refreshing_a_task_refreshes_what_depends_on_it(self, store: Store, chain: tuple[Task, ...]) -> None:
        for item in chain:
            done(store, item)
        plan = make_plan(chain, store, refresh={chain[1].key})
        assert list(plan.cached) == [chain[0].key]
        assert list(plan.pending) == [chain[1].key, chain[2].key]
        assert plan.stale == {chain[1].key, chain[2].key}


class TestSchedule:
    def test_a_task_waits_for_its_inputs(self, store: Store, chain: tuple[Task, ...]) -> None:
        schedule = TaskSchedule(make_plan(chain, store), ignore)
        for item in chain:
            assert schedule.next_task(capacity=4) is item
            assert schedule.next_task(capacity=4) is None
            schedule.finish(item.key, done(store, item))
        assert not schedule.active
        assert set(schedule.outcomes) == {item.key for item in chain}

    def test_never_more_than_the_capacity(self, store: Store) -> None:
        schedule = TaskSchedule(make_plan([task("add", JOURNAL, value) for value in range(3)], store), ignore)
        started = [schedule.next_task(capacity=2) for _ in range(3)]
        assert [item is None for item in started] == [False, False, True]

    def test_an_exclusive_task_runs_alone_and_last(self, store: Store) -> None:
        measure = task("add", JOURNAL, 1, exclusive=True)
        train = task("add", JOURNAL, 2)
        export = task("add", JOURNAL, 3, {"in": train})
        schedule = TaskSchedule(make_plan([measure, export], store), ignore)
        order = []
        while schedule.active:
            item = schedule.next_task(capacity=2)
            assert item is not None
            assert schedule.next_task(capacity=2) is None
            order.append(item)
            schedule.finish(item.key, done(store, item))
        assert order == [train, export, measure]

    def test_nothing_starts_beside_an_exclusive_task(self, store: Store) -> None:
        tasks = [task("add", JOURNAL, value, exclusive=True) for value in range(2)]
        schedule = TaskSchedule(make_plan(tasks, store), ignore)
        assert schedule.next_task(capacity=2) is tasks[0]
        assert schedule.next_task(capacity=2) is None

    def test_a_failure_reaches_all_that_depends_on_it(self, store: Store, chain: tuple[Task, ...]) -> None:
        events: list[Event] = []
        independent = task("add", JOURNAL, 9)
        schedule = TaskSchedule(make_plan([*chain, independent], store), events.append)
        assert schedule.next_task(capacity=1) in (chain[0], independent)
        assert schedule.next_task(capacity=2) is not None
        failed = Failed("boom", "first", chain[0].key, "crash")
        schedule.finish(chain[0].key, failed)
        assert schedule.active
        schedule.finish(independent.key, done(store, independent))
        assert not schedule.active
        assert [schedule.outcomes[item.key] for item in chain] == [failed] * 3
        assert isinstance(schedule.outcomes[independent.key], Done)
        assert sum(isinstance(event, TaskFinished) for event in events) == 4
