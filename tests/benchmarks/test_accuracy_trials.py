"""The promises of the statistics on accuracy, on fewer trials than the script prints."""

import importlib.util
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
TRIALS = 2_000
ERROR = 0.0049
"""Standard error of a true 95 % over 2,000 trials: sqrt(0.95 * 0.05 / 2000)."""


@pytest.fixture(scope="module")
def trials():
    spec = importlib.util.spec_from_file_location("accuracy_trials", Path(__file__).with_name("accuracy_trials.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("n", "lost", "won"), [(500, 0.03, 0.02), (2_000, 0.01, 0.0), (10_000, 0.035, 0.015)])
def test_intervals_cover_93_to_97_percent(trials, n, lost, won):
    found = trials.coverage(trials.Truth(n, lost, won), TRIALS)
    assert 0.93 - 2 * ERROR < found.score < 0.97 + 2 * ERROR


@pytest.mark.parametrize("expected", [0.5, 2, 4.5, 6.5])
def test_few_discordant_samples_cover_hardly_less(trials, expected):
    exact = [
        trials.exact_coverage(trials.Truth(2_000, expected / 2_000 * share, expected / 2_000 * (1 - share)))
        for share in (0.5, 0.95, 1.0)
    ]
    assert min(exact) > 0.929


@pytest.mark.parametrize(("n", "discordant"), [(500, 0.05), (2_000, 0.02), (10_000, 0.05)])
def test_a_loss_of_the_margin_passes_in_at_most_five_percent(trials, n, discordant):
    truth = trials.Truth(n, (discordant + trials.MARGIN) / 2, (discordant - trials.MARGIN) / 2)
    assert trials.non_inferior(truth, TRIALS) <= 0.05


def test_a_matrix_of_equal_rows_shows_a_difference_in_at_most_five_percent_of_runs(trials):
    plain = trials.null_family_errors("none", rows=24, shared=0.0, trials=300)
    corrected = trials.null_family_errors("holm", rows=24, shared=0.0, trials=300)
    assert plain > 0.4
    # Standard error of a true 5 % over 300 runs: 1.3 %.
    assert corrected <= 0.05 + 2 * 0.013
