"""`python tests/verification/tables.py operators|mutations [NAME ...]` prints what the checks find, as Markdown."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from oracles.operator_checks import check_operator  # noqa: E402
from oracles.operator_table import OPERATORS  # noqa: E402
from oracles.verified_networks import VERIFIED  # noqa: E402
from oracles.verified_steps import Steps, outcome  # noqa: E402


def decibels(value: float) -> str:
    """A figure, or that there is nothing to measure."""
    return "identical" if math.isinf(value) and value > 0 else f"{value:.0f} dB"


def operators(names: Iterable[str]) -> Iterator[str]:
    """Eager network against ONNX file, for each operator."""
    yield "| Operator | Outcome | Batch 1 | Batch 3 |"
    yield "| --- | --- | --- | --- |"
    for name in names or OPERATORS:
        found = check_operator(name)
        figures = [decibels(each) for each in found.decibels] or ["", ""]
        reason = f": {found.reason.split(' : ')[0][:120]}" if found.reason else ""
        yield f"| {name} | {found.outcome}{reason} | {figures[0]} | {figures[1]} |"


def mutations(names: Iterable[str]) -> Iterator[str]:
    """Each planted fault in each step of each network, and what the check of the step says."""
    yield "| Network | Step | Fault | Found | What the check says |"
    yield "| --- | --- | --- | --- | --- |"
    for name in names or VERIFIED:
        with tempfile.TemporaryDirectory() as folder:
            for step, fault, check in Steps(name, folder=Path(folder)).wrong():
                message = outcome(check)
                found = "yes" if message.startswith(step) else "**no**"
                yield f"| {name} | {step} | {fault} | {found} | {message.removeprefix(step + ': ')} |"


if __name__ == "__main__":
    for line in {"operators": operators, "mutations": mutations}[sys.argv[1]](sys.argv[2:]):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
