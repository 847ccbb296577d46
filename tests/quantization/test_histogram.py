"""The histogram: exact counts, whatever the order and the batches."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.quantization.histogram import BINS, Histogram, load_histograms, save_histograms


def histogram_of(*parts: torch.Tensor) -> Histogram:
    histogram = Histogram.empty()
    for part in parts:
        histogram.update(part)
    return histogram


finite = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)


@given(st.lists(finite, min_size=1, max_size=60), st.integers(0, 60), st.randoms())
@settings(max_examples=100, deadline=None)
def test_splitting_and_reordering_change_nothing(values: list[float], cut: int, random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    whole = histogram_of(torch.tensor(values))
    parts = histogram_of(torch.tensor(shuffled[:cut]), torch.tensor(shuffled[cut:]))
    assert parts.exponent == whole.exponent
    np.testing.assert_array_equal(parts.counts, whole.counts)
    assert (parts.minimum, parts.maximum, parts.n) == (whole.minimum, whole.maximum, whole.n)


def test_merging_equals_seeing_all_data() -> None:
    small, large = torch.rand(1000), 100 * torch.randn(1000)
    merged = histogram_of(small)
    merged.merge(histogram_of(large))
    whole = histogram_of(torch.cat([small, large]))
    np.testing.assert_array_equal(merged.counts, whole.counts)
    assert merged.n == 2000


def test_range_is_the_power_of_two_above_the_maximum() -> None:
    # 256 = 2**8 must lie inside the range, so the range is 512 and a bin 512 / 4096 = 1/8 wide.
    histogram = histogram_of(torch.tensor([256.0, -255.0]))
    assert histogram.exponent == 9
    assert histogram.bin_width == 0.125
    assert histogram.counts[2048] == 1
    assert histogram.counts[2040] == 1
    assert histogram.abs_max == 256.0
    assert len(histogram.used_counts) == 2049


def test_zeros_before_anything_else_are_counted() -> None:
    histogram = histogram_of(torch.zeros(5), torch.ones(3))
    assert histogram.counts[0] == 5
    assert histogram.counts.sum() == 8


def test_counts_beyond_float32_precision_do_not_saturate() -> None:
    # float32 cannot count past 2**24 = 16,777,216 by ones.
    histogram = Histogram.empty()
    histogram.update(torch.ones(2**24))
    histogram.update(torch.ones(7))
    assert histogram.counts.max() == 2**24 + 7


def test_one_update_larger_than_float32_can_count() -> None:
    histogram = Histogram.empty()
    histogram.update(torch.ones(2**24 + 3))
    assert histogram.counts.max() == 2**24 + 3


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        histogram_of(torch.tensor([1.0, bad]))


def test_files_hold_everything(tmp_path: Path) -> None:
    histograms = {"layer1.0": histogram_of(torch.randn(100)), "zeros": histogram_of(torch.zeros(4))}
    save_histograms(tmp_path / "h.npz", histograms)
    loaded = load_histograms(tmp_path / "h.npz")
    assert list(loaded) == ["layer1.0", "zeros"]
    for name, histogram in histograms.items():
        np.testing.assert_array_equal(loaded[name].counts, histogram.counts)
        assert loaded[name].exponent == histogram.exponent
        assert (loaded[name].minimum, loaded[name].maximum, loaded[name].n) == (
            histogram.minimum,
            histogram.maximum,
            histogram.n,
        )
    assert len(loaded["zeros"].counts) == BINS


@pytest.mark.parametrize("exponent", [-140, -126, -20, 0, 3, 127])
def test_counts_are_those_of_equal_bins(exponent: int) -> None:
    """Against numpy's histogram, from subnormal numbers to the largest."""
    scale = math.ldexp(1.0, exponent)
    values = (np.random.default_rng(0).uniform(-1.9, 1.9, 5000) * scale).astype(np.float32)
    values = np.append(values, np.float32(0))
    histogram = histogram_of(torch.from_numpy(values))
    assert histogram.exponent is not None
    top = math.ldexp(1.0, histogram.exponent)
    expected, _ = np.histogram(np.abs(values.astype(np.float64)) / top, BINS, (0.0, 1.0))
    np.testing.assert_array_equal(histogram.counts, expected)


def test_an_outlier_takes_no_resolution_from_the_others() -> None:
    values = torch.randn(10_000)
    far = histogram_of(values, torch.tensor([3e38])).without_outliers()
    near = histogram_of(values)
    np.testing.assert_array_equal(far.counts, near.counts)
    assert far.n == near.n
    assert far.abs_max == pytest.approx(near.abs_max, rel=1 / 2048)
