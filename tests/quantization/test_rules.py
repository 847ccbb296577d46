"""Rules: which operations they select, which of two contradicting ones wins, and what they change."""

import pytest
import torch
from oracles.networks import INPUT_SHAPE, captured, make_batch
from torch import nn

from harness.errors import UsageError
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.capture.graph import capture
from harness.quantization.descriptors import HistogramMethod, refusal
from harness.quantization.placement.rules import Rule, RuleSet, TensorDescriptor
from harness.quantization.qat.graph import training_graph
from harness.targets import get_target

TARGET = get_target("onnxruntime")


def prepare(network, rules: RuleSet, per_channel: bool = True):
    quantizer = TARGET.quantizer(
        TARGET.number_format(8, 8),
        per_channel=per_channel,
        weight_calibrator=make_calibrator("max"),
        rules=rules,
        histogram=HistogramMethod("percentile", 90.0),
    )
    prepared = quantized.prepare(network, quantizer)
    quantized.collect(prepared, make_batch())
    quantized.set_ranges(prepared, quantized.collected_histograms(prepared), make_calibrator("max"))
    prepared(make_batch(2))  # weight scales follow the weights
    return prepared


def weights(prepared) -> dict[str, quantized.WeightQuantizer]:
    found = quantized.tensor_quantizers(prepared)
    return {q.name: q for q in found if isinstance(q, quantized.WeightQuantizer)}


def input_quantizer(prepared, operation: str) -> quantized.TensorQuantizer | None:
    """The quantizer of what the graph node `operation` reads first."""
    (node,) = [node for node in prepared.graph.nodes if node.name == operation]
    module = dict(prepared.named_modules()).get(str(node.args[0].target))
    return module if isinstance(module, quantized.TensorQuantizer) else None


def skipped(rules: RuleSet, network=None) -> set[str]:
    graph = captured("residual") if network is None else network
    return {node.name for node, rule in rules.resolve(graph).items() if rule.skip}


