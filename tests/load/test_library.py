"""The query sample library hands out the samples that were asked for."""

from __future__ import annotations

import numpy as np
import pytest

from harness.load.library import SampleLibrary


def first_pixels(batch: np.ndarray) -> list[float]:
    return [float(value) for value in batch[:, 0, 0, 0]]


def test_samples_come_in_the_order_of_the_query(library: SampleLibrary) -> None:
    library.load([31, 4, 17])
    batch = library.batch([17, 31, 17])
    assert batch.shape == (3, 1, 2, 2)
    assert batch.dtype == np.float32
    assert first_pixels(batch) == [17, 31, 17]


def test_a_sample_that_is_named_twice_is_loaded_once(library: SampleLibrary) -> None:
    library.load([4, 4, 9])
    assert first_pixels(library.batch([4])) == [4]
    assert first_pixels(library.batch([9])) == [9]


def test_a_single_sample_is_not_copied(library: SampleLibrary) -> None:
    library.load([1, 2])
    assert library.batch([2]).base is library.batch([1]).base


def test_samples_are_gone_after_unloading(library: SampleLibrary) -> None:
    library.load([1])
    library.unload([1])
    with pytest.raises(KeyError):
        library.batch([1])
