"""QAT that was trained from several seeds: how far apart they end, and which of them represents all.

A seed is no property of the method. The best of several seeds would make QAT look better than one training run can be
expected to be (the winner's curse), so that conclusions take the median one.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from harness.results import Row, SeedSpread, Spread
from harness.verdicts.quality import quality


def seed_spreads(rows: Sequence[Row]) -> tuple[SeedSpread, ...]:
    """One entry for every two or more evaluated QAT rows that differ in their seed alone, in the order of the rows.

    The representative has the median top-1 (or metric of its task), the worse of the two in the middle of an even
    number.
    """
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.variant.method == "qat" and quality(row) is not None:
            found.setdefault(_but_for_the_seed(row), []).append(row)
    return tuple(_spread(group) for group in found.values() if len(group) > 1)


def representatives(rows: Sequence[Row], spreads: Sequence[SeedSpread]) -> tuple[Row, ...]:
    """The rows without those seeds that another one represents."""
    others = {name for spread in spreads for name in spread.variants if name != spread.representative}
    return tuple(row for row in rows if row.variant.id not in others)


def _but_for_the_seed(row: Row) -> str:
    return f"{row.status} {row.variant.model_copy(update={'id': '', 'qat_seed': None}).model_dump_json()}"


def _spread(rows: Sequence[Row]) -> SeedSpread:
    found = {row.variant.id: each for row in rows if (each := quality(row)) is not None}
    ordered = sorted(found, key=lambda name: (found[name].goodness, name))
    drops = [each.loss for each in found.values() if each.loss is not None]
    first = rows[0].variant
    return SeedSpread(
        model=first.model,
        target=first.place,
        batch_size=first.batch_size,
        variants=tuple(row.variant.id for row in rows),
        representative=ordered[(len(ordered) - 1) // 2],
        metric=next(iter(found.values())).name,
        value=_of([each.value for each in found.values()]),
        drop=_of(drops) if len(drops) == len(rows) else None,
    )


def _of(values: Sequence[float]) -> Spread:
    return Spread(
        n=len(values),
        mean=statistics.fmean(values),
        sd=statistics.stdev(values),
        min=min(values),
        max=max(values),
    )
