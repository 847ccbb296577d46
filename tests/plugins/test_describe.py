"""Plug-ins that cannot be used cost exit code 2 with their place in the scenario, whatever their files do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from oracles.plugin_pages import page, write_project

from harness.errors import EXIT_USAGE, ScenarioError
from harness.runs.availability import unavailable_reason
from harness.runs.plugins import Plugins, describe_plugins
from harness.runs.registries import check_registries
from harness.scenario import expand, load_scenario

HEADER = "from harness.quantization.calibrators.base import Calibrator\n"
HALF = (
    HEADER
    + """
class Half(Calibrator):
    name = "half"
    def choose(self, histogram, levels):
        return histogram.abs_max / 2
"""
)


def describe(folder: Path, *pages: str, **changes: Any) -> Plugins:
    return check_registries(load_scenario(write_project(folder, *pages, **changes)))


def error_of(folder: Path, files: dict[str, str], names: list[str]) -> str:
    """What is said of a scenario with these calibrators; the error must cost exit code 2."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as raised:
        describe(folder, matrix={"method": ["ptq"], "calibrator": names})
    assert raised.value.exit_code == EXIT_USAGE
    return str(raised.value)


def place(folder: Path, text: str) -> str:
    """`line:column` of a text in the scenario."""
    lines = (folder / "scenario.yaml").read_text(encoding="utf-8").splitlines()
    number, line = next((number, line) for number, line in enumerate(lines, start=1) if text in line)
    return f"scenario.yaml:{number}:{line.index(text) + 1}"


class TestBeforeAnythingIsImported:
    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("halv.py:Half", "the calibrator file `halv.py` does not exist\n  fix: did you mean `half.py`?"),
            ("half.py", "`half.py` names a file, not what is in it\n  fix: write `FILE.py:NAME`"),
            ("entropi", "did you mean `entropy`?"),
        ],
    )
    def test_names_that_lead_nowhere(self, tmp_path: Path, name: str, said: str) -> None:
        assert said in error_of(tmp_path, {"half.py": HALF}, [name])

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        (tmp_path / "half.py").mkdir()
        assert "the calibrator file `half.py` is a folder" in error_of(tmp_path, {}, ["half.py:Half"])

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"measurement": {"metrics": "size"}}, "unknown metric of your own `size`\n  fix: write `FILE.py:NAME`"),
            ({"training": {"factory": "sgd"}}, "unknown training loop `sgd`"),
            ({"dataset": {"source": "fashion_mnst"}}, "unknown data source `fashion_mnst`"),
            ({"matrix": {"toolkit": "nncff"}}, "unknown toolkit `nncff`"),
            ({"targets": {"onnxruntim": {}}}, "unknown target `onnxruntim`"),
            ({"measurement": {"load": {"servr": {}}}}, "found the text `servr`"),
            ({"gates": [{"metric": "metrics.mine", "at_most": 1}]}, "unknown metric `metrics.mine`"),
        ],
    )
    def test_names_of_other_kinds(self, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
        with pytest.raises(ScenarioError) as raised:
            describe(tmp_path, **changes)
        assert said in str(raised.value)


@pytest.mark.slow  # several processes: a file that cannot be imported is tried again in a fresh one
def test_what_a_file_lacks_is_said_at_its_place_for_all_at_once(tmp_path: Path) -> None:
    files = {
        "half.py": HALF,
        "misspelt.py": HALF.replace("choose", "chose"),
        "nameless.py": HALF.replace('    name = "half"\n', ""),
        "broken.py": "def (",
        "raises.py": "1 / 0",
        "ends.py": "import sys\nsys.exit(3)",
        "clash.py": HALF.replace('"half"', '"entropy"'),
        "needs.py": "import not_installed_anywhere",
    }
    names = ["half.py:Haf", *(f"{Path(name).stem}.py:Half" for name in files)]
    said = error_of(tmp_path, files, names)
    for name, part in {
        "half.py:Haf": "unknown name in half.py `Haf`\n  fix: did you mean `Half`?",
        "misspelt.py:Half": "it lacks the method `choose`\n  fix: rename `chose` to `choose`",
        "nameless.py:Half": "it lacks the attribute `name`",
        "broken.py:Half": "SyntaxError",
        "raises.py:Half": "ZeroDivisionError: division by zero (line 1)",
        "ends.py:Half": "ended the process: SystemExit(3) (line 2)",
        "clash.py:Half": "the name `entropy`, which is that of a built-in calibrator",
        "needs.py:Half": "No module named 'not_installed_anywhere'",
    }.items():
        assert part in said
        assert place(tmp_path, name) in said
    assert place(tmp_path, "half.py:Half") not in said


@pytest.mark.slow  # a process for each
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os\nos._exit(0)", "the process ended unexpectedly with exit code 0"),
        ("import os\nos.abort()", "crashed with signal SIGABRT"),
        ("while True: pass", "importing `bad.py:Half` did not finish within 2 s"),
    ],
)
def test_a_file_that_ends_crashes_or_blocks_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    monkeypatch.setenv("HARNESS_TIMEOUT_S", "2")
    text = error_of(tmp_path, {"bad.py": code}, ["bad.py:Half"])
    assert said in text
    assert place(tmp_path, "bad.py:Half") in text


