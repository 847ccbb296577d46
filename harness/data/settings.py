"""What a scenario asks of its data: where it lies, and how many samples train, calibrate and test."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from harness.fields import Count, FreeMapping, Section, Text, Unit, contradiction
from harness.plugin_names import PluginName

Location = Literal["auto", "path", "env", "cache", "system", "package", "embedded"]
Samples = Annotated[Count, Unit("sample")]


def _path_text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


class DataPlace(Section):
    """Which data, and where it lies."""

    source: PluginName
    """Name of a data source, for instance `fashion_mnist`, or [one of your own](plugins/data-source.md)."""
    location: Location = "auto"
    """Where to look. `auto` takes the first of `$HARNESS_DATA` (`env`), user cache, system package, Python package and
    embedded subset that has the data; with any other value, data that is not there is an error."""
    path: Annotated[Text, BeforeValidator(_path_text)] | None = None
    """Folder or file of the data, relative to the project root. Required by `location: path`, refused otherwise."""
    args: FreeMapping = Field(default_factory=dict)
    """Arguments of the data source: [`dataset.args`](#datasetargs)."""

    @model_validator(mode="after")
    def _path_and_location_agree(self) -> Self:
        if self.location == "path" and self.path is None:
            fix = "add `path:` with the folder or file of the data"
            raise contradiction("`location: path` needs a `path`", fix, key="location")
        if self.location != "path" and self.path is not None:
            fix = "write `location: path`, or delete `path`"
            raise contradiction(f"`path` is not used by `location: {self.location}`", fix, key="path", on_key=True)
        return self


class DatasetSpec(DataPlace):
    """The samples, and how many of them train, calibrate and test; no sample is in two parts.

    Images that occur twice in the data are found by their pixels and counted in the report.
    """

    train_samples: Samples | None = None
    """Empty: all that calibration leaves of the training part."""
    calibration_samples: Samples = 512
    """Taken out of the training part: they do not train. How many of them are used:
    `calib_params.num_calib_batches`."""
    test_samples: Samples | None = None
    """Empty: all."""


class CalibDataset(DataPlace):
    """Other data to calibrate on: samples of its training part, none of which may be among the test samples.

    They are normalised as those of `dataset`, on which the network was trained, unless `args` set `mean` or `std`.
    """

    samples: Samples = 512
    """How many there are to calibrate on. How many of them are used: `calib_params.num_calib_batches`."""

    def spec(self) -> DatasetSpec:
        """The same as a data source is told it."""
        return DatasetSpec.model_validate(self.model_dump(exclude={"samples"}) | {"calibration_samples": self.samples})
