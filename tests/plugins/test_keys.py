"""An edit of a plug-in changes the keys of the stages that use it, and no others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from oracles.plugin_pages import write_project

from harness.errors import StageError
from harness.plugins.code import PluginCode
from harness.registry import plugged
from harness.runs.preparation import RunOptions, prepare_run
from harness.scenario import load_scenario
from harness.training.file_sums import FileSum, file_sha256

PAGES = ("calibrator", "metric", "ptq-step", "training-loop")
AFTER_QUANTIZING = {"quantize", "export", "build", "evaluate"}
ALL = {"train", "check", "calibrate", *AFTER_QUANTIZING}


def keys(path: Path) -> dict[tuple[str, str], str]:
    """Key of every task, by variant and purpose."""
    plans = prepare_run(load_scenario(path), RunOptions()).plans
    return {(plan.variant.id, name): task.key for plan in plans for name, task in plan.tasks.items()}


def changed(before: dict[tuple[str, str], str], after: dict[tuple[str, str], str]) -> set[tuple[str, str]]:
    assert before.keys() == after.keys()
    return {place for place in before if before[place] != after[place]}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project", *PAGES, matrix={"calibrator": ["max", "clip.py:Clip"]})


def edit(project: Path, name: str) -> None:
    file = project.parent / name
    file.write_text(file.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")


@pytest.mark.slow  # plans anew after each edit, in fresh processes
def test_an_edit_changes_what_uses_the_plug_in_and_nothing_else(project: Path) -> None:
    first = keys(project)
    assert keys(project) == first
    edit(project, "confidence.py")
    assert changed(first, keys(project)) == set()  # metrics are computed anew in every run

    edit(project, "clip.py")
    second = keys(project)
    assert changed(first, second) == {
        place for place in first if "clip.clip" in place[0] and place[1] not in ("train", "check", "calibrate")
    }
    edit(project, "clamp.py")
    third = keys(project)
    assert changed(second, third) == {
        place for place in first if "clampweights" in place[0] and place[1] not in ("train", "check")
    }
    edit(project, "loop.py")
    assert changed(third, keys(project)) == set(first)


@pytest.mark.slow
def test_a_project_that_moves_keeps_its_keys(project: Path, tmp_path: Path) -> None:
    first = keys(project)
    copy = Path(shutil.copytree(project.parent, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("__pycache__")))
    assert keys(copy / project.name) == first


@pytest.mark.slow
def test_stages_that_read_data_know_the_code_of_the_data_source(tmp_path: Path) -> None:
    path = write_project(tmp_path / "project", "data-source")
    first = keys(path)
    edit(path, "blobs.py")
    unchanged = set(first) - changed(first, keys(path))
    assert unchanged == set()


def code(file: Path, sha256: str = "0") -> PluginCode:
    files = (FileSum(file, file_sha256(file)),)
    return PluginCode(kind="calibrator", name="clip.py:Clip", sha256=sha256, files=files, root=file.parent)


def test_a_stage_loads_the_plug_in_by_name(project: Path) -> None:
    code(project.parent / "clip.py").load_user_code()
    loaded = plugged("calibrator", "clip.py:Clip")
    assert loaded is not None
    assert loaded.share == 0.75


def test_a_file_that_changes_during_the_run_fails_the_stage(project: Path) -> None:
    begun_with = code(project.parent / "clip.py", "1")
    edit(project, "clip.py")
    with pytest.raises(StageError, match=r"clip\.py changed during the run"):
        begun_with.load_user_code()


def test_two_plug_ins_of_a_folder_do_not_disturb_each_other(project: Path) -> None:
    code(project.parent / "clip.py", "2").load_user_code()
    clip = plugged("calibrator", "clip.py:Clip")
    other = project.parent / "other.py"
    other.write_text((project.parent / "clip.py").read_text(encoding="utf-8").replace("0.75", "0.25"), encoding="utf-8")
    PluginCode(kind="calibrator", name="other.py:Clip", sha256="3", root=project.parent).load_user_code()
    code(project.parent / "clip.py", "2").load_user_code()
    assert plugged("calibrator", "clip.py:Clip") is clip
    assert plugged("calibrator", "other.py:Clip").share == 0.25  # type: ignore[union-attr]
