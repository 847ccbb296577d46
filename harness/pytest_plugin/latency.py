"""Gives the timed inferences of an engine to pytest-benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.pytest_plugin.runs import Run
    from harness.results import Variant

_EXTRA = (
    *("noise_floor", "rounds", "processes", "builds", "contaminated_rounds", "throughput_per_s", "threads"),
    "includes_transfers",
)
_OF_COMPARISON = ("reference", "p_value_adjusted", "verdict", "margin")


class MeasuredClock:
    """A timer for pytest-benchmark that shows measured times instead of the time of day.

    Its own timer would measure each engine by itself, at another time than FP32, and the figures in its JSON would not
    be those that the verdict was made of. So it times `advance`, which takes as long, on this clock, as one timed
    inference of the interleaved rounds took. Only its public interface is used, and the JSON names the clock.
    """

    __name__ = "interleaved_inferences"

    def __init__(self) -> None:
        self._durations_s: list[float] = []
        self._next = 0
        self._now_s = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self._now_s

    def load(self, durations_s: list[float]) -> None:
        """Take the durations to show, in order."""
        self._durations_s, self._next = durations_s, 0

    def reset(self) -> None:
        """To zero, so that a difference of two times is exactly one duration."""
        self._now_s = 0.0

    def advance(self) -> None:
        """Pass one duration."""
        self._now_s += self._durations_s[self._next]
        self._next += 1


def record(run: Run, variant: Variant, benchmark: Any, clock: MeasuredClock) -> None:
    """One round of the benchmark for each timed inference; speedup and verdict as its extra information.

    Does nothing where pytest-benchmark is disabled, as it is under xdist.
    """
    latency = run.row(variant).latency
    assert latency is not None
    durations_s = [float(ms) / 1e3 for ms in run.timed_ms(variant)]
    clock.load(durations_s)
    figures = latency.model_dump(mode="json")
    compared, interval = latency.comparison, latency.speedup_interval
    benchmark.extra_info.update({name: figures[name] for name in _EXTRA})
    benchmark.extra_info.update({name: getattr(compared, name, None) for name in _OF_COMPARISON})
    benchmark.extra_info["speedup"] = latency.speedup
    benchmark.extra_info["speedup_interval"] = None if interval is None else interval.plain()
    benchmark.extra_info["scenario"] = run.results.scenario
    benchmark.extra_info["run_id"] = run.results.run_id
    benchmark.pedantic(clock.advance, setup=clock.reset, rounds=len(durations_s))
