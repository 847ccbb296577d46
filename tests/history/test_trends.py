"""Series of the history: what is in one, what its steps say, and what is never mixed."""

import re
from datetime import UTC, datetime
from html import unescape

import numpy as np
import pytest
from history.conftest import night
from oracles.recorded_runs import FP32, PTQ, right

from harness.errors import UsageError
from harness.history.database import append, entries
from harness.history.trends import SeriesFilter, parse_since, trends
from harness.report.history import html_text, step_messages
from harness.report.history_words import step_sentence

SPEEDUP, MEDIAN = "latency.speedup", "latency.median_ms"


def noisy(level, number):
    return level * np.exp(0.004 * np.random.default_rng(number).standard_normal())


def trend_of(database, metric, variant=PTQ, **choice):
    (found,) = [
        each
        for each in trends(entries(database), SeriesFilter(**choice))
        if (each.variant, each.metric) == (variant, metric)
    ]
    return found


def test_a_slower_engine_is_named_with_the_first_run_and_commit(database):
    append(database, [night(n, speedup=noisy(1.5 if n < 9 else 1.36, n)) for n in range(16)])
    (step,) = trend_of(database, SPEEDUP).steps
    assert step.first_after.run_id == "night-9"
    assert (step.last_before.commit, step.first_after.commit) == (f"{8:040x}", f"{9:040x}")
    assert step.is_better is False
    assert step.change == pytest.approx(1.36 / 1.5 - 1, abs=0.01)  # -9.3 %
    text = step_sentence(trend_of(database, SPEEDUP), step)
    assert "latency.speedup fell by 9" in text
    assert "run night-9 of 2026-01-10 02:00, commit 0000000000" in text


def test_a_slower_machine_moves_absolute_times_but_no_speedup(database):
    append(database, [night(n, speedup=noisy(1.5, n), fp32_ms=noisy(1.0 if n < 9 else 1.2, n + 50)) for n in range(16)])
    assert trend_of(database, SPEEDUP).steps == ()
    (step,) = trend_of(database, MEDIAN).steps
    assert step.is_shared_with_reference
    assert "FP32 stepped with it" in step_sentence(trend_of(database, MEDIAN), step)
    assert len(trend_of(database, MEDIAN, FP32).steps) == 1


def test_a_library_that_changed_with_the_step_is_named(database):
    new = {"onnxruntime": "1.33.0"}
    append(
        database, [night(n, packages=new if n >= 3 else None, engine_bytes=2000 if n >= 3 else 1400) for n in range(5)]
    )
    (step,) = trend_of(database, "size.engine_bytes").steps
    assert step.changed_packages == ("onnxruntime 1.32.0 \N{RIGHTWARDS ARROW} 1.33.0",)
    assert step.is_better is False


def test_accuracy_that_fell_for_good_is_a_step(database):
    append(database, [night(n, correct=right(lost=0 if n < 6 else 30)) for n in range(8)])
    (step,) = trend_of(database, "accuracy.top1").steps
    assert step.first_after.run_id == "night-6"
    assert step.change == pytest.approx(-0.03)  # 30 of 1,000 images


def test_machine_classes_are_never_mixed(database):
    other = "AMD EPYC 9R14"
    append(
        database, [night(n, cpu=other if n % 2 else None, speedup=noisy(2.0 if n % 2 else 1.5, n)) for n in range(16)]
    )
    found = [each for each in trends(entries(database)) if each.metric == SPEEDUP]
    assert {len(each.entries) for each in found} == {8}
    assert len({each.machine_class for each in found}) == 2
    assert all(each.steps == () for each in found)


def test_twenty_quiet_nights_have_no_step(database):
    append(database, [night(n, speedup=noisy(1.5, n), fp32_ms=noisy(1.0, n + 100)) for n in range(20)])
    assert step_messages(trends(entries(database))) == []


def test_a_choice_leaves_the_rest_out(database):
    append(database, [night(n) for n in range(4)])
    found = trends(entries(database), SeriesFilter(variants=("*ptq*",), metrics=("speedup",)))
    assert [(each.variant, each.metric) for each in found] == [(PTQ, SPEEDUP)]
    later = SeriesFilter(metrics=("speedup",), since=datetime(2026, 1, 3, tzinfo=UTC))
    assert [each.run.run_id for each in trends(entries(database), later)[0].entries] == ["night-2", "night-3"]


def test_a_slip_of_the_pen_is_an_error_with_the_nearest_name(database):
    append(database, [night(1)])
    for choice, guess in ((SeriesFilter(scenario="tyni"), "tiny"), (SeriesFilter(metrics=("speedpu",)), "speedup")):
        with pytest.raises(UsageError) as refused:
            trends(entries(database), choice)
        assert guess in refused.value.fix


def test_since_takes_days_and_dates():
    now = datetime(2026, 3, 31, tzinfo=UTC)
    assert parse_since("30d", now) == datetime(2026, 3, 1, tzinfo=UTC)
    assert parse_since("2026-01-31") == datetime(2026, 1, 31, tzinfo=UTC)
    with pytest.raises(UsageError, match="not a time"):
        parse_since("yesterday")


def test_the_page_needs_no_network_and_is_the_same_every_time(database):
    append(database, [night(n, speedup=noisy(1.5 if n < 9 else 1.36, n)) for n in range(16)])
    page = html_text(trends(entries(database)))
    assert "default-src 'none'" in unescape(page)
    assert not re.search(r"<(link|img|iframe)|\bsrc=", re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL))
    assert "fell by 9" in page and "night-9" in page and 'class="chart"' in page
    assert page == html_text(trends(entries(database)))


def test_an_empty_choice_is_a_page_too():
    assert "no runs" in html_text([])
