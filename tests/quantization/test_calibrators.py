"""Calibrators: the contract that all of them keep, and the known answers of each."""

import numpy as np
import pytest
import torch
from oracles import nvidia_entropy

from harness.errors import UsageError
from harness.quantization.calibrators import calibrators, entropy, make_calibrator, mse
from harness.quantization.histogram import Histogram

RNG = np.random.default_rng(0)


def histogram_of(values: object) -> Histogram:
    histogram = Histogram.empty()
    histogram.update(torch.as_tensor(np.asarray(values, dtype=np.float32)))
    return histogram


class TestContract:
    """Every calibrator, also one that is added later as a file."""

    @pytest.fixture(params=sorted(calibrators()))
    def calibrator(self, request: pytest.FixtureRequest):
        return make_calibrator(request.param)

    @pytest.mark.parametrize("levels", [8, 128, 256, 32_768, 65_536])
    def test_amax_lies_within_the_data(self, calibrator, levels: int) -> None:
        values = RNG.normal(size=5000)
        amax = calibrator.amax(histogram_of(values), levels)
        assert 0 < amax <= np.float32(np.abs(values).max())

    def test_all_zeros_give_zero(self, calibrator) -> None:
        assert calibrator.amax(histogram_of(np.zeros(10)), 128) == 0.0

    def test_one_value_gives_at_most_itself(self, calibrator) -> None:
        assert 0 < calibrator.amax(histogram_of([3.0]), 128) <= 3.0

    @pytest.mark.parametrize("factor", [2.0**-10, 2.0, 1024.0])
    def test_scaling_the_data_scales_the_answer(self, calibrator, factor: float) -> None:
        values = RNG.laplace(size=4000).astype(np.float32)
        once = calibrator.amax(histogram_of(values), 128)
        assert calibrator.amax(histogram_of(factor * values), 128) == pytest.approx(factor * once, rel=1e-6)

    def test_order_and_batches_do_not_matter(self, calibrator) -> None:
        values = RNG.normal(size=3000).astype(np.float32)
        values[-1] = 40.0  # the largest value comes last
        whole = calibrator.amax(histogram_of(values), 128)
        in_batches = Histogram.empty()
        for part in np.array_split(values[::-1], 7):
            in_batches.update(torch.from_numpy(part.copy()))
        assert calibrator.amax(in_batches, 128) == whole

    def test_sign_does_not_matter(self, calibrator) -> None:
        values = RNG.normal(size=2000)
        assert calibrator.amax(histogram_of(values), 128) == calibrator.amax(histogram_of(-values), 128)


