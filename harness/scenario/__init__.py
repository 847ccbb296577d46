"""The scenario file: what is compared, on what, and how it is judged.

`load_scenario` reads and checks one file, `expand` turns its matrix into variants.
"""

from harness.scenario.axes import Axes, Calibrator, Matrix
from harness.scenario.checks import check_names
from harness.scenario.gate_selection import judged_by
from harness.scenario.gates import GateSpec
from harness.scenario.ids import variant_id
from harness.scenario.load import find_root, load_scenario
from harness.scenario.matrix import expand
from harness.scenario.recipe import CalibParams, QATParams, QuantizationParams, SelectiveQuantizerParams, Training
from harness.scenario.schema import (
    CalibDataset,
    Dataset,
    Factory,
    Measurement,
    ModelSpec,
    Scenario,
    Verdict,
)
from harness.targets.settings import TargetOptions

__all__ = [
    "Axes",
    "CalibDataset",
    "CalibParams",
    "Calibrator",
    "Dataset",
    "Factory",
    "GateSpec",
    "Matrix",
    "Measurement",
    "ModelSpec",
    "QATParams",
    "QuantizationParams",
    "Scenario",
    "SelectiveQuantizerParams",
    "TargetOptions",
    "Training",
    "Verdict",
    "check_names",
    "expand",
    "find_root",
    "judged_by",
    "load_scenario",
    "variant_id",
]
