"""The outermost layer of the command line: exit codes that keep their meaning, and no traceback on the terminal."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from oracles.command_line import harness

from harness.boundary import run_guarded
from harness.errors import EXIT_SOFTWARE, HarnessError, UsageError

REPOSITORY = Path(__file__).parents[1]
QUICKSTART = REPOSITORY / "scenarios" / "quickstart.yaml"
RUN = """
import sys
from harness.boundary import run_guarded
def command():
    {body}
sys.exit(run_guarded(command))
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def raising(error: BaseException) -> int:
    def command() -> None:
        raise error

    return run_guarded(command)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (HarnessError("no"), 3),
        (UsageError("no"), 2),
        (KeyboardInterrupt(), 130),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), 2),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), 2),
        (ImportError("libfoo.so is missing", name="onnx.defs"), 2),
        (RuntimeError("odd"), EXIT_SOFTWARE),
        (RecursionError(), EXIT_SOFTWARE),
        (MemoryError(), EXIT_SOFTWARE),
        (SystemExit(1), EXIT_SOFTWARE),
        (FileNotFoundError(errno.ENOENT, "No such file", "/data/x"), EXIT_SOFTWARE),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), EXIT_SOFTWARE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_error_has_its_own_exit_code_and_none_is_1(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(error) == code
    said = capsys.readouterr().err
    assert said.startswith("harness: ")
    assert "Traceback" not in said


def test_what_nobody_foresaw_is_logged_and_says_how_to_report_it(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(ZeroDivisionError("by zero")) == 70
    (log,) = (state / "quant-harness" / "logs").iterdir()
    text = log.read_text()
    assert "Traceback" in text and "ZeroDivisionError: by zero" in text and "command: " in text
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "harness: unexpected error: ZeroDivisionError: by zero"
    assert said[1] == f"  log: {log}"
    assert said[2].startswith("  report it: ")


def test_without_a_state_folder_the_log_is_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert raising(ZeroDivisionError()) == 70
    log = Path(capsys.readouterr().err.split("log: ")[1].splitlines()[0])
    assert "ZeroDivisionError" in log.read_text()
    log.unlink()


@pytest.mark.parametrize("arguments", [[], ["nosuch"], ["run"], ["run", "--jobs", "0", "x"], ["list", "--nosuch", "x"]])
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    ended = harness(*arguments)
    assert ended.code in ({0, 2} if not arguments else {2})
    assert "Traceback" not in ended.err


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{os.environ['PYTHONPATH']}", **variables}
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment, check=False)


HARNESS = f"{sys.executable} -m harness"


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_is_silent_and_changes_no_exit_code(unbuffered: str) -> None:
    ended = shell(
        f"{HARNESS} list {QUICKSTART} | head -1 >/dev/null; echo ${{PIPESTATUS[0]}}", PYTHONUNBUFFERED=unbuffered
    )
    assert ended.stdout.strip() == "0"
    assert "Traceback" not in ended.stderr and "pipe" not in ended.stderr.lower()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_the_output_is_one_message() -> None:
    ended = shell(f"{HARNESS} --version > /dev/full")
    assert ended.returncode == 2
    assert ended.stderr == "harness: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_of_any_encoding_shows_every_text(encoding: str) -> None:
    words = "1.5\\N{MULTIPLICATION SIGN} \\N{RIGHTWARDS ARROW} \\N{MINUS SIGN}2 \\u2026 \\udc80 \\N{SNOWMAN}"
    body = f"print('{words}')"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    printed = subprocess.run(
        [sys.executable, "-c", RUN.format(body=body)], capture_output=True, env=environment, check=False, cwd=REPOSITORY
    )
    assert (printed.returncode, printed.stderr) == (0, b"")
    shown = printed.stdout.decode(encoding).split()
    assert shown[0] in {"1.5x", "1.5\N{MULTIPLICATION SIGN}"}
    assert shown[1] in {"->", "\N{RIGHTWARDS ARROW}"} and shown[2] in {"-2", "\N{MINUS SIGN}2"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_signals_end_it_in_order(number: signal.Signals, code: int) -> None:
    body = "import time; print('ready', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", RUN.format(body=body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    how, command = said.splitlines()
    assert how.startswith("harness: ")
    assert command.split()[0] == "-c"  # the name that it was started under


as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
OTHER = "setpriv --reuid 54321 --regid 54321 --clear-groups"
"""A user who is in no list of users."""


@as_root
@pytest.mark.slow
@pytest.mark.parametrize("home", ["-u HOME", "HOME=/nonexistent"])
def test_a_user_without_a_home_directory_gets_one_message(home: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    line = f"cd / && env -u XDG_STATE_HOME -u XDG_CACHE_HOME -u HARNESS_STORE {home} {OTHER} {HARNESS}"
    listed = shell(f"{line} list {QUICKSTART}")
    # Where that user may not read the interpreter, the process that builds networks cannot start, which is said.
    refused = listed.returncode == 2 and "may not be able to start Python" in " ".join(listed.stdout.split())
    assert listed.returncode == 0 or refused, listed.stderr
    diagnosed = shell(f"{line} doctor", COLUMNS="300")
    assert diagnosed.returncode == 2, diagnosed.stderr
    assert "set HARNESS_STORE to a folder" in " ".join(diagnosed.stdout.split())
    assert "Traceback" not in listed.stderr + diagnosed.stderr


@as_root
@pytest.mark.slow
@pytest.mark.parametrize("what", ["scenario", "folder", "model", "results"])
def test_what_a_user_may_not_read_is_one_message(what: str, tmp_path: Path) -> None:
    for folder in (*tmp_path.parents[:-1], tmp_path):
        folder.chmod(folder.stat().st_mode | 0o055)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "small.py").write_text("def small(): pass\n")
    scenario = tmp_path / "s.yaml"
    scenario.write_text("name: s\ndataset: {source: fashion_mnist}\nmodels: {n: {factory: models/small.py:small}}\n")
    (tmp_path / "results.json").write_text("{}")
    closed = {"scenario": scenario, "folder": tmp_path / "models", "model": tmp_path / "models" / "small.py"}
    closed.get(what, tmp_path / "results.json").chmod(0)
    command = f"report {tmp_path}" if what == "results" else f"list {scenario}"
    ended = shell(f"cd / && {OTHER} {HARNESS} {command}")
    assert ended.returncode == 2, ended.stderr
    assert "Permission denied" in ended.stderr or "is not readable" in ended.stderr
    assert "Traceback" not in ended.stderr


@as_root
def test_the_measuring_lock_of_another_user_can_be_taken(tmp_path: Path) -> None:
    for folder in (*tmp_path.parents[:-1], tmp_path):
        folder.chmod(folder.stat().st_mode | 0o055)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    code = "from harness.engine.lock import measuring\nwith measuring(print): print('holding')"
    for mode in (0o666, 0o644):  # 0644: made by a version that took no care, or on a system with its own ideas
        lock = shared / f"{mode:o}.lock"
        lock.touch()
        lock.chmod(mode)
        ended = shell(f'cd / && HARNESS_MEASURING_LOCK={lock} {OTHER} {sys.executable} -c "{code}"')
        assert (ended.stdout, ended.returncode) == ("holding\n", 0), ended.stderr


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also through the command-line library, which turns the exception into a number."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/harness", "run", "my scenario.yaml", "--jobs", "2"])
    app = typer.Typer()

    @app.command()
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert run_guarded(lambda: app([], standalone_mode=False)) == 130
    first, command = capsys.readouterr().err.strip().splitlines()
    assert first == "harness: interrupted; finished stages are kept, and the same command goes on from there:"
    assert command == "  harness run 'my scenario.yaml' --jobs 2"
