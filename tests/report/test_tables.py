"""The smaller tables, the flat file, and the escaping of Markdown."""

import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from oracles.comparisons import compared_as, interval

from harness.report import data_tables, tables
from harness.report.definitions import definitions
from harness.report.flat import csv_text
from harness.report.markdown import escaped
from harness.report.variants import NONE
from harness.results import Gate, MetricValue
from harness.words.phrases import label


class TestTables:
    def test_splits_with_source_count_and_checksum(self, quickstart):
        (train, *_) = data_tables.data_table(quickstart).rows
        assert train[:4] == ("fashion_mnist", "system: /usr/share/datasets/fashion-mnist", "train", "59,488")
        assert train[4].startswith("c59f468a")

    def test_environment_is_flattened(self, quickstart):
        rows = dict(tables.environment_table(quickstart).rows)
        assert rows["cpu.model"] == "AMD EPYC 9B14"
        assert rows["cpu.flags.avx2"] == "True"
        assert rows["git.dirty"] == "False"
        assert rows["governor"] == NONE

    def test_an_inference_is_split_where_the_target_can(self, quickstart):
        row = quickstart.rows[0]
        split = row.latency.model_copy(update={"parts_ms": {"to_device": 0.01, "compute": 0.25}})
        rows = (row.model_copy(update={"latency": split}), quickstart.rows[1])
        (first, second) = tables.latency_table(quickstart.model_copy(update={"rows": rows})).rows
        assert (first[-1], second[-1]) == ("to device 0.0100, compute 0.250", NONE)

    def test_what_the_machine_hides_is_said(self, quickstart):
        """A round without labels proves nothing of what nobody watched."""

        def said(*watched):
            rows = [
                row.model_copy(update={"latency": row.latency and row.latency.model_copy(update={"watched": watched})})
                for row in quickstart.rows
            ]
            return dict(definitions(quickstart.model_copy(update={"rows": tuple(rows)})))["Contaminated rounds"]

        assert "Watched: load (other programs kept" in said("load", "stolen")
        assert "Not shown by this machine: waited, clock, throttled." in said("load", "stolen")
        assert "gpu_shared (another process" in said("load", "gpu_shared")
        assert "This machine shows nothing of it" in said()

    def test_stages_from_the_store_cost_nothing_here(self, quickstart):
        assert tables.stage_summary_table(quickstart).rows == (
            ("train", "0", "1", NONE),
            ("calibrate", "1", "0", "1.93 s"),
            ("finetune", "1", "0", "1 min 11 s"),
        )

    def test_variants_with_the_same_list_share_its_lines(self, quickstart):
        table = tables.not_int8_table(quickstart)
        assert len(table.rows) == 2  # one per model; FP32's own float layers are no finding
        assert table.rows[0] == (
            "resnet on onnxruntime, batch 1",
            "all 10",
            "ReduceMean",
            "pool",
            "0.0 %",
            "ONNX Runtime has no integer kernel for it",
        )

    def test_a_variant_with_another_list_has_its_own_lines_with_their_share_of_the_work(self, quickstart):
        _, first, second, *_ = quickstart.rows
        layers = list(second.coverage.layers)
        # Two of eight layers of a million MACs each: 25 %.
        for index in (0, 1):
            layers[index] = layers[index].model_copy(update={"int8": False, "op": "Conv", "reason": "skipped"})
        coverage = second.coverage.model_copy(update={"layers": tuple(layers)})
        rows = (first, second.model_copy(update={"coverage": coverage}))
        table = tables.not_int8_table(quickstart.model_copy(update={"rows": rows}))
        assert [row[2:] for row in table.rows] == [
            ("ReduceMean", "pool", "0.0 %", "ONNX Runtime has no integer kernel for it"),
            ("ReduceMean", "pool", "0.0 %", "ONNX Runtime has no integer kernel for it"),
            ("Conv", "layer0/conv, layer1/conv", "25.0 %", "skipped"),
        ]
        assert [row[1] for row in table.rows] == [label(first.variant), *[label(second.variant)] * 2]

    def test_metrics_without_a_section_get_a_column_each(self, quickstart):
        first, second, *_ = quickstart.rows
        metric = MetricValue(value=12.5, unit="MiB", higher_is_better=False)
        agreement = MetricValue(value=0.99, unit="share", higher_is_better=True)  # stands beside the accuracy
        rows = (first.model_copy(update={"metrics": {"peak_memory": metric, "agreement": agreement}}), second)
        table = tables.metrics_table(quickstart.model_copy(update={"rows": rows}))
        assert table.headings == ("Variant", "peak_memory, MiB")
        assert table.rows == ((first.variant.id, "12.5"),)

    def test_gates_with_value_interval_and_what_they_compare_with(self, quickstart):
        gate = Gate(
            variant="v",
            metric="latency.median_ms",
            limit="at most 0.7 of fp32",
            value=2 / 3,
            verdict="pass",
            interval=interval(0.66, 0.6734),
            compared_with="net-fp32",
        )
        missing = Gate(
            variant="w", metric="top1", limit="at least 0.9", value=None, verdict="inconclusive", reason="built"
        )
        run = quickstart.model_copy(update={"gates": (gate, missing)})
        relative = ("latency.median_ms", "at most 0.7 of fp32", "0.666667", "0.66 to 0.6734", "net-fp32", NONE)
        assert tables.gates_table(run, passed=True).rows == (("pass", "v", *relative),)
        assert tables.gates_table(run, passed=False).rows == (
            ("inconclusive", "w", "top1", "at least 0.9", NONE, NONE, NONE, "built"),
        )

    def test_gates_that_failed_come_first(self, quickstart):
        gates = tuple(
            Gate(variant=verdict, metric="top1", limit="at least 0.9", value=None, verdict=verdict)
            for verdict in ("inconclusive", "pass", "fail")
        )
        table = tables.gates_table(quickstart.model_copy(update={"gates": gates}), passed=False)
        assert [row[0] for row in table.rows] == ["fail", "inconclusive"]

    @pytest.mark.parametrize(
        ("cell", "number"),
        [
            ("0.0929 (0.0925 to 0.0935)", "0.0929"),
            ("1,806,336", "1806336"),
            ("2 min 05 s", "120"),
            ("1.50 KiB", "1536"),
            ("\N{MINUS SIGN}0.20", "-0.2"),
            (NONE, ""),
            ("identical", ""),
        ],
    )
    def test_cells_are_sorted_by_the_number_that_they_begin_with(self, cell, number):
        assert tables.order_of(cell) == number

    def test_no_rows_no_table(self, latency_only):
        assert data_tables.data_table(latency_only) is None
        assert tables.gates_table(latency_only, passed=False) is None
        assert tables.stages_table(latency_only) is None

    @pytest.mark.parametrize(
        ("value", "text"),
        [(None, NONE), (0.524, "0.52 s"), (12.34, "12.3 s"), (59.99, "60.0 s"), (125.2, "2 min 05 s")],
    )
    def test_durations(self, value, text):
        assert tables.seconds(value) == text


