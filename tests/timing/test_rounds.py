"""Sessions take turns, in a new order each round, for as long as they were given."""

import itertools
import time

import numpy as np
import pytest

from harness.timing.contamination import ContaminationMonitor, Signal
from harness.timing.rounds import time_rounds

BATCH = np.zeros((1, 1), np.float32)


class Scripted:
    """A session whose inferences take given milliseconds, and that tells a journal of its turns."""

    def __init__(self, name, milliseconds, journal):
        self.name, self.journal = name, journal
        self._durations = itertools.cycle(milliseconds)

    def time_runs(self, batch, runs):
        self.journal.append((self.name, runs))
        return list(itertools.islice(self._durations, runs))


def turns(journal, sessions):
    """Names in the order of their turns, without the warm-up."""
    names = [name for name, _ in journal[sessions:]]
    return [tuple(names[start : start + sessions]) for start in range(0, len(names), sessions)]


def test_every_session_has_one_turn_per_round_and_the_order_changes(plan):
    journal = []
    sessions = {name: Scripted(name, [1.0], journal) for name in "abc"}
    rounds = time_rounds(sessions, BATCH, plan.model_copy(update={"rounds_per_process": 30}), seed=1)
    assert len(rounds) == 30
    orders = turns(journal, 3)
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert len(set(orders)) == 6  # all permutations occur in 30 rounds
    assert [tuple(each.samples_ms) for each in rounds] == orders


def test_the_order_follows_from_the_seed(plan):
    def orders(seed):
        journal = []
        time_rounds({name: Scripted(name, [1.0], journal) for name in "abcd"}, BATCH, plan, seed=seed)
        return turns(journal, 4)

    assert orders(3) == orders(3)
    assert orders(3) != orders(4)


@pytest.mark.parametrize(("inference_ms", "runs"), [(0.1, 10), (0.5, 2), (7.0, 1)])
def test_a_turn_fills_its_time_and_has_at_least_one_inference(plan, inference_ms, runs):
    # Turns of 1 ms: ten inferences of 0.1 ms, and still one of 7 ms.
    journal = []
    (first, *_) = time_rounds({"a": Scripted("a", [inference_ms], journal)}, BATCH, plan, seed=0)
    assert len(first.samples_ms["a"]) == runs


def test_a_process_that_is_late_keeps_three_rounds(plan):
    sessions = {"a": Scripted("a", [1.0], [])}
    rounds = time_rounds(
        sessions, BATCH, plan.model_copy(update={"rounds_per_process": 50}), seed=0, deadline_s=time.perf_counter()
    )
    assert len(rounds) == 3


def test_rounds_are_labelled_and_kept(plan):
    counts = itertools.count()
    odd = Signal("odd", lambda: float(next(counts)), lambda before, *_: int(before) % 4 == 1)
    rounds = time_rounds({"a": Scripted("a", [1.0], [])}, BATCH, plan, seed=0, watch=ContaminationMonitor([odd]))
    # Reading 0 asks whether there is the signal; then each round reads twice: from 1 and 2, 3 and 4, 5 and 6, ...
    assert [each.contamination for each in rounds] == [("odd",), (), ("odd",), ()]
