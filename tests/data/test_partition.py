from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.partition import balanced_order, partition, subset
from harness.errors import DataError

label_arrays = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(lambda values: np.array(values, dtype=np.int64))


@given(labels=label_arrays, seed=st.integers(0, 2**32 - 1))
def test_balanced_order_is_a_permutation(labels, seed):
    order = balanced_order(labels, len(labels), np.random.default_rng(seed))
    assert sorted(order) == list(range(len(labels)))


@given(seed=st.integers(0, 2**32 - 1), length=st.integers(0, 30))
def test_every_beginning_is_balanced_to_within_one(seed, length):
    labels = np.repeat(np.arange(3), 10)  # ten of each of three classes
    order = balanced_order(labels, 30, np.random.default_rng(seed))
    counts = np.bincount(labels[order[:length]], minlength=3)
    assert counts.max() - counts.min() <= 1


def test_a_class_that_runs_out_leaves_its_turns_to_the_others():
    labels = np.array([0] * 8 + [1] * 2)
    order = balanced_order(labels, 10, np.random.default_rng(0))
    assert Counter(labels[order[:4]].tolist()) == {0: 2, 1: 2}
    assert Counter(labels[order[:6]].tolist()) == {0: 4, 1: 2}


def test_labels_need_not_be_consecutive():
    labels = np.array([7, 7, 100, 100])
    order = balanced_order(labels, 4, np.random.default_rng(0))
    assert set(labels[order[:2]].tolist()) == {7, 100}


@given(
    labels=label_arrays,
    seed=st.integers(0, 2**32 - 1),
    share=st.floats(0, 1),
    train_share=st.none() | st.floats(0, 1),
)
def test_train_and_calibration_share_no_sample(labels, seed, share, train_share):
    n = len(labels)
    calibration_samples = int(share * n)
    train_samples = None if train_share is None else int(train_share * (n - calibration_samples))
    parts = partition(
        labels,
        n,
        calibration_samples=calibration_samples,
        train_samples=train_samples,
        rng=np.random.default_rng(seed),
    )
    assert not set(parts.train) & set(parts.calibration)
    assert len(parts.calibration) == calibration_samples
    assert len(parts.train) == (n - calibration_samples if train_samples is None else train_samples)


def test_equal_seeds_give_equal_parts_and_others_do_not():
    def draw(seed):
        rng = np.random.default_rng(seed)
        return partition(None, 1000, calibration_samples=100, train_samples=None, rng=rng).calibration.tolist()

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_too_many_samples_are_an_error_with_the_numbers_and_the_fix():
    with pytest.raises(DataError) as error:
        partition(None, 100, calibration_samples=64, train_samples=50, rng=np.random.default_rng(0))
    assert "calibration_samples (64) + train_samples (50) = 114" in error.value.message
    assert "has 100 samples" in error.value.message
    assert "at most 100" in (error.value.fix or "")


def test_all_of_the_test_part_keeps_its_order():
    assert subset(None, 5, samples=None, what="test_samples", rng=np.random.default_rng(0)).tolist() == [0, 1, 2, 3, 4]


def test_some_of_the_test_part_are_balanced_and_in_order():
    labels = np.repeat(np.arange(5), 20)
    chosen = subset(labels, 100, samples=10, what="test_samples", rng=np.random.default_rng(0))
    assert np.bincount(labels[chosen]).tolist() == [2, 2, 2, 2, 2]
    assert chosen.tolist() == sorted(chosen.tolist())


def test_more_test_samples_than_there_are_is_an_error_that_names_the_key():
    with pytest.raises(DataError, match="test_samples is 6, but there are 5"):
        subset(None, 5, samples=6, what="test_samples", rng=np.random.default_rng(0))