def test_nothing_is_started_without_plug_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.runs.plugins.Prober", None)
    assert describe(tmp_path) == Plugins()


@pytest.mark.slow  # a process that imports the libraries of every kind
def test_one_probe_of_every_kind(tmp_path: Path) -> None:
    """All in one scenario, so that one process is started; the parent has imported none of them."""
    pages = ("calibrator", "metric", "ptq-step", "data-source", "training-loop", "load-scenario", "toolkit", "target")
    plugins = describe(tmp_path, *pages)
    assert {(kind, facts.own_name) for (kind, _), facts in plugins.facts.items()} == {
        ("calibrator", "clip"),
        ("metric", "mean_confidence"),
        ("PTQ step", "clamp_weights"),
        ("data source", "blobs"),
        ("training loop", "loop.py:train"),
        ("load scenario", "frames"),
        ("toolkit", "symmetric"),
        ("target", "camera"),
    }
    step = plugins.of("PTQ step", "clamp.py:ClampWeights")
    assert step is not None
    assert step.changes_weights
    for facts in plugins.facts.values():
        assert [each.path.name for each in facts.code.files] == [facts.code.name.partition(":")[0]]


@pytest.mark.slow
class TestSections:
    """Keys that a plug-in defines are read by its own type."""

    @pytest.mark.parametrize(
        ("page_name", "changes", "said"),
        [
            ("target", {"targets": {"camera.py:Camera": {"cors": 1}}}, "`cors`"),
            ("target", {"targets": {"camera.py:Camera": {"cores": 0}}}, "`targets.camera.py:Camera.cores` must be"),
            ("load-scenario", {"measurement": {"load": {"frames.py:Frames": {"cameras": "two"}}}}, "an integer"),
        ],
    )
    def test_an_error_is_at_its_place(self, tmp_path: Path, page_name: str, changes: dict[str, Any], said: str) -> None:
        scenario = load_scenario(write_project(tmp_path, page_name, **changes))
        plugins = check_registries(scenario)
        with pytest.raises(ScenarioError) as raised, plugins.active():
            plugins.with_settings(scenario)
        assert said in str(raised.value)
        key = str(next(iter(next(iter(_last(changes).values())))))
        assert place(tmp_path, f"{key}:").rpartition(":")[0] in str(raised.value)


def _last(changes: dict[str, Any]) -> dict[str, Any]:
    """The mapping from the plug-in's name to its keys."""
    inner = next(iter(changes.values()))
    return inner if any(":" in key for key in inner) else _last(inner)


@pytest.mark.slow  # two processes
@pytest.mark.parametrize("what", ["raise KeyError('no such device')", "import sys; sys.exit(7)"])
def test_what_a_plug_in_raises_while_planning_is_at_its_place(tmp_path: Path, what: str) -> None:
    code = page("target").code.replace(
        "        return super().refusal(variant)", f"        if here():\n            {what}"
    )
    code += f"\n\ndef here():\n    import os\n    return os.getpid() == {os.getpid()}\n"
    path = write_project(tmp_path, "target")
    (tmp_path / "camera.py").write_text(code, encoding="utf-8")
    scenario = load_scenario(path)
    plugins = describe_plugins(scenario)
    said = r"`camera\.py:Camera` failed: (KeyError|SystemExit)"
    with pytest.raises(ScenarioError, match=said) as raised, plugins.active():
        unavailable_reason(expand(scenario)[0])
    assert raised.value.line is not None


def test_an_error_of_our_own_is_not_blamed_on_a_plug_in(tmp_path: Path) -> None:
    scenario = load_scenario(write_project(tmp_path, "calibrator"))
    plugins = describe_plugins(scenario)
    with pytest.raises(ZeroDivisionError), plugins.active():
        _ = 1 / 0


def test_the_file_may_import_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "share.py").write_text("SHARE = 0.5\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "half.py").write_text("from share import SHARE\n" + HALF.replace("/ 2", "* SHARE"))
    plugins = describe(tmp_path, matrix={"method": ["ptq"], "calibrator": ["more/half.py:Half"]})
    files = plugins.facts["calibrator", "more/half.py:Half"].code.files
    assert {os.path.relpath(each.path, tmp_path) for each in files} == {"more/half.py", "share.py"}
