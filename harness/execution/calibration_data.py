"""The separate calibration data of a scenario, checked against the data that judges."""

from __future__ import annotations

from dataclasses import dataclass

from harness.data.load import load_splits
from harness.data.samples import Splits, shared_images
from harness.errors import DataError
from harness.execution.configs import DataConfig
from harness.execution.plan import calibration_config
from harness.results import Dataset, Split
from harness.scenario import Scenario


@dataclass(frozen=True)
class CalibrationData:
    """What calibrates: a part of the data set, or data of its own."""

    config: DataConfig
    provenance: Dataset | None
    """None when it is a part of the data set."""


def load_calibration(scenario: Scenario, splits: Splits, data: DataConfig, *, download: bool) -> CalibrationData:
    """The samples that calibrate.

    Raises ScenarioError when they are missing, do not fit the network's input, or are among the test samples.
    """
    calib = scenario.calib_dataset
    if calib is None:
        return CalibrationData(data, None)
    config = calibration_config(scenario, calib, "", download=download)
    try:
        own = load_splits(config.spec, root=scenario.root, seed=scenario.seed, download=download)
    except DataError as error:
        message = error.message.replace("calibration_samples", "samples")
        raise scenario.error(("calib_dataset",), message, fix=error.fix) from error
    samples = own.calibration
    if samples.shape != splits.input_shape:
        message = f"calibration images are {samples.shape}, those of `dataset` are {splits.input_shape}"
        raise scenario.error(("calib_dataset",), message, fix="calibrate on images of the same channels and size")
    leaked = shared_images(samples, splits.test)
    if leaked:
        message = f"{leaked} of {len(samples)} calibration images are test images too"
        raise scenario.error(("calib_dataset",), message, fix="calibrate on images that are not judged on")
    split = Split(name="calibration", n=len(samples), sha256=samples.sha256())
    provenance = Dataset(name=own.name, source=own.source_description, splits=(split,))
    return CalibrationData(config.model_copy(update={"fingerprint": own.fingerprint}), provenance)
