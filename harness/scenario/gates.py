"""Gates: limits that variants must keep. The keys of one read as a sentence.

`{metric: size.engine_bytes, at_most: 0.35, of: fp32, select: method=ptq}`: the engine's bytes are at most 0.35 of
FP32's, for every PTQ variant.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator
from pydantic_core import PydanticCustomError

from harness.errors import unknown_name
from harness.fields import NAME_PATTERN, Listed, Section, Text
from harness.figures import AGREEMENT, METRICS, catalog, short_names
from harness.registry import file_names
from harness.scenario.axes import Axes

GateReference = Literal["fp32", "baseline"]

_OWN_METRIC = re.compile(rf"{METRICS}\.{NAME_PATTERN.strip('^$')}")


def extra_metrics() -> frozenset[str]:
    """Figures of the harness that have no section of their own."""
    return frozenset(f"{METRICS}.{metric}" for metric in file_names("harness.metrics"))


def _metric(name: str) -> str:
    """The dotted name of a figure; that of a metric of the scenario's own is checked when the scenario is."""
    extra = extra_metrics()
    known = {*catalog(), *extra}
    if name in known or _OWN_METRIC.fullmatch(name):
        return name
    if name in short_names():
        return short_names()[name]
    if f"{METRICS}.{name}" in extra:
        return f"{METRICS}.{name}"
    message, fix = unknown_name("metric", name, [*known, *short_names()])
    raise PydanticCustomError("metric", "{message}", {"message": message, "fix": fix})


def _compares_with_fp32(name: str) -> bool:
    """Whether a figure is a comparison with FP32 by itself; the FP32 row has none of them."""
    known = catalog().get(name)
    return name == f"{METRICS}.{AGREEMENT}" if known is None else known.compares_with_fp32


class GateSpec(Section):
    """A limit that variants must keep, judged on the interval of the figure.

    Give one of `at_most` and `at_least`, and at most one of `of`, `below` and `above`. How it is judged:
    [gates and baselines](gates-and-baselines.md).
    """

    metric: Annotated[Text, AfterValidator(_metric)]
    """A figure of `results.json`, for instance `accuracy.drop`, `latency.speedup`, `size.engine_bytes`,
    `coverage.int8_macs` or `metrics.NAME`. The last part is enough where it names one figure only."""
    at_most: float | None = None
    """Largest value that passes. Shares are fractions: 0.01 is one point or 1 %."""
    at_least: float | None = None
    """Smallest value that passes."""
    of: GateReference | None = None
    """The limit is a multiple of this variant's FP32 row (`fp32`) or of its figure in the stored `baseline`."""
    below: GateReference | None = None
    """The limit is of how far the figure lies below that of `fp32` or `baseline`, in the unit of the figure."""
    above: GateReference | None = None
    """Likewise, above it."""
    select: Listed[Text] = ()
    """Variants that are judged, as `--select` takes them: a glob on the id, or `AXIS=VALUE[,VALUE]`; all must match.
    Without `select` and `where`: every variant but the FP32 rows."""
    where: Axes | None = None
    """Variants that are judged: those that match every key."""

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise PydanticCustomError(
                "gate", "a gate has one limit", {"fix": "give either `at_most` or `at_least`; two limits are two gates"}
            )
        given = [name for name in ("of", "below", "above") if getattr(self, name) is not None]
        if len(given) > 1:
            words = " and ".join(f"`{name}`" for name in given)
            raise PydanticCustomError("gate", "{words} contradict each other", {"words": words, "fix": "keep one"})
        if self.reference == "fp32" and _compares_with_fp32(self.metric):
            raise PydanticCustomError(
                "gate",
                "`{metric}` compares with FP32 already",
                {"metric": self.metric, "fix": f"delete `{given[0]}`"},
            )
        return self

    @property
    def limit(self) -> float:
        """The number that was given."""
        limit = self.at_most if self.at_most is not None else self.at_least
        assert limit is not None
        return limit

    @property
    def reference(self) -> GateReference | None:
        """What the figure is compared with before the limit is applied."""
        return self.of or self.below or self.above

    @property
    def compares_with_fp32(self) -> bool:
        """Whether FP32 rows have nothing to be judged by."""
        return self.reference == "fp32" or _compares_with_fp32(self.metric)

    def __str__(self) -> str:
        """The limit in words, without the metric: `at most 0.35 of fp32`."""
        words = f"at {'most' if self.at_most is not None else 'least'} {self.limit:g}"
        for relation in ("of", "below", "above"):
            if (reference := getattr(self, relation)) is not None:
                words += f" {relation} {'the ' if reference == 'baseline' else ''}{reference}"
        return words
