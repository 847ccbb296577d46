"""What a scenario holds: defaults, overrides, empty keys, and that it survives a round trip."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.scenario import ModelSpec, QATParams, Scenario, TargetOptions, Training
from harness.training.settings import FactoryName, parse_factory

SEED_BLOCK = """\
quantization_params:
  ptq_only: False              # whether to launch QAT, or leave PTQ only
  selective_quantizer_params:
    calibrator_w: "max"        # calibrator type for weights, acceptable types are ["max", "histogram"]
    calibrator_i: "histogram"  # calibrator type for inputs acceptable types are ["max", "histogram"]
    per_channel: True          # per-channel quantization of weights, activations stay per-tensor by default
    learn_amax: False          # enable learnable amax in all TensorQuantizers using straight-through estimator
    skip_modules:              # optional list of module names (strings) to skip from quantization

  calib_params:
    histogram_calib_method: "percentile"  # calibration method for all "histogram" calibrators
    percentile: 99.99                     # percentile for all histogram calibrators with method "percentile"
    num_calib_batches:                    # number of batches to use for calibration
    verbose: False                        # if calibrator should be verbose

qat_params:
        batch_size_divisor: 2
        max_epochs_divisor: 10
        lr_decay_factor: 0.01
        warmup_epochs_divisor: 10
        cosine_final_lr_ratio: 0.01
        disable_phase_callbacks: True
        disable_augmentations: False
"""


def test_the_blocks_of_a_supergradients_recipe_are_taken_verbatim_and_are_the_defaults(load: Any, head: str) -> None:
    scenario = load(head + SEED_BLOCK)
    assert scenario.quantization_params == load(head).quantization_params
    assert scenario.qat_params == QATParams()
    assert scenario.quantization_params.selective_quantizer_params.skip_modules == ()


def test_defaults(load: Any, head: str) -> None:
    scenario = load(head)
    assert scenario.schema_version == 1
    assert scenario.training.augmentations == ("random_crop", "horizontal_flip")
    assert scenario.dataset.calibration_samples == 512
    assert scenario.models["r"].weights == "train"
    assert scenario.target_options("onnxruntime") == TargetOptions(threads=1)


def test_target_options_by_name(load: Any, head: str) -> None:
    scenario = load(head + "targets: {onnxruntime: {threads: 4}}\n")
    assert scenario.target_options("onnxruntime").threads == 4
    assert scenario.target_options("tensorrt").threads == 1


@pytest.mark.parametrize("section", ["training", "matrix", "targets", "verdict", "quantization_params"])
def test_a_section_without_keys_has_its_defaults(load: Any, head: str, section: str) -> None:
    assert getattr(load(f"{head}{section}:\n"), section) == getattr(load(head), section)


def test_one_value_stands_for_a_list_of_one(load: Any, head: str) -> None:
    scenario = load(
        f"{head}training: {{augmentations: random_crop}}\nmatrix: {{method: ptq, skip: [stem, [b, a, b]]}}\n"
    )
    assert scenario.training.augmentations == ("random_crop",)
    assert scenario.matrix.method == ("ptq",)
    assert scenario.matrix.skip == (("stem",), ("a", "b"))


def test_a_model_overrides_only_the_training_keys_it_names(load: Any) -> None:
    scenario = load(
        "name: a\ndataset: {source: d}\n"
        "training: {max_epochs: 30, batch_size: 64}\n"
        "models:\n"
        "  plain: {factory: 'a.b:f'}\n"
        "  own: {factory: 'a.b:f', training: {batch_size: 128, optimizer: adamw}}\n"
    )
    assert scenario.effective_training("plain") == Training(max_epochs=30, batch_size=64)
    # batch_size 128 is also the default of the schema: it must win because it was written.
    assert scenario.effective_training("own") == Training(max_epochs=30, batch_size=128, optimizer="adamw")
    with pytest.raises(KeyError):
        scenario.effective_training("other")


def test_overrides_survive_json_and_pickle(load: Any) -> None:
    scenario = load(
        "name: a\ndataset: {source: d}\ntraining: {max_epochs: 30}\n"
        "models: {own: {factory: 'a.b:f', args: {widths: [1, 2]}, training: {batch_size: 64}}}\n"
        "matrix: {skip: [[a, b]], exclude: {method: qat}}\n"
    )
    from_json = Scenario.model_validate_json(scenario.model_dump_json())
    assert from_json.model_dump() == scenario.model_dump()
    assert from_json.effective_training("own") == scenario.effective_training("own")
    unpickled = pickle.loads(pickle.dumps(scenario))
    assert unpickled == scenario
    assert (unpickled.path, unpickled.root) == (scenario.path, scenario.root)


def test_a_scenario_cannot_be_changed(load: Any, head: str) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load(head).seed = 1


@pytest.mark.parametrize(
    ("text", "factory"),
    [
        ("models/resnet.py:resnet8", FactoryName("models/resnet.py", "resnet8")),
        (r"C:\m\resnet.py:f", FactoryName(r"C:\m\resnet.py", "f")),
        ("timm.models:create_model", FactoryName("timm.models", "create_model")),
    ],
)
def test_factories_name_a_file_or_a_module(text: str, factory: FactoryName) -> None:
    assert parse_factory(ModelSpec(factory=text).factory) == factory


@pytest.mark.parametrize("text", ["resnet8", ":f", "a.b:", "a.b:f()", "a-b:f", "models/resnet:f", "a..b:f", "m.py:1f"])
def test_other_texts_are_no_factories(text: str) -> None:
    with pytest.raises(ValidationError, match="not a model factory"):
        ModelSpec(factory=text)


def test_a_scenario_made_in_python_raises_errors_without_a_place() -> None:
    scenario = Scenario.model_validate({"name": "a", "dataset": {"source": "d"}, "models": {"r": {"factory": "a:f"}}})
    error = scenario.error(("dataset", "source"), "unknown")
    assert (error.path, error.line, error.column) == (Path("<python>"), None, None)


@pytest.mark.parametrize(
    ("text", "threads"),
    [
        ("{onnxruntime: {threads: 4}}", (4, 4)),
        ("{openvino: {threads: 2, streams: 2}}", (2, 2)),
        ("{onnxruntime: {threads: 4}, openvino: {threads: 2}}", (4, 2)),
        ("{onnxruntime: {threads: 4}, openvino: {streams: 1}}", (4, 4)),
        ("{tensorrt: {threads: 4}}", (1, 1)),
    ],
)
def test_threads_are_equal_on_one_kind_of_device_unless_the_scenario_says_otherwise(
    load: Any, head: str, text: str, threads: tuple[int, int]
) -> None:
    scenario = load(f"{head}targets: {text}\n")
    assert tuple(scenario.target_options(name).threads for name in ("onnxruntime", "openvino")) == threads