class TestFlatFile:
    def test_one_row_per_variant_with_plain_numbers(self, lossy):
        frame = pd.read_csv(io.StringIO(csv_text(lossy)))
        assert list(frame["id"]) == [row.variant.id for row in lossy.rows]
        ptq = frame.iloc[1]
        accuracy = lossy.rows[1].accuracy
        assert (ptq["top1"], ptq["drop"]) == (accuracy.top1, accuracy.drop)
        assert (ptq["drop_low"], ptq["drop_high"]) == accuracy.comparison.loss_interval
        assert frame["recommended"].sum() == 1

    def test_the_worst_gate_of_a_row_and_those_that_do_not_pass(self, lossy):
        verdicts = ("pass", "inconclusive", "fail")
        gates = tuple(
            Gate(variant=row.variant.id, metric="top1", limit=f"at least {index}", value=0.5, verdict=verdict)
            for row, last in zip(lossy.rows[:3], range(1, 4), strict=True)
            for index, verdict in enumerate(verdicts[:last])
        )
        frame = pd.read_csv(io.StringIO(csv_text(lossy.model_copy(update={"gates": gates})))).astype(object)
        assert list(frame["gates"].iloc[:3]) == ["pass", "inconclusive", "fail"]
        assert frame["gates_not_passed"].iloc[2] == "top1 at least 1; top1 at least 2"
        assert frame["gates"].iloc[3:].isna().all()

    def test_a_metric_of_ones_own_has_columns_and_its_definition_is_in_the_report(self, lossy):
        first, second, *others = lossy.rows
        own = MetricValue(
            value=2.5,
            unit="px",
            higher_is_better=False,
            header="Offset",
            definition="How far off it is.",
            interval=interval(2.0, 3.0),
        )
        rows = (first, second.model_copy(update={"metrics": {"offset": own}}), *others)
        results = lossy.model_copy(update={"rows": rows})
        frame = pd.read_csv(io.StringIO(csv_text(results))).set_index("id")
        found = frame.loc[second.variant.id, ["offset", "offset_low", "offset_high"]]
        assert list(found) == [2.5, 2.0, 3.0]
        assert frame["offset"].isna().sum() == len(rows) - 1
        assert dict(definitions(results))["Offset"] == "How far off it is."
        assert tables.metrics_table(results).headings == ("Variant", "Offset, px")

    def test_counts_stay_whole_where_some_rows_have_none(self, lossy):
        header, fp32, ptq, *_ = csv_text(lossy).splitlines()
        bits = header.split(",").index("weight_bits")
        assert (fp32.split(",")[bits], ptq.split(",")[bits]) == ("", "8")


class TestMarkdownEscaping:
    @given(st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1).filter(str.strip))
    def test_a_cell_reads_as_it_was_written(self, text):
        source = f"| a | b |\n| --- | --- |\n| x{escaped(text)}x | end |\n"
        html = MarkdownIt("commonmark").enable("table").render(source)
        shown = " ".join(text.split())
        padded = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
        assert f"<td>x{padded}x</td>" in html
        assert html.count("<td") == 2

    def test_names_stay_legible(self):
        assert escaped("where_qat_pays") == "where_qat_pays"
        assert escaped("a|b\nc") == r"a\|b c"


def test_a_correction_is_named_where_there_was_one(quickstart):
    def verdict_on_latency(adjusted):
        latencies = [
            compared_as(row.latency, p_value=0.01, p_value_adjusted=adjusted) if row.latency.comparison else row.latency
            for row in quickstart.rows
        ]
        rows = [row.model_copy(update={"latency": each}) for row, each in zip(quickstart.rows, latencies, strict=True)]
        return dict(definitions(quickstart.model_copy(update={"rows": tuple(rows)})))["Verdict on latency"]

    assert "Holm" in verdict_on_latency(0.08)
    assert "Holm" not in verdict_on_latency(0.01)
