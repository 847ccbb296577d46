"""The scenario file: what is compared, on what, and how it is judged.

`load_scenario` reads and checks one file, `expand` turns its matrix into variants.
"""

from harness.data.settings import CalibDataset, DatasetSpec
from harness.quantization.settings import CalibParams, Calibrator, QuantizationParams, SelectiveQuantizerParams
from harness.scenario.axes import Axes, Matrix
from harness.scenario.checks import check_names
from harness.scenario.gate_selection import judged_by
from harness.scenario.gates import GateSpec
from harness.scenario.ids import variant_id
from harness.scenario.load import find_root, load_scenario
from harness.scenario.matrix import expand
from harness.scenario.schema import Measurement, ModelSpec, Scenario
from harness.targets.settings import TargetOptions
from harness.training.settings import QATParams, Training
from harness.verdicts.settings import Judgement

__all__ = [
    "Axes",
    "CalibDataset",
    "CalibParams",
    "Calibrator",
    "DatasetSpec",
    "GateSpec",
    "Judgement",
    "Matrix",
    "Measurement",
    "ModelSpec",
    "QATParams",
    "QuantizationParams",
    "Scenario",
    "SelectiveQuantizerParams",
    "TargetOptions",
    "Training",
    "check_names",
    "expand",
    "find_root",
    "judged_by",
    "load_scenario",
    "variant_id",
]
