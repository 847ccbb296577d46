"""Edits of a user's project change the keys of what depends on them; an unchanged project keeps all of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from harness.runs.preparation import RunOptions, prepare_run
from harness.scenario import load_scenario

SCENARIO = """\
name: edits
dataset: {{source: fashion_mnist, location: embedded, train_samples: 64, calibration_samples: 16, test_samples: 16}}
models:
  net: {{factory: "{factory}"}}
  other: {{factory: "models/other.py:net"}}
training: {{max_epochs: 1, batch_size: 32}}
measurement: {{latency: false, memory: false}}
matrix: {{method: [fp32, ptq], calibrator: max, target: onnxruntime}}
"""
NET = """\
import torch
{imports}

def net():
    {factory}
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with two networks; `models/net.py` uses a helper package, settings and weights."""
    root = tmp_path / "project"
    write(root / "scenarios" / "edits.yaml", SCENARIO.format(factory="models/net.py:net"))
    reads = (
        "from pathlib import Path; here = Path(__file__).parent; (here / 'net.json').read_text(); "
        "from safetensors.torch import load_file; load_file(here / 'net.safetensors')"
    )
    write(root / "models" / "net.py", NET.format(imports="from helpers.blocks import WIDTH", factory=reads))
    write(root / "models" / "other.py", NET.format(imports="", factory="pass"))
    write(root / "models" / "net.json", json.dumps({"width": 4}))
    save_file({"w": torch.zeros(2)}, root / "models" / "net.safetensors")
    write(root / "helpers" / "blocks.py", "from helpers import deeper\nWIDTH = 4\n")
    write(root / "helpers" / "deeper.py", "DEPTH = 4\n")
    return root


@pytest.fixture
def own_package(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The factory is in a package of the user's, as an editable installation makes it importable."""
    folder = project.parent / "elsewhere"
    write(folder / "ownpack" / "__init__.py", "")
    write(folder / "ownpack" / "net.py", NET.format(imports="from ownpack.blocks import WIDTH", factory="pass"))
    write(folder / "ownpack" / "blocks.py", "WIDTH = 4\n")
    write(project / "scenarios" / "edits.yaml", SCENARIO.format(factory="ownpack.net:net"))
    monkeypatch.syspath_prepend(folder)
    yield folder / "ownpack"
    for name in [name for name in sys.modules if name.partition(".")[0] == "ownpack"]:
        del sys.modules[name]


def keys(project: Path) -> dict[str, str]:
    """Key of every task, by model and stage."""
    prepared = prepare_run(load_scenario(project / "scenarios" / "edits.yaml"), RunOptions())
    return {
        f"{plan.variant.model} {plan.variant.method} {task.label}": task.key
        for plan in prepared.plans
        for task in plan.all_tasks
    }


def edit_net(root: Path) -> None:
    write(root / "models" / "net.py", (root / "models" / "net.py").read_text() + "# edited\n")


def edit_helper(root: Path) -> None:
    write(root / "helpers" / "blocks.py", "from helpers import deeper\nWIDTH = 5\n")


def edit_what_the_helper_imports(root: Path) -> None:
    write(root / "helpers" / "deeper.py", "DEPTH = 5\n")


def edit_settings(root: Path) -> None:
    write(root / "models" / "net.json", json.dumps({"width": 5}))


def edit_weights(root: Path) -> None:
    save_file({"w": torch.ones(2)}, root / "models" / "net.safetensors")


@pytest.mark.parametrize(
    "edit", [edit_net, edit_helper, edit_what_the_helper_imports, edit_settings, edit_weights], ids=lambda e: e.__name__
)
@pytest.mark.thorough(keep=1)
def test_an_edit_changes_every_result_of_that_network_and_no_other(project: Path, edit: Callable[[Path], None]) -> None:
    before = keys(project)
    assert keys(project) == before
    edit(project)
    after = keys(project)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {name for name in before if name.startswith("net ")}


@pytest.mark.slow
def test_an_edit_in_an_own_package_too(project: Path, own_package: Path) -> None:
    before = keys(project)
    assert keys(project) == before
    write(own_package / "blocks.py", "WIDTH = 5\n")
    after = keys(project)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {name for name in before if name.startswith("net ")}


def test_what_no_network_reads_changes_nothing(project: Path) -> None:
    before = keys(project)
    write(project / "helpers" / "unrelated.py", "WIDTH = 5\n")
    write(project / "models" / "unrelated.json", "{}")
    write(project / "reports" / "one" / "results.json", "{}")
    scenario = project / "scenarios" / "edits.yaml"
    scenario.write_text("# a comment\n" + scenario.read_text())
    assert keys(project) == before


@pytest.mark.slow
def test_a_copy_elsewhere_has_the_same_keys(project: Path, tmp_path: Path) -> None:
    before = keys(project)
    copy = Path(shutil.copytree(project, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__")))
    assert keys(copy) == before


@pytest.mark.slow
def test_a_process_with_other_hashes_has_the_same_keys(project: Path) -> None:
    script = (
        "import json, sys, pathlib; from test_user_edits import keys\n"
        "print(json.dumps(keys(pathlib.Path(sys.argv[1]))))"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    found = subprocess.run(
        [sys.executable, "-c", script, str(project)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": paths},
    )
    assert json.loads(found.stdout) == keys(project)
