"""Plug-ins that installed packages register."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import pytest
from oracles.plugin_pages import page, write_project

from harness.engine.outcomes import ignore
from harness.engine.store import Store
from harness.errors import ScenarioError
from harness.plugin_names import entry_points
from harness.runs.plugins import Plugins
from harness.runs.preparation import RunOptions, prepare_run
from harness.runs.registries import check_registries
from harness.runs.run import run_scenario
from harness.scenario import load_scenario

CLIP = page("calibrator").code
USED = {"method": ["fp32", "ptq"], "calibrator": ["clip"]}


def describe(folder: Path, **changes: Any) -> Plugins:
    return check_registries(load_scenario(write_project(folder, **{"matrix": USED} | changes)))


def test_names_are_known_and_nothing_is_imported(install: Any) -> None:
    install("clippack", "raise SystemExit", calibrators="clip = clippack:Clip")
    assert "clip" in entry_points("calibrator")
    assert "clippack" not in sys.modules


def test_a_plug_in_is_found_by_its_plain_name(install: Any, tmp_path: Path) -> None:
    install("clippack", CLIP, version="1.5", calibrators="clip = clippack:Clip")
    (facts,) = describe(tmp_path).facts.values()
    assert facts.own_name == "clip"
    assert facts.code.distribution == "clippack 1.5: clippack:Clip"
    assert "clippack" not in sys.modules


@pytest.mark.slow
def test_the_version_of_the_package_is_in_the_key(install: Any, tmp_path: Path) -> None:
    def key() -> str:
        plans = prepare_run(load_scenario(write_project(tmp_path, matrix=USED)), RunOptions()).plans
        return plans[1].tasks["quantize"].key

    folder = install("clippack", CLIP, calibrators="clip = clippack:Clip")
    first = key()
    assert key() == first
    (folder / "clippack-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: clippack\nVersion: 2.0\n")
    assert key() != first


@pytest.mark.slow
def test_a_run_in_worker_processes(install: Any, tmp_path: Path) -> None:
    install("clippack", CLIP, calibrators="clip = clippack:Clip")
    path = write_project(tmp_path, "metric", matrix=USED)
    options = RunOptions(jobs=2)
    directory = tmp_path / "reports" / "own"
    directory.mkdir(parents=True)
    prepared = prepare_run(load_scenario(path), options)
    store = Store(tmp_path / "store")
    results = run_scenario(prepared, directory, store, options, lambda: contextlib.nullcontext(ignore))
    assert {row.variant.id: row.reason for row in results.rows} == {
        "net-fp32-onnxruntime-b1": None,
        "net-ptq-clip-perchannel-onnxruntime-b1": None,
    }
    assert all("mean_confidence" in row.metrics for row in results.rows)


class TestErrors:
    def said(self, folder: Path, **changes: Any) -> str:
        with pytest.raises(ScenarioError) as raised:
            describe(folder, **changes)
        assert raised.value.line is not None
        return str(raised.value)

    def test_the_name_of_a_built_in_one(self, install: Any, tmp_path: Path) -> None:
        install("clippack", CLIP, calibrators="entropy = clippack:Clip")
        said = self.said(tmp_path, matrix={"calibrator": ["entropy"]})
        assert "`entropy` is a built-in calibrator, and clippack 1.0 registers another one" in said

    def test_two_packages_with_one_name(self, install: Any, tmp_path: Path) -> None:
        install("clippack", CLIP, calibrators="clip = clippack:Clip")
        install("otherpack", CLIP, calibrators="clip = otherpack:Clip")
        said = self.said(tmp_path)
        assert "several packages register the calibrator `clip`: clippack 1.0, otherpack 1.0" in said

    def test_another_name_than_its_own(self, install: Any, tmp_path: Path) -> None:
        install("clippack", CLIP, calibrators="clipped = clippack:Clip")
        said = self.said(tmp_path, matrix={"calibrator": ["clipped"]})
        assert "has the name `clip`, but is registered as `clipped`" in said

    def test_a_package_that_ends_the_process(self, install: Any, tmp_path: Path) -> None:
        install("clippack", "raise SystemExit(4)", calibrators="clip = clippack:Clip")
        assert "importing `clippack:Clip` ended the process: SystemExit(4)" in self.said(tmp_path)

    def test_a_name_that_is_nearly_right(self, install: Any, tmp_path: Path) -> None:
        install("clippack", CLIP, calibrators="clip = clippack:Clip")
        assert "did you mean `clip`?" in self.said(tmp_path, matrix={"calibrator": ["clib"]})

    def test_a_module_without_the_name(self, install: Any, tmp_path: Path) -> None:
        install("clippack", CLIP, calibrators="clip = clippack:Clipp")
        assert "has no attribute 'Clipp'" in self.said(tmp_path)
