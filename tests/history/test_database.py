"""The database: idempotent, safe with two writers, honest about files that it cannot use."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from history.conftest import night
from oracles.recorded_runs import ENVIRONMENT, FP32, PTQ

from harness.comparison.environments import machine_class
from harness.errors import UsageError
from harness.history.database import append, entries, export_parquet
from harness.history.place import history_path

REPOSITORY = Path(__file__).parents[2]


def test_a_figure_is_kept_with_its_run_interval_unit_and_verdict(database):
    append(database, [night(3)])
    found = {(each.figure.variant, each.figure.metric): each for each in entries(database)}
    speedup = found[PTQ, "latency.speedup"]
    assert speedup.figure.value == 1.5
    assert speedup.figure.low < 1.5 < speedup.figure.high
    assert (speedup.figure.unit, speedup.figure.higher_is_better) == ("x", True)
    assert speedup.figure.reference == FP32
    assert speedup.run.commit == f"{3:040x}"
    assert speedup.run.dirty is False
    assert speedup.run.machine_class == machine_class(ENVIRONMENT)
    weights = found[PTQ, "size.weight_bytes"].figure
    assert (weights.value, weights.low, weights.unit, weights.higher_is_better) == (1000.0, None, "B", False)


def test_adding_a_run_twice_changes_nothing(database):
    assert append(database, [night(1), night(2)]) == 2
    before = entries(database)
    assert append(database, [night(2), night(3)]) == 1
    assert append(database, [night(1), night(2), night(3)]) == 0
    after = entries(database)
    assert [each for each in after if each.run.run_id != "night-3"] == before


def test_runs_of_one_name_are_told_apart_by_their_time(database):
    append(database, [night(1, run_id="tiny"), night(2, run_id="tiny")])
    assert len({each.run.key for each in entries(database)}) == 2


def test_a_variant_without_figures_is_kept_with_its_status(database):
    append(database, [night(1, status="failed", reason="out of memory")])
    (record,) = [each.figure for each in entries(database) if each.figure.variant == PTQ]
    assert (record.metric, record.status, record.value) == ("status", "failed", None)


@pytest.mark.slow
def test_two_processes_append_at_the_same_time(database, tmp_path):
    code = """
import sys
from pathlib import Path
from history.conftest import night
from harness.history.database import append
for number in range(15):
    append(Path(sys.argv[1]), [night(number, run_id=f"{sys.argv[2]}-{number}"), night(100 + number)])
"""
    command = [sys.executable, "-W", "ignore", "-c", code, str(database)]
    writers = [subprocess.Popen([*command, name], cwd=REPOSITORY) for name in ("a", "b")]
    assert [writer.wait() for writer in writers] == [0, 0]
    names = {each.run.run_id for each in entries(database)}
    own = {f"{name}-{number}" for name in "ab" for number in range(15)}
    assert names == own | {f"night-{100 + number}" for number in range(15)}  # those that both added are there once
    assert len({each.run.key for each in entries(database)}) == 45


def test_a_run_that_cannot_be_written_whole_is_not_there(database, monkeypatch):
    append(database, [night(1)])
    monkeypatch.setattr("harness.history.database.figure_records", lambda _: iter([None]))
    with pytest.raises(TypeError):
        append(database, [night(2)])
    assert {each.run.run_id for each in entries(database)} == {"night-1"}


def test_one_file_holds_everything_between_runs(database):
    append(database, [night(1)])
    assert [path.name for path in database.parent.iterdir()] == [database.name]


def test_parquet_has_one_row_for_each_figure(database, tmp_path):
    append(database, [night(1), night(2)])
    count = export_parquet(database, tmp_path / "out" / "history.parquet")
    frame = pd.read_parquet(tmp_path / "out" / "history.parquet")
    assert count == len(frame) == len(entries(database))
    assert {"run_id", "commit", "dirty", "machine_class", "scenario", "value", "low", "high", "unit"} <= set(frame)
    (value,) = frame.query("metric == 'latency.speedup' and run_id == 'night-2'").value
    assert value == 1.5


@pytest.mark.parametrize("kind", ["missing", "not a database", "newer", "foreign"])
def test_files_that_cannot_be_used_are_refused_with_a_fix(database, kind):
    if kind == "not a database":
        database.write_text("no database at all, but long enough to look for a header " * 5)
    elif kind in ("newer", "foreign"):
        with sqlite3.connect(database) as connection:
            connection.execute("CREATE TABLE other (x)")
            connection.execute(f"PRAGMA user_version = {99 if kind == 'newer' else 0}")
    with pytest.raises(UsageError) as refused:
        entries(database)
    assert str(database) in refused.value.message
    assert refused.value.fix
    if kind != "missing":
        with pytest.raises(UsageError):
            append(database, [night(1)])


def test_the_place_is_named_by_the_user_then_by_the_variable_then_it_is_in_the_project(tmp_path, monkeypatch):
    monkeypatch.delenv("HARNESS_HISTORY", raising=False)
    assert history_path(tmp_path) == tmp_path / "reports" / "history.sqlite"
    monkeypatch.setenv("HARNESS_HISTORY", str(tmp_path / "elsewhere.sqlite"))
    assert history_path(tmp_path) == tmp_path / "elsewhere.sqlite"
    assert history_path(tmp_path, tmp_path / "given.sqlite") == tmp_path / "given.sqlite"
