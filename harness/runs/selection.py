"""Which variants of a scenario run: the chosen ones, and the FP32 rows that they are judged against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.errors import StageError, UsageError
from harness.results import Variant


def selected(variants: Sequence[Variant], select: Callable[[Variant], bool] | None) -> tuple[Variant, ...]:
    """The variants that `select` chooses and their FP32 rows, all for None; UsageError when it chooses none."""
    if select is None:
        return tuple(variants)
    chosen = {variant.id for variant in variants if select(variant)}
    if not chosen:
        raise UsageError("--select chooses no variant", fix="`harness list SCENARIO` prints all of them")
    chosen |= {reference_of(variant, variants).id for variant in variants if variant.id in chosen}
    return tuple(variant for variant in variants if variant.id in chosen)


def reference_of(variant: Variant, variants: Sequence[Variant]) -> Variant:
    """The FP32 row of the same model, target and batch size."""
    for other in variants:
        if other.group == variant.group and other.method == "fp32":
            return other
    raise StageError(f"{variant.id} has no FP32 row to be judged against")
