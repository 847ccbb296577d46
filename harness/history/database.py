"""The history as one SQLite file.

Two processes may write at the same time: a transaction takes the write lock at its beginning and the other waits. The
journal is SQLite's default and not a write-ahead log, so that between two runs one file holds everything and can be
copied, uploaded and restored as it is.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from harness.errors import UsageError, shortened
from harness.history.figures import FigureRecord, RunRecord, figure_records, run_record
from harness.paths import file_problem
from harness.results import RunResults

SCHEMA_VERSION = 1
_WAIT_S = 60.0
"""How long a writer waits for another."""
_LONGEST_S = 120.0
"""For all that is asked of the file at once; a view in it could ask for anything."""
_STEPS_BETWEEN_LOOKS = 100_000
_ASIDE = "put it aside, and add runs to a new one with `harness history add`"
_ELSEWHERE = "name another file with $HARNESS_HISTORY"
_ALL = "SELECT * FROM history ORDER BY started_at, run_id, run_key, variant, metric"
_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    key TEXT PRIMARY KEY, run_id TEXT NOT NULL, started_at TEXT NOT NULL, scenario TEXT NOT NULL,
    machine_class TEXT NOT NULL, "commit" TEXT, dirty INTEGER, packages TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS figures (
    run TEXT NOT NULL REFERENCES runs (key), variant TEXT NOT NULL, metric TEXT NOT NULL, status TEXT NOT NULL,
    value REAL, low REAL, high REAL, unit TEXT NOT NULL, higher_is_better INTEGER, verdict TEXT, reference TEXT,
    PRIMARY KEY (run, variant, metric)
) STRICT;
CREATE VIEW IF NOT EXISTS history AS
    SELECT run_id, started_at, "commit", dirty, machine_class, scenario, variant, metric, value, low, high, verdict,
           unit, higher_is_better, status, reference, run AS run_key, packages
    FROM figures JOIN runs ON runs.key = figures.run;
"""


_RUN, _FIGURE = TypeAdapter(RunRecord), TypeAdapter(FigureRecord)
"""What is read may have been damaged or written by somebody."""
_COLUMNS = re.findall(r"\w+", _TABLES.partition("AS\n    SELECT ")[2].partition("FROM")[0].replace("run AS ", ""))


@dataclass(frozen=True)
class Entry:
    """One figure with the run that it is of."""

    run: RunRecord
    figure: FigureRecord


def append(path: Path, runs: Iterable[RunResults]) -> int:
    """Add runs, making the file if there is none; how many were new. A run that is there changes nothing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {path.parent}: {error.strerror}", fix=_ELSEWHERE) from None
    with _connected(path) as connection, _writing(connection):
        _prepare(connection, path)
        return sum(_append(connection, results) for results in runs)


def entries(path: Path) -> list[Entry]:
    """Everything in the file, oldest run first; UsageError where there is none."""
    found = _select(path)
    try:
        return [Entry(_run_of(row), _figure_of(row)) for row in found]
    except (ValidationError, IndexError, ValueError, TypeError) as error:
        raise UsageError(f"the history {path} is damaged: {_first(error)}", fix=_ASIDE) from error


def export_parquet(path: Path, to: Path) -> int:
    """Write one row for each figure as Parquet; how many."""
    import pandas as pd

    entries(path)  # refuses a damaged file
    rows = [dict(row) for row in _select(path)]
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    for column in ("dirty", "higher_is_better"):
        frame[column] = frame[column].astype("boolean")
    frame["started_at"] = pd.to_datetime(frame["started_at"], utc=True, format="ISO8601", errors="coerce")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(to, index=False)
    except OSError as error:
        raise UsageError(f"cannot write {to}: {error.strerror}", fix="choose another file") from None
    return len(frame)


def _append(connection: sqlite3.Connection, results: RunResults) -> bool:
    run = run_record(results)
    values = [*astuple(run)[:-1], json.dumps(run.packages, sort_keys=True)]
    added = connection.execute(f"INSERT OR IGNORE INTO runs VALUES ({_marks(values)})", values)  # noqa: S608
    if added.rowcount == 0:
        return False
    rows = [(run.key, *astuple(figure)) for figure in figure_records(results)]
    columns = ", ".join(["run", *(field.name for field in fields(FigureRecord))])
    marks = _marks(rows[0]) if rows else ""
    connection.executemany(f"INSERT INTO figures ({columns}) VALUES ({marks})", rows)  # noqa: S608  # our own names
    return True


def _marks(values: Iterable[object]) -> str:
    return ", ".join("?" for _ in values)


def _select(path: Path) -> list[sqlite3.Row]:
    if not os.path.lexists(path):
        fix = "`harness run` writes it; `harness history add RUN` adds runs that were made before"
        raise UsageError(f"there is no history at {path}", fix=fix)
    with _connected(path) as connection:
        _check_version(connection, path)
        found: list[sqlite3.Row] = connection.execute(_ALL).fetchall()
        return found


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    if os.path.lexists(path) and (problem := file_problem(path)) is not None:
        raise UsageError(f"the history {path} {problem}", fix=_ELSEWHERE)
    try:
        with closing(sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA trusted_schema = OFF")
            ends = time.monotonic() + _LONGEST_S
            connection.set_progress_handler(lambda: time.monotonic() > ends, _STEPS_BETWEEN_LOOKS)
            yield connection
    except (sqlite3.Error, OverflowError, UnicodeError) as error:
        fix = f"if another program holds it, try again; if it is damaged, put it aside; or {_ELSEWHERE}"
        raise UsageError(f"cannot use the history {path}: {error}", fix=fix) from error


@contextmanager
def _writing(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing; the lock is taken at once, so that two writers never both think that they were first."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    _check_version(connection, path)
    for statement in _TABLES.split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    is_foreign = version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0
    if version > SCHEMA_VERSION or is_foreign:
        what = "another program" if is_foreign else "a newer version of the harness"
        raise UsageError(f"the history {path} was written by {what}", fix=_ELSEWHERE)


def _run_of(row: sqlite3.Row) -> RunRecord:
    return _RUN.validate_python(
        {
            "key": row["run_key"],
            "run_id": row["run_id"],
            "started_at": row["started_at"],
            "scenario": row["scenario"],
            "machine_class": row["machine_class"],
            "commit": row["commit"],
            "dirty": _flag(row["dirty"]),
            "packages": from_json(row["packages"]),
        }
    )


def _figure_of(row: sqlite3.Row) -> FigureRecord:
    values: dict[str, Any] = {field.name: row[field.name] for field in fields(FigureRecord)}
    return _FIGURE.validate_python(values | {"higher_is_better": _flag(row["higher_is_better"])})


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        return f"{problem['msg']} at `{'.'.join(map(str, problem['loc']))}`"
    return shortened(str(error), 200)


def _flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)
