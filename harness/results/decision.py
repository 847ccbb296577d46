"""What to do with one model: the answer that a run gives, and what it rests on."""

from __future__ import annotations

from typing import Literal

from harness.results.base import Record
from harness.results.paired import ConfidenceInterval, PairedComparison

DecisionOutcome = Literal["ship", "keep_fp32", "not_proven"]
Unknown = Literal["labels", "latency", "accuracy", "speed", "engine", "simulated", "not_run"]


class QatGain(Record):
    """A QAT row against the PTQ row of the same settings, on the same samples."""

    qat: str
    """Id of the QAT row."""
    comparison: PairedComparison
    """Its top-1 with that of the PTQ row as the reference, corrected for the pairs of the run."""


class ClassLoss(Record):
    """A class whose loss of recall is proven, for all classes of all rows at once."""

    name: str
    loss: float
    """As a share."""
    interval: ConfidenceInterval | None = None


class OpenPoint(Record):
    """Something that the run does not prove, and what would."""

    unknown: Unknown
    """`labels` and `latency`: accuracy or speed was not measured. `accuracy`, `speed`, `engine`: the intervals of
    `variants` do not tell whether they keep their accuracy, are faster than FP32, or which of them is the fastest.
    `simulated`, `not_run`: no engine ran them."""
    variants: tuple[str, ...] = ()
    """Variant ids, the most promising first."""
    images: int | None = None
    """Test images that would prove that the first of them keeps its accuracy, if its loss is what was observed; None
    where no number of them would."""
    text: str = ""
    """In words."""


class Decision(Record):
    """The decision on one model at one batch size, over all targets that were timed together."""

    model: str
    batch_size: int
    targets: tuple[str, ...]
    """Places that gave figures."""
    outcome: DecisionOutcome
    """`ship`: the variant is proven faster than FP32 and proven to keep its accuracy. `keep_fp32`: every other variant
    is proven to lose accuracy or proven not to be faster. `not_proven`: the data are too few to say either."""
    variant: str | None = None
    """Id of the row to deploy; None where nothing is proven."""
    reference: str | None = None
    """Id of the FP32 row that `speedup` and `size_ratio` are against."""
    speedup: float | None = None
    speedup_interval: ConfidenceInterval | None = None
    size_ratio: float | None = None
    """Bytes of the engine as a multiple of the reference's."""
    metric: str | None = None
    """`top-1`, or the metric of the task."""
    loss: float | None = None
    """Against FP32 on the same target."""
    loss_interval: ConfidenceInterval | None = None
    margin: float | None = None
    class_losses: tuple[ClassLoss, ...] = ()
    """Of `variant`, the largest first."""
    as_good: tuple[str, ...] = ()
    """Others that keep their accuracy and are not proven slower."""
    worse: tuple[str, ...] = ()
    """Proven to lose accuracy."""
    not_faster: tuple[str, ...] = ()
    """Of the others, those that are proven to be as fast as FP32 or slower."""
    qat_gains: tuple[QatGain, ...] = ()
    simulated_qat_gains: tuple[QatGain, ...] = ()
    """Of rows in formats that no engine here runs as integers."""
    smallest: str | None = None
    """The smallest engine that keeps its accuracy, where several targets were compared; so is the next one."""
    without_quantization: str | None = None
    """The fastest of FP32, FP16 and BF16."""
    open: tuple[OpenPoint, ...] = ()
    headline: str = ""
    """In words, as everything below."""
    why: tuple[str, ...] = ()
