"""Tables of what lies behind the verdict on accuracy: top-5, classes, seeds of QAT and corrected p-values."""

from __future__ import annotations

from harness.figures import figure, heading
from harness.report.tables import Table
from harness.report.variants import NONE
from harness.results import Accuracy, ClassAccuracy, Interval, PairedComparison, Row, RunResults
from harness.text import one_line
from harness.verdicts.accuracy import proven_classes
from harness.verdicts.quality import TOP1
from harness.words.phrases import level, p_value, percent, points

_CLASS_HEADINGS = f"Variant|Class|n|Recall|{heading('accuracy.drop')}|Interval of the drop|p, corrected"
CLASSES_SHOWN = 3
FEW_SAMPLES = 30
"""Samples of a class: below this number the table says so, as an interval then spans tens of points."""


def top5_table(results: RunResults) -> Table | None:
    """Top-5 of every variant and its paired drop; None where no network has more than five classes."""
    rows = [(row.variant.id, *_top5(row.accuracy)) for row in results.rows if row.accuracy and row.accuracy.top5]
    intervals = f"{level(results.confidence)} intervals of each row alone"
    caption = f"{figure('accuracy.top5').definition.removesuffix('.')}; {intervals}"
    headings = f"Variant|{heading('accuracy.top5')}|Interval|{heading('accuracy.drop')}|Interval of the drop|McNemar"
    return _table(caption, headings, rows)


def _top5(accuracy: Accuracy) -> tuple[str, ...]:
    compared = accuracy.top5_comparison
    return (
        percent(accuracy.top5) if accuracy.top5 is not None else NONE,
        _interval(accuracy.top5_interval.ends if accuracy.top5_interval else None),
        points(accuracy.top5_drop) if accuracy.top5_drop is not None else NONE,
        _interval(compared.loss_interval if compared else None),
        p_value(compared.p_value) if compared and compared.p_value is not None else NONE,
    )


def proven_classes_table(results: RunResults) -> Table | None:
    """The classes whose loss against FP32 is proven: for all classes of all rows at once, as the table covers all."""
    proven = proven_classes(results.rows, confidence=results.confidence)
    rows = [(row.variant.id, *_class(each)) for row, each in proven]
    caption = (
        f"Classes whose recall is proven to have dropped ({level(results.confidence)}, corrected for all classes of "
        "all rows). `results.json` has the recall of every class"
    )
    return _table(caption, _CLASS_HEADINGS, rows)


def classes_table(results: RunResults) -> Table | None:
    """The classes of every variant that lost the most samples' share against FP32; only classes that lost any."""
    rows = [(row.variant.id, *_class(found)) for row in results.rows for found in worst_classes(row)]
    caption = (
        f"Up to {CLASSES_SHOWN} classes per variant with the largest observed loss of recall. They were picked for it, "
        "so that the figures are too large on average: only the corrected p-value, over all classes of the row, tells "
        f"a loss from luck. Fewer than {FEW_SAMPLES} samples of a class prove little"
    )
    return _table(caption, _CLASS_HEADINGS, rows)


def worst_classes(row: Row) -> list[ClassAccuracy]:
    """The classes with the largest loss, largest first; classes that lost nothing are left out."""
    return _lossy_classes(row)[:CLASSES_SHOWN]


def _lossy_classes(row: Row) -> list[ClassAccuracy]:
    classes = row.accuracy.classes if row.accuracy else ()
    lossy = [(found.drop, found) for found in classes if found.drop is not None and found.drop > 0]
    return [found for _, found in sorted(lossy, key=lambda pair: (-pair[0], pair[1].label))]


def class_name(found: ClassAccuracy) -> str:
    """The name, and the number where it has none."""
    return one_line(found.name) if found.name is not None else str(found.label)


def _class(found: ClassAccuracy) -> tuple[str, ...]:
    compared = found.comparison
    few = " (few)" if found.n < FEW_SAMPLES else ""
    return (
        class_name(found),
        f"{found.n:,}{few}",
        percent(found.recall),
        points(found.drop or 0.0),
        _interval(compared.loss_interval if compared else None),
        p_value(compared.p_value_adjusted) if compared and compared.p_value_adjusted is not None else NONE,
    )


def seeds_table(results: RunResults) -> Table | None:
    """Mean and spread of QAT over its seeds; None where every variant has one."""
    rows = []
    for spread in results.qat_seeds:
        is_share = spread.metric == TOP1
        shown, units = (points, (", %", ", points")) if is_share else (_plain, ("", ""))
        for what, found in ((f"{spread.metric}{units[0]}", spread.value), (f"drop{units[1]}", spread.drop)):
            if found is not None:
                values = (found.mean, found.sd, found.min, found.max)
                rows.append((spread.representative, what, str(found.n), *map(shown, values)))
    caption = "QAT from several seeds, otherwise equal; conclusions speak of the median seed, never of the best"
    return _table(caption, "Median seed|Figure|Seeds|Mean|SD|Smallest|Largest", rows)


def corrected_table(results: RunResults) -> Table | None:
    """The p-values that the verdicts rest on, plain and corrected for the number of rows."""
    compared = [(row.variant.id, row.accuracy.comparison) for row in results.rows if row.accuracy]
    judged = [(name, found) for name, found in compared if found is not None and found.family_size]
    rows = [(name, *_tests(found)) for name, found in judged]
    size = f" for {judged[0][1].family_size} rows" if judged else ""
    caption = f"p-values of the comparison with FP32, plain and corrected{size}, for each of three questions"
    headings = "Variant|Different|corrected|Loss below the margin|corrected|Gain below the margin|corrected"
    return _table(caption, headings, rows)


def _tests(found: PairedComparison) -> tuple[str, ...]:
    values = (
        found.p_value,
        found.p_value_adjusted,
        found.non_inferiority_p_value,
        found.non_inferiority_p_value_adjusted,
        found.non_superiority_p_value,
        found.non_superiority_p_value_adjusted,
    )
    return tuple(NONE if value is None else p_value(value).removeprefix("p ").removeprefix("= ") for value in values)


def _plain(value: float) -> str:
    return f"{value:.4g}"


def _table(caption: str, headings: str, rows: list[tuple[str, ...]]) -> Table | None:
    """All columns but the first hold figures; None without rows."""
    names = tuple(headings.split("|"))
    return Table(caption, names, tuple(rows), frozenset(range(1, len(names)))) if rows else None


def _interval(interval: Interval | None) -> str:
    return NONE if interval is None else f"{points(interval[0])} to {points(interval[1])}"
