"""The table of verdicts, line by line, and that its lines exclude each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.single_verdicts import accuracy_verdict, latency_verdict

from harness.stats.verdict import is_non_inferior, is_proven

MARGIN = 0.005
intervals = st.tuples(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1)).map(lambda ends: (min(ends), max(ends)))


class TestAccuracy:
    @pytest.mark.parametrize(
        ("interval", "p_value", "verdict"),
        [
            ((-0.001, 0.002), 0.6, "same"),
            ((0.001, 0.004), 0.001, "same"),  # a proven loss that is too small to matter
            ((0.001, 0.006), 0.001, "worse"),  # proven, perhaps beyond the margin
            ((0.020, 0.030), 0.000, "worse"),
            ((0.001, 0.006), 0.125, "inconclusive"),  # four lost, none won: the exact test does not agree
            ((-0.001, 0.006), 0.2, "inconclusive"),
            ((-0.006, 0.001), 0.2, "inconclusive"),
            ((-0.020, 0.020), 1.0, "inconclusive"),
            ((-0.006, -0.001), 0.001, "better"),
            ((-0.005, -0.001), 0.001, "better"),  # the margin itself is not within the margin
        ],
    )
    def test_table(self, interval, p_value, verdict):
        assert accuracy_verdict(interval, p_value, MARGIN) == verdict

    def test_without_a_margin_nothing_is_the_same(self):
        assert accuracy_verdict((0.0, 0.0), 1.0, 0.0) == "inconclusive"
        assert accuracy_verdict((1e-4, 2e-4), 0.001, 0.0) == "worse"

    @given(intervals, st.floats(0, 1), st.floats(0, 0.05))
    def test_mirrored_interval_mirrors_the_verdict(self, interval, p_value, margin):
        mirror = {"worse": "better", "better": "worse", "same": "same", "inconclusive": "inconclusive"}
        there = accuracy_verdict(interval, p_value, margin)
        assert accuracy_verdict((-interval[1], -interval[0]), p_value, margin) == mirror[there]

    @given(intervals, st.floats(0, 1), st.floats(0, 0.05))
    def test_what_may_be_shipped_agrees_with_the_verdict(self, interval, p_value, margin):
        verdict = accuracy_verdict(interval, p_value, margin)
        if verdict in {"same", "better"}:
            assert is_non_inferior(interval, margin)
        if verdict == "worse":
            assert not is_non_inferior(interval, margin)

    def test_a_possible_gain_does_not_stand_in_the_way_of_shipping(self):
        interval = (-0.009, 0.002)
        assert accuracy_verdict(interval, 0.2, MARGIN) == "inconclusive"
        assert is_non_inferior(interval, MARGIN)

    def test_proof_needs_interval_and_test(self):
        assert is_proven((0.001, 0.01), 0.05)
        assert not is_proven((0.001, 0.01), 0.051)
        assert not is_proven((0.0, 0.01), 0.001)


class TestLatency:
    # With a margin of 3 % the margin, and without noise the band, reaches from 1 / 1.03 = 0.971 to 1.03.
    @pytest.mark.parametrize(
        ("interval", "noise", "verdict"),
        [
            ((1.60, 1.70), 0.01, "better"),
            ((1.02, 1.70), 0.01, "inconclusive"),
            ((1.01, 1.02), 0.01, "same"),  # proven to be faster, by nothing that matters
            ((0.98, 1.02), None, "same"),
            ((0.97, 1.02), None, "inconclusive"),
            ((0.50, 0.96), None, "worse"),
            ((1.05, 1.09), 0.10, "inconclusive"),  # a noisy session: within 10 % nothing is told apart
            ((0.98, 1.02), 0.10, "same"),  # whatever the noise, the interval lies within the margin
            ((1.05, 1.15), 0.10, "inconclusive"),
            ((1.11, 1.15), 0.10, "better"),
        ],
    )
    def test_table(self, interval, noise, verdict):
        assert latency_verdict(interval, 0.03, noise) == verdict

    @given(st.tuples(st.floats(0.2, 5), st.floats(0.2, 5)).map(sorted), st.floats(0.001, 0.3))
    def test_mirrored_interval_mirrors_the_verdict(self, ends, margin):
        mirror = {"worse": "better", "better": "worse", "same": "same", "inconclusive": "inconclusive"}
        low, high = ends
        edges = (1 + margin, 1 / (1 + margin))
        if all(abs(end - edge) > 1e-9 for end in ends for edge in edges):
            there = latency_verdict((low, high), margin, None)
            assert latency_verdict((1 / high, 1 / low), margin, None) == mirror[there]
