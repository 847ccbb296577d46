"""Where the true class stands among the outputs, with ties as argmax breaks them: the lower class first."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

TOP_K = 5


class TopClasses(NamedTuple):
    """The largest outputs of every sample, largest first."""

    classes: npt.NDArray[np.int32]
    """(n, k)."""
    scores: npt.NDArray[np.float32]
    """(n, k), the outputs themselves."""


def label_ranks(outputs: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Per sample, how many classes come before the true one: 0 is a right top-1, below 5 a right top-5.

    `outputs` is (n, classes). A true class whose output is no number comes last.
    """
    own = np.take_along_axis(outputs, labels[:, None], axis=1)
    ties = (outputs == own) & (np.arange(outputs.shape[1]) < labels[:, None])
    ranks: npt.NDArray[np.int64] = ((outputs > own) | ties).sum(axis=1)
    # Argmax takes the first NaN for the largest, comparisons take none.
    broken = np.isnan(outputs).any(axis=1)
    ranks[broken] = np.where(outputs[broken].argmax(axis=1) == labels[broken], 0, outputs.shape[1])
    return ranks


def top_classes(outputs: npt.NDArray[np.float32], k: int = TOP_K) -> TopClasses:
    """The k largest outputs (all where there are fewer), of (n, classes)."""
    order = np.argsort(-outputs, axis=1, kind="stable")[:, :k]
    return TopClasses(order.astype(np.int32), np.take_along_axis(outputs, order, axis=1))
