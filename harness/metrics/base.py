"""The contract of a metric: one file that turns the evidence about a variant into figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from harness.data.tasks import Task
from harness.figures import Figure, metric_figure
from harness.results import Energy, Layer, Memory, Record, StreamThroughput, Variant
from harness.verdicts.settings import Judgement

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from harness.load.base import LoadMeasured
    from harness.parity.chain import ChainEvidence
    from harness.timing.samples import Timings


@dataclass(frozen=True)
class Evidence:
    """What the stages found out about one variant; None where a stage did not run."""

    variant: Variant
    judgement: Judgement
    is_reference: bool
    """Whether this is the FP32 row that the others of its group are judged against."""
    reference_id: str
    labels: npt.NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = ()
    """By class number; empty where classes have no names."""
    outputs: npt.NDArray[np.float32] | None = None
    """Outputs of the engine on the test samples: (n, classes), or (n, classes, height, width) for `segmentation`."""
    reference_outputs: npt.NDArray[np.float32] | None = None
    torch_outputs: npt.NDArray[np.float32] | None = None
    """Outputs of the (fake-quantized) torch network on the same samples."""
    chain: ChainEvidence | None = None
    """What the representations in the parity chain computed."""
    timings: Timings | None = None
    """Timings of all sessions of the group; names are variant ids."""
    timing_reference_id: str | None = None
    """The FP32 row that all sessions of the group were timed with, and whose A/A control is among them; None:
    `reference_id`.
    It is on another target where targets were timed together."""
    analyses: int = 1
    """How often the verdicts on latency may have been looked at before measuring stopped."""
    watched: tuple[str, ...] = ()
    """What of the machine was watched while timing."""
    parts_ms: Mapping[str, float] = field(default_factory=dict)
    """Medians of the parts of an inference, where the target can tell them apart."""
    onnx_path: Path | None = None
    engine_path: Path | None = None
    weight_bytes: int | None = None
    layers: tuple[Layer, ...] = ()
    by_streams: tuple[StreamThroughput, ...] = ()
    memory: Memory | None = None
    energy: Energy | None = None
    load: LoadMeasured | None = None
    """Measurements of LoadGen; None when no load scenario ran."""
    threads: int = 1
    peaks: Mapping[str, float] = field(default_factory=dict)
    """Peak multiply-accumulates per second of the device with so many threads, by precision."""
    includes_transfers: bool = False
    task: Task = "classification"
    """Task of the data set."""
    seed: int = 0
    """Seed of resampling."""

    @property
    def network_outputs(self) -> npt.NDArray[np.float32] | None:
        """Outputs of the engine, or of the fake-quantized network where no engine can run the variant."""
        return self.outputs if self.outputs is not None else self.torch_outputs

    @property
    def correct(self) -> npt.NDArray[np.bool_] | None:
        """Per test sample, whether top-1 is the label; None without labels and for other tasks."""
        outputs = self.network_outputs
        if self.task != "classification":
            return None
        return None if outputs is None or self.labels is None else outputs.argmax(axis=1) == self.labels


class Metric(ABC):
    """Figures of one kind; a metric is one file in this folder that defines `METRIC`, or a plug-in.

    `section` names the attribute of `harness.results.Row` that the record fills. A metric without a section of its own
    returns a `MetricValue` record, which stands under its name in `Row.metrics`.
    """

    name: ClassVar[str]
    section: ClassVar[str | None] = None
    tasks: ClassVar[frozenset[Task] | None] = None
    """Tasks that the figures make sense for; None: all."""
    unit: ClassVar[str] = ""
    """As this and the next three: of a metric without a section of its own. `share` is a fraction of 1."""
    higher_is_better: ClassVar[bool] = True
    header: ClassVar[str | None] = None
    """Header of its column in tables; None: its name."""
    definition: ClassVar[str | None] = None
    """One sentence for reports; None: the first line of the class's docstring."""

    @abstractmethod
    def compute(self, evidence: Evidence) -> Record | None:
        """The figures, or None when the evidence for them is missing."""

    @property
    def figure(self) -> Figure | None:
        """The figure `metrics.NAME`; None for metrics that fill a section, whose figures the catalogue has."""
        if self.section is not None:
            return None
        first_line = (type(self).__doc__ or "").strip().partition("\n")[0]
        return metric_figure(
            self.name,
            unit=self.unit,
            higher_is_better=self.higher_is_better,
            header=self.header,
            definition=self.definition or first_line or None,
        )

    def fault(self, record: Record) -> str | None:
        """Why the variant's row cannot be believed, seeing these figures of it; the row is then `failed`."""
        return None
