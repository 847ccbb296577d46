"""The page of the history: readable after one run, with charts from the second on."""

from __future__ import annotations

import re

from history.conftest import night
from oracles.recorded_runs import FP32, PTQ

from harness.history.database import append, entries
from harness.history.trends import trends
from harness.report.history import html_text, single_run_table
from harness.report.variants import NONE
from harness.words.phrases import TIMES


def page(tmp_path, runs):
    file = tmp_path / "history.sqlite"
    append(file, [night(number) for number in range(runs)])
    found = trends(entries(file))
    return found, html_text(found)


def charts(text):
    return len(re.findall(r'class="chart"', text))


def test_after_one_run_the_page_is_a_table_of_its_figures(tmp_path):
    found, text = page(tmp_path, 1)
    assert charts(text) == 0
    assert "One run so far" in text
    assert "Too early to tell" in text
    table = single_run_table(found, "tiny")
    assert table.headings[:3] == ("Variant", "Top-1", "Median")
    rows = {row[0]: dict(zip(table.headings, row, strict=True)) for row in table.rows}
    assert rows[PTQ]["Speedup"] == f"1.50{TIMES}"
    assert rows[FP32]["Speedup"] == NONE
    assert rows[PTQ]["INT8 MACs"] == "100.00 %"
    assert not any("sqnr" in heading for heading in table.headings)


def test_the_summary_names_one_time_for_one_run(tmp_path):
    assert '<p class="meta">1 run, 2026-01-01 02:00 UTC</p>' in page(tmp_path, 1)[1]
    assert "2 runs, 2026-01-01 02:00 to 2026-01-02 02:00 UTC" in page(tmp_path, 2)[1]


def test_from_the_second_run_on_every_figure_has_a_chart_accuracy_and_speed_first(tmp_path):
    found, text = page(tmp_path, 2)
    assert charts(text) == len({trend.metric for trend in found}) > 3
    order = [text.index(f"{name}: a colour") for name in ("accuracy.top1", "latency.speedup", "size.engine_bytes")]
    assert order == sorted(order)


def test_only_a_history_that_is_long_enough_says_that_nothing_stepped(tmp_path):
    assert "Too early to tell" in page(tmp_path, 5)[1]
    assert "None of the series has left its level" in page(tmp_path, 6)[1]
