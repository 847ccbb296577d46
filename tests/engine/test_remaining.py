"""How long a run still takes, with the arithmetic in the tests."""

import json
from pathlib import Path

import pytest
from oracles.example_stages import task

from harness.engine.local import LocalExecutor
from harness.engine.outcomes import (
    Done,
    Event,
    PendingTask,
    RunStarted,
    TaskFinished,
    TaskProgress,
    TasksExpected,
    TaskStarted,
)
from harness.engine.remaining import Remaining, about, duration
from harness.engine.stage_times import StageTimes
from harness.engine.store import Store


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def pending(
    key: str, expected_s: float | None, *inputs: str, stage: str = "export", alone: bool = False
) -> PendingTask:
    return PendingTask(key, stage, alone, inputs, expected_s)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def remaining(clock: Clock) -> Remaining:
    return Remaining(clock)


def started(*tasks: PendingTask, jobs: int = 1) -> RunStarted:
    return RunStarted(total=len(tasks), cached=0, pending=tasks, jobs=jobs)


@pytest.fixture
def done(store: Store) -> Done:
    with store.create("a" * 64, "export") as draft:
        pass
    assert draft.artifact is not None
    return Done(draft.artifact, cached=False)


class TestRemaining:
    def test_nothing_is_said_before_all_that_is_left_is_known(self, remaining: Remaining) -> None:
        remaining(started(pending("a", 10)))
        assert remaining.seconds() is None
        remaining(TasksExpected((pending("m", 5, alone=True),)))
        assert remaining.seconds() == 15

    def test_nothing_is_said_while_one_task_is_unknown(self, remaining: Remaining) -> None:
        remaining(TasksExpected(()))
        remaining(started(pending("a", 10), pending("b", None)))
        assert remaining.seconds() is None

    def test_tasks_share_the_jobs_and_measurements_do_not(self, remaining: Remaining) -> None:
        remaining(TasksExpected((pending("m", 7, "a", alone=True),)))
        remaining(started(pending("a", 10), pending("b", 6), pending("c", 4), jobs=2))
        assert remaining.seconds() == (10 + 6 + 4) / 2 + 7

    def test_a_chain_is_not_shortened_by_more_jobs(self, remaining: Remaining) -> None:
        remaining(TasksExpected(()))
        remaining(started(pending("a", 10), pending("b", 6, "a"), pending("c", 1), jobs=4))
        assert remaining.seconds() == 10 + 6

    def test_what_has_run_so_far_is_taken_off(self, remaining: Remaining, clock: Clock) -> None:
        remaining(TasksExpected(()))
        remaining(started(pending("a", 10)))
        remaining(TaskStarted("a", "a"))
        clock.now = 4
        assert remaining.seconds() == 6

    def test_a_new_task_takes_what_its_like_took_in_this_run(
        self, remaining: Remaining, clock: Clock, done: Done
    ) -> None:
        remaining(TasksExpected(()))
        remaining(started(*(pending(key, None) for key in "abc")))
        remaining(TaskStarted("a", "a"))
        clock.now = 3
        remaining(TaskFinished("a", "a", done))
        assert remaining.seconds() == 2 * 3

    def test_a_new_task_that_says_how_far_it_is_tells_its_end(self, remaining: Remaining, clock: Clock) -> None:
        remaining(TasksExpected(()))
        remaining(started(pending("a", None, stage="train")))
        remaining(TaskStarted("a", "a"))
        clock.now = 6
        remaining(TaskProgress("a", 1, 100, ""))
        assert remaining.seconds() is None  # one percent says nothing
        remaining(TaskProgress("a", 20, 100, ""))
        assert remaining.seconds() == pytest.approx(6 / 0.2 - 6)

    def test_a_task_that_takes_far_longer_than_expected_ends_the_estimate(
        self, remaining: Remaining, clock: Clock
    ) -> None:
        remaining(TasksExpected(()))
        remaining(started(pending("a", 10)))
        remaining(TaskStarted("a", "a"))
        clock.now = 19
        assert remaining.seconds() == 0
        clock.now = 21  # 1.5 x 10 + 5 s = 20 s
        assert remaining.seconds() is None

    def test_what_was_expected_and_is_announced_counts_once(self, remaining: Remaining) -> None:
        measuring = pending("m", 7, alone=True)
        remaining(TasksExpected((measuring,)))
        remaining(started(measuring))
        assert remaining.seconds() == 7


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (2, "a few seconds left"),
        (6, "about 10 s left"),
        (38, "about 40 s left"),
        (150, "about 2 min left"),
        (7_300, "about 2 h left"),
        (9_100, "about 2 h 30 min left"),
    ],
)
def test_an_estimate_is_as_coarse_as_it_deserves(seconds: float, words: str) -> None:
    assert about(seconds) == words


@pytest.mark.parametrize(("seconds", "words"), [(34.4, "34 s"), (200, "3 min 20 s"), (7_500, "2 h 5 min")])
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


class TestStageTimes:
    def test_a_later_run_knows_what_a_task_took(self, store: Store, journal: Path) -> None:
        first, events = task("add", journal), list[Event]()
        LocalExecutor(store, isolation="none").run([first])
        LocalExecutor(store, isolation="none", progress=events.append).run([first], refresh={first.key})
        (known,) = [event for event in events if isinstance(event, RunStarted)]
        assert known.pending[0].key == first.key
        assert known.pending[0].expected_s is not None

    def test_what_runs_write_at_once_is_joined(self, tmp_path: Path) -> None:
        one, other = StageTimes(tmp_path), StageTimes(tmp_path)
        one.record("train", 5.0)
        other.record("export", 2.0)
        one.save()
        other.save()
        both = StageTimes(tmp_path)
        assert (both.seconds("train"), both.seconds("export"), both.seconds("build")) == (5.0, 2.0, None)

    def test_another_machine_has_times_of_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "times.json").write_text(json.dumps({"Another CPU, 64 cores": {"train": 1.0}}), encoding="utf-8")
        assert StageTimes(tmp_path).seconds("train") is None

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": {"b": "c"}}', b"\xff\xfe"])
    def test_a_damaged_file_costs_the_estimate_alone(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "times.json").write_bytes(content)
        times = StageTimes(tmp_path)
        assert times.seconds("train") is None
        times.record("train", 5.0)
        times.save()
        assert StageTimes(tmp_path).seconds("train") == 5.0
