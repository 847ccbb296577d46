"""Damaged records, baselines, samples and histories: one message and a right exit code, whoever reads them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from oracles.command_line import at_most, harness
from oracles.mutations import broken_bytes, broken_structure
from oracles.recorded_runs import PTQ, recorded, right

from harness.comparison.baseline import save_baseline
from harness.history.database import append

FEW, MANY = 48, 440
LONGEST_S = 120.0


class Place(NamedTuple):
    """Sound files of one of each kind."""

    run: Path
    other: Path
    baseline: Path
    history: Path


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("sound")
    older, newer = recorded(), recorded(started_at="2025-01-02T12:00:00+00:00").add(PTQ, correct=right(lost=2))
    place = Place(older.write(root / "run"), newer.write(root / "other"), root / "base.json", root / "history.sqlite")
    save_baseline(older.snapshot(), place.baseline)
    append(place.history, [older.results, newer.results])
    return place


@pytest.fixture
def place(sound: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A copy that may be damaged; the working directory is beside it."""
    shutil.copytree(sound.run.parent, tmp_path / "files")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return Place(*(tmp_path / "files" / path.name for path in sound))


def damage(path: Path, random: Random) -> None:
    content = path.read_bytes()
    if path.suffix == ".json" and random.random() < 0.7:
        content = json.dumps(broken_structure(json.loads(content), random)).encode("utf-8", errors="surrogatepass")
    else:
        content = broken_bytes(content, random)
    path.write_bytes(content)


def file_of(place: Place, number: int) -> Path:
    files = (
        place.run / "results.json",
        place.baseline,
        place.run / "samples" / "predictions.parquet",
        place.history,
    )
    return files[number % len(files)]


def commands(place: Place, number: int) -> list[tuple[tuple[object, ...], set[int]]]:
    """What reads the file of a number, with the exit codes that may be right: a damaged figure may be a regression."""
    history: list[tuple[tuple[object, ...], set[int]]] = [
        (("history", "--file", place.history), {0, 2}),
        (("history", "export", "--parquet", "out.parquet", "--file", place.history), {0, 2}),
        (("history", "add", place.other, "--file", place.history), {0, 2}),
    ]
    reads: list[list[tuple[tuple[object, ...], set[int]]]] = [
        [
            (("report", place.run), {0, 2}),
            (("compare", place.run, place.other), {0, 1, 2}),
            (("compare", place.other, place.run, "--markdown", "m.md", "--json", "c.json"), {0, 1, 2}),
            (("baseline", "save", place.run), {0, 2}),
            (("history", "add", place.run, "--file", place.history), {0, 2}),
            (("history", "--file", place.history, "--html", "h.html"), {0, 2}),
        ],
        [(("compare", place.baseline, place.run), {0, 1, 2}), (("baseline", "save", place.baseline), {0, 2})],
        [(("compare", place.run, place.other), {0, 1, 2}), (("baseline", "save", place.run), {0, 2})],
        history,
    ]
    return reads[number % len(reads)]


def faults(number: int, place: Place) -> list[str]:
    random = Random(number)
    damage(file_of(place, number), random)
    outside = {path for path in place.run.parents[2].rglob("*") if place.run.parents[1] not in path.parents}
    found = []
    for arguments, right_codes in commands(place, number):
        with at_most(LONGEST_S):
            ended = harness(*arguments)
        if ended.code not in right_codes or "Traceback" in ended.out + ended.err:
            found.append(f"{number} {arguments[:2]}: {ended.code} {ended.err[:400]}")
        if ended.code == 2 and not ended.err.startswith("harness: "):
            found.append(f"{number} {arguments[:2]}: no message, {ended.err[:400]}")
    after = {path for path in place.run.parents[2].rglob("*") if place.run.parents[1] not in path.parents}
    return found + [f"{number}: wrote {path}" for path in after - outside]


@pytest.mark.parametrize("number", range(FEW))
@pytest.mark.thorough(keep=4)
def test_a_damaged_file_is_refused_or_read(place: Place, number: int) -> None:
    assert faults(number, place) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", range(FEW, FEW + MANY))
def test_hundreds_of_damaged_files_are_refused_or_read(place: Place, number: int) -> None:
    assert faults(number, place) == []


