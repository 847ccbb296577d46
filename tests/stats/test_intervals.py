"""Published examples, hand-worked numbers, and the coverage that an interval promises."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from harness.stats.intervals import (
    holm,
    mcnemar_exact,
    paired_difference,
    quantile_with_interval,
    tango_interval,
    tango_score,
    wilson_interval,
)


def flags(n, lost, won):
    """A reference and a variant of n samples that disagree on `lost` and `won` of them; the rest both get right."""
    reference, variant = np.ones(n, bool), np.ones(n, bool)
    variant[:lost] = False
    reference[lost : lost + won] = False
    return reference, variant


class TestWilson:
    # Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3.
    @pytest.mark.parametrize(
        ("successes", "n", "interval"),
        [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (1, 29, (0.0061, 0.1718))],
    )
    def test_published_intervals(self, successes, n, interval):
        assert wilson_interval(successes, n) == pytest.approx(interval, abs=5e-5)

    def test_a_perfect_score_is_not_certainty(self):
        low, high = wilson_interval(10, 10)
        # Upper end exactly 1; lower end n / (n + z^2) = 10 / (10 + 3.8415).
        assert (low, high) == pytest.approx((10 / 13.8415, 1.0), abs=1e-5)


class TestMcNemar:
    def test_airway_example(self):
        # Fagerland, Lydersen & Laake 2013, table 1: 1 and 7 discordant pairs. 2 * (1 + 8) / 2^8 = 18 / 256.
        assert mcnemar_exact(1, 7) == pytest.approx(18 / 256)

    def test_no_discordant_pairs_prove_nothing(self):
        assert mcnemar_exact(0, 0) == 1.0

    def test_five_losses_in_a_row_are_just_not_enough_and_six_are(self):
        assert mcnemar_exact(5, 0) == pytest.approx(2 / 32)
        assert mcnemar_exact(6, 0) == pytest.approx(2 / 64)

    @given(st.integers(0, 300), st.integers(0, 300))
    def test_sides_are_alike(self, a, b):
        assert mcnemar_exact(a, b) == pytest.approx(mcnemar_exact(b, a))


class TestHolm:
    def test_each_value_is_multiplied_by_the_tests_left_and_never_falls_below_an_earlier_one(self):
        # Sorted: 0.005, 0.01, 0.03, 0.04. Times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04; the last is raised to 0.06.
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))

    def test_one_test_needs_no_correction_and_none_has_none(self):
        assert holm([0.04]) == (0.04,)
        assert holm([]) == ()

    def test_no_probability_exceeds_one(self):
        assert holm([0.6, 0.9, 1.0]) == (1.0, 1.0, 1.0)

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
    def test_lies_between_the_plain_value_and_bonferronis_and_keeps_the_order(self, values):
        adjusted = holm(values)
        for plain, corrected in zip(values, adjusted, strict=True):
            assert plain <= corrected <= min(1.0, len(values) * plain)
        pairs = sorted(zip(values, adjusted, strict=True))
        assert [corrected for _, corrected in pairs] == sorted(adjusted)

    @pytest.mark.parametrize("values", [[1.1], [-0.1], [float("nan")], [[0.1]]])
    def test_refuses_what_is_no_probability(self, values):
        with pytest.raises(ValueError, match="between 0 and 1"):
            holm(values)


class TestTango:
    # Both as given by Fagerland, Lydersen & Laake 2017, Statistical Analysis of Contingency Tables, chapter 8.
    @pytest.mark.parametrize(
        ("lost", "won", "n", "interval"), [(1, 7, 21, (-0.517, -0.026)), (6, 16, 161, (-0.1240, -0.0054))]
    )
    def test_published_intervals(self, lost, won, n, interval):
        assert tango_interval(lost, won, n) == pytest.approx(interval, abs=5e-4)

    def test_all_pairs_discordant_one_way(self):
        low, high = tango_interval(5, 0, 5)
        assert high == 1.0
        assert 0 < low < 1

    def test_without_discordant_pairs_it_is_z_squared_over_n_plus_z_squared(self):
        # score(d)^2 = n d / (1 - d) = z^2  =>  d = z^2 / (n + z^2)
        bound = 3.8415 / 1003.8415
        assert tango_interval(0, 0, 1000) == pytest.approx((-bound, bound), abs=1e-6)

    def test_the_score_of_no_difference_is_mcnemars_statistic(self):
        # (6 - 16) / sqrt(6 + 16), its square is McNemar's chi-squared without continuity correction.
        assert tango_score(6, 16, 161, 0.0) == pytest.approx(-10 / math.sqrt(22))

    @given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 400), st.floats(0.5, 0.999))
    def test_the_ends_are_where_the_score_reaches_the_normal_quantile(self, lost, won, both, confidence):
        n = lost + won + both + 1
        low, high = tango_interval(lost, won, n, confidence)
        z = stats.norm.ppf((1 + confidence) / 2)
        assert low == -1 or tango_score(lost, won, n, low) == pytest.approx(z, abs=1e-3)
        assert high == 1 or tango_score(lost, won, n, high) == pytest.approx(-z, abs=1e-3)


class TestMarginTests:
    @given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 2000), st.floats(0.001, 0.05))
    def test_agree_with_the_interval(self, lost, won, both, margin):
        found = paired_difference(*flags(lost + won + both + 1, lost, won), resamples=10)
        tests = found.margin_tests(margin)
        assume(min(abs(found.drop_ci[1] - margin), abs(found.drop_ci[0] + margin)) > 1e-9)
        assert (tests.non_inferiority <= 0.025) == (found.drop_ci[1] < margin)
        assert (tests.non_superiority <= 0.025) == (found.drop_ci[0] > -margin)

    def test_by_hand(self):
        # No discordant pairs: score(d) = -sqrt(n d / (1 - d)), here -sqrt(1000 * 0.005 / 0.995) = -2.2417.
        tests = paired_difference(*flags(1000, 0, 0)).margin_tests(0.005)
        assert tests.non_inferiority == tests.non_superiority == pytest.approx(0.012491, abs=1e-6)

    def test_a_margin_of_zero_asks_for_a_gain(self):
        assert paired_difference(*flags(1000, 5, 5)).margin_tests(0.0).non_inferiority == pytest.approx(0.5)
        assert paired_difference(*flags(1000, 5, 30)).margin_tests(0.0).non_inferiority < 0.001

    def test_a_margin_of_everything_is_kept_by_any_variant(self):
        assert paired_difference(*flags(10, 9, 0)).margin_tests(1.0).non_inferiority < 0.025


class TestPairedDifference:
    def test_prime_minister_example(self):
        # Agresti, Categorical Data Analysis: 150 and 86 of 1600 changed their mind. Difference 64 / 1600 = 0.04,
        # standard error sqrt(236 - 64^2 / 1600) / 1600 = 0.00955, interval 0.04 +- 1.96 * 0.00955.
        found = paired_difference(*flags(1600, 150, 86))
        assert found.drop == pytest.approx(0.04)
        assert found.drop_ci == pytest.approx((0.0213, 0.0587), abs=0.0004)
        assert found.bootstrap_ci == pytest.approx((0.0213, 0.0587), abs=0.0013)
        assert found.p_value == pytest.approx(3.7e-5, rel=0.02)

    def test_agreement_on_every_sample_still_leaves_room(self):
        found = paired_difference(*flags(1000, 0, 0))
        # 3.8415 / 1003.8415; resampling agreement gives agreement, so that a bootstrap has no width.
        assert found.drop_ci == pytest.approx((-0.0038268, 0.0038268), abs=1e-6)
        assert (found.drop, found.p_value, found.bootstrap_ci) == (0.0, 1.0, None)

    def test_only_the_counts_matter(self):
        reference, variant = flags(500, 30, 12)
        order = np.random.default_rng(5).permutation(500)
        assert paired_difference(reference, variant) == paired_difference(reference[order], variant[order])

    @given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 400))
    def test_exchanging_the_sides_exchanges_the_signs(self, lost, won, both):
        assume(lost != won)  # then both calls are the same call, and only its draws are not symmetric
        n = lost + won + both + 1
        there = paired_difference(*flags(n, lost, won), resamples=200)
        back = paired_difference(*reversed(flags(n, lost, won)), resamples=200)
        assert back.drop == -there.drop
        assert back.p_value == there.p_value
        assert back.drop_ci == (-there.drop_ci[1], -there.drop_ci[0])
        assert there.bootstrap_ci is not None
        assert back.bootstrap_ci == (-there.bootstrap_ci[1], -there.bootstrap_ci[0])

    @given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 400))
    def test_the_interval_holds_the_difference_and_has_a_width(self, lost, won, both):
        found = paired_difference(*flags(lost + won + both + 1, lost, won), resamples=1000)
        low, high = found.drop_ci
        assert low <= found.drop <= high
        assert low < high

    def test_more_confidence_means_a_wider_interval(self):
        sides = flags(2000, 80, 50)
        narrow = paired_difference(*sides, confidence=0.8).drop_ci
        wide = paired_difference(*sides, confidence=0.99).drop_ci
        assert wide[0] < narrow[0] < narrow[1] < wide[1]

    @pytest.mark.parametrize(
        ("lost_rate", "won_rate"),
        # Many discordant pairs; few; few and all on one side, where the plain bootstrap covers 82 %.
        [(0.04, 0.02), (0.006, 0.003), (0.0032, 0.0)],
    )
    def test_intervals_cover_as_often_as_promised(self, lost_rate, won_rate):
        rng, n, runs = np.random.default_rng(7), 1000, 400
        counts = rng.multinomial(n, [lost_rate, won_rate, 1 - lost_rate - won_rate], size=runs)
        intervals = [paired_difference(*flags(n, lost, won), resamples=1000).drop_ci for lost, won, _ in counts]
        covered = np.mean([low <= lost_rate - won_rate <= high for low, high in intervals])
        # Binomial standard error of a true 95 % over 400 runs: 1.1 %.
        assert covered > 0.95 - 3 * 0.011

    @pytest.mark.parametrize("sides", [(np.ones(3, bool), np.ones(4, bool)), (np.ones(0, bool), np.ones(0, bool))])
    def test_refuses_samples_that_are_not_paired(self, sides):
        with pytest.raises(ValueError, match="equally many samples"):
            paired_difference(*sides)

    def test_refuses_labels_in_place_of_flags(self):
        with pytest.raises(ValueError, match="one boolean per sample"):
            paired_difference(np.array([3, 4]), np.array([3, 5]))


class TestQuantile:
    def test_p99_needs_368_samples(self):
        # An upper end at 95 % needs 0.99^n <= 0.025: n >= ln 0.025 / ln 0.99 = 367.04.
        samples = np.arange(368.0)
        assert quantile_with_interval(samples[:367], 0.99) is None
        found = quantile_with_interval(samples, 0.99)
        assert found is not None
        assert found.ci[1] == 367.0
        assert found.n == 368

    def test_six_samples_bound_a_median_by_their_extremes(self):
        # P(median outside [min, max]) = 2 * 2^-6 = 0.031; with five samples it is 0.0625.
        assert quantile_with_interval([3, 1, 2, 6, 5], 0.5) is None
        found = quantile_with_interval([3, 1, 2, 6, 5, 4], 0.5)
        assert found is not None
        assert (found.value, found.ci) == (3.5, (1.0, 6.0))

    def test_nothing_measured(self):
        assert quantile_with_interval([], 0.5) is None

    @given(st.lists(st.floats(0.01, 100), min_size=50, max_size=200), st.sampled_from([0.5, 0.75, 0.9]))
    def test_the_interval_holds_the_quantile(self, samples, quantile):
        found = quantile_with_interval(samples, quantile)
        assert found is not None
        assert found.ci[0] <= found.value <= found.ci[1]
