"""What a step is: proven, lasting, and not found where there is none."""

import numpy as np
import pytest

from harness.history.steps import MIN_RUNS, SIGNIFICANCE, Observation, find_steps, standard_error


def series(values, error=0.0):
    return [Observation(float(value), error) for value in values]


def test_the_standard_error_is_half_the_interval_over_the_normal_quantile():
    assert standard_error(1.0 - 1.959964, 1.0 + 1.959964) == pytest.approx(1.0)
    assert standard_error(None, None) == 0.0


def test_an_exact_figure_steps_where_it_changes_by_more_than_its_margin():
    (step,) = find_steps(series([100, 100, 100, 104, 104]), margin=1)
    assert (step.index, step.before, step.after, step.p_value) == (3, 100, 104, None)
    assert find_steps(series([100, 100, 100, 101]), margin=1) == []
    assert find_steps(series([100]), margin=1) == []


def test_one_run_at_a_new_exact_value_is_not_a_lasting_step():
    assert find_steps(series([100, 100, 100, 104]), margin=1) == []
    assert find_steps(series([100, 100, 100, 104, 100, 100]), margin=1) == []
    (step,) = find_steps(series([100, 100, 100, 104, 110, 110, 110]), margin=1)
    assert (step.index, step.before, step.after) == (4, 100, 110)


def test_a_lasting_step_is_found_at_its_first_run():
    rng = np.random.default_rng(1)
    values = rng.normal(0.0, 0.01, 20)
    values[12:] += 0.1  # ten standard deviations
    (step,) = find_steps(series(values, 0.005), margin=0.03)
    assert step.index == 12
    assert step.after - step.before == pytest.approx(0.1, abs=0.02)
    assert step.p_value < 0.001


def test_up_and_down_again_are_two_steps():
    values = np.random.default_rng(2).normal(0.0, 0.01, 24)
    values[8:16] += 0.1
    assert [step.index for step in find_steps(series(values), margin=0.03)] == [8, 16]


def test_a_proven_step_within_the_margin_does_not_matter():
    values = np.random.default_rng(3).normal(0.0, 0.001, 20)
    values[10:] += 0.01
    assert len(find_steps(series(values), margin=0.0)) == 1
    assert find_steps(series(values), margin=0.02) == []


def test_one_and_two_bad_nights_are_no_step():
    for bad in (1, 2):
        values = np.random.default_rng(4).normal(0.0, 0.01, 20)
        values[10 : 10 + bad] += 0.2
        assert find_steps(series(values), margin=0.03) == []


def test_the_intervals_of_the_runs_count_where_their_scatter_is_small_by_chance():
    values = [0.0, 0.001, -0.001, 0.05, 0.049, 0.051]  # level and scatter of three runs each
    assert len(find_steps(series(values, 0.002), margin=0.01)) == 1
    assert find_steps(series(values, 0.05), margin=0.01) == []  # each run alone is known to 0.05 only


def test_too_few_runs_prove_nothing():
    values = np.r_[np.zeros(MIN_RUNS - 1), np.ones(MIN_RUNS)] + np.random.default_rng(5).normal(0, 0.001, 5)
    assert find_steps(series(values), margin=0.01) == []


NOISES = {
    "normal": lambda rng, n: rng.normal(0.0, 0.01, n),
    "heavy tails": lambda rng, n: 0.01 * rng.standard_t(4, n),
    "bad nights": lambda rng, n: rng.normal(0.0, 0.01, n) + (rng.random(n) < 0.05) * rng.normal(0.0, 0.08, n),
}


@pytest.mark.parametrize("runs", [6, 20, 40])
@pytest.mark.parametrize("noise", NOISES)
def test_few_false_steps_and_most_true_ones_are_found(noise, runs):
    """300 series each. Three standard errors of a share of 1 % among 300 are 1.7 points, of 2 % 2.4 points."""
    rng, make = np.random.default_rng(runs), NOISES[noise]
    false = sum(bool(find_steps(series(make(rng, runs), 0.003), margin=0.0)) for _ in range(300))
    allowed = SIGNIFICANCE if noise == "normal" else 2 * SIGNIFICANCE
    assert false / 300 <= allowed + 3 * np.sqrt(allowed * (1 - allowed) / 300)
    found = 0
    for _ in range(100):
        values = make(rng, runs)
        values[runs // 2 :] += 0.08  # eight standard deviations
        found += any(step.index == runs // 2 for step in find_steps(series(values, 0.003), margin=0.03))
    assert found >= (60 if runs == 6 else 90)
