"""A torchmetrics metric over any choice of samples, without running it on them again.

The state of the metric is kept for every sample alone. States that add up (counts, sums) are added, states that are
lists are put together: that is how torchmetrics itself joins what several processes have seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat, dim_zero_sum

from harness.errors import StageError

Counts = npt.NDArray[np.int64]
"""(n,): how often each sample is taken."""


class SampleStates:
    """What a metric keeps of each sample."""

    def __init__(self, metric: Metric, predictions: torch.Tensor, targets: torch.Tensor) -> None:
        """Update `metric` with every sample of (n, …) tensors alone; StageError for states that cannot be joined."""
        self._metric = metric
        self._reductions: dict[str, Any] = metric._reductions  # no public name
        for name, reduction in self._reductions.items():
            if reduction not in (dim_zero_sum, dim_zero_cat):
                raise StageError(
                    f"state `{name}` of {type(metric).__name__} can be neither added nor put together",
                    fix="use a metric whose states have `dist_reduce_fx` `sum` or `cat`",
                )
        self.n = len(predictions)
        self._states: dict[str, list[Any]] = {name: [] for name in self._reductions}
        for index in range(len(predictions)):
            metric.reset()
            metric.update(predictions[index : index + 1], targets[index : index + 1])
            for name, values in self._states.items():
                state = getattr(metric, name)
                values.append(list(state) if isinstance(state, list) else state.clone())
        self._sums = {
            name: torch.stack(values).double()
            for name, values in self._states.items()
            if self._reductions[name] is dim_zero_sum and values
        }

    @property
    def sums(self) -> dict[str, npt.NDArray[np.float64]]:
        """The states that add up, by name, (n, …)."""
        return {name: values.numpy() for name, values in self._sums.items()}

    def value(self, counts: Counts | None = None) -> float:
        """The metric over the samples, each taken as often as `counts` says (None: once each)."""
        return _value(self._metric, self, None, counts, None)

    def mixed(self, other: SampleStates, take_other: npt.NDArray[np.bool_]) -> float:
        """The metric over the samples, where each is this one's or, where `take_other` says so, the other's."""
        return _value(self._metric, self, other, (~take_other).astype(np.int64), take_other.astype(np.int64))

    def n_different(self, other: SampleStates) -> int:
        """Samples whose states are not the same in both."""
        pairs = [zip(values, other._states[name], strict=True) for name, values in self._states.items()]
        return sum(any(not _equal(mine, theirs) for mine, theirs in states) for states in zip(*pairs, strict=True))

    def joined(self, name: str, counts: Counts | None) -> Any:
        """One state over the samples."""
        if name in self._sums:
            values = self._sums[name]
            if counts is None:
                return values.sum(dim=0)
            return torch.tensordot(torch.from_numpy(counts).double(), values, dims=1)
        times = np.ones(len(self._states[name]), np.int64) if counts is None else counts
        return [part for parts, n in zip(self._states[name], times, strict=True) for part in parts * int(n)]


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, list):
        return len(a) == len(b) and all(torch.equal(one, other) for one, other in zip(a, b, strict=True))
    return torch.equal(a, b)


def _value(
    metric: Metric, states: SampleStates, other: SampleStates | None, counts: Counts | None, others: Counts | None
) -> float:
    for name, reduction in states._reductions.items():
        joined = states.joined(name, counts)
        if other is not None:
            joined = joined + other.joined(name, others)
        if reduction is dim_zero_sum:
            joined = joined.to(getattr(metric, name).dtype)
        setattr(metric, name, joined)
    metric._computed = None  # else compute() gives the last value again
    return float(metric.compute())
