"""What a scenario asks of its data, as data sources are told."""

from __future__ import annotations

from harness.data.spec import DatasetSpec
from harness.scenario import CalibDataset
from harness.scenario.schema import DataPlace


def data_spec(place: DataPlace) -> DatasetSpec:
    """Of the data set, or of other data to calibrate on."""
    if isinstance(place, CalibDataset):
        values = place.model_dump(exclude={"samples"}) | {"calibration_samples": place.samples}
        return DatasetSpec.model_validate(values)
    return DatasetSpec.model_validate(place.model_dump())
