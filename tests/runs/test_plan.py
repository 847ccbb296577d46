"""What QAT rows of a scenario are planned as."""

from pathlib import Path
from typing import Any

import pytest

from harness.data.settings import DatasetSpec
from harness.quantization.capture.modules import Modules
from harness.runs.plan import Planner
from harness.runs.plugins import Plugins
from harness.runs.resolve import resolve, resolve_network
from harness.scenario import Scenario, expand
from harness.stages.configs import DataConfig, FinetuneConfig, ModelConfig


def planned(matrix: dict[str, Any], **sections: Any) -> list[FinetuneConfig]:
    """Configurations of the QAT stages of a scenario with 40 epochs of 128 samples and seed 5."""
    scenario = Scenario.model_validate(
        {
            "name": "a",
            "seed": 5,
            "dataset": {"source": "fashion_mnist"},
            "models": {"net": {"factory": "a.b:f"}},
            "training": {"max_epochs": 40, "batch_size": 128},
            "matrix": {"method": "qat", "calibrator": "max"} | matrix,
            **sections,
        }
    )
    data = DataConfig(spec=DatasetSpec(source="fashion_mnist"), seed=5, fingerprint="0", root=Path())
    model = ModelConfig(
        factory="a.b:f", args={}, input_shape=(1, 8, 8), n_classes=10, seed=5, source_sha256="0", root=Path()
    )
    network = resolve_network(scenario, "net", model, Modules({"": ("a.b.F",)}), data, Plugins())
    planner = Planner(resolve(scenario, data, data, {"net": network}))
    plans = [planner.plan(variant, "net-fp32-onnxruntime-b1") for variant in expand(scenario)]
    configs = [plan.tasks["finetune"].config for plan in plans if "finetune" in plan.tasks]
    return [config for config in configs if isinstance(config, FinetuneConfig)]


def test_the_default_is_folded_batch_norm_within_the_ptq_ranges() -> None:
    (config,) = planned({})
    assert (config.batch_norm, config.learn_amax, config.freeze_observers_after) == ("folded", False, 0.0)
    assert (config.recipe.max_epochs, config.recipe.batch_size) == (4, 64)  # 40 // 10, 128 // 2
    assert (config.recipe.seed, config.validation_seed) == (5, 5)


def test_other_seeds_validate_on_the_samples_that_fp32_training_held_out() -> None:
    configs = planned({"qat_seed": [0, 1]})
    assert [(config.recipe.seed, config.validation_seed) for config in configs] == [(0, 5), (1, 5)]


def test_the_batch_is_halved_only_with_learned_ranges_on_request() -> None:
    configs = planned({"learn_amax": [False, True]}, qat_params={"batch_size_rule": "learned_ranges"})
    assert [(config.learn_amax, config.recipe.batch_size) for config in configs] == [(False, 128), (True, 64)]


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ({"batch_norm": "live"}, (0.25, 0.75)),
        ({"batch_norm": "frozen"}, (1.0, 0.75)),  # nothing to freeze
        ({"batch_norm": "live", "learn_amax": True}, (0.25, 0.0)),  # learned, not observed
    ],
)
def test_freezing_counts_only_where_something_moves(matrix: dict[str, Any], expected: tuple[float, float]) -> None:
    (config,) = planned(matrix, qat_params={"freeze_batch_norm_after": 0.25, "freeze_observers_after": 0.75})
    assert (config.freeze_batch_norm_after, config.freeze_observers_after) == expected


def test_distillation_and_early_stop_reach_the_recipe() -> None:
    (config,) = planned({}, qat_params={"distillation": {"weight": 0.2}, "early_stop_epochs": 3})
    assert config.recipe.early_stop_epochs == 3
    assert config.recipe.distillation is not None
    assert (config.recipe.distillation.weight, config.recipe.distillation.temperature) == (0.2, 4.0)
