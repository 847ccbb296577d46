"""Rules and skip sets are checked against networks and targets before any work starts."""

from pathlib import Path

import pytest

from harness.errors import ScenarioError
from harness.runs.preparation import RunOptions, prepare_run
from harness.scenario import load_scenario

REPOSITORY = Path(__file__).parents[2]
SCENARIO = """\
name: rules
dataset: {{source: fashion_mnist, location: embedded}}
models:
  net: {{factory: models/resnet.py:resnet8, args: {{width: 4}}}}
  other: {{factory: models/mobilenet.py:mobilenet_v2_small}}
quantization_params:
  rules:
    - {rule}
matrix: {{skip: [{skip}]}}
"""


@pytest.fixture
def check(tmp_path: Path):
    """Prepares a scenario with one rule and one skip set."""
    (tmp_path / "models").symlink_to(REPOSITORY / "models")

    def run(rule: str = "{modules: [stem], skip: true}", skip: str = "[]"):
        path = tmp_path / "rules.yaml"
        path.write_text(SCENARIO.format(rule=rule, skip=skip), encoding="utf-8")
        return prepare_run(load_scenario(path), RunOptions())

    return run


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize(
    ("rule", "message", "fix"),
    [
        ("{modules: [layer1.9], skip: true}", "8:18: unknown module `layer1.9`", "did you mean `layer1.0`?"),
        ("{types: [Conv3d], skip: true}", "8:16: unknown module type `Conv3d`", "did you mean `Conv2d`?"),
        ("{types: [Conv2d], weight: {axis: 1}}", "`weight.axis: 1` is not the axis", "write `axis: 0`"),
        ("{types: [Conv2d], weight: {unsigned: true}}", "cannot deploy `weight.unsigned`", "delete `unsigned`"),
        ("{types: [Conv2d], weight: {num_bits: 16}}", "weights have at most 8 bits", "delete `num_bits`"),
        ("{types: [Conv2d], input: {num_bits: 12}}", "found 12", "write `2, 3, 4, 5, 6, 7, 8 or 16`"),
        ("{roles: [first_conv], input: {axis: 0}}", "cannot deploy `input.axis`", "delete `axis`"),
        ("{modules: [head], types: [Conv2d], skip: true}", "no module fits all", "correct the rule"),
    ],
)
def test_a_rule_that_cannot_be_used_is_an_error_at_its_place(check, rule: str, message: str, fix: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        check(rule)
    assert message in str(caught.value)
    assert fix in str(caught.value)


def test_a_skip_set_must_fit_each_network_that_it_is_used_for(check) -> None:
    check(skip="[head]")  # both have a head
    with pytest.raises(ScenarioError, match="unknown module `layer1` of `other` in a skip set"):
        check(skip="[layer1]")


def test_a_rule_needs_to_fit_one_network_and_is_left_out_for_the_others(check) -> None:
    prepared = check("{modules: [layer1], skip: true}")
    by_model = {plan.variant.model: plan for plan in prepared.plans if plan.variant.method == "ptq"}
    assert len(by_model["net"].tasks["quantize"].config.quantizer.rules) == 1
    assert by_model["other"].tasks["quantize"].config.quantizer.rules == ()


def test_a_width_without_kernels_makes_the_variant_a_simulated_one(check) -> None:
    prepared = check("{modules: [layer1], weight: {num_bits: 4}}")
    simulated = {(plan.variant.model, plan.variant.method): plan.simulated for plan in prepared.plans}
    assert simulated["net", "ptq"]
    assert not simulated["net", "fp32"]
    assert not simulated["other", "ptq"]


def test_16_bit_inputs_of_some_layers_give_a_simulated_variant_with_an_engine_that_is_not_measured(check) -> None:
    prepared = check("{modules: [layer1], input: {num_bits: 16}}")
    plans = {(plan.variant.model, plan.variant.method): plan for plan in prepared.plans}
    plan = plans["net", "ptq"]
    assert plan.simulated
    assert {"export", "build", "outputs", "torch_outputs"} <= plan.tasks.keys()
    assert "memory" not in plan.tasks
    assert not plan.is_measured
    assert plans["net", "fp32"].is_measured


def test_a_rule_changes_the_key_of_quantize_but_not_of_calibrate(check) -> None:
    def keys(rule: str) -> tuple[str, str]:
        (plan,) = [p for p in check(rule).plans if (p.variant.model, p.variant.method) == ("net", "ptq")]
        return plan.tasks["quantize"].key, plan.tasks["calibrate"].key

    quantized, calibrated = keys("{modules: [layer1], weight: {axis: null}}")
    other_quantized, other_calibrated = keys("{modules: [layer1], weight: {scale_amax: 1.0}}")
    assert quantized != other_quantized
    assert calibrated == other_calibrated
