"""PTQ steps in the stage graph: who shares which pass over the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data.settings import DatasetSpec
from harness.quantization.capture.modules import Modules
from harness.runs.plan import Planner, VariantPlan
from harness.runs.plugins import Plugins
from harness.runs.resolve import resolve, resolve_network
from harness.scenario import Scenario, expand
from harness.stages.configs import DataConfig, ModelConfig


def plans(steps: list[list[str]], calibrators: list[str], methods: list[str]) -> list[VariantPlan]:
    """The plans of every quantized variant."""
    scenario = Scenario.model_validate(
        {
            "name": "a",
            "dataset": {"source": "fashion_mnist"},
            "models": {"m": {"factory": "a.b:f"}},
            "matrix": {"method": methods, "calibrator": calibrators, "ptq_steps": steps},
        }
    )
    data = DataConfig(spec=DatasetSpec(source="fashion_mnist"), seed=0, fingerprint="f", root=Path())
    model = ModelConfig(
        factory="a.b:f", args={}, input_shape=(1, 28, 28), n_classes=10, seed=0, source_sha256="s", root=Path()
    )
    network = resolve_network(scenario, "m", model, Modules({"": ("a.b.F",)}), data, Plugins())
    planner = Planner(resolve(scenario, data, data, {"m": network}))
    found = [planner.plan(variant, "m-fp32-onnxruntime-b1") for variant in expand(scenario)]
    return [plan for plan in found if plan.variant.method in ("ptq", "qat")]


def keys(found: list[VariantPlan], task: str) -> list[str]:
    return [plan.tasks[task].key for plan in found]


def test_calibrators_and_corrections_share_one_calibration() -> None:
    found = plans([[], ["bias_correction"], ["sequential_bias_correction"]], ["max", "mse"], ["ptq"])
    assert len(found) == 6
    assert len(set(keys(found, "calibrate"))) == 1
    assert len(set(keys(found, "quantize"))) == 6


def test_steps_that_change_weights_calibrate_for_themselves() -> None:
    equalized = [["cross_layer_equalization"], ["cross_layer_equalization", "bias_correction"]]
    found = plans([[], *equalized], ["max"], ["ptq"])
    none, alone, corrected = keys(found, "calibrate")
    assert alone == corrected != none


@pytest.mark.parametrize(
    ("steps", "reads_data"), [([], False), (["cross_layer_equalization"], False), (["bias_correction"], True)]
)
def test_only_corrections_read_data_in_quantize(steps: list[str], reads_data: bool) -> None:
    (found,) = plans([steps], ["max"], ["ptq"])
    assert (found.tasks["quantize"].config.correction is not None) is reads_data


def test_qat_starts_from_the_corrected_state() -> None:
    ptq, qat = plans([["bias_correction"]], ["max"], ["ptq", "qat"])
    assert qat.tasks["finetune"].inputs["state"].key == ptq.tasks["quantize"].key
