"""Top-5, classes, seeds and corrected p-values as a reader finds them."""

import pytest
from oracles.comparisons import compared_as, dropped, interval

from harness.report import accuracy_tables
from harness.report.flat import frame
from harness.report.render import html_text, markdown_text
from harness.results import ClassAccuracy
from harness.verdicts.seeds import seed_spreads
from harness.words.phrases import MINUS


def class_accuracy(label, n, drop, p_value=0.2) -> ClassAccuracy:
    return ClassAccuracy(
        label=label,
        n=n,
        recall=0.8,
        interval=interval(0.7, 0.9),
        comparison=dropped(0.8, drop, (drop - 0.1, drop + 0.1), p_value=p_value / 2, p_value_adjusted=p_value),
    )


@pytest.fixture
def detailed(quickstart):
    """The second row with top-5 and classes."""
    first, second, *rest = quickstart.rows
    update = {
        "top5": 0.99,
        "top5_interval": interval(0.985, 0.995),
        "top5_comparison": dropped(0.99, -0.001, (-0.003, 0.001), p_value=0.4),
        "classes": (
            class_accuracy(0, 1000, 0.01),
            class_accuracy(1, 12, 0.25, 1.0),
            class_accuracy(2, 1000, -0.02),
            class_accuracy(3, 1000, 0.03, 0.004),
            class_accuracy(4, 1000, 0.02),
        ),
    }
    second = second.model_copy(update={"accuracy": second.accuracy.model_copy(update=update)})
    return quickstart.model_copy(update={"rows": (first, second, *rest)})


class TestTop5:
    def test_share_and_paired_drop(self, detailed):
        ((_, *cells),) = accuracy_tables.top5_table(detailed).rows
        expected = ["99.00 %", "98.50 to 99.50", f"{MINUS}0.10", f"{MINUS}0.30 to 0.10", "p = 0.4"]
        assert cells == expected

    def test_is_left_out_where_there_are_too_few_classes(self, quickstart):
        assert accuracy_tables.top5_table(quickstart) is None


class TestClasses:
    def test_the_three_that_lose_most_are_shown_and_few_samples_are_said(self, detailed):
        rows = accuracy_tables.classes_table(detailed).rows
        assert [(row[1], row[2], row[4], row[6]) for row in rows] == [
            ("1", "12 (few)", "25.00", "p = 1"),
            ("3", "1,000", "3.00", "p = 0.004"),
            ("4", "1,000", "2.00", "p = 0.2"),
        ]

    def test_only_those_whose_loss_is_proven_are_shown_at_once(self, detailed):
        assert [row[1] for row in accuracy_tables.proven_classes_table(detailed).rows] == ["3"]

    def test_the_caption_warns_of_the_choice(self, detailed):
        assert "too large on average" in accuracy_tables.classes_table(detailed).caption

    def test_the_flat_file_names_the_one_that_loses_most(self, detailed):
        row = frame(detailed).iloc[1]
        assert (row["worst_class"], row["worst_class_samples"], row["worst_class_drop"]) == ("1", 12, 0.25)
        assert row["worst_class_number"] == 1
        assert (row["top5"], row["top5_drop"]) == (0.99, -0.001)


class TestSeeds:
    def test_mean_and_spread_in_points(self, quickstart):
        rows = list(quickstart.rows)
        qat = rows[-1]
        worse = compared_as(qat.accuracy, difference=qat.accuracy.comparison.difference - 0.002)
        worse = worse.model_copy(update={"top1": qat.accuracy.top1 - 0.002})
        variant = qat.variant.model_copy(update={"id": "seed-1", "qat_seed": 1})
        rows.append(qat.model_copy(update={"variant": variant, "accuracy": worse}))
        results = quickstart.model_copy(update={"rows": tuple(rows), "qat_seeds": seed_spreads(rows)})
        _, drop = accuracy_tables.seeds_table(results).rows
        # Two values 0.2 points apart: standard deviation 0.2 / sqrt(2).
        assert drop[0] == "seed-1"
        assert (drop[2], drop[4]) == ("2", "0.14")
        assert "QAT from several seeds" in html_text(results)

    def test_one_seed_each_needs_no_table(self, quickstart):
        assert accuracy_tables.seeds_table(quickstart) is None


class TestCorrection:
    def test_plain_and_corrected_p_values_of_every_compared_row(self, quickstart):
        table = accuracy_tables.corrected_table(quickstart)
        compared = [row for row in quickstart.rows if row.variant.method != "fp32"]
        assert len(table.rows) == len(compared) == 20
        assert "corrected for 20 rows" in table.caption

    def test_the_report_says_what_the_words_and_the_intervals_are_for(self, quickstart):
        text = markdown_text(quickstart)
        assert "control the family-wise error rate over all 20 compared rows (Holm)" in text
        assert "Intervals are those of each row alone" in text

    def test_the_flat_file_has_the_corrected_p_value(self, quickstart):
        row = frame(quickstart).iloc[1]
        assert row["p_value_adjusted"] == quickstart.rows[1].accuracy.comparison.p_value_adjusted
        assert row["family_size"] == 20


class TestConfidence:
    """Every level in the report is that of the scenario."""

    def test_no_interval_is_called_one_of_95_percent(self, detailed):
        run = detailed.model_copy(update={"confidence": 0.999})
        for text in (html_text(run), markdown_text(run)):
            words = text.replace("\N{NO-BREAK SPACE}", " ")
            assert "95 %" not in words
            assert "99.9 % Wilson interval" in words
            assert "99.9 % interval of this paired difference" in words
            assert "99.9 % interval over processes" in words

    def test_a_class_loses_at_the_level_of_the_scenario(self, detailed):
        def proven(confidence):
            table = accuracy_tables.proven_classes_table(detailed.model_copy(update={"confidence": confidence}))
            return [] if table is None else [row[1] for row in table.rows]

        assert proven(0.95) == ["3"]  # p = 5 x 0.002
        assert proven(0.999) == []

    def test_a_class_loses_among_all_classes_of_all_rows(self, detailed):
        first, second, *rest = detailed.rows
        classes = {"classes": tuple(class_accuracy(label, 1000, 0.01, 1.0) for label in range(21))}
        first = first.model_copy(update={"accuracy": first.accuracy.model_copy(update=classes)})
        many = detailed.model_copy(update={"rows": (first, second, *rest)})
        assert accuracy_tables.proven_classes_table(many) is None  # p = 26 x 0.002
