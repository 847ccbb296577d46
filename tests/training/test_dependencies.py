"""What counts as a dependency of a user's network, and what does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from harness.errors import StageError
from harness.training.dependencies import Dependencies, dependencies_recorded
from harness.training.factory import build_model
from harness.training.file_sums import require_unchanged

SHAPE = (2, 3, 3)
NET = """
import torch
{imports}

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(18, 3)

    def forward(self, x):
        {forward}
        return self.linear(x.flatten(1))

def net():
    {factory}
    return Net()
"""
NET_FILE = "models/net.py"


def write_net(root: Path, file: str = NET_FILE, *, imports: str = "", factory: str = "", forward: str = "") -> None:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    text = NET.format(imports=imports, factory=factory or "pass", forward=forward or "pass")
    (root / file).write_text(text)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def dependencies(root: Path, factory: str = f"{NET_FILE}:net") -> Dependencies:
    with dependencies_recorded(factory, root) as recording:
        model = build_model(factory, {}, root=root, seed=0, input_shape=SHAPE, n_classes=3)
    return recording.dependencies(model)


def names(found: Dependencies, root: Path) -> list[str]:
    return [os.path.relpath(each.path, root) for each in found.files]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with `models/net.py`."""
    write_net(tmp_path)
    return tmp_path


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder outside the project whose packages can be imported, as those of an editable installation."""
    folder = tmp_path / "elsewhere" / "src"
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in [name for name, module in sys.modules.items() if str(folder) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]


class TestModules:
    @pytest.mark.parametrize(
        ("imports", "helper"),
        [
            ("from .blocks import WIDTH", "models/blocks.py"),
            ("from blocks import WIDTH", "models/blocks.py"),
            ("from models.blocks import WIDTH", "models/blocks.py"),
            ("from helpers.blocks import WIDTH", "helpers/blocks.py"),
            ("import helpers.deep.blocks", "helpers/deep/blocks.py"),
            ("from helpers.deep import blocks", "helpers/deep/blocks.py"),
            ("import importlib; importlib.import_module('helpers.blocks')", "helpers/blocks.py"),
            ("import importlib; importlib.import_module('bl' + 'ocks')", "models/blocks.py"),
            ("exec('import blocks')", "models/blocks.py"),
            ("import os, runpy; runpy.run_path(os.path.dirname(__file__) + '/blocks.py')", "models/blocks.py"),
        ],
    )
    def test_an_imported_helper_counts_however_it_is_imported(self, root: Path, imports: str, helper: str) -> None:
        write_net(root, imports=imports)
        path = write(root / helper, "WIDTH = 3\n")
        write(root / "helpers" / "unrelated.py", "WIDTH = 3\n")
        before = dependencies(root)
        found = names(before, root)
        assert {helper, NET_FILE} <= set(found) and "helpers/unrelated.py" not in found
        write(path, "WIDTH = 4\n")
        assert dependencies(root).sha256 != before.sha256

    @pytest.mark.parametrize("place", ["factory", "forward"])
    def test_what_is_imported_when_the_network_is_made_or_runs_counts(self, root: Path, place: str) -> None:
        write_net(root, **{place: "import late"})
        write(root / "models" / "late.py", "import later\n")
        write(root / "models" / "later.py", "A = 1\n")
        before = dependencies(root)
        assert names(before, root) == ["models/late.py", "models/later.py", NET_FILE]
        write(root / "models" / "later.py", "A = 2\n")
        assert dependencies(root).sha256 != before.sha256

    def test_what_only_training_imports_counts(self, root: Path) -> None:
        write_net(root, forward="if self.training: from helpers import augment")
        write(root / "helpers" / "augment.py", "A = 1\n")
        before = dependencies(root)
        write(root / "helpers" / "augment.py", "A = 2\n")
        assert dependencies(root).sha256 != before.sha256

    @pytest.mark.parametrize("init", [True, False], ids=["package", "namespace"])
    def test_absolute_imports_inside_an_own_package(self, root: Path, importable: Path, init: bool) -> None:
        if init:
            write(importable / "ownpack" / "__init__.py", "")
            write(importable / "ownpack" / "parts" / "__init__.py", "")
        write_net(importable, "ownpack/net.py", imports="from ownpack.parts.blocks import WIDTH")
        path = write(importable / "ownpack" / "parts" / "blocks.py", "from ownpack.parts import deep\nWIDTH = 1\n")
        deep = write(importable / "ownpack" / "parts" / "deep.py", "DEEP = 1\n")
        seen = [dependencies(root, "ownpack.net:net")]
        assert {path, deep, importable / "ownpack" / "net.py"} <= {each.path for each in seen[0].files}
        for each in (path, deep, importable / "ownpack" / "net.py"):
            each.write_text(each.read_text() + "# edited\n")
            seen.append(dependencies(root, "ownpack.net:net"))
        assert len({each.sha256 for each in seen}) == 4

    def test_a_second_network_counts_the_helpers_that_the_first_imported_already(self, root: Path) -> None:
        settings = write(root / "helpers" / "blocks.json", "{}")
        write(root / "helpers" / "blocks.py", f"import pathlib\npathlib.Path({str(settings)!r}).read_text()\n")
        write_net(root, imports="import helpers.blocks")
        write_net(root, "models/second.py", imports="import helpers.blocks")
        alone = dependencies(root, "models/second.py:net")
        dependencies(root)
        assert dependencies(root, "models/second.py:net") == alone
        assert names(alone, root) == ["helpers/blocks.json", "helpers/blocks.py", "models/second.py"]

    def test_byte_code_counts_as_its_source(self, root: Path) -> None:
        write_net(root, imports="import blocks")
        path = write(root / "models" / "blocks.py", "A = 1\n")
        subprocess.run([sys.executable, "-m", "compileall", "-q", str(path.parent)], check=True)
        found = dependencies(root)
        assert names(found, root) == ["models/blocks.py", NET_FILE]
        assert dependencies(root) == found

    def test_an_edited_helper_is_imported_again(self, root: Path) -> None:
        write_net(root, imports="import helpers.blocks", factory="assert helpers.blocks.A == 1")
        write(root / "helpers" / "blocks.py", "A = 2\n")
        with pytest.raises(Exception, match="AssertionError"):
            dependencies(root)
        write(root / "helpers" / "blocks.py", "A = 1  # longer\n")
        assert len(dependencies(root).files) == 2


def _write_data(folder: Path, name: str, value: float) -> None:
    array, path = np.full(18, value, np.float32), folder / name
    tensors = {"w": torch.from_numpy(array)}
    if name.endswith(".safetensors"):
        save_file(tensors, path)
    elif name.endswith(".npy"):
        np.save(path, array)
    elif name.endswith(".npz"):
        np.savez(path, w=array)
    elif name.endswith(".pt"):
        torch.save(tensors, path, _use_new_zipfile_serialization=not name.startswith("old"))
    elif name.endswith(".jit"):
        torch.jit.save(torch.jit.script(_filled(value)), path)  # type: ignore[no-untyped-call]
    elif name.endswith(".pt2"):
        torch.export.save(torch.export.export(_filled(value), (torch.zeros(1, 2),)), path)
    else:
        path.write_text(f'{{"value": {value}}}')


def _filled(value: float) -> torch.nn.Module:
    layer = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(layer.weight, value)
    return layer.eval()


READERS: list[tuple[str, str]] = [
    ("a.json", "import json; json.load(open(here / 'a.json'))"),
    ("a.json", "(here / 'a.json').read_text()"),
    ("a.json", "import os; os.read(os.open(here / 'a.json', os.O_RDONLY), 9)"),
    ("a.json", "import os; os.chdir(here); open('a.json').read()"),
    ("a.json", "import importlib.resources as r; from models import data; (r.files(data) / 'a.json').read_text()"),
    ("a.json", "import pkgutil; pkgutil.get_data('models.data', 'a.json')"),
    ("a.yaml", "from ruamel.yaml import YAML; YAML(typ='safe').load(here / 'a.yaml')"),
    ("a.toml", "import codecs; codecs.open(str(here / 'a.toml')).read()"),
    ("a.json", "from concurrent.futures import ThreadPoolExecutor as P; list(P(1).map(open, [here / 'a.json']))"),
    ("a.pt", "torch.load(here / 'a.pt')"),
    ("a.pt", "torch.load(here / 'a.pt', mmap=True)"),
    ("a.pt", "torch.load(open(here / 'a.pt', 'rb'))"),
    ("old.pt", "torch.load(here / 'old.pt')"),
    ("a.jit", "torch.jit.load(here / 'a.jit')"),
    ("a.pt2", "torch.export.load(here / 'a.pt2')"),
    ("a.npy", "import numpy as np; np.load(here / 'a.npy')"),
    ("a.npy", "import numpy as np; np.load(here / 'a.npy', mmap_mode='r')"),
    ("a.npy", "import numpy as np; np.fromfile(here / 'a.npy')"),
    ("a.npz", "import numpy as np; np.load(here / 'a.npz')['w']"),
    ("a.npy", "torch.from_file(str(here / 'a.npy'), size=3)"),
    ("a.safetensors", "from safetensors.torch import load_file; load_file(here / 'a.safetensors')"),
    ("a.safetensors", "from safetensors.numpy import load_file; load_file(here / 'a.safetensors')"),
    ("a.safetensors", "import safetensors as s; s.safe_open(here / 'a.safetensors', 'pt').keys()"),
    ("a.safetensors", "import safetensors.torch as s; s.load_model(torch.nn.Module(), here / 'a.safetensors', False)"),
    ("a.safetensors", "import safetensors.torch as s; s.load((here / 'a.safetensors').read_bytes())"),
]  # fmt: skip


class TestFiles:
    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::UserWarning")
    @pytest.mark.parametrize(("name", "statement"), READERS, ids=[statement[-40:] for _, statement in READERS])
    def test_a_file_that_the_factory_reads_counts(
        self, root: Path, name: str, statement: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(root)
        folder = root / "models" / "data"
        write(folder / "__init__.py", "")
        _write_data(folder, name, 1.0)
        here = "import pathlib; here = pathlib.Path(__file__).parent / 'data'"
        write_net(root, imports=here, factory=statement)
        before = dependencies(root)
        assert f"models/data/{name}" in names(before, root)
        assert dependencies(root) == before
        _write_data(folder, name, 2.0)
        assert dependencies(root).sha256 != before.sha256

    @pytest.mark.parametrize("place", ["imports", "factory", "forward"])
    def test_wherever_it_is_read(self, root: Path, place: str) -> None:
        path = write(root / "settings.json", "1")
        write_net(root, **{place: f"open({str(path)!r}).read()"})
        assert names(dependencies(root), root) == [NET_FILE, "settings.json"]

    def test_a_file_that_appears_counts(self, root: Path) -> None:
        path = root / "override.json"
        write_net(root, factory=f"import os; os.path.exists({str(path)!r}) and open({str(path)!r}).read()")
        before = dependencies(root)
        write(path, "1")
        assert dependencies(root).sha256 != before.sha256

    def test_a_file_behind_a_link_counts_with_its_content(self, root: Path, tmp_path: Path) -> None:
        target = write(tmp_path / "outside" / "w.json", "1")
        (root / "w.json").symlink_to(target)
        write_net(root, factory=f"open({str(root / 'w.json')!r}).read()")
        before = dependencies(root)
        target.write_text("2")
        assert dependencies(root).sha256 != before.sha256

    def test_what_is_only_written_does_not_count(self, root: Path) -> None:
        log = root / "log.txt"
        write_net(root, factory=f"open({str(log)!r}, 'a').write('again')")
        assert dependencies(root) == dependencies(root)
        assert log.read_text() == "againagain"
        assert names(dependencies(root), root) == [NET_FILE]

    def test_what_the_network_itself_writes_may_change_during_the_run(self, root: Path) -> None:
        cache = root / "cache.txt"
        write_net(root, factory=f"open({str(cache)!r}, 'w').write('1'); open({str(cache)!r}).read()")
        assert names(dependencies(root), root) == [NET_FILE]

    @pytest.mark.parametrize(
        "statement",
        [
            "open('/proc/self/status').read()",
            "import json.tool",
            "import csv, torch.fx",
            "import harness.skip_connections",
        ],
    )
    def test_files_of_the_system_of_python_and_of_packages_do_not_count(self, root: Path, statement: str) -> None:
        write_net(root, factory=statement)
        assert names(dependencies(root), root) == [NET_FILE]

    def test_a_folder_and_a_pipe_are_no_files(self, root: Path) -> None:
        os.mkfifo(root / "pipe")
        write_net(root, factory=f"import os; os.listdir({str(root)!r}); os.open({str(root)!r}, os.O_RDONLY)")
        assert names(dependencies(root), root) == [NET_FILE]


class TestValues:
    def test_a_variable_of_the_environment_counts_by_what_it_does(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_net(root, factory="import os; n = Net(); n.p = float(os.environ.get('P', 0.5)); return n")
        before = dependencies(root)
        monkeypatch.setenv("P", "0.25")
        assert dependencies(root).sha256 != before.sha256

    def test_weights_from_a_reader_that_nobody_watches_count(self, root: Path) -> None:
        path = root / "w.bin"
        path.write_bytes(b"1")
        load = f"import subprocess; v = float(subprocess.check_output(['cat', {str(path)!r}]))"
        write_net(root, factory=f"{load}; n = Net(); torch.nn.init.constant_(n.linear.weight, v); return n")
        before = dependencies(root)
        assert dependencies(root) == before
        path.write_bytes(b"2")
        assert dependencies(root).sha256 != before.sha256


class TestIdentity:
    def test_a_project_that_moves_keeps_it(self, root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        write_net(root, imports="from helpers.blocks import A")
        write(root / "helpers" / "blocks.py", "import pathlib\nA = (pathlib.Path(__file__).parent / 'a').read_text()\n")
        write(root / "helpers" / "a", "1")
        copy = tmp_path_factory.mktemp("copy") / "project"
        shutil.copytree(root, copy, ignore=shutil.ignore_patterns("__pycache__"))
        assert dependencies(copy).sha256 == dependencies(root).sha256

    def test_a_file_under_another_name_is_another(self, root: Path) -> None:
        write(root / "one.json", "1")
        write(root / "two.json", "2")
        here = f"import pathlib; here = pathlib.Path({str(root)!r})"
        write_net(root, imports=here, factory="[open(here / f'{n}.json').read() for n in ('one', 'two')]")
        before = dependencies(root)
        write(root / "one.json", "2")
        write(root / "two.json", "1")
        assert dependencies(root).sha256 != before.sha256

    @pytest.mark.slow
    def test_other_processes_find_the_same(self, root: Path) -> None:
        write_net(root, imports="import helpers.blocks, json, PIL", factory="import timeit")
        write(root / "helpers" / "blocks.py", "A = 1\n")
        script = (
            "import sys, pathlib; sys.path.insert(0, sys.argv[2]); from test_dependencies import dependencies\n"
            "print(dependencies(pathlib.Path(sys.argv[1])).sha256)"
        )
        found = {
            subprocess.run(
                [sys.executable, "-c", script, str(root), str(Path(__file__).parent)],
                capture_output=True,
                text=True,
                check=True,
                env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            ).stdout.strip()
            for seed in ("1", "2")
        }
        assert found == {dependencies(root).sha256}

    def test_the_version_of_an_imported_package_counts(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_net(root, imports="import PIL")
        before = dependencies(root)
        monkeypatch.setattr("harness.training.dependencies.module_version", lambda name: f"{name}==0.0")
        assert dependencies(root).sha256 != before.sha256


class TestChanges:
    def test_a_file_that_changed_since_is_an_error(self, root: Path) -> None:
        found = dependencies(root)
        require_unchanged(found.files)
        (root / NET_FILE).write_text((root / NET_FILE).read_text() + "# edited\n")
        with pytest.raises(StageError, match=r"net\.py changed during the run"):
            require_unchanged(found.files)

    def test_a_file_that_is_gone_is_an_error(self, root: Path) -> None:
        found = dependencies(root)
        (root / NET_FILE).unlink()
        with pytest.raises(StageError, match="changed during the run: No such file"):
            require_unchanged(found.files)

    def test_recording_ends_with_the_block(self, root: Path) -> None:
        def readers() -> list[Any]:
            import safetensors
            import safetensors.torch as st

            return [safetensors.safe_open, st.safe_open, torch.from_file, torch._C.PyTorchFileReader]

        before = readers()
        found = dependencies(root)
        assert readers() == before
        write(root / "other.json", "1").read_text()
        assert dependencies(root) == found
