"""The executor with real worker processes."""

import os
import signal
import sys
from pathlib import Path
from types import ModuleType

import pytest
from oracles.example_stages import task
from pydantic import ConfigDict, create_model

from harness.engine.graph import Stage, Task
from harness.engine.local import Isolation, LocalExecutor
from harness.engine.outcomes import (
    ArtifactDamaged,
    Done,
    Event,
    Failed,
    Outcome,
    PendingTask,
    RunStarted,
    TaskFinished,
    TaskNote,
    TaskProgress,
    TaskStarted,
)
from harness.engine.store import Store
from harness.errors import UsageError
from harness.machine.hardware import stage_threads

BOTH = pytest.mark.parametrize("isolation", ["process", "none"])


def run_one(store: Store, item: Task, isolation: Isolation = "process") -> Outcome:
    return LocalExecutor(store, isolation=isolation).run([item])[item.key]


def failure(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed)
    return outcome


def success(outcome: Outcome) -> Done:
    assert isinstance(outcome, Done), outcome
    return outcome


class TestResults:
    @BOTH
    def test_flow_from_inputs_to_outputs(self, store: Store, journal: Path, isolation: Isolation) -> None:
        first, second = task("add", journal, 1), task("add", journal, 2)
        total = task("add", journal, 10, {"a": first, "b": second})
        outcomes = LocalExecutor(store, isolation=isolation, jobs=2).run([total])
        assert set(outcomes) == {first.key, second.key, total.key}
        done = success(outcomes[total.key])
        assert done.artifact.meta["sum"] == 13.0  # 10 + 1 + 2
        assert not done.cached
        assert done.seconds >= 0

    @BOTH
    def test_a_second_run_runs_nothing(self, store: Store, journal: Path, isolation: Isolation) -> None:
        tasks = [task("add", journal, value) for value in (1, 2)]
        for _ in range(2):
            outcomes = LocalExecutor(store, isolation=isolation).run(tasks)
        assert journal.read_text() == "add\nadd\n"
        assert all(success(outcome).cached for outcome in outcomes.values())

    def test_a_run_from_the_store_starts_no_process(
        self, store: Store, journal: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        item = task("add", journal, 1)
        run_one(store, item, "none")
        monkeypatch.setattr("harness.engine.isolation.Worker", None)
        assert success(run_one(store, item)).cached

    def test_work_that_is_shared_is_done_once(self, store: Store, journal: Path) -> None:
        tasks = [task("add", journal, value, {"in": task("add", journal, 1)}) for value in (10, 20)]
        LocalExecutor(store, jobs=2).run([*tasks, *tasks])
        assert journal.read_text() == "add\n" * 3

    @BOTH
    def test_refresh_runs_again_and_replaces(self, store: Store, journal: Path, isolation: Isolation) -> None:
        item = task("talk", journal)
        run_one(store, item, isolation)
        before = store.open(item.key).manifest
        outcome = LocalExecutor(store, isolation=isolation).run([item], refresh={item.key})[item.key]
        assert not success(outcome).cached
        assert store.open(item.key).manifest != before

    def test_a_damaged_artifact_is_said_and_made_again(self, store: Store, journal: Path) -> None:
        item = task("add", journal, 1)
        success(run_one(store, item)).artifact.file("sum.txt").write_text("7.0")
        events: list[Event] = []
        outcome = LocalExecutor(store, progress=events.append).run([item])[item.key]
        assert not success(outcome).cached
        assert store.open(item.key).file("sum.txt").read_text() == "1.0"
        (damaged,) = (event for event in events if isinstance(event, ArtifactDamaged))
        assert "sum.txt has another checksum" in str(damaged.damaged)


class TestFailure:
    @BOTH
    def test_of_ours_gives_message_and_fix(self, store: Store, journal: Path, isolation: Isolation) -> None:
        item = task("raise_harness_error", journal, label="load photos")
        failed = failure(run_one(store, item, isolation))
        assert failed.reason == "the photos are missing\n  fix: install them"
        assert (failed.kind, failed.label, failed.root, failed.details) == ("DataError", "load photos", item.key, "")

    @BOTH
    def test_of_others_gives_type_message_and_traceback(
        self, store: Store, journal: Path, isolation: Isolation
    ) -> None:
        failed = failure(run_one(store, task("raise_value_error", journal), isolation))
        assert failed.reason == "ValueError: 7 is not prime enough"
        assert "in raise_value_error" in failed.details

    @pytest.mark.parametrize(
        ("function", "reason"),
        [
            ("sys_exit", "SystemExit: 3"),
            ("return_none", "oracles.example_stages:return_none returned NoneType instead of a record"),
            (
                "no_such_function",
                "stage `no_such_function`: there is no function oracles.example_stages:no_such_function",
            ),
            ("return_nan", "a stage returned results that JSON cannot hold"),
        ],
    )
    def test_of_a_wrong_stage(self, store: Store, journal: Path, function: str, reason: str) -> None:
        assert failure(run_one(store, task(function, journal), "none")).reason.startswith(reason)

    @BOTH
    def test_leaves_nothing_behind_and_is_tried_again(self, store: Store, journal: Path, isolation: Isolation) -> None:
        item = task("raise_value_error", journal)
        for _ in range(2):
            run_one(store, item, isolation)
        assert journal.read_text() == "raise\nraise\n"
        assert store.size().artifacts == 0
        assert list((store.root / "v1" / "tmp").iterdir()) == []

    @BOTH
    def test_goes_to_dependents_and_no_further(self, store: Store, journal: Path, isolation: Isolation) -> None:
        broken = task("raise_value_error", journal, label="train a")
        middle = task("add", journal, 1, {"in": broken})
        end = task("add", journal, 2, {"in": middle})
        fine = task("add", journal, 3, label="train b")
        outcomes = LocalExecutor(store, isolation=isolation).run([end, fine])
        for item in (broken, middle, end):
            failed = failure(outcomes[item.key])
            assert (failed.reason, failed.label, failed.root) == (
                "ValueError: 7 is not prime enough",
                "train a",
                broken.key,
            )
        assert success(outcomes[fine.key]).artifact.meta["sum"] == 3.0
        assert journal.read_text().count("add") == 1


class TestCrash:
    @pytest.mark.parametrize(("name", "isolate"), [("SIGKILL", False), ("SIGSEGV", True)])
    def test_by_signal_costs_only_its_own_task(self, store: Store, journal: Path, name: str, isolate: bool) -> None:
        crash = task("die_by_signal", journal, getattr(signal, name), isolate=isolate)
        others = [task("add", journal, value) for value in range(3)]
        outcomes = LocalExecutor(store, jobs=2).run([others[0], crash, *others[1:]])
        failed = failure(outcomes[crash.key])
        assert f"crashed with signal {name}" in failed.reason
        assert failed.kind == "crash"
        assert "about to die" in failed.output
        assert all(isinstance(outcomes[item.key], Done) for item in others)

    def test_of_native_code_shows_where_python_was(self, store: Store, journal: Path) -> None:
        failed = failure(run_one(store, task("die_by_signal", journal, signal.SIGSEGV)))
        assert "in die_by_signal" in failed.output

    def test_by_exit(self, store: Store, journal: Path) -> None:
        crash = task("exit_at_once", journal, 5)
        after = task("add", journal, 1)
        outcomes = LocalExecutor(store).run([crash, after])
        assert failure(outcomes[crash.key]).reason == "the process ended unexpectedly with exit code 5"
        assert isinstance(outcomes[after.key], Done)

    def test_leaves_nothing_behind(self, store: Store, journal: Path) -> None:
        run_one(store, task("die_by_signal", journal, signal.SIGKILL))
        assert list((store.root / "v1" / "tmp").iterdir()) == []


class TestWorkers:
    def test_are_kept_unless_a_stage_wants_its_own(self, store: Store, journal: Path) -> None:
        shared = [task("talk", journal, value) for value in range(2)]
        own = [task("talk", journal, value, isolate=True) for value in range(2, 4)]
        outcomes = LocalExecutor(store).run([*shared, *own])
        pids = [success(outcomes[item.key]).artifact.meta["pid"] for item in [*shared, *own]]
        assert pids[0] == pids[1]
        assert len({os.getpid(), *pids}) == 4  # this process, the shared worker, and two of their own

    def test_share_the_cores(self, store: Store, journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        item = task("talk", journal)
        outcome = LocalExecutor(store, jobs=2).run([item])[item.key]
        share = stage_threads()
        meta = success(outcome).artifact.meta
        assert (meta["omp"], meta["threads"]) == (str(share), share)
        assert "OMP_NUM_THREADS" not in os.environ

    def test_leave_a_users_own_thread_count_alone(
        self, store: Store, journal: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
        assert success(run_one(store, task("talk", journal))).artifact.meta["omp"] == "7"

    def test_keep_the_terminal_clean(self, store: Store, journal: Path, capfd: pytest.CaptureFixture[str]) -> None:
        run_one(store, task("talk", journal))
        assert capfd.readouterr() == ("", "")

    def test_tell_what_happens(self, store: Store, journal: Path) -> None:
        item = task("talk", journal, label="speech")
        events: list[Event] = []
        outcomes = LocalExecutor(store, progress=events.append).run([item])
        assert events == [
            RunStarted(total=1, cached=0, pending=(PendingTask(item.key, "talk", False, (), None),)),
            TaskStarted(item.key, "speech"),
            TaskNote(item.key, "half time"),
            TaskProgress(item.key, 3, 3, "epochs"),
            TaskFinished(item.key, "speech", outcomes[item.key]),
        ]

    def test_a_second_run_of_one_executor_counts_only_what_is_new(self, store: Store, journal: Path) -> None:
        first = task("add", journal, 1)
        events: list[Event] = []
        executor = LocalExecutor(store, isolation="none", progress=events.append)
        executor.run([first])
        executor.run([task("add", journal, 2, {"in": first})])
        starts = [event for event in events if isinstance(event, RunStarted)]
        assert [(start.total, start.cached) for start in starts] == [(1, 0), (1, 0)]

    def test_a_configuration_that_a_worker_cannot_import_fails_its_task(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lost = create_model("Lost", __module__="only_here", __config__=ConfigDict(frozen=True))
        here = ModuleType("only_here")
        here.Lost = lost  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "only_here", here)
        item = Task(Stage("add", 1, "oracles.example_stages:add"), lost())
        failed = failure(run_one(store, item))
        assert (failed.label, failed.root) == ("add", item.key)
        assert failed.reason == "ModuleNotFoundError: No module named 'only_here'"


def test_no_jobs_at_all_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="0 jobs"):
        LocalExecutor(store, jobs=0)
