"""`training_run.py STORE STAGE` trains a tiny network, and with `finetune` its QAT too; prints the last outcome."""

import sys
from pathlib import Path

from harness.data.load import load_splits
from harness.data.settings import DatasetSpec
from harness.engine.graph import Task
from harness.engine.local import LocalExecutor
from harness.engine.store import Store
from harness.stages.catalog import CALIBRATE, CHECK, FINETUNE, QUANTIZE, TRAIN
from harness.stages.configs import (
    CalibrateConfig,
    CheckConfig,
    DataConfig,
    FinetuneConfig,
    ModelConfig,
    QuantizeConfig,
    QuantizerConfig,
    TrainConfig,
)
from harness.training.file_sums import file_sha256
from harness.training.settings import Recipe

ROOT = Path(__file__).parents[2]
FACTORY = "models/resnet.py:resnet8"
EPOCHS = 12


def make_tasks() -> dict[str, Task]:
    """Train, calibrate, quantize, and QAT with everything that has a state of its own."""
    spec = DatasetSpec(
        source="fashion_mnist", location="embedded", train_samples=200, calibration_samples=64, test_samples=10
    )
    fingerprint = load_splits(spec, root=ROOT, seed=0, download=False).fingerprint
    data = DataConfig(spec=spec, seed=0, fingerprint=fingerprint, root=ROOT)
    model = ModelConfig(
        factory=FACTORY,
        args={"width": 4},
        input_shape=(1, 28, 28),
        n_classes=10,
        seed=0,
        source_sha256=file_sha256(ROOT / "models" / "resnet.py"),
        root=ROOT,
    )
    quantizer = QuantizerConfig(
        target="onnxruntime",
        weight_bits=8,
        activation_bits=8,
        per_channel=True,
        weight_calibrator="max",
        weight_percentile=None,
        skip=(),
    )
    recipe = Recipe(max_epochs=EPOCHS, batch_size=32, initial_lr=0.05, ema=True)
    train = Task(TRAIN, TrainConfig(model=model, data=data, recipe=recipe))
    network = {"train": train, "check": Task(CHECK, CheckConfig(model=model, data=data), {"train": train})}
    calibrate = Task(
        CALIBRATE,
        CalibrateConfig(model=model, data=data, placement=quantizer, samples=64, batch_size=64),
        network,
    )
    quantize = Task(
        QUANTIZE,
        QuantizeConfig(model=model, quantizer=quantizer, calibrator="max", percentile=None),
        {**network, "calibrate": calibrate},
    )
    qat = FinetuneConfig(
        model=model,
        quantizer=quantizer,
        data=data,
        recipe=Recipe(max_epochs=EPOCHS, batch_size=32, initial_lr=0.01),
        validation_seed=0,
        batch_norm="live",
        learn_amax=True,
        freeze_batch_norm_after=0.5,
    )
    finetune = Task(FINETUNE, qat, {**network, "state": quantize})
    return {"train": train, "finetune": finetune}


if __name__ == "__main__":
    root, stage = sys.argv[1:]
    task = make_tasks()[stage]
    outcome = LocalExecutor(Store(Path(root)), jobs=1).run([task])[task.key]
    sys.stdout.write(type(outcome).__name__ + "\n")
