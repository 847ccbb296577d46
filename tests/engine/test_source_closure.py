"""The key of a stage follows every definition that the stage can execute, and nothing else."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.engine.graph import Stage
from harness.engine.source_closure import Package
from harness.stages import catalog

ROOT = Path(__file__).parents[2] / "harness"
STAGES = {stage.function.partition(":")[2]: stage for stage in vars(catalog).values() if isinstance(stage, Stage)}


@pytest.fixture(scope="module")
def original() -> Package:
    return Package.at("harness", ROOT)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT, tmp_path / "harness", ignore=shutil.ignore_patterns("__pycache__", "embedded")))


def changed(original: Package, copy: Path) -> set[str]:
    """Stages whose source differs between the package and its copy."""
    edited = Package.at("harness", copy)
    return {
        name
        for name, stage in STAGES.items()
        if edited.closure(stage.function).sha256 != original.closure(stage.function).sha256
    }


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def edit_function(path: Path, name: str) -> None:
    """Give a function of a module another first statement."""
    tree = ast.parse(path.read_text())
    node = next(each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) and each.name == name)
    lines = path.read_text().splitlines()
    body = node.body[0]
    lines.insert(body.lineno - 1, " " * body.col_offset + "changed = True")
    path.write_text("\n".join(lines) + "\n")


TRAINING = {"train", "finetune"}
PREPARED = {"calibrate", "quantize", "finetune", "export", "quantize_onnx", "predict_torch", "layers", "rank", "search"}


@pytest.mark.parametrize(
    ("file", "function", "stages"),
    [
        ("training/run.py", "_step", TRAINING),
        ("training/schedule.py", "schedule", TRAINING),
        ("training/checkpoint.py", "save", TRAINING),
        ("quantization/capture/graph.py", "capture", PREPARED),
        ("quantization/capture/batch_norm.py", None, PREPARED),
        ("quantization/histogram.py", "load_histograms", PREPARED),
        ("stages/loading.py", "load_weights", {"search", *PREPARED}),
        ("stages/loading.py", "load_user_weights", {"train"}),
        ("stages/loading.py", "make_quantizer", PREPARED),
        ("stages/networks.py", "_estimate_batch_norm", {"train"}),
        ("exporting/passes.py", None, {"export", "quantize_onnx"}),
        ("exporting/fp16.py", "convert_to_fp16", {"to_fp16"}),
        ("parity/layers.py", "compare_layers", {"layers"}),
        ("machine/host_memory.py", "release_free_memory", {"measure_memory"}),
        ("stages/resources.py", "memory_of", {"measure_memory"}),
    ],
)
@pytest.mark.thorough(keep=2)
def test_an_edit_changes_the_stages_that_can_execute_it(
    original: Package, copy: Path, file: str, function: str | None, stages: set[str]
) -> None:
    if function is None:
        (copy / file).write_text((copy / file).read_text() + "\nADDED = 1\n")
    else:
        edit_function(copy / file, function)
    found = changed(original, copy)
    assert found >= stages
    if file.startswith("training/"):
        assert found.isdisjoint({"build", "export", "calibrate", "measure_memory"})


@pytest.mark.parametrize(
    ("file", "edited"),
    [
        ("report/render.py", lambda path: path.write_text(path.read_text() + "\nADDED = 1\n")),
        ("cli/commands.py", lambda path: path.write_text(path.read_text() + "\nADDED = 1\n")),
        ("words/conclusions.py", lambda path: path.write_text(path.read_text() + "\nADDED = 1\n")),
        ("runs/rows.py", lambda path: edit_function(path, "make_row")),
        ("engine/progress.py", lambda path: path.write_text("ADDED = 1\n")),
    ],
)
@pytest.mark.thorough(keep=1)
def test_what_no_stage_executes_changes_no_key(
    original: Package, copy: Path, file: str, edited: Callable[[Path], object]
) -> None:
    edited(copy / file)
    assert changed(original, copy) == set()


def test_of_the_modules_that_join_stages_only_the_definitions_in_use_count(original: Package, copy: Path) -> None:
    edit_function(copy / "stages" / "engines.py", "predict_torch")
    assert changed(original, copy) == {"predict_torch"}


def test_a_new_plugin_changes_what_may_use_it(original: Package, copy: Path) -> None:
    (copy / "quantization" / "calibrators" / "mean.py").write_text("CALIBRATOR = None\n")
    assert "quantize" in (found := changed(original, copy))
    assert "train" not in found


def test_the_version_of_the_package_changes_every_key(original: Package, copy: Path) -> None:
    edit(copy / "__init__.py", "__version__", "__version__ = '0' #")
    assert changed(original, copy) == set(STAGES)


def test_training_depends_on_torch_and_not_on_the_engines(original: Package) -> None:
    libraries = original.closure(STAGES["train"].function).libraries
    assert "torch" in libraries
    assert {"onnxruntime", "onnx", "torchao"}.isdisjoint(libraries)
    assert {"onnxruntime", "torchao", "onnx", "onnxscript", "onnx_ir"} <= {
        *original.closure(STAGES["quantize_onnx"].function).libraries
    }


def test_importing_a_module_of_ours_calls_nothing_for_its_effect(original: Package) -> None:
    """What makes it right not to follow the imports of packages that are only on the way to a module."""
    found = {
        name
        for name, module in original.modules.items()
        if any(isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) for node in module.tree.body)
    }
    # `harness` makes old names of modules known, by which no module of ours imports.
    allowed = {"harness", "harness.cli.commands"}
    assert {name for name in found if not name.startswith("harness.starter.files")} <= allowed


class TestText:
    """Closures of packages that are written for the test."""

    @staticmethod
    def parts(folder: Path, function: str, **files: str) -> set[str]:
        for name, text in files.items():
            path = folder / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            (path.parent / "__init__.py").touch()
        found = Package.at("pack", folder).closure(f"pack.{function}")
        return {name.removeprefix("pack.") for name in found.parts if not name.endswith(":")}

    @pytest.mark.parametrize(
        "statement",
        [
            "from pack.b import f",
            "from .b import f",
            "from . import b",
            "import pack.b",
            "import pack.b as other",
            "from pack.b import *",
            "def g():\n    from pack import b",
            "try:\n    import pack.b\nexcept ImportError:\n    pass",
        ],
    )
    def test_every_form_of_import_is_followed(self, tmp_path: Path, statement: str) -> None:
        assert self.parts(tmp_path, "a:g", a=statement, b="from pack import c", c="") == {"a", "b", "c"}

    def test_what_only_type_checkers_see_does_not_count(self, tmp_path: Path) -> None:
        text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack.b import f\nelse:\n    import pack.c"
        assert self.parts(tmp_path, "a:g", a=text, b="", c="") == {"a", "c"}

    def test_rings_end(self, tmp_path: Path) -> None:
        assert self.parts(tmp_path, "a:g", a="import pack.b", b="import pack.a") == {"a", "b"}

    def test_names_of_functions_are_followed_in_parted_modules(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("harness.engine.source_closure.PARTED", ("pack.glue",))
        glue = (
            "import pack.b as b, pack.c as c\nLIMIT = 3\nclass Base: ...\n"
            "def used(x=LIMIT):\n    return b.f(x)\ndef other():\n    return c.f()\n"
            "@used\nclass Stage(Base):\n    def run(self): ...\n"
        )
        found = self.parts(tmp_path, "glue:Stage", glue=glue, b="", c="")
        assert found == {f"glue:{name}" for name in ("Stage", "Base", "used", "LIMIT")} | {"b"}
