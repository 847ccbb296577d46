"""The guide for users of SuperGradients is true: its snippets run, and its table has every name of the tutorial."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from torch import nn
from typer.testing import CliRunner

from harness.cli import app
from harness.quantization import prepared as quantized
from harness.quantization.replacement.instructions import REGISTERED
from harness.quantization.tensor_quantizer import WeightQuantizer
from harness.results import RunResults
from harness.scenario import QATParams, QuantizationParams, Scenario, expand, load_scenario

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "from-supergradients.md").read_text(encoding="utf-8")
HEAD = """\
name: recipe
dataset: {source: fashion_mnist, location: embedded}
models: {resnet8: {factory: models/resnet.py:resnet8}}
"""
TUTORIAL_NAMES = set(
    """
pytorch-quantization models.get pretrained_weights SelectiveQuantizer default_quant_modules_calibrator_weights
default_quant_modules_calibrator_inputs default_per_channel_quant_weights default_learn_amax verbose quantize_module
register_skip_quantization layer_names register_quantization_mapping quantized_target_class input_quant_descriptor
weights_quant_descriptor Bottleneck QuantBottleneck register_quantized_module QuantizedMetadata float_source action
ReplacementAction REPLACE QuantDescriptor TensorQuantizer num_bits name fake_quant axis amax learn_amax scale_amax
calib_method unsigned Residual SkipConnection CrossModelSkipConnection BackboneInternalSkipConnection
HeadInternalSkipConnection QuantizationCalibrator calibrate_model method calib_data_loader num_calib_batches percentile
Trainer experiment_name ckpt_root_dir trainer.train train_loader valid_loader training_params training_hyperparams
export_quantized_module_to_onnx onnx_filename input_shape input_size train trtexec --int8 --fp16 --onnx --saveEngine
qat_from_recipe.py train_from_recipe.py quantization_params default_quantization_params.yaml calib_dataloader
dataset_params calib_dataloader_params calib_dataset_params ptq_only selective_quantizer_params calibrator_w
calibrator_i per_channel skip_modules calib_params histogram_calib_method pre_launch_callbacks_list
QATRecipeModificationCallback batch_size_divisor max_epochs_divisor lr_decay_factor warmup_epochs_divisor
cosine_final_lr_ratio disable_phase_callbacks disable_augmentations""".split()  # noqa: SIM905  # a list literal would be 90 lines
)


class Snippet(NamedTuple):
    """A fenced block of the page."""

    section: str
    """The heading above it, and its number in that section."""
    language: str
    text: str


def snippets(language: str) -> list[Snippet]:
    found: list[Snippet] = []
    heading, number = "", 0
    for title, fence, text in re.findall(r"^#{2,3} ([^\n]+)$|^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        heading, number = (title, 0) if title else (heading, number + 1)
        if fence == language:
            found.append(Snippet(f"{heading} {number}", fence, text))
    return found


PYTHON = snippets("python")


class Program:
    """The Python snippets of the page as one program: each runs once, after those before it."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.done = 0

    def after(self, section: str) -> dict[str, Any]:
        """What is defined after a snippet has run."""
        index = next(i for i, snippet in enumerate(PYTHON) if snippet.section == section)
        while self.done <= index:
            snippet = PYTHON[self.done]
            exec(compile(snippet.text, snippet.section, "exec"), self.names)
            self.done += 1
        return self.names


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Runs in a folder of its own; `models` is imported as from the repository's root."""
    registered, folder = dict(REGISTERED), os.getcwd()  # noqa: PTH109
    os.chdir(tmp_path_factory.mktemp("guide"))
    sys.path.insert(0, str(ROOT))
    yield Program()
    sys.path.remove(str(ROOT))
    os.chdir(folder)
    REGISTERED.clear()
    REGISTERED.update(registered)


def weights_of(network: nn.Module) -> set[str]:
    found = quantized.tensor_quantizers(network.prepared)
    return {q.name.removesuffix(".weight") for q in found if isinstance(q, WeightQuantizer)}


def activations_of(network: nn.Module) -> set[str]:
    return {name for q in quantized.activation_quantizers(network.prepared) for name in q.names}


def test_the_page_has_a_counterpart_for_each_kind_of_snippet() -> None:
    # The tutorial has 10 Python, 2 shell and 3 YAML blocks.
    assert len(PYTHON) >= 10
    assert len(snippets("shell")) == 3
    assert len(snippets("yaml")) >= 3


