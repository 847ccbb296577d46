"""A network that is known is not built again, until something that can change it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.engine.store import default_root
from harness.runs import known_networks, networks
from harness.runs.networks import Networks, describe_networks
from harness.scenario import load_scenario

SCENARIO = """\
name: known
dataset: {source: fashion_mnist, location: embedded}
models:
  net: {factory: "models/net.py:net"}
  other: {factory: "models/other.py:other"}
matrix: {method: [fp32], target: onnxruntime}
"""
NET = """\
import json, os
from pathlib import Path
from torch import nn
from helpers.sizes import WIDTH

HERE = Path(__file__).parent

def net():
    settings = json.loads((HERE / "net.json").read_text())
    last = len(list(HERE.glob("part-*.txt")))
    inputs = int(os.environ.get("NET_INPUTS", 784))
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, WIDTH + settings["more"] + last))
"""
OTHER = """\
from torch import nn

def other():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
"""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


class Project:
    """A project with two networks; `built` are those that a process was asked for."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.built = root, []
        write(root / "scenarios" / "known.yaml", SCENARIO)
        write(root / "models" / "net.py", NET)
        write(root / "models" / "other.py", OTHER)
        write(root / "models" / "net.json", '{"more": 5}')
        write(root / "helpers" / "sizes.py", "WIDTH = 5\n")
        original = networks._describe

        def describe(prober, request, limit_s):
            self.built.append(request.factory.partition(":")[2])
            return original(prober, request, limit_s)

        monkeypatch.setattr(networks, "_describe", describe)

    def describe(self) -> Networks:
        self.built.clear()
        return describe_networks(load_scenario(self.root / "scenarios" / "known.yaml"), None)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("HARNESS_STORE", str(tmp_path / "store"))
    return Project(tmp_path / "project", monkeypatch)


def test_an_unchanged_project_builds_nothing(project: Project) -> None:
    first = project.describe()
    assert project.built == ["net", "other"]
    assert project.describe() == first
    assert project.built == []


def edit_helper(project: Project) -> None:
    write(project.root / "helpers" / "sizes.py", "WIDTH = 6\n")


def edit_settings_within_the_same_size_and_time(project: Project) -> None:
    file = project.root / "models" / "net.json"
    before = file.stat()
    write(file, '{"more": 6}')
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def add_a_file_that_is_listed(project: Project) -> None:
    write(project.root / "models" / "part-1.txt", "")


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize(
    "edit",
    [edit_helper, edit_settings_within_the_same_size_and_time, add_a_file_that_is_listed],
    ids=lambda e: e.__name__,
)
def test_an_edit_is_seen(project: Project, edit: Callable[[Project], None]) -> None:
    before = project.describe().facts
    edit(project)
    after = project.describe().facts
    assert "net" in project.built
    assert after["net"].dependencies.sha256 != before["net"].dependencies.sha256
    assert after["other"] == before["other"]
    assert project.describe().facts == after
    assert project.built == []


@pytest.mark.slow
def test_a_variable_of_the_environment_is_seen(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = project.describe().facts
    monkeypatch.setenv("NET_INPUTS", "100")
    assert project.describe().facts["net"] != before["net"]


def test_an_edit_of_the_scenario_builds_nothing(project: Project) -> None:
    project.describe()
    file = project.root / "scenarios" / "known.yaml"
    write(file, file.read_text(encoding="utf-8").replace("[fp32]", "[fp32, ptq]"))
    write(project.root / "reports" / "one" / "results.json", "{}")
    write(project.root / "elsewhere" / "results.json", "{}")
    write(project.root / "elsewhere" / "models" / "net.onnx", "{}")
    project.describe()
    assert project.built == []


@pytest.mark.slow
def test_other_arguments_are_another_network(project: Project) -> None:
    project.describe()
    file = project.root / "scenarios" / "known.yaml"
    write(file, file.read_text(encoding="utf-8") + "seed: 5\n")
    project.describe()
    assert project.built == ["net", "other"]


def test_faults_are_not_kept(project: Project) -> None:
    write(project.root / "models" / "other.py", "import os\ndef other(): os._exit(3)\n")
    for _ in range(2):
        assert set(project.describe().faults) == {"other"}
        assert "other" in project.built
    assert "net" not in project.built


@pytest.mark.slow
def test_what_writes_what_it_reads_is_built_each_time(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        project.root / "models" / "net.py",
        NET.replace("    last", "    (HERE / 'net.json').write_text(json.dumps(settings))\n    last"),
    )
    for _ in range(2):
        project.describe()
        assert "net" in project.built


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"around": 1, "facts": 2}', "\x00"])
def test_a_damaged_file_is_as_good_as_none(project: Project, damage: str) -> None:
    first = project.describe()
    files = list(default_root().rglob("*.json"))
    assert len(files) == 2
    for file in files:
        write(file, damage)
    assert project.describe() == first
    assert project.built == ["net", "other"]


def test_what_is_kept_is_json_with_the_files_and_their_sums(project: Project) -> None:
    project.describe()
    entries = [json.loads(file.read_text(encoding="utf-8")) for file in default_root().rglob("*.json")]
    files = {Path(path).name for entry in entries for path, _ in entry["facts"]["dependencies"]["files"]}
    assert files == {"net.py", "net.json", "sizes.py", "other.py"}


def test_a_store_that_cannot_be_written_costs_time(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_STORE", str(project.root / "models" / "net.py"))  # a file
    assert project.describe().facts == project.describe().facts
    assert project.built == ["net", "other"]


@pytest.mark.slow
def test_very_many_files_are_not_looked_through(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_networks, "_MOST_FILES", 2)
    project.describe()
    project.describe()
    assert project.built == ["net", "other"]


def test_listing_known_networks_loads_no_torch(project: Project) -> None:
    project.describe()
    script = (
        "import sys\n"
        "from harness.cli import app\n"
        "if __name__ == '__main__':\n"
        "    try: app(['list', sys.argv[1]], standalone_mode=False)\n"
        "    finally: print([name for name in ('torch', 'onnx', 'pandas', 'scipy') if name in sys.modules])\n"
    )
    program = project.root.parent / "program.py"
    write(program, script)
    for _ in range(2):  # another program has another path to import from: the first time may build
        done = subprocess.run(
            [sys.executable, program, project.root / "scenarios" / "known.yaml"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "net-fp32-onnxruntime-b1" in done.stdout
        assert done.stdout.splitlines()[-1] == "[]"
