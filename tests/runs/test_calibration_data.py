"""Calibration on data of its own: what is read, what is refused, and what the record says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from harness.data.load import load_splits
from harness.data.samples import Splits
from harness.errors import ScenarioError
from harness.runs.preparation import RunOptions, prepare_run
from harness.scenario import load_scenario
from harness.stages.loading import read_splits

REPOSITORY = Path(__file__).parents[2]
SCENARIO = """\
name: calibration
dataset: {{source: {source}}}
calib_dataset: {calib}
models:
  net: {{factory: models/resnet.py:resnet8, args: {{width: 4, in_channels: {channels}}}, weights: {weights}}}
matrix: {{method: [fp32, ptq]}}
"""
ALL = "fashion_mnist, location: embedded"
EMBEDDED = f"{ALL}, test_samples: 100"
RANDOM = "random_images, args: {input_shape: [1, 28, 28], n_classes: 10}"


@pytest.fixture
def start(tmp_path: Path):
    """Prepares a scenario with a calibration data set."""
    (tmp_path / "models").symlink_to(REPOSITORY / "models")

    def run(calib: str, source: str = EMBEDDED, weights: str = "random", channels: int = 1):
        path = tmp_path / "calibration.yaml"
        text = SCENARIO.format(calib=calib, source=source, weights=weights, channels=channels)
        path.write_text(text, encoding="utf-8")
        return prepare_run(load_scenario(path), RunOptions())

    return run


def calibration_task(prepared):
    (plan,) = [plan for plan in prepared.plans if plan.variant.method == "ptq"]
    return plan.tasks["calibrate"]


def test_calibration_reads_its_own_data_and_nothing_else_does(start) -> None:
    prepared = start("{source: fashion_mnist, location: embedded, samples: 70}", source=RANDOM)
    task = calibration_task(prepared)
    assert task.config.data.spec.source == "fashion_mnist"
    assert task.config.samples == 70
    assert prepared.splits.name == "random_images"
    _, provenance = prepared.datasets
    assert [(split.name, split.n) for split in provenance.splits] == [("calibration", 70)]


def test_other_calibration_data_is_another_key(start) -> None:
    calib = "{{source: fashion_mnist, location: embedded, samples: {}}}"
    some, more = (start(calib.format(n), source=RANDOM) for n in (70, 71))
    assert calibration_task(some).key != calibration_task(more).key
    assert some.plans[0].tasks["train"].key == more.plans[0].tasks["train"].key


def test_calibration_images_are_normalised_as_the_network_was_trained(start) -> None:
    prepared = start(f"{{source: {RANDOM}, samples: 70}}")
    test = prepared.splits.test
    calibration = read_splits(calibration_task(prepared).config.data).calibration
    assert (calibration.mean, calibration.std) == (test.mean, test.std)
    assert calibration.inputs().min() == test.inputs().min()  # black is black


@pytest.mark.parametrize(("args", "mean"), [("size: 28", 0.5), ("size: 28, mean: [0.1, 0.1, 0.1]", 0.1)])
def test_a_normalisation_that_the_scenario_sets_stays(start, tmp_path, args, mean) -> None:
    for grey in (100, 200):
        Image.new("RGB", (28, 28), (grey, grey, grey)).save(tmp_path / f"{grey}.png")
    calib = f"{{source: image_folder, location: path, path: {tmp_path}, samples: 1, args: {{{args}}}}}"
    prepared = start(calib, source="random_images, args: {input_shape: [3, 28, 28], n_classes: 10}", channels=3)
    assert read_splits(calibration_task(prepared).config.data).calibration.mean == (mean,) * 3


def test_without_calibration_data_the_training_part_gives_it(start) -> None:
    prepared = start("")
    assert len(prepared.datasets) == 1
    assert calibration_task(prepared).config.data.spec.source == "fashion_mnist"


@pytest.mark.parametrize(
    ("calib", "message"),
    [
        ("{source: fashion_mnist, location: embedded, samples: 6000}", "samples (6000)"),
        (
            "{source: random_images, args: {input_shape: [3, 28, 28]}}",
            "are (3, 28, 28), those of `dataset` are",
        ),
        ("{source: random_image, args: {input_shape: [1, 28, 28]}}", "unknown data source `random_image`"),
        ("{source: fashion_mnist, sampels: 3}", "unknown key `sampels`"),
    ],
)
def test_unusable_calibration_data_is_an_error_at_its_place(start, calib: str, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        start(calib)
    assert message in str(caught.value)
    assert ":3:" in str(caught.value)


def test_calibrating_on_test_images_is_refused(start, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaking(*args: Any, **options: Any) -> Splits:
        splits = load_splits(*args, **options)
        images = torch.cat([splits.calibration.images[:7], splits.test.images[:3]])
        return replace(splits, calibration=replace(splits.calibration, images=images, labels=None))

    monkeypatch.setattr("harness.runs.calibration_data.load_splits", leaking)
    with pytest.raises(ScenarioError, match="3 of 10 calibration images are test images too"):
        start(f"{{source: {ALL}}}", source=ALL)
