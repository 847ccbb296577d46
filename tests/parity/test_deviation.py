"""What counts as a fault, with the arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.parity.comparison_points import ComparisonPoint
from harness.parity.deviation import Deviation

INTEGERS = ComparisonPoint("q", "conv", "Conv", "quantized", 2, zero_point=10)
FLOATS = ComparisonPoint("y", "conv", "Conv", "float", 1)


def deviation(point: ComparisonPoint, reference: np.ndarray, error: np.ndarray) -> Deviation:
    found = Deviation(point)
    found.update(reference, reference + error)
    return found


def images(values: float, channels: int = 2) -> np.ndarray:
    """(5, channels, 4, 5): 100 values of each channel."""
    return np.full((5, channels, 4, 5), values)


class TestIntegers:
    def test_8_of_100_values_off_by_one_are_honest_and_9_are_not(self) -> None:
        """1/12 is 8.33 %: the noise of rounding itself."""
        error = np.stack([np.repeat([1.0, 0.0], [8, 92]), np.repeat([-1.0, 0.0], [9, 91])]).reshape(2, 5, 4, 5)
        assert deviation(INTEGERS, images(50), error.transpose(1, 0, 2, 3)).faulty_channels == [1]

    def test_one_value_off_by_two_is_a_fault(self) -> None:
        error = images(0.0)
        error[3, 0, 2, 1] = -2
        found = deviation(INTEGERS, images(50), error)
        assert found.faulty_channels == [0]
        assert found.largest_steps.tolist() == [2, 0]

    def test_signal_is_counted_from_the_zero_point(self) -> None:
        """Integers of 50 are 40 steps; errors of one in one channel of two: 10 log10(2 x 40^2 / 1)."""
        error = images(0.0)
        error[:, 1] = 1
        assert deviation(INTEGERS, images(50), error).sqnr_db == pytest.approx(10 * math.log10(2 * 40**2))

    def test_nan_and_infinity_are_a_fault_of_their_channel(self) -> None:
        for point, value in ((FLOATS, np.nan), (FLOATS, np.inf), (FLOATS, -np.inf)):
            error = images(0.0)
            error[3, 1, 2, 1] = value
            found = deviation(point, images(50), error)
            assert found.faulty_channels == [1]
            assert found.sqnr_db == -math.inf

    def test_what_the_reference_has_too_is_none(self) -> None:
        reference = images(50.0)
        reference[0, 0, 0, 0] = np.inf
        assert deviation(FLOATS, reference, images(0.0)).faulty_channels == []

    def test_identical_tensors_have_no_noise(self) -> None:
        assert deviation(INTEGERS, images(50), images(0.0)).sqnr_db is None


class TestFloats:
    def test_a_step_is_a_127th_of_the_channels_largest_value(self) -> None:
        reference = images(0.0)
        reference[:, 0, 0, 0], reference[:, 1, 0, 0] = 127.0, 12.7
        error = images(0.0)
        error[0, 0, 1, 1] = error[0, 1, 1, 1] = 0.9
        found = deviation(FLOATS, reference, error)
        assert found.largest_steps == pytest.approx([0.9, 9.0])
        assert found.faulty_channels == [1]

    def test_a_nearly_dead_channel_counts_as_a_128th_of_the_largest(self) -> None:
        """Its step is 128 / 128 / 127: an error of 0.002 is honest although it is all that there is in the channel."""
        reference = images(0.0)
        reference[:, 0] = 128.0
        error = images(0.0)
        error[:, 1] = 0.002
        found = deviation(FLOATS, reference, error)
        assert found.largest_steps[1] == pytest.approx(0.002 * 127)
        assert found.faulty_channels == []

    @pytest.mark.parametrize(("shape", "channels"), [((6, 3), 3), ((2, 3, 4, 4), 3), ((2, 4, 3), 3), ((6,), 1)])
    def test_channels_of_images_matrices_and_sequences(self, shape: tuple[int, ...], channels: int) -> None:
        assert len(deviation(FLOATS, np.ones(shape), np.zeros(shape)).largest_steps) == channels


def test_the_size_of_batches_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    reference, error = rng.normal(size=(12, 3, 4, 4)), rng.normal(size=(12, 3, 4, 4)) * 0.01
    whole, parts = deviation(FLOATS, reference, error), Deviation(FLOATS)
    for start in range(0, 12, 4):
        part = slice(start, start + 4)
        parts.update(reference[part], reference[part] + error[part])
    assert parts.sqnr_db == pytest.approx(whole.sqnr_db)
    assert parts.noise_steps2 == pytest.approx(whole.noise_steps2)