class TestSelection:
    @pytest.mark.parametrize(
        ("rule", "nodes"),
        [
            ({"modules": ["conv1"]}, {"conv2d_1"}),
            ({"modules": ["conv1.0"]}, {"conv2d_1"}),
            ({"modules": ["conv*"]}, {"conv2d_1", "conv2d_2"}),
            ({"modules": ["re:conv[23].*"]}, {"conv2d_2"}),
            ({"types": ["Linear"]}, {"linear"}),
            ({"types": ["torch.nn.Linear"]}, {"linear"}),
            ({"types": ["torch.nn.modules.linear.Linear"]}, {"linear"}),
            ({"types": ["Sequential"]}, {"conv2d", "conv2d_1", "conv2d_2"}),  # a container takes its subtree
            ({"types": ["_ConvNd"], "subclasses": True}, {"conv2d", "conv2d_1", "conv2d_2"}),
            ({"roles": ["first_conv"]}, {"conv2d"}),
            ({"roles": ["last_linear"]}, {"linear"}),
            ({"roles": ["residual_add"]}, {"add"}),
            ({"modules": ["conv1", "head"], "types": ["Conv2d"]}, {"conv2d_1"}),  # both kinds must match
        ],
    )
    def test_each_kind_of_selector(self, rule: dict, nodes: set[str]) -> None:
        assert skipped(RuleSet((Rule.model_validate(rule | {"skip": True}),))) == nodes

    @pytest.mark.parametrize(
        ("pattern", "nodes"),
        [("conv1", {"conv2d_1"}), ("Linear", {"linear"}), ("type:Linear", {"linear"}), ("role:first_conv", {"conv2d"})],
    )
    def test_skip_patterns_are_rules_that_skip(self, pattern: str, nodes: set[str]) -> None:
        assert skipped(RuleSet(skip=(pattern,))) == nodes

    def test_depthwise_convolutions_and_concatenations_are_roles(self) -> None:
        assert skipped(RuleSet(skip=("role:depthwise_conv",)), captured("depthwise")) == {"conv2d_1"}
        assert skipped(RuleSet(skip=("role:concat",)), captured("concat")) == {"cat"}

    def test_a_name_is_whole_components(self) -> None:
        network = nn.Sequential(*[nn.Linear(3, 3) for _ in range(11)])
        graph = capture(nn.Sequential(nn.Flatten(2), network), (*INPUT_SHAPE[:1], 1, 3))
        chosen = RuleSet(skip=("1.1",)).resolve(graph)
        assert [node.name for node, rule in chosen.items() if rule.skip] == ["linear_1"]  # not 1.10

    def test_further_calls_of_one_module_are_that_module(self) -> None:
        class Twice(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = nn.Conv2d(3, 3, 1)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.conv(self.conv(x).relu())

        assert skipped(RuleSet(skip=("conv",)), capture(Twice(), INPUT_SHAPE)) == {"conv2d", "conv2d_1"}

    @pytest.mark.parametrize(
        ("rule", "message", "fix"),
        [
            ({"modules": ["conv3"]}, "unknown module `conv3`", "conv"),
            ({"modules": ["conv1.10"]}, "unknown module `conv1.10`", "conv1.1"),
            ({"types": ["Liner"]}, "unknown module type `Liner`", "Linear"),
            ({"types": ["_ConvNd"]}, "unknown module type `_ConvNd`", "Conv2d"),  # only with `subclasses`
            ({"roles": ["concat"]}, "the rule for roles concat matches no operation", "delete"),
            ({"modules": ["head"], "types": ["Conv2d"]}, "matches no operation", "delete"),
        ],
    )
    def test_a_rule_that_matches_nothing_is_an_error(self, rule: dict, message: str, fix: str) -> None:
        with pytest.raises(UsageError, match=message.replace("`", ".")) as caught:
            RuleSet((Rule.model_validate(rule | {"skip": True}),)).resolve(captured("residual"))
        assert fix in str(caught.value.fix)


class TestPrecedence:
    def test_name_beats_type_beats_role_whatever_the_order(self) -> None:
        by_name = Rule(modules=("conv1",), skip=False)
        by_type = Rule(types=("Conv2d",), skip=True)
        by_role = Rule(roles=("first_conv",), skip=False)
        assert skipped(RuleSet((by_name, by_type, by_role))) == {"conv2d", "conv2d_2"}

    def test_of_one_kind_the_later_wins(self) -> None:
        first, second = Rule(modules=("conv1",), skip=True), Rule(modules=("conv*",), skip=False)
        assert skipped(RuleSet((first, second))) == set()
        assert skipped(RuleSet((second, first))) == {"conv2d_1"}

    def test_skip_patterns_come_last(self) -> None:
        assert skipped(RuleSet((Rule(modules=("conv1",), skip=False),), skip=("conv1",))) == {"conv2d_1"}

    def test_descriptors_are_merged_key_by_key(self) -> None:
        wide = Rule(types=("Conv2d",), weight=TensorDescriptor(num_bits=4, scale_amax=0.5))
        single = Rule(modules=("conv1",), weight=TensorDescriptor(num_bits=6))
        resolved = RuleSet((single, wide)).resolve(captured("residual"))
        merged = {node.name: rule.weight for node, rule in resolved.items()}
        assert merged["conv2d_1"].given() == {"num_bits": 6, "scale_amax": 0.5}
        assert merged["conv2d_2"].given() == {"num_bits": 4, "scale_amax": 0.5}


class TestDescriptors:
    def rule(self, **changes) -> RuleSet:
        return RuleSet((Rule.model_validate({"modules": ["conv2"]} | changes),))

    def test_only_the_named_layer_changes(self) -> None:
        plain = weights(prepare(captured("residual"), RuleSet()))
        changed = weights(prepare(captured("residual"), self.rule(weight={"num_bits": 4})))
        assert changed["conv2.0.weight"].quant_max == 7
        assert changed["conv1.0.weight"].quant_max == plain["conv1.0.weight"].quant_max == 127

    def test_no_axis_is_one_scale_per_tensor_and_axis_0_one_per_channel(self) -> None:
        per_tensor = weights(prepare(captured("residual"), self.rule(weight={"axis": None})))
        assert per_tensor["conv2.0.weight"].scale.ndim == 0
        assert per_tensor["conv1.0.weight"].scale.shape == (8,)
        per_channel = weights(prepare(captured("residual"), self.rule(weight={"axis": 0}), per_channel=False))
        assert per_channel["conv2.0.weight"].scale.shape == (8,)
        assert per_channel["conv1.0.weight"].scale.ndim == 0

    def test_a_tuple_of_one_axis_is_that_axis(self) -> None:
        assert TensorDescriptor.model_validate({"axis": [0], "name": "w"}).axis == 0
        with pytest.raises(ValueError, match="axis"):
            TensorDescriptor.model_validate({"axis": [0, 1]})

    def test_an_axis_that_is_not_the_channels_is_refused(self) -> None:
        with pytest.raises(UsageError, match="axis: 1") as caught:
            prepare(captured("residual"), self.rule(weight={"axis": 1}))
        assert "axis: 0" in str(caught.value.fix)

    def test_a_fixed_amax_is_the_range(self) -> None:
        prepared = prepare(captured("residual"), self.rule(input={"amax": 2.55}, weight={"amax": 1.27}))
        quantizer = input_quantizer(prepared, "conv2d_2")
        assert quantizer is not None
        # Behind a ReLU all 256 steps are above zero: 2.55 / 255. Weights are symmetric: 1.27 / 127.
        assert float(quantizer.scale) == pytest.approx(0.01)
        assert int(quantizer.zero_point) == 0
        assert weights(prepared)["conv2.0.weight"].scale.tolist() == pytest.approx([0.01] * 8)

    def test_a_fixed_amax_for_each_channel(self) -> None:
        amax = [0.127 * (i + 1) for i in range(8)]
        prepared = prepare(captured("residual"), self.rule(weight={"amax": amax}))
        assert weights(prepared)["conv2.0.weight"].scale.tolist() == pytest.approx([0.001 * (i + 1) for i in range(8)])

    def test_scale_amax_multiplies_the_range(self) -> None:
        plain, halved = (
            prepare(captured("residual"), rules)
            for rules in (RuleSet(), self.rule(input={"scale_amax": 0.5}, weight={"scale_amax": 0.5}))
        )
        one, half = (input_quantizer(prepared, "conv2d_2") for prepared in (plain, halved))
        assert one is not None
        assert half is not None
        assert float(half.scale) == pytest.approx(float(one.scale) / 2)
        torch.testing.assert_close(weights(halved)["conv2.0.weight"].scale, weights(plain)["conv2.0.weight"].scale / 2)

    def test_calib_method_of_one_tensor(self) -> None:
        prepared = prepare(captured("residual"), self.rule(input={"calib_method": "histogram"}))
        quantizer = input_quantizer(prepared, "conv2d_2")
        assert quantizer is not None
        histogram = quantizer.histogram
        expected = make_calibrator("percentile", percentile=90.0).amax(histogram, 256)
        assert float(quantizer.scale) == pytest.approx(expected / 255)
        assert expected < histogram.abs_max

    def test_unsigned_clips_negative_values_away(self) -> None:
        prepared = prepare(
            captured("residual"), RuleSet((Rule.model_validate({"modules": ["stem"], "input": {"unsigned": True}}),))
        )
        quantizer = input_quantizer(prepared, "conv2d")
        assert quantizer is not None
        assert quantizer.histogram.minimum < 0
        assert int(quantizer.zero_point) == 0
        assert float(quantizer.scale) == pytest.approx(quantizer.histogram.maximum / 255)

    def test_fake_quant_false_leaves_the_tensor_in_float(self) -> None:
        prepared = prepare(captured("residual"), self.rule(input={"fake_quant": False}, weight={"fake_quant": False}))
        assert input_quantizer(prepared, "conv2d_2") is None
        assert set(weights(prepared)) == {"stem.0.weight", "conv1.0.weight", "head.weight"}

    def test_learn_amax_of_single_tensors_goes_before_that_of_the_variant(self) -> None:
        def learned(rules: RuleSet, **options: bool) -> set[str]:
            graph = training_graph(prepare(captured("residual"), rules), **options)
            return {quantizer.name for quantizer in quantized.tensor_quantizers(graph) if quantizer.learned}

        everything = learned(RuleSet(), learn_ranges=True)
        assert learned(self.rule(weight={"learn_amax": True})) == {"conv2.0.weight"}
        assert learned(self.rule(weight={"learn_amax": False}), learn_ranges=True) == everything - {"conv2.0.weight"}

    def test_the_callers_graph_is_left_alone(self) -> None:
        before = captured("residual").code
        prepare(captured("residual"), self.rule(weight={"num_bits": 4}))
        assert captured("residual").code == before

    def test_keys_that_were_not_written_survive_a_dump(self) -> None:
        rule = Rule.model_validate({"modules": ["a"], "weight": {"axis": None}})
        again = Rule.model_validate(rule.model_dump(mode="json"))
        assert again.weight is not None
        assert again.weight.given() == {"axis": None}


@pytest.mark.parametrize(
    ("kind", "descriptor", "key"),
    [
        ("input", {"axis": 0}, "axis"),
        ("input", {"amax": [1.0, 2.0]}, "amax"),
        ("input", {"narrow_range": True}, "narrow_range"),
        ("weight", {"axis": 2}, "axis"),
        ("weight", {"unsigned": True}, "unsigned"),
    ],
)
def test_what_no_engine_can_deploy_is_refused(kind, descriptor: dict, key: str) -> None:
    refused = refusal(kind, TensorDescriptor.model_validate(descriptor), TARGET.number_format(8, 8))
    assert refused is not None
    assert refused[0] == key


@pytest.mark.parametrize(
    ("kind", "descriptor"),
    [
        ("input", {"unsigned": True}),
        ("input", {"axis": None, "num_bits": 8}),
        ("weight", {"axis": 0, "narrow_range": False}),
    ],
)
def test_what_onnxruntime_can_deploy_is_not(kind, descriptor: dict) -> None:
    assert refusal(kind, TensorDescriptor.model_validate(descriptor), TARGET.number_format(8, 8)) is None
