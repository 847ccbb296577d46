"""Which variants of a scenario run: the chosen ones, and the FP32 rows that they are judged against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.errors import StageError, UsageError
from harness.results import Variant
from harness.targets import get_target


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
        if other.is_fp32_of(variant):
            return other
    raise StageError(f"{variant.id} has no FP32 row to be judged against")


def timing_reference_of(variant: Variant, variants: Sequence[Variant], reference_target: str | None) -> Variant:
    """The FP32 row that a variant is timed with: on the reference target where that runs on the same kind of device.

    Args:
        variant: one of `variants`.
        variants: all that run; the first one's target is the reference when none is given.
        reference_target: of the scenario.
    """
    wanted = reference_target or variants[0].target
    device = device_class(variant)
    for other in variants:
        is_alike = (other.model, other.batch_size) == (variant.model, variant.batch_size)
        if other.method == "fp32" and other.target == wanted and is_alike and device_class(other) == device:
            return other
    return reference_of(variant, variants)


def device_class(variant: Variant) -> str:
    """What the variant runs on; times of other classes are not compared."""
    return get_target(variant.target).device_class(variant.compute_capability)
