import io
import re
from pathlib import Path

import pytest

from harness.engine.manifest import Damaged
from harness.engine.outcomes import (
    ArtifactDamaged,
    Done,
    Event,
    Failed,
    Outcome,
    RunStarted,
    TaskFinished,
    TaskNote,
    TaskProgress,
    TaskStarted,
)
from harness.engine.progress import Lines, progress_display
from harness.engine.store import Store

A, B, C = "a" * 64, "b" * 64, "c" * 64


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def done(store: Store) -> Outcome:
    with store.create(A, "train") as draft:
        pass
    assert draft.artifact is not None
    artifact = draft.artifact
    manifest = artifact.manifest.model_copy(update={"seconds": 12.34})
    return Done(type(artifact)(A, Path(), manifest), cached=False)


@pytest.fixture
def events(done: Outcome) -> list[Event]:
    failed = Failed("crashed with signal SIGSEGV", "build [b]", B, "crash")
    return [
        RunStarted(total=5, cached=2),
        ArtifactDamaged(Damaged(A, "x has another checksum", "train")),
        TaskStarted(A, "train"),
        TaskProgress(A, 1, 4, "epochs"),
        TaskNote(A, "half time"),
        TaskFinished(A, "train", done),
        TaskStarted(B, "build [b]"),
        TaskFinished(B, "build [b]", failed),
        TaskFinished(C, "measure", failed),
    ]


class TestLines:
    def test_one_for_each_stage_that_ends(self, events: list[Event]) -> None:
        stream = io.StringIO()
        with progress_display(stream=stream) as listener:
            for event in events:
                listener(event)
        assert stream.getvalue().splitlines() == [
            "[2/5] stages: 5, of which in the store: 2",
            "[2/5] artifact aaaaaaaaaaaa of stage `train` is damaged (x has another checksum); it is made again",
            "[2/5] train: half time",
            "[3/5] train: done in 12.3 s",
            "[4/5] build [b]: failed: crashed with signal SIGSEGV",
            "[5/5] measure: not run, because `build [b]` failed",
        ]

    def test_a_second_run_adds_to_the_first(self, done: Outcome) -> None:
        stream = io.StringIO()
        lines = Lines(stream)
        lines(RunStarted(total=2, cached=2))
        lines(RunStarted(total=1, cached=0))
        lines(TaskFinished(A, "measure", done))
        assert stream.getvalue().splitlines()[1:] == [
            "[2/3] stages: 1, of which in the store: 0",
            "[3/3] measure: done in 12.3 s",
        ]

    def test_a_long_task_says_how_far_it_is(self) -> None:
        stream = io.StringIO()
        lines = Lines(stream, interval_s=0)
        lines(RunStarted(total=1, cached=0))
        lines(TaskStarted(A, "train"))
        lines(TaskProgress(A, 1, 4, "epochs"))
        lines(TaskProgress(A, 7, None, ""))
        assert stream.getvalue().splitlines()[1:] == ["[0/1] train: 25% epochs", "[0/1] train: 7"]


class TestBars:
    def test_show_failures_and_notes_and_take_labels_literally(
        self, events: list[Event], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "200")
        stream = Terminal()
        with progress_display(stream=stream) as listener:
            for event in events:
                listener(event)
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
        assert "train: half time" in text
        assert "build [b]: failed: crashed with signal SIGSEGV" in text
        assert "measure: not run, because `build [b]` failed" in text
        assert "5/5" in text


def test_quiet_shows_nothing(events: list[Event]) -> None:
    stream = io.StringIO()
    with progress_display(quiet=True, stream=stream) as listener:
        for event in events:
            listener(event)
    assert stream.getvalue() == ""
