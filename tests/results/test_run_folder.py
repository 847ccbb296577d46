"""One run owns its folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.results.run_folder import CLAIM, given_folder, new_folder

CLAIMER = """
import sys, time
from pathlib import Path
from harness.errors import UsageError
from harness.results.run_folder import given_folder, new_folder
folder = given_folder if sys.argv[1] == "given" else new_folder
print("ready", flush=True)
sys.stdin.readline()
try:
    with folder(Path(sys.argv[2])) as mine:
        time.sleep(0.3)
        (mine / "results.json").write_text(sys.argv[3])
        print(mine.name)
except UsageError as error:
    print("refused")
"""


def race(kind: str, wanted: Path, count: int = 6) -> list[str]:
    """What each of several processes that start at once got."""
    command = [sys.executable, "-c", CLAIMER, kind, str(wanted)]
    processes = [
        subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(count)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return [process.communicate(timeout=120)[0].strip() for process in processes]


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    names = race("new", tmp_path / "run")
    assert sorted(names) == ["run", "run-2", "run-3", "run-4", "run-5", "run-6"]
    for number, name in enumerate(names):
        assert (tmp_path / name / "results.json").read_text() == str(number)
        assert not (tmp_path / name / CLAIM).exists()


def test_of_runs_into_one_folder_one_gets_it(tmp_path: Path) -> None:
    names = race("given", tmp_path / "out")
    assert sorted(names) == ["out", *["refused"] * 5]
    assert (tmp_path / "out" / "results.json").read_text() == str(names.index("out"))


def test_a_claim_of_a_killed_process_is_no_claim(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / CLAIM).touch()
    with given_folder(tmp_path / "out") as folder:
        assert folder == tmp_path / "out"


def test_an_empty_folder_goes_away_and_a_full_one_stays(tmp_path: Path) -> None:
    with new_folder(tmp_path / "a"), given_folder(tmp_path / "b") as full:
        (full / "report.md").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("name", ["x" * 300, "file/x", "file"])
def test_impossible_folders_are_one_message(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="fix: "), given_folder(tmp_path / name):
        pass
