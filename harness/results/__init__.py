"""The typed record of a run: what `results.json` holds and every tool reads.

The shape is stable: a field is added, never renamed, without a new `SCHEMA_VERSION`.
"""

from __future__ import annotations

from harness.results.accuracy import Accuracy, ClassAccuracy, Confusion, MetricValue
from harness.results.base import BatchNormMode, GateVerdict, Method, Record, Status
from harness.results.calibration import CalibratedTensor, Calibration, ChosenRanges
from harness.results.choice import ChoiceVerdict, EngineChoice
from harness.results.data import (
    Dataset,
    Example,
    FileCounts,
    Fp32Weights,
    NetworkInput,
    SharedSamples,
    Split,
    WeightsFile,
)
from harness.results.decision import ClassLoss, Decision, DecisionOutcome, OpenPoint, QatGain, Unknown
from harness.results.engine import Coverage, Deployment, Layer
from harness.results.load import Load, LoadAccuracy, LoadResult
from harness.results.network import Network, Operator
from harness.results.paired import ConfidenceInterval, PairedComparison
from harness.results.parity import (
    Agreement,
    CheckedStep,
    LayerParity,
    LayerStep,
    Parity,
    ParityStep,
    Representation,
    StepCheck,
)
from harness.results.performance import Cost, Energy, Latency, Memory, Size, Speedup, StreamThroughput
from harness.results.row import Row
from harness.results.run import (
    MAX_RECORD_BYTES,
    SCHEMA_VERSION,
    Conclusion,
    Environment,
    Gate,
    RunResults,
    SeedSpread,
    Spread,
    StageRun,
    next_or_raise,
)
from harness.results.variant import Variant
from harness.stats.terms import Interval, Verdict

__all__ = [
    "MAX_RECORD_BYTES",
    "SCHEMA_VERSION",
    "Accuracy",
    "Agreement",
    "BatchNormMode",
    "CalibratedTensor",
    "Calibration",
    "CheckedStep",
    "ChoiceVerdict",
    "ChosenRanges",
    "ClassAccuracy",
    "ClassLoss",
    "Conclusion",
    "ConfidenceInterval",
    "Confusion",
    "Cost",
    "Coverage",
    "Dataset",
    "Decision",
    "DecisionOutcome",
    "Deployment",
    "Energy",
    "EngineChoice",
    "Environment",
    "Example",
    "FileCounts",
    "Fp32Weights",
    "Gate",
    "GateVerdict",
    "Interval",
    "Latency",
    "Layer",
    "LayerParity",
    "LayerStep",
    "Load",
    "LoadAccuracy",
    "LoadResult",
    "Memory",
    "Method",
    "MetricValue",
    "Network",
    "NetworkInput",
    "OpenPoint",
    "Operator",
    "PairedComparison",
    "Parity",
    "ParityStep",
    "QatGain",
    "Record",
    "Representation",
    "Row",
    "RunResults",
    "SeedSpread",
    "SharedSamples",
    "Size",
    "Speedup",
    "Split",
    "Spread",
    "StageRun",
    "Status",
    "StepCheck",
    "StreamThroughput",
    "Unknown",
    "Variant",
    "Verdict",
    "WeightsFile",
    "next_or_raise",
]
