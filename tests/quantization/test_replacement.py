"""Modules replaced before capture: which, in what order, and with which weights."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from harness.errors import ModelError, UsageError
from harness.quantization.replacement.instructions import (
    REGISTERED,
    QuantizedMapping,
    QuantizedMetadata,
    ReplacementAction,
    SkipQuantization,
    register_quantized_module,
)
from harness.quantization.replacement.walk import replace_as_the_model_says, replace_modules
from harness.supergradients.selective import QuantDescriptor


class Gate(nn.Module):
    """Multiplies by a sigmoid."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features
        self.fc = nn.Linear(features, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.fc(x))


class QuantGate(nn.Module):
    """The same weights, with a piecewise linear gate."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.fc = nn.Linear(features, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * nn.functional.hardsigmoid(self.fc(x))


class QuantLinear(nn.Linear):
    """A linear layer of another type."""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.gates = nn.ModuleList([Gate(4) for _ in range(11)])
        self.head = nn.Linear(4, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for gate in self.gates:
            x = gate(x)
        return self.head(x)


def mapping(source: object, target: type[nn.Module] | None = QuantGate, **options: object) -> QuantizedMetadata:
    return QuantizedMetadata(source, target, **options)


def skip(source: object) -> QuantizedMetadata:
    return QuantizedMetadata(source, action=ReplacementAction.SKIP)


def types_of(model: nn.Module) -> dict[str, type[nn.Module]]:
    return {name: type(module) for name, module in model.named_modules()}


@pytest.fixture
def registry() -> Iterator[dict[type[nn.Module], QuantizedMetadata]]:
    before = dict(REGISTERED)
    yield REGISTERED
    REGISTERED.clear()
    REGISTERED.update(before)


class TestSelection:
    def test_a_type_selects_every_module_of_it_and_the_callers_model_is_not_modified(self) -> None:
        net = Net()
        replaced = replace_modules(net, [mapping(Gate)])
        assert {type(gate) for gate in replaced.model.gates} == {QuantGate}
        assert {type(gate) for gate in net.gates} == {Gate}
        own = {tensor.data_ptr() for tensor in net.parameters()}
        assert own.isdisjoint(tensor.data_ptr() for tensor in replaced.model.parameters())

    def test_a_name_selects_whole_components(self) -> None:
        types = types_of(replace_modules(Net(), [mapping("gates.1")]).model)
        assert (types["gates.1"], types["gates.10"]) == (QuantGate, Gate)

    @pytest.mark.parametrize("source", ["gates.[12]", "re:gates\\.[12]", re.compile(r"gates\.[12]")])
    def test_globs_and_regular_expressions_select_whole_names(self, source: object) -> None:
        types = types_of(replace_modules(Net(), [mapping(source)]).model)
        assert [name for name, kind in types.items() if kind is QuantGate] == ["gates.1", "gates.2"]

    def test_subclasses_are_selected_when_asked(self) -> None:
        net = nn.Sequential(nn.Linear(2, 2), QuantLinear(2, 2))
        assert replace_modules(net, [skip(nn.Linear)]).skipped == ["0"]
        both = QuantizedMetadata(nn.Linear, action=ReplacementAction.SKIP, subclasses=True)
        assert replace_modules(net, [both]).skipped == ["0", "1"]

    @pytest.mark.parametrize("by_name_first", [True, False])
    def test_a_name_beats_a_type(self, by_name_first: bool) -> None:
        instructions = [mapping("gates.3"), skip(Gate)]
        replaced = replace_modules(Net(), instructions if by_name_first else instructions[::-1])
        assert type(replaced.model.gates[3]) is QuantGate
        assert replaced.skipped == [f"gates.{i}" for i in range(11) if i != 3]

    def test_the_later_of_two_names_wins(self) -> None:
        assert replace_modules(Net(), [mapping("gates.3"), skip("gates.3")]).skipped == ["gates.3"]

    def test_skipping_a_container_leaves_everything_inside_alone(self) -> None:
        replaced = replace_modules(Net(), [skip("gates"), mapping("gates.3"), mapping(nn.Linear, QuantLinear)])
        types = types_of(replaced.model)
        assert types["gates.3"] is Gate and types["gates.3.fc"] is nn.Linear
        assert types["first"] is types["head"] is QuantLinear
        assert replaced.skipped == ["gates"]

    @pytest.mark.parametrize(
        ("source", "fix"),
        [("gates.11", "did you mean `gates.1`?"), ("frist", "did you mean `first`?"), (nn.LSTM, None)],
    )
    def test_what_selects_nothing_is_an_error_that_names_the_nearest(self, source: object, fix: str | None) -> None:
        with pytest.raises(UsageError, match="unknown module") as caught:
            replace_modules(Net(), [skip(source)])
        assert caught.value.fix if fix is None else caught.value.fix == fix

    def test_another_class_of_the_same_name_is_told(self) -> None:
        other = type("Gate", (nn.Module,), {})
        with pytest.raises(UsageError) as caught:
            replace_modules(Net(), [mapping(other)])
        assert "another Gate" in str(caught.value.fix)


class TestActions:
    def test_replace_leaves_what_is_inside_the_counterpart(self) -> None:
        replaced = replace_modules(Net(), [mapping("gates.0"), mapping(nn.Linear, QuantLinear)])
        types = types_of(replaced.model)
        assert (types["gates.0"], types["gates.0.fc"], types["gates.1.fc"]) == (QuantGate, nn.Linear, QuantLinear)

    @pytest.mark.parametrize("action", [ReplacementAction.REPLACE_AND_RECURE, ReplacementAction.RECURE_AND_REPLACE])
    def test_recursion_replaces_what_is_inside(self, action: ReplacementAction) -> None:
        class SharingGate(QuantGate):
            """Takes over the modules of the float gate, or makes its own when constructed alone."""

            @classmethod
            def from_float(cls, gate: Gate) -> SharingGate:
                new = cls(gate.features)
                if action is ReplacementAction.RECURE_AND_REPLACE:
                    assert type(gate.fc) is QuantLinear  # the inside came first
                    new.fc = gate.fc
                return new

        net = Net()
        replaced = replace_modules(
            net, [mapping("gates.0", SharingGate, action=action), mapping(nn.Linear, QuantLinear)]
        )
        assert type(replaced.model.gates[0]) is SharingGate
        assert type(replaced.model.gates[0].fc) is QuantLinear
        assert torch.equal(replaced.model.gates[0].fc.weight, net.gates[0].fc.weight)

    def test_a_counterpart_that_holds_its_own_float_type_is_made_once(self) -> None:
        class Wrapped(nn.Module):
            def __init__(self, inner: nn.Linear) -> None:
                super().__init__()
                self.inner = inner

            @classmethod
            def from_float(cls, linear: nn.Linear) -> Wrapped:
                return cls(nn.Linear(linear.in_features, linear.out_features))

            def state_dict(self, *args, **kwargs):
                return self.inner.state_dict(*args, **kwargs)

            def load_state_dict(self, state, strict=True, assign=False):
                return self.inner.load_state_dict(state, strict=strict)

        net = nn.Sequential(nn.Linear(2, 2))
        replaced = replace_modules(net, [mapping(nn.Linear, Wrapped, action=ReplacementAction.REPLACE_AND_RECURE)])
        assert [type(module) for module in replaced.model.modules()] == [nn.Sequential, Wrapped, nn.Linear]

    def test_a_skip_wrapper_goes_away_and_its_inside_stays_in_float(self) -> None:
        net = nn.Sequential(SkipQuantization(nn.Linear(2, 2)), nn.Linear(2, 2))
        replaced = replace_modules(net, [])
        assert [type(module) for module in replaced.model] == [nn.Linear, nn.Linear]
        assert replaced.skipped == ["0"]
        assert torch.equal(replaced.model(torch.ones(1, 2)), net(torch.ones(1, 2)))

    def test_a_mapping_wrapper_is_replaced_and_its_descriptors_are_kept(self) -> None:
        net = nn.Sequential(
            QuantizedMapping(
                float_module=Gate(2),
                quantized_target_class=QuantGate,
                input_quant_descriptor=QuantDescriptor(num_bits=4),
            )
        )
        replaced = replace_modules(net, [])
        assert type(replaced.model[0]) is QuantGate
        ((path, instruction),) = replaced.described
        assert (path, instruction.input_quant_descriptor.num_bits) == ("0", 4)

    def test_a_name_beats_a_wrapper(self) -> None:
        net = nn.Sequential(QuantizedMapping(float_module=Gate(2), quantized_target_class=QuantGate))
        assert replace_modules(net, [skip("0")]).skipped == ["0"]

    def test_unwrapping_needs_a_wrapper(self) -> None:
        with pytest.raises(ModelError, match="`first` cannot be unwrapped: Linear has no module `float_module`"):
            replace_modules(Net(), [QuantizedMetadata("first", action=ReplacementAction.UNWRAP)])

    def test_without_a_counterpart_the_module_stays_and_its_descriptors_are_kept(self) -> None:
        replaced = replace_modules(
            Net(), [mapping("gates.0", None, weights_quant_descriptor=QuantDescriptor(num_bits=4))]
        )
        assert type(replaced.model.gates[0]) is Gate
        assert [path for path, _ in replaced.described] == ["gates.0"]

    def test_a_module_at_two_places_has_one_counterpart(self) -> None:
        gate = Gate(2)
        replaced = replace_modules(nn.Sequential(gate, gate), [mapping(Gate)])
        assert type(replaced.model[0]) is QuantGate
        assert replaced.model[0] is replaced.model[1]

    def test_the_network_itself_can_be_replaced(self) -> None:
        assert type(replace_modules(Gate(2), [mapping(Gate)]).model) is QuantGate


class TestCounterpart:
    def test_weights_are_carried_over_and_the_mode_too(self) -> None:
        net = Net().train()
        replaced = replace_modules(net, [mapping(Gate)])
        for (name, old), (new_name, new) in zip(net.named_parameters(), replaced.model.named_parameters(), strict=True):
            assert name == new_name and torch.equal(old, new)
        assert all(gate.training for gate in replaced.model.gates)

    def test_constructor_arguments_are_attributes_and_bias_becomes_a_flag(self) -> None:
        replaced = replace_modules(Net(), [mapping(nn.Linear, QuantLinear)])
        assert replaced.model.first.bias is not None and replaced.model.head.bias is None

        convolution = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2, bias=False)
        kind = type("QuantConv", (nn.Conv2d,), {})
        made = replace_modules(nn.Sequential(convolution), [mapping(nn.Conv2d, kind)]).model
        assert torch.equal(made(torch.ones(1, 4, 5, 5)), convolution(torch.ones(1, 4, 5, 5)))

    def test_an_argument_without_an_attribute_is_named_with_the_way_out(self) -> None:
        class Needs(QuantGate):
            def __init__(self, features: int, sharpness: float) -> None:
                super().__init__(features)

        with pytest.raises(ModelError, match="Gate has no attribute `sharpness`") as caught:
            replace_modules(Net(), [mapping("gates.0", Needs)])
        assert "from_float" in str(caught.value.fix)

    def test_keys_that_do_not_fit_are_named(self) -> None:
        class Renamed(nn.Module):
            def __init__(self, features: int) -> None:
                super().__init__()
                self.fc1 = nn.Linear(features, features)
                self.extra = nn.Parameter(torch.zeros(1))

        with pytest.raises(ModelError) as caught:
            replace_modules(Net(), [mapping("gates.0", Renamed)])
        assert caught.value.message == (
            "replacing `gates.0` by Renamed: the weights do not fit: it lacks: `fc.bias`, `fc.weight`; "
            "it needs more: `extra`, `fc1.bias`, `fc1.weight`"
        )
        assert caught.value.fix == "name `fc1.bias` `fc.bias`"

    def test_a_size_that_does_not_fit_is_named(self) -> None:
        class Wider(QuantGate):
            def __init__(self, features: int) -> None:
                super().__init__(2 * features)

        with pytest.raises(ModelError, match=re.escape("`fc.weight` is (8, 8) instead of (4, 4)")):
            replace_modules(Net(), [mapping("gates.0", Wider)])

    def test_a_constructor_that_fails_is_told_with_its_reason(self) -> None:
        class Fails(QuantGate):
            @classmethod
            def from_float(cls, _: nn.Module) -> Fails:
                raise RuntimeError("no room")

        with pytest.raises(ModelError, match=r"`gates\.0` by Fails failed: RuntimeError: no room"):
            replace_modules(Net(), [mapping("gates.0", Fails)])


class TestRegistering:
    def test_a_registered_class_is_used_everywhere(self, registry: dict) -> None:
        register_quantized_module(float_source=Gate, action=QuantizedMetadata.ReplacementAction.REPLACE)(QuantGate)
        assert {type(gate) for gate in replace_modules(Net(), []).model.gates} == {QuantGate}

    def test_an_instruction_of_a_quantizer_beats_it(self, registry: dict) -> None:
        register_quantized_module(Gate)(QuantGate)
        assert len(replace_modules(Net(), [skip(Gate)]).skipped) == 11

    def test_a_registered_class_need_not_occur(self, registry: dict) -> None:
        register_quantized_module(Gate)(QuantGate)
        replace_modules(nn.Sequential(nn.Linear(2, 2)), [])

    def test_two_classes_for_one_type_are_refused_and_the_same_class_again_is_not(self, registry: dict) -> None:
        register_quantized_module([Gate, nn.LSTM])(QuantGate)
        register_quantized_module(Gate)(QuantGate)
        with pytest.raises(UsageError, match=r"Gate has the counterpart .*QuantGate already"):
            register_quantized_module(Gate)(QuantLinear)

    def test_a_class_that_is_no_module_is_refused(self) -> None:
        with pytest.raises(UsageError, match=r"Plain is no subclass of torch\.nn\.Module"):
            register_quantized_module(Gate)(type("Plain", (), {}))

    def test_a_model_of_a_scenario_is_changed_by_its_wrappers_and_its_own_file_only(self, registry: dict) -> None:
        register_quantized_module(Gate)(QuantGate)
        register_quantized_module(nn.Linear)(type("Elsewhere", (nn.Linear,), {"__module__": "another.file"}))
        net = Net()
        net.first = SkipQuantization(net.first)
        replaced = replace_as_the_model_says(net)
        types = types_of(replaced.model)
        assert types["gates.0"] is QuantGate
        assert types["first"] is types["head"] is nn.Linear
        assert replaced.skipped == ["first"]
