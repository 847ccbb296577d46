"""The parity chain of a variant as tasks, and what they found as evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from harness.engine.graph import Task
from harness.engine.outcomes import Done, Failed, Outcome
from harness.parity.chain import ChainEvidence
from harness.results import Representation, Variant
from harness.stages.artifacts import LABELS, OUTPUTS, LayersResult
from harness.stages.catalog import LAYERS, PREDICT_ONNX
from harness.stages.configs import LayersConfig, PredictOnnxConfig
from harness.toolkits import DEFAULT, get_toolkit

if TYPE_CHECKING:
    import numpy.typing as npt

    from harness.stages.configs import DataConfig

LAYER_SAMPLES = 64
"""Test samples for the comparison of layers: a wrong scale shows in every sample."""


@dataclass(frozen=True)
class Chain:
    """The representations of one variant; tasks are shared with other variants and with its own stages."""

    representations: Mapping[Representation, Task] = field(default_factory=dict)
    absent: Mapping[Representation, str] = field(default_factory=dict)
    layers: Task | None = None

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All of them."""
        return (*self.representations.values(), *([self.layers] if self.layers is not None else []))


def predict_onnx_task(export: Task, data: DataConfig, samples: int) -> Task:
    """The first test samples through an ONNX file as it is written."""
    config = PredictOnnxConfig(data=data, samples=samples)
    return Task(PREDICT_ONNX, config, {"onnx": export}, label=f"{export.label}: evaluate the file")


def compare_layers_task(config: LayersConfig, inputs: Mapping[str, Task], variant_id: str) -> Task:
    """The layers of a quantized variant."""
    return Task(LAYERS, config, inputs, label=f"compare the layers of {variant_id}")


def absent_representations(
    variant: Variant, representations: Mapping[Representation, Task], not_run: str | None
) -> dict[Representation, str]:
    """Why a variant lacks a representation that others of its method have."""
    absent: dict[Representation, str] = {}
    if variant.is_quantized and "torch_quantized" not in representations:
        absent["torch_quantized"] = f"{variant.toolkit} leaves no fake-quantized torch network behind"
    if variant.toolkit not in (None, DEFAULT) and not get_toolkit(str(variant.toolkit)).writes_onnx:
        absent["onnx_quantized"] = f"{variant.toolkit} writes a model of {variant.target} and no ONNX file"
    if "engine" not in representations:
        absent["engine"] = not_run or f"{variant.target} has no integer kernels for this number format"
    return absent


def evidence(chain: Chain, outcomes: Mapping[str, Outcome]) -> ChainEvidence | None:
    """Outcomes of a chain's tasks; a representation whose task failed is absent with the reason, as are the layers."""
    if not chain.tasks:
        return None
    outputs: dict[Representation, npt.NDArray[np.float32]] = {}
    absent = {str(representation): reason for representation, reason in chain.absent.items()}
    labels: npt.NDArray[np.int64] | None = None
    for representation, task in chain.representations.items():
        outcome = outcomes.get(task.key)
        if not isinstance(outcome, Done):
            absent[representation] = _reason(outcome)
            continue
        outputs[representation] = np.load(outcome.artifact.file(OUTPUTS), allow_pickle=False)
        if representation == "torch_fp32" and LABELS in outcome.artifact.manifest.files:
            labels = np.load(outcome.artifact.file(LABELS), allow_pickle=False)
    compared = outcomes.get(chain.layers.key) if chain.layers is not None else None
    if not isinstance(compared, Done):
        if chain.layers is not None:
            absent["layers"] = _reason(compared)
        return ChainEvidence(outputs, labels, absent)
    found = compared.artifact.result(LayersResult)
    return ChainEvidence(outputs, labels, absent, found.layers, found.samples)


def _reason(outcome: Outcome | None) -> str:
    return outcome.reason if isinstance(outcome, Failed) else "an earlier stage failed"
