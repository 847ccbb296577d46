"""The search for a skip set, on networks that are nothing but a table of losses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.quantization.sensitivity.skip_search import SkipSearchResult, smallest_skip_set
from harness.stats.intervals import PairedDifference, paired_difference

N = 1000
"""Samples, all of which FP32 gets right."""


def search(lost: Mapping[str, int], budget: float, *, always_lost: int = 0) -> SkipSearchResult:
    """Each layer that is quantized costs that many samples; candidates in the order of `lost`."""
    asked: list[tuple[str, ...]] = []

    def judge(skip: tuple[str, ...]) -> PairedDifference:
        asked.append(skip)
        wrong = always_lost + sum(count for layer, count in lost.items() if layer not in skip)
        return paired_difference(np.ones(N, bool), np.arange(N) >= wrong)

    found = smallest_skip_set(list(lost), judge, budget)
    assert asked == list(found.trials)  # no set is judged twice
    return found


def test_nothing_is_skipped_where_nothing_needs_to_be() -> None:
    found = search({"a": 1, "b": 1}, budget=0.02)
    assert (found.status, found.skip) == ("nothing_to_skip", ())


def test_the_most_sensitive_are_skipped_until_the_budget_is_met() -> None:
    # Without `a`, 30 + 1 of 1000 are lost: 3.1 points, and the interval's upper end is about 4.2.
    assert search({"a": 80, "b": 30, "c": 1}, budget=0.05).skip == ("a",)
    assert search({"a": 80, "b": 30, "c": 1}, budget=0.02).skip == ("a", "b")


def test_the_interval_must_meet_it_not_the_observed_loss() -> None:
    # 10 of 1000 is 1.0 point, less than 1.2, but up to about 1.8 points are not ruled out.
    assert search({"a": 30, "b": 10}, budget=0.012).skip == ("a", "b")
    assert search({"a": 30, "b": 10}, budget=0.020).skip == ("a",)


def test_members_that_turn_out_useless_are_dropped_again() -> None:
    # Ranked first, as by a misleading SQNR, but worth nothing.
    found = search({"x": 0, "y": 0, "a": 80, "b": 1}, budget=0.02)
    assert (found.status, found.skip) == ("found", ("a",))


def test_a_budget_that_no_skip_set_meets_is_said() -> None:
    found = search({"a": 80}, budget=0.02, always_lost=50)
    assert (found.status, found.skip) == ("unreachable", ("a",))
    assert found.trials["a",].drop == 0.05


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 60), min_size=1),
    st.floats(0.004, 0.2),
    st.integers(0, 40),
)
def test_what_is_found_meets_the_budget_and_no_member_can_be_dropped(
    lost: dict[str, int], budget: float, always_lost: int
) -> None:
    found = search(lost, budget, always_lost=always_lost)
    meets = {skip: difference.drop_ci[1] < budget for skip, difference in found.trials.items()}
    assert meets[found.skip] == (found.status != "unreachable")
    if found.status == "found":
        for member in found.skip:
            assert not meets[tuple(name for name in found.skip if name != member)]
