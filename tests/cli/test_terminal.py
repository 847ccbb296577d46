"""What a terminal shows: widths, hostile names, plain text, Ctrl-C. In real pseudo-terminals."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from oracles.engine_stages import Weights, matrix
from rich.cells import cell_len

from harness.cli.listing import diagnosis_lines, listed_variants
from harness.cli.output import table_lines
from harness.cli.summary import failures, row_verdict, rows_table, without_figures
from harness.engine.context import StageContext
from harness.results import RunResults
from harness.runs.doctor import DoctorCheck

REPOSITORY = Path(__file__).parents[2]
PATIENCE_S = 300
HOSTILE = "\x1b[31m[red]\u202egnp.exe\N{ROCKET}\x07" + "x" * 50
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
SCENARIO = """\
name: small
dataset: {{source: fashion_mnist, location: embedded, calibration_samples: 64}}
models: {{resnet8: {{factory: '{models}/resnet.py:resnet8'}}}}
training: {{max_epochs: 1}}
matrix: {{method: [fp32, ptq], calibrator: [max]}}
measurement: {{budget_s: 2, parity: off, memory: false}}
"""


class Screen:
    """A command in a pseudo-terminal."""

    def __init__(self, arguments: Sequence[str], columns: int = 80, **variables: str) -> None:
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR"}}
            os.chdir(REPOSITORY)
            os.execve(arguments[0], list(arguments), environment | {"TERM": "xterm-256color"} | variables)
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.raw = ""

    def read(self, until: Callable[[], bool] = lambda: False) -> None:
        """Read until something is true, or the command has ended."""
        deadline = time.monotonic() + PATIENCE_S
        while not until():
            assert time.monotonic() < deadline, self.raw
            if not select.select([self._descriptor], [], [], 0.1)[0]:
                continue
            try:
                found = os.read(self._descriptor, 65_536)
            except OSError:  # Linux: the other end is closed
                return
            if not found:
                return
            self.raw += found.decode("utf-8", errors="replace")

    def press_ctrl_c(self) -> None:
        os.write(self._descriptor, b"\x03")

    def exit_code(self) -> int:
        self.read()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    @property
    def lines(self) -> list[str]:
        """All lines that were shown, also those that were replaced."""
        return [_CONTROL.sub("", line) for line in re.split(r"[\r\n]+", self.raw)]

    def close(self) -> None:
        with suppress(OSError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._descriptor)


@pytest.fixture
def start() -> Iterator[Callable[..., Screen]]:
    screens = []

    def started(*arguments: str, columns: int = 80, **variables: str) -> Screen:
        screens.append(Screen([sys.executable, *arguments], columns, **variables))
        return screens[-1]

    yield started
    for screen in screens:
        screen.close()


GUARDED = "import sys, time\nfrom harness.boundary import run_guarded\nsys.argv = ['harness', 'run', 'a b.yaml']\n"
CHILDREN = (
    GUARDED
    + """
from pathlib import Path
from harness.engine.child import Child
def command():
    child = Child('oracles.restless:start_another', [], Path(sys.orig_argv[-1]))
    try:
        time.sleep(600)
    finally:
        print('tidying up', flush=True)
        time.sleep(600)
