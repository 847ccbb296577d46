"""What the charts of a group show, read from what is handed to ECharts."""

import json

import pytest

from harness.report import group_charts


def rows_of(results, model):
    return [row for row in results.rows if row.variant.model == model]


def base(chart):
    return chart.option.get("baseOption", chart.option)


def points(chart, kind="scatter"):
    return [item for series in base(chart)["series"] if series["type"] == kind for item in series["data"]]


def names(chart):
    return [item["tip"].splitlines()[0] for item in points(chart)]


def place_of(chart, name):
    (found,) = [item for item in points(chart) if item["tip"].splitlines()[0] == name]
    return found["value"]


def test_one_point_per_row_with_its_name(quickstart):
    rows = rows_of(quickstart, "resnet")
    chart = group_charts.pareto(rows, "k", "Bars")
    assert len(names(chart)) == len(rows)
    assert {"FP32", "PTQ max per-channel", "QAT max per-tensor"} <= set(names(chart))
    median, top1 = place_of(chart, "PTQ max per-channel")
    assert median == rows[1].latency.median_ms
    assert top1 == pytest.approx(rows[1].accuracy.top1 * 100)


def test_methods_differ_in_shape_calibrators_in_colour_and_granularities_in_filling(quickstart):
    chart = group_charts.pareto(rows_of(quickstart, "resnet"), "k", "Bars")
    drawn = {series["name"]: series for series in base(chart)["series"] if series["type"] == "scatter"}
    assert len({drawn[name]["symbol"] for name in ("FP32", "PTQ max", "QAT max")}) == 3
    assert drawn["PTQ max"]["color"] == drawn["QAT max"]["color"] != drawn["PTQ mse"]["color"]
    filled, hollow = (item["itemStyle"]["color"] for item in drawn["PTQ max"]["data"])
    assert filled != hollow == group_charts.SURFACE
    icons = {each["name"]: each["icon"] for each in base(chart)["legend"]["data"] if "icon" in each}
    assert icons == {name: series["symbol"] for name, series in drawn.items()}


def test_the_area_of_a_mark_is_that_of_the_engine(quickstart):
    chart = group_charts.pareto(rows_of(quickstart, "resnet"), "k", "Bars")
    sizes = {item["tip"].splitlines()[0]: item["symbolSize"] for item in points(chart)}
    assert sizes["FP32"] > sizes["PTQ max per-channel"] > group_charts._SMALLEST_PX


def test_the_front_holds_the_rows_that_no_row_beats(quickstart):
    rows = rows_of(quickstart, "resnet")
    (front,) = [
        series for series in base(group_charts.pareto(rows, "k", "Bars"))["series"] if series["name"] == "Pareto front"
    ]
    best = [
        row
        for row in rows
        if not any(
            other.accuracy.top1 >= row.accuracy.top1 and other.latency.median_ms < row.latency.median_ms
            for other in rows
        )
    ]
    assert [x for x, _ in front["data"]] == sorted(row.latency.median_ms for row in best)


def test_intervals_are_laid_around_fp32(quickstart):
    fp32, ptq, *_ = rows_of(quickstart, "resnet")
    found = group_charts.laid_around_fp32(ptq, group_charts.quality(ptq), [fp32, ptq])
    low, high = ptq.accuracy.comparison.loss_interval
    assert found.low == pytest.approx((fp32.accuracy.top1 - high) * 100)
    assert found.high == pytest.approx((fp32.accuracy.top1 - low) * 100)


def test_an_outlier_becomes_an_arrow_with_its_value_at_the_edge(quickstart):
    fp32, *others = rows_of(quickstart, "resnet")
    lost = others[0].accuracy.comparison.model_copy(update={"difference": -0.6, "interval": None})
    broken = others[0].model_copy(
        update={"accuracy": others[0].accuracy.model_copy(update={"top1": 0.312, "comparison": lost})}
    )
    chart = group_charts.pareto([fp32, broken, *others[1:]], "k", "Bars")
    (arrow,) = [item for item in points(chart) if item.get("symbol") == "arrow"]
    assert arrow["value"][1] == pytest.approx(base(chart)["yAxis"]["min"], abs=0.01)
    assert arrow["label"]["formatter"] == "PTQ max per-channel: 31.2"
    assert base(chart)["yAxis"]["min"] > 88


def test_ptq_and_qat_of_one_recipe_are_neighbours(quickstart):
    chart = group_charts.losses(rows_of(quickstart, "resnet"), "k", "Bars")
    labels = base(chart)["yAxis"]["data"]
    place = labels.index("PTQ max per-channel")
    assert labels[place + 1] == "QAT max per-channel"
    assert "FP32" not in labels
    assert {names(chart)[index]: labels[point["value"][1]] for index, point in enumerate(points(chart))} == {
        name: name for name in names(chart)
    }


def test_rows_without_accuracy_are_left_out_of_the_losses(lossy):
    assert sorted(names(group_charts.losses(lossy.rows, "k", "Bars"))) == [
        "PTQ max per-channel w4a8",
        "PTQ percentile 99 per-tensor",
        "QAT max per-channel w4a8",
        "QAT percentile 99 per-tensor",
    ]


def test_latencies_start_at_zero_and_show_the_distribution(rich):
    rows = rows_of(rich, "resnet")
    chart = group_charts.latencies(rows, "k")
    assert base(chart)["xAxis"]["min"] == 0
    (boxes,) = [series["data"] for series in base(chart)["series"] if series["type"] == "boxplot"]
    assert boxes[0]["value"] == pytest.approx(rows[0].latency.distribution_ms)


def test_a_record_without_distributions_shows_medians_and_tails(latency_only):
    chart = group_charts.latencies(latency_only.rows, "k")
    assert names(chart) == ["FP32", "PTQ max per-channel", "PTQ max per-tensor"]
    assert points(chart, "boxplot")[0]["value"] == ["-"] * 5
    assert len(points(chart, "lines")) == 3


def test_each_qat_row_is_joined_to_its_own_ptq(rich):
    chart = group_charts.qat_cost(rows_of(rich, "resnet"), "k", "Bars")
    lines = [series for series in base(chart)["series"] if series["type"] == "line"]
    assert [series["name"] for series in lines] == ["max per-channel", "max per-tensor"]
    (ptq_s, _), (qat_s, _) = (item["value"] for item in lines[0]["data"])
    assert qat_s == pytest.approx(ptq_s + 64.0)


def test_nothing_to_draw_is_none(latency_only):
    assert group_charts.pareto(latency_only.rows, "k", "Bars") is None
    assert group_charts.losses(latency_only.rows, "k", "Bars") is None
    assert group_charts.qat_cost(latency_only.rows, "k", "Bars") is None
    assert group_charts.latencies([], "k") is None


def test_colours_are_those_of_the_page(rich):
    charts = group_charts.group_charts(rows_of(rich, "resnet"), "k", 0.95)
    assert len(charts) == 4
    assert "#" not in json.dumps([chart.option for chart in charts])
