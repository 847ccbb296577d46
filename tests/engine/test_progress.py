import io
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from harness.engine.manifest import Damaged
from harness.engine.outcomes import (
    ArtifactDamaged,
    Done,
    Event,
    Failed,
    Outcome,
    PendingTask,
    RunInterrupted,
    RunStarted,
    TaskFinished,
    TaskNote,
    TaskProgress,
    TasksExpected,
    TaskStarted,
)
from harness.engine.progress import Line, Lines, progress_display
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
            "[2/5] artifact aaaaaaaaaaaa of stage `train` is damaged (x has another checksum); it is made again",
            "[2/5] train: half time",
            "[3/5] train: done in 12.3 s",
            "[4/5] build [b]: failed: crashed with signal SIGSEGV",
            "[5/5] measure: not run, because `build [b]` failed",
        ]

    def test_a_second_run_adds_to_the_first_and_was_counted_before(self, done: Outcome) -> None:
        stream = io.StringIO()
        lines = Lines(stream)
        lines(TasksExpected((PendingTask(A, "measure", True, (), None),)))
        lines(RunStarted(total=2, cached=1))
        lines(TaskFinished(B, "build", done))
        lines(RunStarted(total=1, cached=0, pending=(PendingTask(A, "measure", True, (), None),)))
        lines(TaskFinished(A, "measure", done))
        assert stream.getvalue().splitlines() == ["[2/3] build: done in 12.3 s", "[3/3] measure: done in 12.3 s"]

    def test_an_interrupted_run_says_what_is_kept_and_where(self, done: Outcome) -> None:
        stream = io.StringIO()
        lines = Lines(stream)
        lines(RunStarted(total=4, cached=1))
        lines(TaskFinished(A, "train", done))
        lines(RunInterrupted(Path("/data/store")))
        assert stream.getvalue().splitlines()[-1] == "[2/4] 2 of 4 stages are done and kept in /data/store"

    def test_hostile_labels_are_shown_and_not_sent(self, done: Outcome) -> None:
        stream = io.StringIO()
        Lines(stream)(TaskFinished(A, "train \x1b[31m\x07[red]\u202e", done))
        assert stream.getvalue() == "[1/0] train \\x1b[31m\\x07[red]\\u202e: done in 12.3 s\n"


class TestLine:
    @pytest.fixture
    def line(self) -> Line:
        clock = iter([0.0, *[34.0] * 100])
        line = Line(lambda _: None, lambda: next(clock))
        line(TasksExpected((PendingTask(C, "measure", True, (), 20.0),)))
        tasks = tuple(PendingTask(key, "export", False, (), 10.0) for key in (A, B))
        line(RunStarted(total=12, cached=10, pending=tasks))
        return line

    def test_stage_variant_elapsed_and_remaining(self, line: Line) -> None:
        line(TaskStarted(A, "export resnet8-ptq-entropy-perchannel-onnxruntime-b1"))
        line(TaskStarted(B, "build x"))
        line(TaskProgress(A, 1, 4, "epochs"))
        shown = "[10/13] export resnet8-ptq-entropy-perchannel-onnxruntime-b1 · 25% +1 · 34 s, about 40 s left"
        assert line.text(120) == shown

    @pytest.mark.parametrize("width", [40, 60, 80])
    def test_a_narrow_terminal_has_it_on_one_line(self, line: Line, width: int) -> None:
        line(TaskStarted(A, "export resnet8-ptq-entropy-perchannel-onnxruntime-b1"))
        line(TaskProgress(A, 1, 4, "epochs"))
        text = line.text(width)
        assert cell_len(text) <= width
        assert text.startswith("[10/13] export") and text.endswith("34 s, about 40 s left")

    @pytest.mark.parametrize("label", ["\x1b[2J" * 9, "[red]" * 30, "\u202e" * 30, "\N{ROCKET}" * 60, "漢字" * 40])
    def test_hostile_labels_fit_too(self, line: Line, label: str) -> None:
        line(TaskStarted(A, label))
        text = line.text(60)
        assert cell_len(text) <= 60
        assert not set(text) & {"\x1b", "\u202e"}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    return Terminal()


def test_a_terminal_shows_failures_and_notes_and_takes_labels_literally(
    events: list[Event], terminal: Terminal
) -> None:
    with progress_display(stream=terminal) as listener:
        for event in events:
            listener(event)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert "train: half time" in text
    assert "build [b]: failed: crashed with signal SIGSEGV" in text
    assert "measure: not run, because `build [b]` failed" in text
    assert "[5/5]" in text


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(
    events: list[Event], terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with progress_display(stream=terminal) as listener:
        for event in events:
            listener(event)
    assert "[3/5] train: done in 12.3 s\n" in terminal.getvalue()
    assert "\x1b" not in terminal.getvalue() and "\r" not in terminal.getvalue()


def test_quiet_shows_nothing(events: list[Event]) -> None:
    stream = io.StringIO()
    with progress_display(quiet=True, stream=stream) as listener:
        for event in events:
            listener(event)
    assert stream.getvalue() == ""