sys.exit(run_guarded(command))
"""
)


def test_ctrl_c_in_a_terminal_shows_the_command_that_goes_on(start: Callable[..., Screen]) -> None:
    body = "def command():\n    print('ready', flush=True)\n    time.sleep(600)\nsys.exit(run_guarded(command))"
    screen = start("-c", GUARDED + body)
    screen.read(lambda: "ready" in screen.raw)
    screen.press_ctrl_c()
    assert screen.exit_code() == 130
    assert "  harness run 'a b.yaml'" in screen.lines, screen.raw


def test_a_second_ctrl_c_ends_everything_at_once(start: Callable[..., Screen], tmp_path: Path) -> None:
    """Also what a child started in a session of its own."""
    screen = start("-c", CHILDREN, str(tmp_path / "log"), PYTHONPATH=f"{REPOSITORY}:{REPOSITORY}/tests")
    screen.read(lambda: len(psutil.Process(screen.pid).children(recursive=True)) == 2)
    family = psutil.Process(screen.pid).children(recursive=True)
    screen.press_ctrl_c()
    screen.read(lambda: "tidying up" in screen.raw)
    screen.press_ctrl_c()
    began = time.monotonic()
    assert screen.exit_code() == 130
    assert time.monotonic() - began < 60  # and not after ten minutes
    assert "ended at once" in screen.raw
    _, alive = psutil.wait_procs(family, timeout=10)  # to be killed and to be gone are a moment apart
    assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_doctor_fits_the_terminal(start: Callable[..., Screen], columns: int) -> None:
    screen = start("-m", "harness", "doctor", columns=columns, HARNESS_STORE="/tmp/harness-store-of-a-test")
    assert screen.exit_code() == 0
    assert "\x1b" not in screen.raw
    told = [line for line in screen.lines if not line.startswith("    fix: ")]
    assert max(map(len, told)) <= columns
    assert any(line.startswith("ok  target onnxruntime ") for line in told)


@pytest.mark.parametrize("columns", [60, 120])
def test_an_audit_is_readable_on_a_terminal(start: Callable[..., Screen], tmp_path: Path, columns: int) -> None:
    matrix(Weights(mebibytes=1), {}, tmp_path, StageContext("a", 1))
    file = str(tmp_path / "engine.onnx")
    screen = start("-m", "harness", "audit", file, "--target", "onnxruntime", columns=columns)
    assert screen.exit_code() == 0, screen.raw
    assert "\x1b" not in screen.raw
    kernels = ["kernel"] if columns > 60 else []
    assert screen.lines[1].split() == ["layer", *kernels, "types", "MACs", "INT8"]
    assert screen.lines[2].split()[-2:] == ["262,144", "no"]
    assert max(map(cell_len, screen.lines[1:-2])) <= columns
    assert screen.raw.count("not quantized") == 1  # a reason stands once


@pytest.mark.parametrize(
    ("variables", "is_plain"), [({}, False), ({"NO_COLOR": "1"}, True), ({"TERM": "dumb"}, True)], ids=str
)
def test_tables_are_plain_text_where_that_is_asked_for(
    start: Callable[..., Screen], variables: dict[str, str], is_plain: bool
) -> None:
    code = "from harness.cli.output import *\nfrom harness.report.tables import Table\n"
    screen = start("-c", f"{code}print_tables([Table('caption', ('a', 'b'), (('x', '[red]1'),))])", **variables)
    assert screen.exit_code() == 0, screen.raw
    assert "[red]1" in screen.raw
    assert ("\x1b" not in screen.raw) == is_plain


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 120])
def test_a_run_shows_one_line_a_table_and_the_decision(
    start: Callable[..., Screen], tmp_path: Path, columns: int
) -> None:
    scenario = tmp_path / "small.yaml"
    scenario.write_text(SCENARIO.format(models=REPOSITORY / "models"), encoding="utf-8")
    command = ("-m", "harness", "run", str(scenario), "--no-history", "--out")
    variables = {"HARNESS_STORE": str(tmp_path / "store")}
    first = start(*command, str(tmp_path / "1"), columns=columns, **variables)
    assert first.exit_code() == 0, first.raw
    shown = [line for line in first.lines if line.startswith("[")]
    assert any(re.match(r"\[0/\d+\] train resnet8 · .*\d+ s$", line) for line in shown)  # a guess is not shown
    assert max(map(cell_len, shown)) <= columns
    assert "\x1b[1m" not in first.raw and "\x1b[3" not in first.raw  # neither bold nor coloured
    at = first.lines.index("resnet8 on onnxruntime, batch 1")
    assert first.lines[at + 1].split() == ["Variant", "Top-1", "Speedup", "Engine", "Verdict"]
    assert first.lines[at + 4] == "resnet8, batch 1, on onnxruntime:"
    second = start(*command, str(tmp_path / "2"), columns=columns, **variables)
    assert second.exit_code() == 0, second.raw
    assert any(re.search(r"measure resnet8.* s, about \d+ s left$", line) for line in second.lines)
    interrupted = start(*command, str(tmp_path / "3"), columns=columns, **variables)
    interrupted.read(lambda: "measure" in interrupted.raw)
    interrupted.press_ctrl_c()
    assert interrupted.exit_code() == 130
    assert any(re.match(r"\d+ of \d+ stages are done and kept in ", line) for line in interrupted.lines)
    again = f"  python -m harness run {scenario} --no-history --out "
    assert any(line.startswith(again) for line in interrupted.lines)
    assert not (tmp_path / "3").exists()


class TestListing:
    def test_a_reason_stands_once_with_its_count_and_its_fix_in_one_piece(self) -> None:
        fix = "pip install --force-reinstall --no-deps 'a-package-with-a-name>=1.0'"
        reason = f"unavailable: the package `tensorrt` is not installed on this machine; fix: {fix}"
        variants = [("a", "run on this machine"), *((f"b{number}", reason) for number in range(12))]
        lines = list(listed_variants("s: 13 variants", variants, 60))
        assert lines[2:4] == ["1 run on this machine", "  a"]
        assert lines[5:8] == [
            "12 unavailable: the package `tensorrt` is not installed on",
            "this machine",
            f"fix: {fix}",
        ]
        assert lines[8:] == [f"  b{number}" for number in range(12)]

    def test_equal_findings_of_the_doctor_stand_once(self) -> None:
        checks = [
            DoctorCheck(f"toolkit {name}", "the package `x` is not installed", False, fix="pip install 'x>=1'")
            for name in ("modelopt", "modelopt-folded")
        ]
        assert list(diagnosis_lines(checks, 80)) == [
            "--  toolkits modelopt, modelopt-folded",
            " " * 29 + "the package `x` is not installed",
            "    fix: pip install 'x>=1'",
        ]

    def test_hostile_names_are_shown_as_text(self) -> None:
        lines = [
            *listed_variants(HOSTILE, [(HOSTILE, f"fail: {HOSTILE}; fix: {HOSTILE}")], 60),
            *diagnosis_lines([DoctorCheck(HOSTILE, HOSTILE, False, fix=HOSTILE)], 60),
        ]
        assert_is_plain(lines)
        assert sum(r"\x1b[31m[red]\u202egnp.exe" in line for line in lines) >= 5


class TestSummary:
    @pytest.fixture
    def example(self) -> RunResults:
        return RunResults.load(REPOSITORY / "reports" / "example" / "results.json")

    @pytest.mark.parametrize("width", [60, 80, 100])
    def test_every_row_of_the_run_fits(self, example: RunResults, width: int) -> None:
        lines = list(rows_table(example, width))
        assert max(map(cell_len, lines)) <= width
        assert " ".join(" ".join(lines).split()).count("PTQ entropy") == 4
        words = {word for line in lines for word in line.split()}
        assert {"PTQ", "per-channel", "per-tensor"} <= words  # no word is broken
        assert not any(word.endswith("per-") for word in words)

    def test_a_reason_and_a_failure_stand_once(self, example: RunResults) -> None:
        changes = [
            {"status": "unavailable", "reason": "no GPU"},
            {"status": "unavailable", "reason": "no GPU"},
            {"status": "failed", "reason": "crashed"},
            {"status": "failed", "reason": "crashed"},
        ]
        rows = [row.model_copy(update=each) for row, each in zip(example.rows, changes, strict=False)]
        assert list(without_figures(rows, 80)) == ["", "2 variants unavailable: no GPU"]
        ids = ", ".join(row.variant.id for row in rows[2:])
        assert list(failures(rows)) == [f"failed: {ids}\n  crashed"]
        assert [row_verdict(row, is_recommended=False) for row in rows[1:3]] == ["unavailable", "failed"]

    @pytest.mark.parametrize(
        ("is_non_inferior", "accuracy", "latency", "words"),
        [
            (True, "inconclusive", "better", "kept, faster"),  # as the decision says it: within the margin is kept
            (True, "same", "same", "kept, not faster"),
            (True, "worse", "better", "kept, faster"),
            (False, "inconclusive", "better", "not proven"),
            (False, "worse", "better", "loses accuracy"),
            (True, "same", "worse", "slower"),
            (True, "same", "inconclusive", "not proven"),
        ],
    )
    def test_the_verdict_of_a_row_agrees_with_the_decision(
        self, example: RunResults, is_non_inferior: bool, accuracy: str, latency: str, words: str
    ) -> None:
        row = example.rows[1]
        assert row.accuracy is not None and row.accuracy.comparison is not None
        assert row.latency is not None and row.latency.comparison is not None
        judged = row.accuracy.comparison.model_copy(update={"verdict": accuracy, "is_non_inferior": is_non_inferior})
        timed = row.latency.comparison.model_copy(update={"verdict": latency})
        changed = row.model_copy(
            update={
                "accuracy": row.accuracy.model_copy(update={"comparison": judged}),
                "latency": row.latency.model_copy(update={"comparison": timed}),
            }
        )
        assert row_verdict(changed, is_recommended=False) == words
        assert row_verdict(changed, is_recommended=True) == "recommended"

    def test_hostile_names_are_shown_as_text(self, example: RunResults) -> None:
        row = example.rows[1]
        variant = row.variant.model_copy(update={"model": HOSTILE, "calibrator": HOSTILE})
        bad = row.model_copy(update={"variant": variant, "status": "unavailable", "reason": HOSTILE})
        results = example.model_copy(update={"rows": (bad,), "conclusions": ()})
        lines = [*rows_table(results, 60), *without_figures([bad], 60)]
        assert_is_plain(lines)
        assert "[red]" in "".join(lines)


@pytest.mark.parametrize("name", ["漢字" * 10, "\N{ROCKET}" * 20, "x" * 80, "a " * 40])
def test_columns_of_a_table_stand_below_each_other_whatever_the_names(name: str) -> None:
    head, *rows = table_lines(("Variant", "Speedup"), [(name, "1.5"), ("b", "2")], {1}, 40)
    ends = [cell_len(line) for line in (head, *rows) if line.endswith(("Speedup", "1.5", "2"))]
    assert len(ends) == 3 and len(set(ends)) == 1


def test_a_word_is_broken_only_where_nothing_else_helps() -> None:
    row = ("a_name_of_some_length", "uint8 and int8 → uint8", "1")
    assert list(table_lines(("a", "b", "n"), [row], {2}, 40)) == [
        "a                      b               n",
        "a_name_of_some_length  uint8 and int8  1",
        "                         → uint8",
    ]
    assert max(map(len, table_lines(("a", "b", "n"), [row], {2}, 25))) == 25


def assert_is_plain(lines: Sequence[str]) -> None:
    assert not any(character in line for line in lines for character in "\x1b\x07\u202e\r")
