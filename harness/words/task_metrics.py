"""What the figures of a task without top-1 prove, in words."""

from __future__ import annotations

from collections.abc import Sequence

from harness.results import Row
from harness.verdicts.quality import Quality, task_qualities
from harness.verdicts.recommend import keeps_accuracy
from harness.words.phrases import MINUS, counted, label, listed, three_digits


def task_headline(rows: Sequence[Row]) -> str | None:
    """One sentence on the first metric of the task; None when nothing was compared by one."""
    found = _compared(rows)
    if not found:
        return None
    name = found[0][1].name
    kept = [row for row, _ in found if keeps_accuracy(row)]
    lost = [(row, each) for row, each in found if each.verdict == "worse"]
    if kept:
        share = "" if len(kept) == len(found) else f" in {len(kept)} of {len(found)} variants"
        return f"Quantization keeps {name}{share}."
    if lost:
        share = "" if len(lost) == len(found) else f" in {len(lost)} of {len(found)} variants"
        worst = max(each.loss or 0.0 for _, each in lost)
        return f"Quantization provably loses {name}{share}, up to {three_digits(worst)}."
    return f"{counted(found[0][1].record.n or 0, 'image')} cannot show whether quantization keeps {name}."


def task_details(rows: Sequence[Row]) -> list[str]:
    """FP32's value, and every variant's loss against it."""
    lines = []
    for name in dict.fromkeys(each.name for row in rows for each in task_qualities(row)):
        of_name = [(row, each) for row in rows for each in task_qualities(row) if each.name == name]
        for row, each in of_name:
            if row.variant.method == "fp32":
                lines.append(f"FP32: {name} {three_digits(each.value)} on {counted(each.record.n or 0, 'image')}.")
        compared = [f"{label(row.variant)} {_loss(each)}" for row, each in of_name if each.loss is not None]
        if compared:
            lines.append(f"Loss of {name} against FP32 (margin {_margin(of_name)}): {listed(compared, at_most=8)}.")
    return lines


def _compared(rows: Sequence[Row]) -> list[tuple[Row, Quality]]:
    first = [(row, found[0]) for row in rows if (found := task_qualities(row))]
    return [(row, each) for row, each in first if each.loss is not None]


def _loss(found: Quality) -> str:
    ends = found.comparison.loss_interval if found.comparison else None
    interval = f" ({_signed(ends[0])} to {_signed(ends[1])})" if ends else ""
    return f"{_signed(found.loss or 0.0)}{interval}"


def _signed(value: float) -> str:
    return f"{value:.4f}".replace("-", MINUS)


def _margin(found: Sequence[tuple[Row, Quality]]) -> str:
    compared = [each.comparison for _, each in found if each.comparison is not None]
    margins = sorted({each.margin for each in compared if each.margin is not None})
    return f"{margins[0]:g}" if margins else "none"
