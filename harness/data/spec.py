"""What a scenario asks of its data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, model_validator

Location = Literal["auto", "path", "env", "cache", "system", "package", "embedded"]
SampleCount = Annotated[int, Ge(1)]


class DatasetSpec(BaseModel):
    """One data set: its source, where to look for it, and how many samples each part gets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    """Name of a data source: a file in `harness/data/sources`."""
    location: Location = "auto"
    """`auto` takes the first location that has the data; any other value is an error when the data is not there."""
    path: Path | None = None
    """Folder of the data, relative to the project root. A path that is given is never replaced by another location."""
    train_samples: SampleCount | None = None
    """None: all that calibration leaves of the training part."""
    calibration_samples: Annotated[int, Ge(0)] = 512
    """Taken out of the training part."""
    test_samples: SampleCount | None = None
    """None: all."""
    args: dict[str, Any] = {}
    """Handed to the data source."""

    @model_validator(mode="after")
    def _path_and_location_agree(self) -> Self:
        if self.location == "path" and self.path is None:
            raise ValueError("`location: path` needs a `path`")
        if self.path is not None and self.location not in ("path", "auto"):
            raise ValueError(f"`path` is not used by `location: {self.location}`")
        return self

    @property
    def named_location(self) -> Location:
        """The location to look in: `path` as soon as a path is given."""
        return "path" if self.path is not None else self.location
