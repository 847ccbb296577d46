"""Differences between two runs, against arithmetic by hand and simulation."""

import math

import numpy as np
import pytest
from oracles.comparisons import faster
from oracles.recorded_runs import PTQ, Recorded
from scipy import stats

from harness.comparison.latency_ratio import latency_ratio
from harness.stats.between_runs import at_level, independent_difference
from harness.stats.intervals import wilson_interval


def latency(speedup, width=0.01, rounds=50):
    found = Recorded().add(PTQ, speedup=speedup, width=width, rounds=rounds).rows[PTQ].latency
    assert found is not None
    return found


class TestIndependentDifference:
    def test_it_is_newcombes_interval_for_two_shares(self):
        # Newcombe 1998, Statistics in Medicine 17:873-890, table II (a): 56/70 - 48/80, method 10: 0.0524 to 0.3339.
        first, second = (wilson_interval(56, 70), wilson_interval(48, 80))
        found = independent_difference(48 / 80, second, 56 / 70, first)
        assert found.value == pytest.approx(0.2)
        assert found.interval == pytest.approx((0.0524, 0.3339), abs=5e-5)

    def test_the_p_value_is_one_minus_confidence_where_the_interval_touches_zero(self):
        # Arms of 3 and 4 make one of 5: the difference 5 just touches zero.
        found = independent_difference(0.0, (-4.0, 4.0), 5.0, (2.0, 8.0))
        assert found.interval[0] == pytest.approx(0.0)
        assert found.p_value == pytest.approx(0.05)

    def test_exact_figures_differ_or_do_not(self):
        assert independent_difference(1.0, (1.0, 1.0), 1.0, (1.0, 1.0)).p_value == 1.0
        assert independent_difference(1.0, (1.0, 1.0), 2.0, (2.0, 2.0)).p_value == 0.0


class TestLatencyRatio:
    def test_it_is_welchs_interval_of_the_two_logs(self):
        # Half widths of 1 % and 2 % with 10 and 20 rounds are errors of 0.01 / t(9) and 0.02 / t(19).
        errors = [0.01 / stats.t.ppf(0.975, 9), 0.02 / stats.t.ppf(0.975, 19)]
        variance = errors[0] ** 2 + errors[1] ** 2
        degrees = variance**2 / (errors[0] ** 4 / 9 + errors[1] ** 4 / 19)
        arm = stats.t.ppf(0.975, degrees) * math.sqrt(variance)
        found = latency_ratio(latency(1.5, 0.01, 10), latency(1.35, 0.02, 20), margin=0.03)
        assert found is not None
        assert found.value == pytest.approx(1.5 / 1.35)
        assert [math.log(end / found.value) for end in found.interval] == pytest.approx([-arm, arm])

    def test_the_p_value_is_that_of_a_ratio_within_the_margin(self):
        inside = latency_ratio(latency(1.5), latency(1.5 / 1.02), margin=0.03)
        beyond = latency_ratio(latency(1.5), latency(1.5 / 1.10), margin=0.03)
        assert inside is not None and beyond is not None
        assert inside.p_value == 1.0
        assert beyond.p_value < 1e-6

    def test_processes_are_the_units_where_there_are_several(self):
        one = latency(1.5)
        several = one.model_copy(update={"processes": 3})
        found, wider = latency_ratio(one, one, margin=0.0), latency_ratio(several, several, margin=0.0)
        assert found is not None and wider is not None
        # Two errors of w / t(2) with 4 degrees of freedom; with 49 each, the factor is nearly sqrt(2).
        assert math.log(wider.interval[1]) == pytest.approx(
            0.01 * math.sqrt(2) * stats.t.ppf(0.975, 4) / stats.t.ppf(0.975, 2)
        )
        assert math.log(found.interval[1]) == pytest.approx(0.01 * math.sqrt(2), rel=0.02)

    def test_an_interval_that_holds_at_every_look_is_taken_for_what_it_is(self):
        # The same error of 1 % in the log, once looked at and once of five looks, with 49 degrees of freedom.
        once = latency(1.5, 0.01 * stats.t.ppf(0.975, 49))
        often = latency(1.5, 0.01 * stats.t.ppf(0.995, 49)).model_copy(update={"analyses": 5})
        first, second = (latency_ratio(each, each, margin=0.0) for each in (once, often))
        assert first is not None and second is not None
        assert first.interval == pytest.approx(second.interval)

    @pytest.mark.parametrize("interval", [(0.0, math.inf), None])
    def test_without_a_usable_interval_there_is_none(self, interval):
        unknown = latency(1.5).model_copy(update={"comparison": faster(1.5, interval)})
        assert latency_ratio(latency(1.5), unknown, margin=0.03) is None

    @pytest.mark.slow
    def test_a_thousand_clean_nights_raise_no_alarm(self):
        # 40 variants a night, errors of 0.7 % each, 8 processes; a change beyond 3 % at p < 0.05 / 40.
        rng = np.random.default_rng(0)
        half = 0.007 * stats.t.ppf(0.975, 7)
        alarms = 0
        for _ in range(1000):
            base, new = np.exp(rng.normal(math.log(1.5), 0.007, 2))
            sides = [latency(speedup, half, 8) for speedup in (base, new)]
            found = latency_ratio(sides[0], sides[1], margin=0.03)
            assert found is not None
            alarms += found.p_value < 0.05 / 40
        assert alarms == 0


class TestOtherConfidences:
    """A base that was judged at another confidence."""

    def test_arms_go_with_the_normal_quantile(self):
        # 1.959964 and 2.575829.
        assert at_level(5.0, (4.0, 7.0), 0.95, 0.99) == pytest.approx((5 - 1.314223, 5 + 2 * 1.314223), rel=1e-6)
        assert at_level(5.0, (4.0, 7.0), 0.95, 0.95) == (4.0, 7.0)

    def test_a_speedup_has_the_same_error_at_whatever_level_it_was_written(self):
        new = latency(1.4, 0.02, 20)
        low, high = (stats.t.ppf(0.9995, 9) / stats.t.ppf(0.975, 9) * math.log(end / 1.5) for end in (1.485, 1.515))
        at_95 = latency(1.5, 0.01, 10).model_copy(update={"comparison": faster(1.5, (1.485, 1.515))})
        wide = (1.5 * math.exp(low), 1.5 * math.exp(high))
        at_999 = at_95.model_copy(update={"comparison": faster(1.5, wide, confidence=0.999)})
        found = latency_ratio(at_999, new, margin=0.01, confidence=0.95)
        expected = latency_ratio(at_95, new, margin=0.01, confidence=0.95)
        assert found is not None and expected is not None
        assert found.interval == pytest.approx(expected.interval)
        assert found.p_value == pytest.approx(expected.p_value)
