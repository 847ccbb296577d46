"""Which samples go where: seeded, class-balanced draws without overlap."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.errors import DataError

Indices = npt.NDArray[np.int64]


class Partition(NamedTuple):
    """Indices into the training part; the two share none."""

    train: Indices
    """Ascending."""
    calibration: Indices
    """In an order whose every beginning is class-balanced, so that any number of batches is representative."""


def balanced_order(labels: npt.NDArray[np.int64] | None, n: int, rng: np.random.Generator) -> Indices:
    """A random permutation of range(n) in which every beginning holds each class equally often, to within one.

    A class that runs out leaves its turns to the others. Without one label per sample: any permutation.
    """
    shuffled = rng.permutation(n)
    if labels is None or labels.ndim > 1:
        return shuffled
    by_class = np.argsort(labels[shuffled], kind="stable")
    counts = np.unique(labels, return_counts=True)[1]
    first_of_class = np.repeat(np.cumsum(counts) - counts, counts)
    turn = np.empty(n, dtype=np.int64)
    turn[by_class] = np.arange(n) - first_of_class
    return shuffled[np.argsort(turn, kind="stable")]


def partition(
    labels: npt.NDArray[np.int64] | None,
    n: int,
    *,
    calibration_samples: int,
    train_samples: int | None,
    rng: np.random.Generator,
) -> Partition:
    """Take calibration, then training samples out of the `n` samples of the training part.

    Raises DataError when there are not enough, or when nothing would be left to train on.
    """
    wanted = calibration_samples + (train_samples or 0)
    if wanted > n:
        raise DataError(
            f"calibration_samples ({calibration_samples}) + train_samples ({train_samples or 0}) = {wanted}, "
            f"but the training part has {n} samples",
            fix=f"lower one of them, so that they add up to at most {n}",
        )
    order = balanced_order(labels, n, rng)
    end = n if train_samples is None else wanted
    return Partition(train=np.sort(order[calibration_samples:end]), calibration=order[:calibration_samples])


def subset(
    labels: npt.NDArray[np.int64] | None, n: int, *, samples: int | None, what: str, rng: np.random.Generator
) -> Indices:
    """Ascending indices of `samples` of `n` samples, class-balanced; all of them for None.

    Raises DataError when there are not enough; `what` names the key, for instance `test_samples`.
    """
    if samples is None:
        return np.arange(n)
    if samples > n:
        raise DataError(f"{what} is {samples}, but there are {n}", fix=f"lower it to at most {n}, or leave it empty")
    return np.sort(balanced_order(labels, n, rng)[:samples])
