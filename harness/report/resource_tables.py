"""Tables of what a variant takes when it runs: memory and energy."""

from __future__ import annotations

from harness.figures import header, heading
from harness.report.tables import Table
from harness.report.variants import NONE
from harness.results import Energy, Memory, Row, RunResults
from harness.words.phrases import byte_size, listed, percent, three_digits

_MILLI = 1e3


def memory_table(results: RunResults) -> Table | None:
    """Peak of the engine, of the whole process, and of the GPU."""
    rows = tuple((row.variant.id, *_memory(row.memory)) for row in results.rows if row.memory)
    if not rows:
        return None
    sources = listed(sorted({row.memory.source for row in results.rows if row.memory}))
    caption = f"Peak resident memory of a process that opens one engine and runs it ({sources})"
    names = ("increase", "peak", "baseline", "device")
    headings = ("Variant", *(heading(f"memory.{name}_bytes") for name in names), "GPU read from")
    return Table(caption, headings, rows, frozenset({1, 2, 3, 4}))


def _memory(memory: Memory) -> tuple[str, ...]:
    return (
        byte_size(memory.increase_bytes),
        byte_size(memory.peak_bytes),
        byte_size(memory.baseline_bytes),
        NONE if memory.device_bytes is None else byte_size(memory.device_bytes),
        memory.device_source or NONE,
    )


def energy_table(results: RunResults) -> Table | None:
    """Energy of one inference; variants without it are joined by their reason."""
    rows = [(row.variant.id, *_energy(row.energy)) for row in results.rows if row.energy and not row.energy.reason]
    reasons: dict[str, list[Row]] = {}
    for row in results.rows:
        if row.energy and row.energy.reason:
            reasons.setdefault(row.energy.reason, []).append(row)
    for reason, found in reasons.items():
        names = listed([row.variant.id for row in found], at_most=2)
        rows.append((names, *[NONE] * 6, f"not measured: {reason}"))
    if not rows:
        return None
    caption = "Energy of one inference, with idle power and without; blocks of inferences by themselves"
    energies = [f"{header(f'energy.{name}')}, mJ" for name in ("joules_per_inference", "net_joules_per_inference")]
    powers = [heading(f"energy.{name}") for name in ("spread", "mean_w", "idle_w")]
    headings = ("Variant", *energies, *powers, "Inferences", "Source")
    return Table(caption, headings, tuple(rows), frozenset(range(1, 7)))


def _energy(energy: Energy) -> tuple[str, ...]:
    return (
        _figure(energy.joules_per_inference, _MILLI),
        _figure(energy.net_joules_per_inference, _MILLI),
        NONE if energy.spread is None else percent(energy.spread, 1),
        _figure(energy.mean_w),
        _figure(energy.idle_w),
        NONE if energy.inferences is None else f"{energy.inferences:,}",
        energy.source or NONE,
    )


def _figure(value: float | None, factor: float = 1.0) -> str:
    return NONE if value is None else three_digits(value * factor)
