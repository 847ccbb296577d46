"""Write the embedded subset of Fashion-MNIST from the full set: `python -m harness.data.make_embedded`.

The test images are all of them, in their order. The draw of training images is seeded and class-balanced. So anyone who
has the full set can reproduce the embedded file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from harness.data.partition import subset
from harness.data.settings import DatasetSpec
from harness.data.sources.fashion_mnist import EMBEDDED_FILE, SOURCE, read_part
from harness.data.subset import Subset, arrays_sha256, write_subset
from harness.errors import DataError

SEED = 20170825
TRAIN_SAMPLES = 5_000
TEST_SAMPLES = None
"""All 10,000: fewer cannot prove a loss of half a point."""


def draw(folder: Path) -> Subset:
    """The subset of the full set in `folder`: images (N, 28, 28) and labels (N,), both uint8."""
    arrays = {}
    for part, name, n in (("train", "train", TRAIN_SAMPLES), ("t10k", "test", TEST_SAMPLES)):
        images, labels = read_part(folder, part)
        rng = np.random.default_rng((SEED, n or 0))
        chosen = subset(labels, len(labels), samples=n, what=f"{name} samples", rng=rng)
        arrays[f"{name}_images"] = images[chosen, 0]
        arrays[f"{name}_labels"] = labels[chosen].astype(np.uint8)
    return arrays


def main() -> None:
    """Draw, write, and print what to record beside the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=EMBEDDED_FILE)
    parser.add_argument("--path", help="folder of the full set; default: wherever it is found")
    options = parser.parse_args()
    spec = DatasetSpec(source=SOURCE.name, location="path" if options.path else "auto", path=options.path)
    located = SOURCE.locate(spec, Path.cwd(), download=False)
    if located.place is None or located.place.is_file():
        raise DataError("the full Fashion-MNIST is not on this machine", fix="`apt-get install dataset-fashion-mnist`")
    arrays = draw(located.place)
    write_subset(options.out, arrays)
    size_bytes = options.out.stat().st_size
    sys.stdout.write(f"{options.out}: {size_bytes} bytes, sha256 of the arrays {arrays_sha256(arrays)}\n")


if __name__ == "__main__":
    main()
