"""The catalogue has every figure that records hold, and says of each all that others rely on."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import pytest

from harness import figures
from harness.figures import METRICS, catalog, figures_of
from harness.metrics import metrics
from harness.metrics.base import Metric
from harness.report.figure_page import PAGE, render
from harness.results import (
    Agreement,
    ConfidenceInterval,
    Load,
    MetricValue,
    PairedComparison,
    ParityStep,
    Record,
    Representation,
    Row,
    RunResults,
    Variant,
)
from harness.verdicts.settings import Judgement

REPOSITORY = Path(__file__).parents[2]
HOW = frozenset(
    ("n", "label", "rounds", "inferences", "seconds", "analyses", "layer_samples", "confidence", "processes", "builds")
) | {"margin", "threads", "noise_floor", "data_passes", "family_size"}
"""What says how a figure was made is none itself."""


def numbers(record: type[Record], prefix: str) -> Iterator[str]:
    """Dotted names of the numbers that a record and the records in it may hold, or tell from their comparisons."""
    if record in (PairedComparison, ConfidenceInterval):
        return
    for name, told in inspect.getmembers(record, lambda member: isinstance(member, property)):
        if not {int, float}.isdisjoint(get_args(typing.get_type_hints(told.fget)["return"])):
            yield f"{prefix}.{name}"
    for name, field in record.model_fields.items():
        alternatives = get_args(field.annotation) if _is_union(field.annotation) else (field.annotation,)
        inner = next((each for each in alternatives if isinstance(each, type) and issubclass(each, Record)), None)
        if inner is not None:
            yield from numbers(inner, f"{prefix}.{name}")
        elif not {int, float}.isdisjoint(alternatives) and name not in HOW and "p_value" not in name:
            yield f"{prefix}.{name}"


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (typing.Union, UnionType)


def test_every_number_of_a_row_is_in_the_catalogue() -> None:
    held = {name for name in numbers(Row, "") if not name.startswith(".variant.")}
    expected = {name.removeprefix(".") for name in held}
    expected |= {
        name
        for pair in combinations(get_args(Representation), 2)
        for name in numbers(ParityStep, f"parity.{'_to_'.join(pair)}")
    }
    assert set(catalog()) == expected


def test_names_and_columns_are_unique_and_all_is_said() -> None:
    columns = [each.column for each in catalog().values() if each.column]
    assert len(columns) == len(set(columns))
    for each in catalog().values():
        assert each.header
        assert each.definition.endswith(".")
        assert each.definition.count(". ") == 0, "one sentence"


@pytest.mark.parametrize(
    ("name", "better"),
    [
        *(("accuracy.top1", "higher"), ("accuracy.drop", "lower"), ("latency.speedup", "higher")),
        *(("latency.median_ms", "lower"), ("energy.idle_w", None), ("memory.baseline_bytes", None)),
    ],
)
def test_directions(name: str, better: str | None) -> None:
    assert figures.figure(name).better == better
    assert figures.figure(name).higher_is_better == {"higher": True, "lower": False, None: None}[better]


def test_values_are_those_of_the_records() -> None:
    results = RunResults.load(REPOSITORY / "reports" / "example" / "results.json")
    row = next(row for row in results.rows if row.variant.method == "ptq")
    found = {each.name: each.read(row, results.confidence) for each in figures_of(row)}
    assert row.accuracy is not None and row.latency is not None and row.parity is not None and row.cost is not None
    assert found["accuracy.top1"] == (row.accuracy.top1, row.accuracy.top1_interval)
    assert found["latency.speedup"] == (row.latency.speedup, row.latency.speedup_interval)
    assert row.cost.export_s is not None
    assert found["cost.export_s"] == (row.cost.export_s, None)
    step = row.parity.steps[0]
    assert found[f"parity.{step.start}_to_{step.end}.sqnr_db"] == (step.sqnr_db, None)
    assert found["energy.joules_per_inference"] is None
    assert found["metrics.agreement"] is not None


def test_a_share_without_an_interval_of_its_own_gets_wilsons_at_the_level_of_its_run() -> None:
    alike = Agreement(top1_agreement=0.9, max_abs_error=0.1, sqnr_db=30.0, n=100)
    variant = Variant(id="v", model="m", method="ptq", target="t", batch_size=1)
    row = Row.model_validate({"variant": variant, "status": "ok", "parity": {"torch_vs_onnx": alike}})
    wide = figures.read(row, "parity.torch_vs_onnx.top1_agreement", confidence=0.99)
    narrow = figures.read(row, "parity.torch_vs_onnx.top1_agreement", confidence=0.9)
    assert wide is not None and narrow is not None and wide.interval is not None and narrow.interval is not None
    assert wide.interval.low < narrow.interval.low < 0.9 < narrow.interval.high < wide.interval.high
    assert wide.interval.confidence == 0.99


class Own(Metric):
    """Share of samples that somebody liked.

    More lines, which are no part of its definition.
    """

    name = "liked"
    unit = "share"
    header = "Liked"

    def compute(self, evidence: Any) -> MetricValue:
        return MetricValue(value=0.5, unit=self.unit, higher_is_better=True)


def test_the_class_of_a_metric_says_what_its_figure_is() -> None:
    figure = Own().figure
    assert figure is not None
    assert (figure.name, figure.header, figure.unit, figure.better) == ("metrics.liked", "Liked", "share", "higher")
    assert figure.definition == "Share of samples that somebody liked."
    assert figure.margin is not None and figure.margin.kind == "difference"


def test_metrics_with_a_section_have_theirs_in_the_catalogue() -> None:
    for metric in metrics().values():
        assert (metric.figure is None) == (metric.section is not None)
        assert metric.section is None or any(each.section == metric.section for each in catalog().values())


def test_a_record_of_a_metric_tells_its_figure_without_the_class() -> None:
    value = MetricValue(value=3.0, unit="px", higher_is_better=False, header="Offset", definition="How far it is off.")
    variant = Variant(id="v", model="m", method="ptq", target="t", batch_size=1)
    row = Row(variant=variant, status="ok", metrics={"offset": value, "old": value.model_copy(update={"header": None})})
    first, second = (each for each in figures_of(row) if each.section == METRICS)
    assert (first.header, first.unit, first.better, first.definition) == ("Offset", "px", "lower", "How far it is off.")
    assert second.header == "old"


def test_a_load_test_without_accuracy_mode_has_no_disagreements() -> None:
    variant = Variant(id="v", model="m", method="ptq", target="t", batch_size=1)
    row = Row(variant=variant, status="ok", load=Load(results={}, overhead_us=2.0, loadgen_version="6"))
    assert figures.read(row, "load.accuracy.disagreements") is None
    assert figures.read(row, "load.overhead_us") == (2.0, None)


def test_the_page_in_the_repository_is_up_to_date() -> None:
    page = (REPOSITORY / PAGE).read_text(encoding="utf-8")
    assert page == render(), "run `python -m harness.report.figure_page`"


def test_margins_are_those_that_scenarios_have_by_default() -> None:
    accuracy, latency = figures.figure(figures.TOP1).margin, figures.figure(figures.SPEEDUP).margin
    assert accuracy is not None and latency is not None
    assert (Judgement().accuracy_margin, Judgement().latency_margin) == (accuracy.size, latency.size)
