"""What a run keeps for `harness ship`: a shipped program reads the kept samples exactly as evaluation did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.data.load import load_splits
from harness.data.samples import Splits
from harness.data.settings import DatasetSpec
from harness.metrics.base import Evidence
from harness.results import Variant
from harness.runs.shippable import keep_examples, keep_outputs
from harness.standalone.program import read_input
from harness.verdicts.settings import Judgement

VARIANT = Variant(id="v", model="m", method="fp32", target="onnxruntime", batch_size=1)


def spec(**values: Any) -> DatasetSpec:
    return DatasetSpec.model_validate({"calibration_samples": 2} | values)


def assert_read_as_in_evaluation(splits: Splits, folder: Path) -> None:
    examples = keep_examples(folder, splits)
    rules = splits.provenance().input
    assert rules is not None
    assert len(examples) == 3
    for example in examples:
        found = read_input(folder / example.file, rules.plain())
        np.testing.assert_array_equal(found, splits.test.inputs()[example.number].numpy())


@pytest.mark.parametrize(
    "values",
    [
        {"source": "fashion_mnist", "location": "embedded", "test_samples": 20},
        {"source": "random_images", "args": {"input_shape": [3, 8, 10]}},
        {"source": "generated_shapes"},
    ],
    ids=lambda values: values["source"],
)
def test_samples_that_are_no_files_are_kept_as_pixels(values: dict[str, Any], tmp_path: Path) -> None:
    splits = load_splits(spec(**values), root=tmp_path, seed=0)
    assert_read_as_in_evaluation(splits, tmp_path)
    assert {path.suffix for path in (tmp_path / "samples" / "examples").iterdir()} == {".npy"}


def test_labelled_samples_are_of_different_classes(tmp_path: Path) -> None:
    values = {"source": "fashion_mnist", "location": "embedded", "test_samples": 20}
    splits = load_splits(spec(**values), root=tmp_path, seed=0)
    examples = keep_examples(tmp_path, splits)
    assert splits.test.labels is not None
    assert len({example.label for example in examples}) == 3
    assert [example.label for example in examples] == [int(splits.test.labels[each.number]) for each in examples]


def write_image(path: Path, mode: str, rng: np.random.Generator) -> None:
    height, width = rng.integers(24, 60, 2)
    if mode == "I;16":
        Image.fromarray(rng.integers(0, 65536, (height, width)).astype(np.uint16)).save(path)
        return
    exif = Image.Exif()
    exif[0x0112] = int(rng.integers(1, 9))
    bands = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    Image.fromarray(rng.integers(0, 256, (height, width, *bands)).astype(np.uint8)).save(path, exif=exif)


@pytest.mark.parametrize(
    ("mode", "args"),
    [
        ("RGB", {"size": 16}),
        ("RGB", {"size": 16, "resize": 20, "channel_order": "bgr", "value_scale": 255, "mean": [104, 117, 123]}),
        ("RGB", {"size": 16, "resize": [18, 30], "interpolation": "bicubic", "antialias": False}),
        ("RGB", {"size": 16, "resize": 64, "interpolation": "nearest", "exif_orientation": False}),
        ("RGB", {"size": 16, "channels": 1, "interpolation": "lanczos"}),
        ("RGBA", {"size": 16, "background": [10, 200, 30]}),
        ("L", {"size": 16, "channels": 1, "mean": [0.3], "std": [0.2]}),
        ("I;16", {"size": 16, "channels": 1, "value_range": [0, 65535]}),
        ("RGB", {"size": 16, "crops_per_photo": 3}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value)),
)
def test_image_files_are_kept_as_they_are_and_read_bit_by_bit_alike(
    mode: str, args: dict[str, Any], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(12):
        write_image(tmp_path / "photos" / f"{number}.png", mode, rng)
    values = {"source": "image_folder", "location": "path", "path": "photos", "args": {"test_share": 0.5} | args}
    splits = load_splits(spec(**values), root=tmp_path, seed=0)
    assert_read_as_in_evaluation(splits, tmp_path)
    originals = {path.read_bytes() for path in (tmp_path / "photos").iterdir()}
    assert {path.read_bytes() for path in (tmp_path / "samples" / "examples").iterdir()} <= originals


def test_outputs_are_kept_for_the_examples_unless_they_are_huge(tmp_path: Path) -> None:
    splits = load_splits(spec(source="random_images", args={"input_shape": [3, 8, 10]}), root=tmp_path, seed=0)
    examples = keep_examples(tmp_path, splits)
    judgement = Judgement(confidence=0.95, accuracy_margin=0.01, latency_margin=0.03)

    def evidence(variant_id: str, outputs: np.ndarray[Any, np.dtype[np.float32]] | None) -> Evidence:
        variant = VARIANT.model_copy(update={"id": variant_id})
        return Evidence(variant, judgement, is_reference=True, reference_id="v", outputs=outputs)

    outputs = np.random.default_rng(0).random((len(splits.test), 5), np.float32)
    huge = np.zeros((len(splits.test), 2**18 + 1), np.float32)  # one value more than 1 MiB for each sample
    files = keep_outputs(tmp_path, examples, [evidence("a", outputs), evidence("b", huge), evidence("c", None)])
    assert files == {"a": "samples/examples/a.npy"}
    numbers = [example.number for example in examples]
    np.testing.assert_array_equal(np.load(tmp_path / files["a"]), outputs[numbers])