@pytest.mark.parametrize("section", [snippet.section for snippet in PYTHON])
def test_every_python_snippet_runs(program: Program, section: str) -> None:
    program.after(section)


class TestPython:
    """What the snippets achieve."""

    def test_quantize(self, program: Program) -> None:
        names = program.after("Quantize a model 1")
        layers = {name for name, module in names["model"].named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
        assert weights_of(names["quantized_model"]) == layers
        assert len(layers) == 10  # stem, 3 blocks of 2, 2 shortcuts, head

    def test_skip(self, program: Program) -> None:
        names = program.after("Skip modules 1")
        assert weights_of(names["partly_quantized"]) == {
            "layer2.0.conv2",
            "layer2.0.shortcut.conv",
            "layer3.0.conv1",
            "layer3.0.conv2",
            "layer3.0.shortcut.conv",
        }

    def test_replace(self, program: Program) -> None:
        names = program.after("Replace modules 1")
        # By name, `layer1` stays skipped; the other blocks are replaced, and skips inside them still hold.
        assert weights_of(names["replaced_model"]) == weights_of(names["partly_quantized"])
        classes = names["replaced_model"].prepared.meta["module_classes"]
        kinds = {path: kinds[0].rpartition(".")[2] for path, kinds in classes.items()}
        assert kinds["layer2.0"] == kinds["layer3.0"] == "QuantBasicBlock"
        assert kinds["layer1.0"] == "BasicBlock"
        assert type(names["model"].layer2[0]) is names["BasicBlock"]

    def test_register(self, program: Program) -> None:
        names = program.after("Register a block of your own 1")
        targets = {str(node.target) for node in names["my_quantized_model"].prepared.graph.nodes}
        assert any("hardsigmoid" in target for target in targets)
        assert not any("aten.sigmoid" in target for target in targets)

    def test_describe(self, program: Program) -> None:
        names = program.after("Describe a tensor 1")
        assert (names["inputs"].num_bits, names["weights"].axis) == (8, 0)

    def test_markers(self, program: Program) -> None:
        names = program.after("Residuals and skip connections 1")
        x = names["torch"].ones(2)
        assert all(
            names[kind]()(x) is x
            for kind in (
                "Residual",
                "SkipConnection",
                "CrossModelSkipConnection",
                "BackboneInternalSkipConnection",
                "HeadInternalSkipConnection",
            )
        )

    def test_the_block_is_quantized_with_and_without_a_marker(self, program: Program) -> None:
        names = program.after("Residuals and skip connections 3")
        # `input_1` is the identity branch, `relu_1` the other input of the add.
        assert {"input_1", "relu_1"} <= activations_of(names["plain_block"])
        assert activations_of(names["marked_block"]) == activations_of(names["plain_block"])

    def test_calibrate(self, program: Program) -> None:
        names = program.after("Calibrate 2")
        assert names["quantized_model"].is_calibrated
        # 16 batches of 32 images of 28 x 28 pixels
        first = quantized.activation_quantizers(names["quantized_model"].prepared)[0]
        assert first.histogram.n == 16 * 32 * 28 * 28

    def test_finetune(self, program: Program) -> None:
        names = program.after("Fine-tune (QAT) 1")
        assert len(names["res"].epochs) == 1  # 10 // 10
        assert names["res"].steps == 16  # 512 images in batches of 32
        assert names["training_hyperparams"].initial_lr == pytest.approx(0.001)
        assert Path("checkpoints/my_first_qat_experiment.safetensors").is_file()

    def test_export(self, program: Program) -> None:
        names = program.after("Export to ONNX 1")
        operators = [node.op_type for node in onnx.load(names["onnx_filename"]).graph.node]
        assert operators.count("Conv") == 9
        assert "QuantizeLinear" in operators and "DequantizeLinear" in operators

    def test_build(self, program: Program) -> None:
        names = program.after("Build an engine 2")
        assert names["outputs"].shape == (8, 10)
        assert all(layer.int8 for layer in names["layers"] if layer.macs)
        expected = names["quantized_model"](names["splits"].test.inputs(slice(0, 8))).detach().numpy()
        assert np.abs(names["outputs"] - expected).mean() < 0.1 * np.abs(expected).mean()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder with the repository's models."""
    (tmp_path / "models").symlink_to(ROOT / "models")
    return tmp_path


def load(project: Path, text: str) -> Scenario:
    file = project / "my_recipe.yaml"
    file.write_text(text, encoding="utf-8")
    return load_scenario(file)


def yaml_snippet(section: str) -> str:
    return next(snippet.text for snippet in snippets("yaml") if snippet.section == section)


@pytest.mark.parametrize("snippet", snippets("yaml"), ids=lambda snippet: snippet.section)
def test_every_yaml_snippet_is_a_scenario_or_a_part_of_one(project: Path, snippet: Snippet) -> None:
    head = "" if snippet.text.startswith("name:") else HEAD
    assert expand(load(project, head + snippet.text))


class TestYaml:
    """What the blocks mean."""

    def test_the_recipe(self, project: Path) -> None:
        variants = expand(load(project, yaml_snippet("With a recipe 1")))
        assert [variant.method for variant in variants] == ["fp32", "ptq", "qat"]

    def test_a_rule(self, project: Path) -> None:
        (rule,) = load(project, HEAD + yaml_snippet("Describe a tensor 2")).quantization_params.rules
        assert rule.modules == ("layer1.0.conv1",)

    def test_calibration_data(self, project: Path) -> None:
        scenario = load(project, HEAD + yaml_snippet("Calibration data of its own 1"))
        assert scenario.calib_dataset is not None and scenario.calibration_pool == 512

    def test_the_tutorials_parameters_are_the_defaults(self, project: Path) -> None:
        scenario = load(project, HEAD + yaml_snippet("Quantization parameters 1"))
        assert scenario.quantization_params.model_dump() == QuantizationParams().model_dump()

    def test_the_tutorials_rules_for_qat_are_the_defaults(self, project: Path) -> None:
        scenario = load(project, HEAD + yaml_snippet("Rules for QAT 1"))
        assert scenario.qat_params.model_dump() == QATParams().model_dump()


def shell_commands() -> list[list[str]]:
    return [shlex.split(line) for snippet in snippets("shell") for line in snippet.text.splitlines()]


def test_the_shell_snippets_are_commands_of_the_harness() -> None:
    assert [command[:2] for command in shell_commands()] == [
        ["harness", "doctor"],
        ["harness", "build"],
        ["harness", "list"],
        ["harness", "run"],
    ]


def test_the_exported_file_is_built(program: Program) -> None:
    program.after("Export to ONNX 1")
    result = CliRunner().invoke(app, shell_commands()[1][1:])
    assert result.exit_code == 0
    assert "INT8: 100.0% of the multiply-accumulates" in result.stdout
    assert Path(shell_commands()[1][-1]).is_file()


@pytest.mark.parametrize("command", [shell_commands()[0], shell_commands()[2]], ids=" ".join)
def test_the_quick_commands_run(project: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    load(project, yaml_snippet("With a recipe 1"))
    monkeypatch.chdir(project)
    result = CliRunner().invoke(app, command[1:], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    if command[1] == "list":
        assert sum("resnet8-" in line for line in result.stdout.splitlines()) == 3


@pytest.mark.slow
def test_the_recipe_runs(project: Path) -> None:
    load(project, yaml_snippet("With a recipe 1"))
    command = [sys.executable, "-m", "harness.cli", *shell_commands()[3][1:], "--out", "report", "--quiet"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HARNESS_STORE": str(project / "store")}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = RunResults.model_validate_json((project / "report" / "results.json").read_text())
    assert {row.status for row in results.rows} == {"ok"}
    files = {path.name for path in (project / "report" / "models").glob("*.onnx")}
    assert files == {f"{row.variant.id}_1x1x28x28_{row.variant.method}.onnx" for row in results.rows}


def table(heading: str) -> list[tuple[str, ...]]:
    """Rows of the table below a heading, without its head."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    return [tuple(cell.strip() for cell in row.strip("|").split(" | ")) for row in rows[2:]]


def test_the_table_has_every_name_of_the_tutorial() -> None:
    words = {
        word for theirs, *_ in table("Names") for code in re.findall(r"`([^`]+)`", theirs) for word in code.split()
    }
    words |= {".".join(word.split(".")[-2:]) for word in words}
    assert TUTORIAL_NAMES - words == set()


def ours() -> list[str]:
    return sorted(set(re.findall(r"`(harness(?:\.\w+)+)`", PAGE)))


@pytest.mark.parametrize("name", ours())
def test_every_name_of_ours_exists(name: str) -> None:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return
    pytest.fail(f"{name} does not exist")
