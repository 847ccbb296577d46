"""A run on photos whose folder names try to be code, on two engines."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from oracles.whole_runs import run_whole
from PIL import Image

REPOSITORY = Path(__file__).parents[2]
CLASSES = ("'); raise SystemExit(9) #", '"""{0} %s\\', "`<b>\nnewline")
SCENARIO = """\
name: photos
dataset:
  source: image_folder
  location: path
  path: photos
  calibration_samples: 6
  args: {size: 16, resize: 20, channel_order: bgr, interpolation: bicubic, mean: [0.1, 0.2, 0.3]}
models:
  net: {factory: models/resnet.py:resnet8, args: {width: 4, in_channels: 3, n_classes: 3}}
training: {max_epochs: 1, batch_size: 6, augmentations: []}
targets: {onnxruntime: {threads: 1}, openvino: {threads: 1}}
matrix:
  target: [onnxruntime, openvino]
  method: [fp32, ptq]
  calibrator: [max]
measurement: {latency: false, memory: false, parity: 'off'}
"""


def write_photos(folder: Path) -> None:
    """JPEG and PNG files of several sizes, one of them to be turned upright."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 4)):
        for number, name in enumerate(CLASSES):
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 90, (*rng.integers(20, 40, 2), 3))
                pixels[..., number] += 120
                image = Image.fromarray(pixels.astype(np.uint8))
                exif = Image.Exif()
                exif[0x0112] = 6 if index == 0 else 1
                suffix = "jpg" if index % 2 == 0 else "png"
                image.save(folder / part / name / f"{index}.{suffix}", exif=exif)


@pytest.fixture(scope="package")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete run."""
    pytest.importorskip("openvino")
    project = tmp_path_factory.mktemp("project")
    write_photos(project / "photos")
    _, directory = run_whole(project, SCENARIO)
    shutil.rmtree(project / "store")  # nothing that is shipped comes from there
    return directory
