"""Which engine to deploy, where several were timed in the same rounds."""

from __future__ import annotations

from typing import Literal

from harness.results.base import Record

ChoiceVerdict = Literal["best", "equal", "undecided", "none"]


class EngineChoice(Record):
    """The choice among the rows of all targets, for one model and batch size on one kind of device."""

    model: str
    batch_size: int
    device: str
    """Kind of device, for instance `CPU`; rows on other kinds are never compared with these."""
    reference: str | None = None
    """Variant id of the FP32 row that speedups are against; None where no two targets were timed together."""
    verdict: ChoiceVerdict
    """`best`: on one target a row is proven to be faster than every row of the others. `equal`: rows of several targets
    are proven to be as fast up to the margin. `undecided`: the intervals do not tell. `none`: there is nothing to
    choose from."""
    best: str | None = None
    """Variant id to deploy; None for `undecided` and `none`."""
    fastest: str | None = None
    """The fastest as observed; of rows that keep their accuracy, or of all where accuracy was not measured."""
    as_fast: tuple[str, ...] = ()
    """Others that are not proven to be slower than `fastest`."""
    smallest: str | None = None
    """The one with the smallest engine file."""
    without_quantization: str | None = None
    """The fastest of FP32, FP16 and BF16; None where no row of these is proven faster than the others."""
    unproven: tuple[str, ...] = ()
    """Proven to be faster than `fastest`, but not to keep their accuracy; nor are they proven to lose it."""
    text: str = ""
    """In words, in records from before runs had decisions."""
