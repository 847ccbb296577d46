"""What the plots show, read from their SVG."""

import re
from xml.etree import ElementTree as ET

import pytest

from harness.report import figures

SVG = "{http://www.w3.org/2000/svg}"


def titles(svg):
    return [node.text for node in ET.fromstring(svg).iter(f"{SVG}title")]


def texts(svg):
    return [node.text for node in ET.fromstring(svg).iter(f"{SVG}text")]


def rows_of(results, model):
    return [row for row in results.rows if row.variant.model == model]


def test_one_point_per_row_with_its_name(quickstart):
    svg = figures.accuracy_latency(rows_of(quickstart, "resnet"), "k")
    assert titles(svg)[:2] == ["FP32", "PTQ max per-channel"]
    assert len(titles(svg)) == 11


def test_methods_differ_in_shape(quickstart):
    rows = rows_of(quickstart, "resnet")
    assert len({mark.shape for row, mark in zip(rows, figures._markings(rows), strict=True)}) == 3
    legend = texts(figures.accuracy_latency(rows, "k"))
    assert {"FP32", "PTQ", "QAT", "filled: per-channel", "hollow: per-tensor", "percentile 99.99"} <= set(legend)


def test_axes_stay_readable_when_all_rows_are_alike(quickstart):
    first = rows_of(quickstart, "resnet")[1]
    copies = [
        first.model_copy(update={"variant": first.variant.model_copy(update={"id": name})}) for name in ("a", "b", "c")
    ]
    svg = figures.accuracy_latency(copies, "k")
    ticks = [text for text in texts(svg) if re.fullmatch(r"[\d.]+", text)]
    assert len(ticks) > 6
    assert len(ticks) == len(set(ticks))
    # No offset such as `+9.16e1` beside an axis.
    assert not any("e" in text for text in texts(svg) if re.match(r"[+\d]", text))


def test_limits_hold_the_values_and_a_least_span():
    assert figures._limits([91.5, 91.5], 1.0) == (91.0, 92.0)
    low, high = figures._limits([10.0, 20.0], 1.0)
    assert (low, high) == pytest.approx((9.2, 20.8))


def test_intervals_are_laid_around_fp32(quickstart):
    fp32, ptq, *_ = rows_of(quickstart, "resnet")
    bar = figures._top1_bar(ptq, fp32.accuracy.top1 * 100)
    low, high = ptq.accuracy.comparison.loss_interval
    assert bar.low == pytest.approx((fp32.accuracy.top1 - high) * 100)
    assert bar.high == pytest.approx((fp32.accuracy.top1 - low) * 100)


def test_drops_name_every_row_but_fp32(lossy):
    svg = figures.drops(lossy.rows, "k")
    assert titles(svg) == [
        "PTQ percentile 99 per-tensor",
        "QAT percentile 99 per-tensor",
        "PTQ max per-channel w4a8",
        "QAT max per-channel w4a8",
    ]


def test_a_long_name_is_shortened_beside_the_axis_and_whole_in_the_title(lossy):
    row = lossy.rows[1]
    skip = ("features.0.conv.depthwise", "classifier")
    svg = figures.drops([row.model_copy(update={"variant": row.variant.model_copy(update={"skip": skip})})], "k")
    assert titles(svg)[0].endswith("without features.0.conv.depthwise, classifier")
    assert "PTQ percentile 99 per-tensor without fe\N{HORIZONTAL ELLIPSIS}" in texts(svg)


def test_latencies_start_at_zero(latency_only):
    svg = figures.latencies(latency_only.rows, "k")
    assert titles(svg) == ["FP32", "PTQ max per-channel", "PTQ max per-tensor"]
    assert "0" in texts(svg)


def test_nothing_to_plot(latency_only):
    assert figures.accuracy_latency(latency_only.rows, "k") is None
    assert figures.drops(latency_only.rows, "k") is None
    assert figures.latencies([], "k") is None


def test_colours_and_fonts_are_those_of_the_page(quickstart):
    svg = figures.accuracy_latency(rows_of(quickstart, "resnet"), "k")
    assert not re.search(r"#[0-9a-f]{6}\b", svg)
    assert "DejaVu" not in svg
    assert "var(--ink)" in svg
    assert "<style" not in svg


def test_two_plots_on_a_page_share_no_ids(quickstart):
    rows = rows_of(quickstart, "resnet")
    first, second = (set(re.findall(r'\bid="([^"]+)"', figures.accuracy_latency(rows, key))) for key in ("a", "b"))
    assert first
    assert first.isdisjoint(second)


def test_dollar_signs_are_not_formulas(quickstart):
    fp32, ptq, *_ = rows_of(quickstart, "resnet")
    odd = ptq.model_copy(update={"variant": ptq.variant.model_copy(update={"calibrator": r"$\frac"})})
    assert r"$\frac" in texts(figures.accuracy_latency([fp32, odd], "k"))
