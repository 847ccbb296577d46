"""A full disk loses no record."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from oracles.command_line import harness
from oracles.recorded_runs import recorded

from harness import paths
from harness.errors import UsageError
from harness.results import RunResults
from harness.runs.rescue import Problems, save_record


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on a disk without space."""
    folder = tmp_path / "full"
    folder.mkdir()
    whole = paths.tempfile.mkstemp

    def mkstemp(**options: object) -> tuple[int, str]:
        if Path(str(options["dir"])).is_relative_to(folder):
            raise OSError(errno.ENOSPC, "No space left on device", str(folder))
        return whole(**options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(paths.tempfile, "mkstemp", mkstemp)
    return folder


def test_the_record_is_kept_in_the_store_and_said_where(full: Path, tmp_path: Path) -> None:
    results = recorded().results
    with pytest.raises(UsageError, match="No space left on device") as caught:
        save_record(results.model_dump_json(), full / "results.json", tmp_path / "store")
    kept = tmp_path / "store" / "unsaved" / "full" / "results.json"
    assert f"kept as {kept}" in caught.value.message
    assert RunResults.load(kept) == results
    assert list(full.iterdir()) == []


def test_a_file_without_room_is_noted_and_removed_and_the_rest_goes_on(tmp_path: Path) -> None:
    problems = Problems()
    problems.raise_first(tmp_path)
    with problems.noted(tmp_path / "half"):
        (tmp_path / "half").write_text("x")
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "half"))
    assert not (tmp_path / "half").exists()
    with pytest.raises(UsageError, match=r"half: No space left on device; results\.json of the run is in"):
        problems.raise_first(tmp_path)


def test_a_report_without_room_is_one_message_and_changes_nothing(full: Path) -> None:
    (full / "results.json").write_text(recorded().results.model_dump_json())
    (full / "report.html").write_text("before")
    ended = harness("report", full)
    assert ended.code == 2
    assert "No space left on device" in ended.err and "the record is safe" in ended.err
    assert (full / "report.html").read_text() == "before"
