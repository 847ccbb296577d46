"""Data sets: where they are found, and how they are split into disjoint train, calibration and test samples.

`locate` finds a data set without loading torch; `harness.data.load.load_splits` reads it.
"""

from harness.data.base import Arrays, DataSource, Located
from harness.data.locate import locate
from harness.data.sources import data_source, data_sources
from harness.data.spec import DatasetSpec

__all__ = ["Arrays", "DataSource", "DatasetSpec", "Located", "data_source", "data_sources", "locate"]
