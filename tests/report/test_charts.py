"""Axes that hold what matters, and views that are kept once."""

import pytest

from harness.report.charts import Extent, Views, heat, narrow, option


def test_an_axis_holds_its_values_and_a_least_span():
    assert Extent.of([(91.5,)], least_span=1.0) == Extent(91.0, 92.0)
    found = Extent.of([(10.0,), (20.0,)], least_span=1.0)
    assert (found.low, found.high) == pytest.approx((9.4, 20.6))


def test_one_outlier_does_not_squeeze_the_others():
    usual = [(83.0 + 0.1 * step,) for step in range(8)]
    found = Extent.of([*usual, (12.0,)], least_span=1.0)
    assert found.low > 82
    assert not found.holds(12.0)
    assert found.clamped(12.0) == found.low


def test_an_axis_holds_intervals_but_not_those_of_outliers():
    found = Extent.of([(1.0, 0.2, 1.8), (1.1, 0.5, 1.7), (1.2, 1.0, 1.4), (40.0, 20.0, 60.0)], least_span=1.0)
    assert found.low < 0.2
    assert 1.8 < found.high < 20


def test_what_must_be_seen_is_no_outlier():
    values = [(0.06,)] * 10
    assert not Extent.of([*values, (0.6,)], least_span=0.01).holds(0.6)
    assert Extent.of([*values, (0.6,)], least_span=0.01, keep=[0.6]).holds(0.6)


def test_equal_views_are_kept_once():
    views = Views()
    assert [views.add(view) for view in ({"a": 1}, {"a": 2}, None, {"a": 1})] == [0, 1, -1, 0]
    assert views.found == [{"a": 1}, {"a": 2}]


def test_a_narrow_chart_becomes_wide_again():
    base = option(grid={"left": 200})
    (small, wide) = narrow(base, grid={"left": 80})["media"]
    assert small["option"] == {"grid": {"left": 80}}
    assert wide == {"option": {"grid": {"left": 200}}}


def test_heat_ends_at_its_ends():
    assert [heat(share) for share in (-1.0, 0.0, 1.0, 3.0)] == ["var(--heat-0)"] * 2 + ["var(--heat-7)"] * 2
