"""The data of a scenario as stages see it, and its calibration data, checked against the data that judges."""

from __future__ import annotations

from dataclasses import dataclass

from harness.data.load import load_splits
from harness.data.samples import Samples, Splits, shared_images
from harness.data.settings import DatasetSpec
from harness.errors import DataError
from harness.results import Dataset, SharedSamples, Split
from harness.runs.plugins import Plugins
from harness.scenario import CalibDataset, Scenario
from harness.stages.configs import DataConfig, Normalisation

_NORMALISATION_ARGS = frozenset(("mean", "std"))


@dataclass(frozen=True)
class CalibrationData:
    """What calibrates: a part of the data set, or data of its own."""

    config: DataConfig
    provenance: Dataset | None
    """None when it is a part of the data set."""


def data_config(scenario: Scenario, fingerprint: str, plugins: Plugins, *, download: bool) -> DataConfig:
    """The scenario's data set as stages see it."""
    return _data_config(scenario, scenario.dataset, fingerprint, plugins, download=download)


def load_calibration(
    scenario: Scenario, splits: Splits, data: DataConfig, plugins: Plugins, *, download: bool
) -> CalibrationData:
    """The samples that calibrate.

    Raises ScenarioError when they are missing, do not fit the network's input, or are among the test samples.
    """
    calib = scenario.calib_dataset
    if calib is None:
        return CalibrationData(data, None)
    config = _calibration_config(scenario, calib, plugins, download=download)
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
    _require_same_order(scenario, splits, own)
    provenance = own.provenance().model_copy(update={"splits": (split,), "shared": (_none_shared(),)})
    update = {"fingerprint": own.fingerprint, "normalisation": _normalisation(calib, samples, splits.test)}
    return CalibrationData(config.model_copy(update=update), provenance)


def _none_shared() -> SharedSamples:
    """More than none is an error."""
    return SharedSamples(part="calibration", other="test", n=0)


def _require_same_order(scenario: Scenario, splits: Splits, own: Splits) -> None:
    """ScenarioError where only one of the data sets has its channels turned round."""
    orders = [dict(data.reading.preprocessing).get("channels") for data in (splits, own)]
    if None not in orders and orders[0] != orders[1]:
        message = f"calibration images have the channels {orders[1]}, those of `dataset` {orders[0]}"
        raise scenario.error(("calib_dataset",), message, fix="write the same `channel_order` in both `args`")


def _normalisation(calib: CalibDataset, images: Samples, judged: Samples) -> Normalisation | None:
    """That of the data set that the network was trained on: the network sees no other in production.

    None, for the images' own, where the scenario sets it, or where pixels are of another type.
    """
    is_set = not _NORMALISATION_ARGS.isdisjoint(calib.args)
    return None if is_set or images.images.dtype != judged.images.dtype else (judged.mean, judged.std)


def _calibration_config(scenario: Scenario, calib: CalibDataset, plugins: Plugins, *, download: bool) -> DataConfig:
    return _data_config(scenario, calib.spec(), "", plugins, download=download)


def _data_config(
    scenario: Scenario, spec: DatasetSpec, fingerprint: str, plugins: Plugins, *, download: bool
) -> DataConfig:
    return DataConfig(
        spec=spec,
        seed=scenario.seed,
        fingerprint=fingerprint,
        plugins=plugins.codes(("data source", [spec.source])),
        root=scenario.root,
        download=download,
    )