class Test16Bits:
    """Formats with more levels than the histogram has bins."""

    VALUES = np.random.default_rng(1).normal(size=100_000).astype(np.float32)

    def error_db(self, amax: float, bits: int = 16) -> float:
        """SQNR of signed fake quantization of the values within [-amax, amax]."""
        largest = 2 ** (bits - 1) - 1
        step = amax / largest
        rounded = np.clip(np.rint(self.VALUES.astype(np.float64) / step), -largest, largest) * step
        return float(10 * np.log10(np.square(self.VALUES).mean() / np.square(rounded - self.VALUES).mean()))

    @pytest.mark.parametrize("name", ["max", "mse", "entropy"])
    def test_what_rounds_finely_clips_next_to_nothing(self, name: str) -> None:
        amax = make_calibrator(name).amax(histogram_of(self.VALUES), 32_768)
        # The largest of 100,000 normal numbers is about 4.4. A step is then 4.4 / 32,767, its rounding error
        # step**2 / 12 = 1.5e-9, and 1 / 1.5e-9 is 88 dB.
        assert self.error_db(amax) > 85

    def test_percentile_clips_what_it_is_told_to(self) -> None:
        histogram, calibrator = histogram_of(self.VALUES), make_calibrator("percentile", percentile=99.0)
        assert calibrator.amax(histogram, 32_768) == calibrator.amax(histogram, 128)

    @pytest.mark.parametrize("tail", [1.0, 3.0, 30.0])
    def test_mse_is_the_best_of_all_bin_edges(self, tail: float) -> None:
        values = np.append(self.VALUES, [tail * float(np.abs(self.VALUES).max())] * 3).astype(np.float32)
        histogram = histogram_of(values)
        kept = np.arange(mse.START_BIN, len(histogram.used_counts) + 1, 7)
        by_hand = []
        for bins in kept:
            amax = bins * histogram.bin_width
            step = amax / 32_767
            rounded = np.clip(np.rint(np.abs(values.astype(np.float64)) / step), 0, 32_767) * step
            by_hand.append(np.square(rounded - np.abs(values)).sum())
        chosen = make_calibrator("mse").amax(histogram, 32_768)
        step = chosen / 32_767
        rounded = np.clip(np.rint(np.abs(values.astype(np.float64)) / step), 0, 32_767) * step
        assert np.square(rounded - np.abs(values)).sum() < 1.1 * min(by_hand)

    def test_an_outlier_that_leaves_the_others_enough_steps_is_kept(self) -> None:
        histogram = histogram_of([*self.VALUES, 1000.0])
        # 1,000 is 227 times the largest of the others, which are left with 32,767 / 227 = 144 steps of 16 bits.
        assert histogram.outliers(128) == (1, 512.0, 1000.0)
        assert histogram.outliers(32_768) is None
        assert make_calibrator("entropy").amax(histogram, 32_768) == 1000.0
        far = histogram_of([*self.VALUES, 1e6])
        assert far.outliers(32_768) is not None
        assert make_calibrator("mse").amax(far, 32_768) < 5


def test_max_is_exact() -> None:
    assert make_calibrator("max").amax(histogram_of([0.1, -7.25, 3.0]), 128) == 7.25


def test_percentile_of_a_hundred_numbers() -> None:
    # 90 of the numbers 0 … 99 are at most 89.
    amax = make_calibrator("percentile", percentile=90.0).amax(histogram_of(np.arange(100)), 128)
    assert amax == pytest.approx(89.0, abs=0.1)


def test_percentile_100_is_the_maximum() -> None:
    values = RNG.normal(size=999)
    amax = make_calibrator("percentile", percentile=100.0).amax(histogram_of(values), 128)
    assert amax == np.float32(np.abs(values).max())


