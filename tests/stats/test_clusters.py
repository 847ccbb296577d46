"""A speedup and its uncertainty: the process is the unit, not the round."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.single_verdicts import latency_verdict
from scipy import stats

from harness.stats.clusters import TRIM, RatioEstimate, estimate_ratio, own_verdict

LN2 = math.log(2)


def one_round_each(*logs):
    """One build; processes of one round."""
    return [[np.array([value]) for value in logs]]


class TestEstimate:
    def test_geometric_mean_of_ratios(self):
        # Ratios 2 and 8: sqrt(16) = 4, where the arithmetic mean would be 5.
        assert estimate_ratio(one_round_each(LN2, 3 * LN2)).ratio == pytest.approx(4.0)

    def test_interval_is_students_over_processes(self):
        # Means 0.01, 0.02, 0.03, 0.06: mean 0.03, s = sqrt((4 + 1 + 0 + 9) / 3) / 100 = 0.021602, se = 0.010801;
        # t(0.975, 3) = 3.18245: 0.03 -/+ 0.034374.
        found = estimate_ratio(one_round_each(0.01, 0.02, 0.03, 0.06))
        assert (found.log_ratio, found.degrees_of_freedom) == (pytest.approx(0.03), 3)
        assert found.interval(0.95) == pytest.approx((math.exp(-0.004374), math.exp(0.064374)), rel=1e-4)

    def test_rounds_without_end_say_nothing_about_other_processes(self):
        few = [[np.full(5, 0.01), np.full(5, 0.02), np.full(5, 0.03)]]
        many = [[np.full(5000, 0.01), np.full(5000, 0.02), np.full(5000, 0.03)]]
        assert estimate_ratio(few).interval(0.95) == pytest.approx(estimate_ratio(many).interval(0.95))

    def test_one_bad_round_in_five_moves_nothing(self):
        # A fifth is left out on either side: of five rounds, the lowest and the highest.
        calm = np.array([0.10, 0.11, 0.12, 0.13, 0.14])
        disturbed = np.array([0.10, 0.11, 0.12, 0.13, 5.0])
        assert estimate_ratio([[calm, calm]]).log_ratio == pytest.approx(0.12)
        assert estimate_ratio([[disturbed, calm]]).log_ratio == pytest.approx(0.12)

    def test_several_builds_are_the_unit(self):
        # Build means 0.1 and 0.3 whatever their processes: mean 0.2, s = 0.141421, se = 0.1, one degree of freedom.
        found = estimate_ratio([[np.array([0.0]), np.array([0.2])], [np.array([0.3])] * 5])
        assert (found.log_ratio, found.standard_error, found.degrees_of_freedom) == (
            pytest.approx(0.2),
            pytest.approx(0.1),
            1,
        )

    def test_the_error_is_the_cluster_bootstraps(self):
        """Draw whole processes with replacement; sqrt(k / (k - 1)) is the known bias of its error."""
        rng = np.random.default_rng(0)
        processes = [rng.normal(rng.normal(0.1, 0.02), 0.05, size=25) for _ in range(12)]
        means = np.array([stats.trim_mean(rounds, TRIM) for rounds in processes])
        drawn = rng.integers(0, 12, size=(40_000, 12))
        bootstrap = means[drawn].mean(axis=1).std() * math.sqrt(12 / 11)
        assert estimate_ratio([processes]).standard_error == pytest.approx(bootstrap, rel=0.02)

    def test_one_process_falls_back_on_its_rounds(self):
        rounds = np.random.default_rng(1).normal(0.2, 0.03, size=40)
        found = estimate_ratio([[rounds]])
        assert found.log_ratio == pytest.approx(stats.trim_mean(rounds, TRIM))
        assert found.degrees_of_freedom == 40 - 2 * 8 - 1
        # Yuen's error is scipy's up to n - 1 instead of n degrees: both use the winsorized variance.
        assert found.standard_error == pytest.approx(stats.mstats.trimmed_stde(rounds, (TRIM, TRIM)), rel=0.03)

    def test_a_single_round_proves_nothing(self):
        found = estimate_ratio(one_round_each(0.5))
        assert found.interval(0.95) == (0.0, math.inf)
        assert own_verdict(found, 0.01, 0.01).p_value == 1.0

    @pytest.mark.parametrize("empty", [[], [[]], [[np.array([])]], [[np.array([0.1])], []]])
    def test_refuses_what_has_no_ratio(self, empty):
        with pytest.raises(ValueError, match="at least one round"):
            estimate_ratio(empty)

    def test_four_processes_cover_as_often_as_promised(self):
        """Processes differ by 0.5 %, rounds by 2 %; percentiles over four processes would cover 80 %."""
        rng, runs, truth = np.random.default_rng(2), 600, math.log(1.3)
        covered = 0
        for _ in range(runs):
            processes = [rng.normal(rng.normal(truth, 0.005), 0.02, size=20) for _ in range(4)]
            low, high = estimate_ratio([processes]).interval(0.95)
            covered += low <= 1.3 <= high
        assert abs(covered / runs - 0.95) < 3 * math.sqrt(0.05 * 0.95 / runs)


class TestClaim:
    def test_better_is_a_t_test_against_the_band(self):
        # (0.03 - ln 1.01) / 0.005 = 4.0099; two-sided p = 2 * P(t(5) > 4.0099) = 0.01021.
        found = own_verdict(RatioEstimate(0.03, 0.005, 5), margin=0.01, band=0.01)
        assert (found.verdict, found.p_value) == ("better", pytest.approx(0.01021, abs=1e-4))

    def test_same_needs_both_ends(self):
        # ln 1.01 = 0.00995; the near end is 0.00495 away: t = 4.95, 2 * P(t(10) > 4.95) = 0.00058.
        found = own_verdict(RatioEstimate(0.005, 0.001, 10), margin=0.01, band=0.01)
        assert (found.verdict, found.p_value) == ("same", pytest.approx(0.00058, abs=1e-4))

    def test_noise_makes_differences_unprovable_and_nothing_equal(self):
        quiet = own_verdict(RatioEstimate(0.03, 0.001, 10), margin=0.01, band=0.01)
        noisy = own_verdict(RatioEstimate(0.03, 0.001, 10), margin=0.01, band=0.10)
        assert (quiet.verdict, quiet.p_value < 0.001) == ("better", True)
        assert noisy.p_value == 1.0

    def test_every_look_costs_its_share(self):
        once, often = (own_verdict(RatioEstimate(0.03, 0.005, 5), 0.01, 0.01, analyses=analyses) for analyses in (1, 5))
        assert often.p_value == pytest.approx(5 * once.p_value)

    def test_without_a_margin_nothing_is_the_same(self):
        assert own_verdict(RatioEstimate(0.0, 1e-9, 30), margin=0.0, band=0.0).p_value == pytest.approx(1.0)

    def test_no_spread_at_all(self):
        assert own_verdict(RatioEstimate(0.5, 0.0, 3), 0.01, 0.01) == own_verdict(
            RatioEstimate(0.5, 0.0, 3), 0.01, 0.02
        )
        assert own_verdict(RatioEstimate(0.5, 0.0, 3), 0.01, 0.01).p_value == 0.0

    @given(
        st.floats(-0.1, 0.1), st.floats(1e-4, 0.05), st.integers(1, 30), st.floats(0.001, 0.05), st.floats(0.0, 0.05)
    )
    def test_agrees_with_the_interval(self, log_ratio, error, freedom, margin, extra):
        """The word is proven at a confidence exactly if the interval at that confidence says so."""
        estimate = RatioEstimate(log_ratio, error, freedom)
        found = own_verdict(estimate, margin, margin + extra)
        for confidence in (0.8, 0.95, 0.99):
            if abs(found.p_value - (1 - confidence)) > 1e-9:
                word = latency_verdict(estimate.interval(confidence), margin, margin + extra)
                assert word == (found.verdict if found.p_value < 1 - confidence else "inconclusive")

    @pytest.mark.slow
    def test_looking_after_each_of_five_stages_keeps_the_error_at_its_level(self):
        """Equal programs, no margin: without paying for the looks, about 14 % would be called different."""
        rng, runs, analyses = np.random.default_rng(4), 400, (4, 6, 9, 14, 16)
        alarms = 0
        for _ in range(runs):
            means = rng.normal(0.0, 0.01, size=16)
            claims = [own_verdict(estimate_ratio(one_round_each(*means[:n])), 0.0, 0.0, analyses=5) for n in analyses]
            alarms += any(each.p_value <= 0.05 for each in claims)
        assert alarms / runs < 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
