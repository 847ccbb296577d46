"""The figure of a check: what it calls alike, and what it does not let through."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.verification.figures import EXACT_DB, StepFailed, batches, is_rounding, run_all, sqnr_db

RNG = np.random.default_rng(0)


def outputs(n: int = 4) -> list[np.ndarray]:
    return batches(RNG.standard_normal((n, 5)).astype(np.float32))


def test_identical_outputs_are_infinitely_alike() -> None:
    expected = outputs()
    assert sqnr_db(expected, expected) == math.inf


def test_one_percent_of_noise_is_40_decibels() -> None:
    expected = batches(np.array([[1.0], [-1.0], [1.0], [-1.0]]))
    assert sqnr_db(expected, [1.01 * each for each in expected]) == pytest.approx(40.0)


def test_the_worse_batch_counts() -> None:
    alone, three = outputs()
    assert sqnr_db([alone, three], [1.1 * alone, three]) < 40 < sqnr_db([alone, three], [alone, three])


def test_a_constant_offset_does_not_hide_an_error() -> None:
    expected = outputs()
    offset = [each + 100.0 for each in expected]
    wrong = [each + 100.0 + 0.1 * (each - 1) for each in expected]
    assert sqnr_db(offset, wrong) < EXACT_DB


def test_rounding_of_outputs_that_hardly_vary_is_no_error() -> None:
    constant = batches(np.full((4, 3), 0.7, np.float32))
    assert sqnr_db(constant, [np.nextafter(each, np.float32(1)) for each in constant]) > EXACT_DB


def test_outputs_that_are_all_zero_must_stay_so() -> None:
    zero = batches(np.zeros((4, 3), np.float32))
    assert sqnr_db(zero, [each + 1e-9 for each in zero]) == math.inf
    assert sqnr_db(zero, [each + 1e-3 for each in zero]) == -math.inf


def test_nan_must_be_in_the_same_places() -> None:
    expected = outputs()
    expected[1][0, 0] = np.nan
    assert sqnr_db(expected, [each.copy() for each in expected]) == math.inf
    assert sqnr_db(expected, [np.nan_to_num(each) for each in expected]) == -math.inf


def test_another_shape_is_no_likeness() -> None:
    expected = outputs()
    assert sqnr_db(expected, [each[:, :3] for each in expected]) == -math.inf


def test_integers_are_compared_too() -> None:
    expected = batches(np.arange(8).reshape(4, 2))
    assert sqnr_db(expected, [each + (each == 7) for each in expected]) < EXACT_DB


def test_rounding_is_told_from_an_error_by_the_network_in_float64() -> None:
    exact = [each.astype(np.float64) for each in outputs()]
    noisy, also_noisy, wrong = (
        [each + scale * RNG.standard_normal(each.shape) for each in exact] for scale in (1e-3, 2e-3, 0.3)
    )
    assert is_rounding(noisy, also_noisy, exact)
    assert not is_rounding(noisy, wrong, exact)
    assert not is_rounding(exact, also_noisy, exact)  # nothing to round: the network itself is exact
    assert not is_rounding(noisy, also_noisy, None)


def test_a_batch_that_cannot_be_executed_names_the_step_and_its_size() -> None:
    def only_one(batch: np.ndarray) -> np.ndarray:
        if len(batch) != 1:
            raise RuntimeError("Got invalid dimensions\nmore")
        return batch

    with pytest.raises(
        StepFailed, match=r"captured → ONNX: a batch of 3 cannot be executed: Got invalid dimensions\n  fix: fix it$"
    ):
        run_all("captured → ONNX", only_one, outputs(), "fix it")