@pytest.mark.parametrize("percentile", [0.0, -1.0, 100.1])
def test_percentile_outside_its_range_is_refused(percentile: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        make_calibrator("percentile", percentile=percentile)


def test_entropy_ignores_a_lone_outlier() -> None:
    values = np.concatenate([RNG.uniform(size=10_000), [10.0]])
    assert make_calibrator("entropy").amax(histogram_of(values), 128) < 1.1


def test_mse_prefers_the_many_to_the_one() -> None:
    # With amax 256 a step is 256 / 127 = 2.016 and every 255 is off by about 1; with 255 only the 256 is.
    amax = make_calibrator("mse").amax(histogram_of([255.0] * 1000 + [256.0]), 128)
    assert abs(amax - 255) < abs(amax - 256)


@pytest.mark.parametrize("levels", [8, 128, 256])
def test_mse_search_equals_trying_every_candidate(levels: int) -> None:
    counts = nvidia_entropy.histogram(RNG.laplace(size=4000), 600)
    centers = np.arange(600) + 0.5
    errors = []
    for kept in range(128, 601):
        step = kept / (levels - 1)
        quantized = np.clip(np.floor(centers / step + 0.5), 0, levels - 1) * step
        errors.append((counts * (centers - quantized) ** 2).sum())
    assert mse.best_bin(counts, levels) == 128 + int(np.argmin(errors))


@pytest.mark.parametrize(
    "values",
    [RNG.normal(size=20_000), RNG.exponential(size=3000), np.r_[RNG.uniform(size=5000), 10.0], RNG.normal(size=300)],
    ids=["normal", "exponential", "outlier", "sparse"],
)
@pytest.mark.parametrize("levels", [128, 256])
def test_entropy_search_equals_the_published_one(values, levels: int) -> None:
    counts = nvidia_entropy.histogram(values, 700)
    assert abs(entropy.best_bin(counts, levels) - nvidia_entropy.best_bin(counts, levels)) <= 1


def test_an_unknown_calibrator_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        make_calibrator("percentle")
    assert caught.value.fix == "did you mean `percentile`?"


class TestOutliers:
    """One far value among many leaves every calibrator but `max` where it would be without."""

    VALUES = np.random.default_rng(1).normal(size=100_000).astype(np.float32)

    @pytest.mark.parametrize("outlier", [1e2, 1e4, -1e10, 1e30, 1e38, float(np.finfo(np.float32).max)])
    @pytest.mark.parametrize("name", ["percentile", "entropy", "mse"])
    @pytest.mark.parametrize("levels", [128, 256])
    def test_one_far_outlier_changes_nothing(self, name: str, outlier: float, levels: int) -> None:
        calibrator = make_calibrator(name)
        without = calibrator.amax(histogram_of(self.VALUES), levels)
        with_it = calibrator.amax(histogram_of([*self.VALUES, outlier]), levels)
        # 99.99 % of 100,001 is one value in ten more than of 100,000: at most a bin, 8 / 4096, further.
        assert with_it == pytest.approx(without, abs=8 / 4096)
        assert 3.5 < with_it < 4.6

    def test_max_keeps_the_outlier(self) -> None:
        assert make_calibrator("max").amax(histogram_of([*self.VALUES, 1e4]), 128) == 1e4

    def test_several_outliers_are_counted(self) -> None:
        values = np.concatenate([np.tile(self.VALUES, 5), [1e3, -1e5, 1e7]])
        outliers = histogram_of(values).outliers()
        assert outliers is not None
        # 500,003 values: up to 5 may be outliers. Of the others the largest is below 8 = 2**3, so that outliers begin
        # at 2**6; the smallest of them, 1,000, is in the octave from 512.
        assert outliers == (3, 512.0, 1e7)

    def test_values_that_are_no_longer_few_are_kept(self) -> None:
        values = np.concatenate([self.VALUES, [1e4, 1e4]])  # of 100,002 values one may be an outlier
        assert histogram_of(values).outliers() is None
        assert make_calibrator("mse").amax(histogram_of(values), 128) > 1e3

    @pytest.mark.parametrize("factor", [1.0, 2.0, 4.0, 7.0])
    def test_the_tail_of_a_distribution_is_no_outlier(self, factor: float) -> None:
        largest = float(np.abs(self.VALUES).max())
        assert histogram_of([*self.VALUES, factor * largest]).outliers() is None

    def test_a_large_weight_is_kept(self) -> None:
        histogram = histogram_of([*(0.01 * self.VALUES[:2000]), 10.0])
        assert make_calibrator("mse").amax(histogram, 128, keep_outliers=True) > 5
        assert make_calibrator("mse").amax(histogram, 128) < 0.05

    @pytest.mark.parametrize("name", sorted(calibrators()))
    def test_values_near_the_largest_float(self, name: str) -> None:
        largest = float(np.finfo(np.float32).max)
        values = self.VALUES / np.abs(self.VALUES).max() * largest
        amax = make_calibrator(name).amax(histogram_of(values), 128)
        assert 0.5 * largest < amax <= largest

    def test_order_and_batches_do_not_matter(self) -> None:
        values = np.concatenate([[1e30], self.VALUES])
        in_batches = Histogram.empty()
        for part in np.array_split(values[::-1].astype(np.float32), 7):
            in_batches.update(torch.from_numpy(part.copy()))
        whole = histogram_of(values)
        assert in_batches.outliers() == whole.outliers()
        for name in calibrators():
            calibrator = make_calibrator(name)
            assert calibrator.amax(in_batches, 128) == calibrator.amax(whole, 128)