HOSTILE: dict[str, Callable[[Path], object]] = {
    "deep": lambda path: path.write_text("[" * 100_000 + "]" * 100_000),
    "deep_in_environment": lambda path: _edited(path, lambda plain: plain["environment"].update(cpu=_nested(5_000))),
    "huge_integer": lambda path: path.write_text('{"rows": ' + "9" * 10_000 + "}"),
    "not_utf8": lambda path: path.write_bytes(b'{"scenario": "\xff\xfe"}'),
    "utf16": lambda path: path.write_text(path.read_text(), encoding="utf-16"),
    "empty": lambda path: path.write_bytes(b""),
    "list": lambda path: path.write_text("[]"),
    "nulls": lambda path: path.write_bytes(bytes(10_000)),
    "device": lambda path: _linked(path, "/dev/zero"),
    "loop": lambda path: _linked(path, path.name),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


def _nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth // 50):
        value = [value]
    return {"flags": value}


def _edited(path: Path, edit: Callable[[dict[str, object]], object]) -> None:
    plain = json.loads(path.read_text())
    edit(plain)
    path.write_text(json.dumps(plain))


def _linked(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_record_is_one_message(place: Place, kind: str) -> None:
    HOSTILE[kind](place.run / "results.json")
    for arguments in (("report", place.run), ("compare", place.run, place.other), ("baseline", "save", place.run)):
        with at_most(LONGEST_S):
            ended = harness(*arguments)
        assert ended.code == 2, ended
        assert ended.err.startswith("harness: ") and len(ended.err) < 2_000


NAMES = ("../../x", "/tmp/escaped", "..", "a\x00b", "results", "a/b", "x" * 400, "a\nb", "", "\N{SNOWMAN}\u202e")


@pytest.mark.parametrize("name", NAMES)
def test_a_baseline_never_leaves_its_folder(place: Place, name: str) -> None:
    """Whatever the record, its machine or the command line says the name is."""
    before = set(place.run.parents[1].rglob("*"))
    _edited(place.run / "results.json", lambda plain: plain.update(scenario=name))
    assert harness("baseline", "save", place.run).code == 2
    assert harness("baseline", "save", place.run, "--to", "kept").code == 2
    assert set(place.run.parents[1].rglob("*")) == before


@pytest.mark.parametrize("key", ["architecture", "cpu.model", "cpu.usable_cores", "gpus.name"])
def test_a_machine_of_any_name_is_one_folder(place: Place, key: str) -> None:
    evil = "../../../../../tmp/escaped/" + "x" * 500
    group, _, leaf = key.partition(".")
    value = [{"name": evil}] * 50 if group == "gpus" else {leaf: evil} if leaf else evil
    _edited(place.run / "results.json", lambda plain: plain["environment"].update({group: value}))
    assert harness("baseline", "save", place.run).code == 0
    (written,) = Path("baselines").rglob("*.json")
    assert written.parent.parent == Path("baselines")


def test_a_link_among_the_baselines_is_not_followed(place: Place, tmp_path: Path) -> None:
    assert harness("baseline", "save", place.run).code == 0
    (path,) = Path("baselines").rglob("*.json")
    victim = tmp_path / "victim"
    victim.write_text("mine")
    path.unlink()
    path.symlink_to(victim)
    assert harness("baseline", "save", place.run).code == 0  # the link is replaced
    assert victim.read_text() == "mine" and not path.is_symlink()
    shutil.rmtree(path.parent)
    (tmp_path / "elsewhere").mkdir()
    path.parent.symlink_to(tmp_path / "elsewhere")
    ended = harness("baseline", "save", place.run)
    assert (ended.code, list((tmp_path / "elsewhere").iterdir())) == (2, [])
    assert "there is a link on the way" in ended.err


def test_names_in_a_record_are_escaped_in_every_page(place: Place) -> None:
    script = "<script>alert(1)</script>"

    def edit(plain: dict) -> None:
        plain.update(question=script, run_id=script)
        plain["rows"][1].update(status="failed", reason=script)
        plain["rows"][0]["variant"].update(model=script)

    _edited(place.run / "results.json", edit)
    assert harness("report", place.run).code == 0
    assert script not in (place.run / "report.html").read_text()
    assert "<script" not in (place.run / "report.md").read_text()


def test_rows_that_contradict_each_other_are_refused(place: Place) -> None:
    _edited(place.run / "results.json", lambda plain: plain["rows"].append(plain["rows"][0]))
    ended = harness("report", place.run)
    assert ended.code == 2
    assert "two rows are called `net-fp32-onnxruntime-b1`" in ended.err
