"""The walk that replaces modules by quantization-friendly counterparts before a network is captured.

What a counterpart computes is the user's choice; where quantizers are placed in it follows from the target's rules, as
everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import nn

from harness.errors import ModelError, UsageError, unknown_name
from harness.quantization.capture.eager import copy_of
from harness.quantization.replacement.counterpart import make_counterpart
from harness.quantization.replacement.instructions import (
    REGISTERED,
    QuantizedMapping,
    QuantizedMetadata,
    ReplacementAction,
    SkipQuantization,
)
from harness.quantization.replacement.replaced import Replaced

_SKIP_WRAPPER = QuantizedMetadata(SkipQuantization, action=ReplacementAction.UNWRAP)


def replace_modules(
    model: nn.Module,
    instructions: Sequence[QuantizedMetadata] = (),
    registered: Mapping[type[nn.Module], QuantizedMetadata] = REGISTERED,
) -> Replaced:
    """A copy of `model` in which the instructions are carried out; `model` is not modified.

    A name beats a wrapper, a wrapper beats a type, a type of `instructions` beats a registered one; of one kind, the
    later one wins. UsageError, with the nearest names, for an instruction that selects nothing.
    """
    replacing = _Replacing(instructions, registered)
    replaced = Replaced(copy_of(model))
    replaced.model = replacing.visit(replaced.model, "", replaced, frozenset())
    for instruction in instructions:
        if not any(_selects(instruction, network) for network in (model, replaced.model)):
            raise _nothing_selected(instruction, model)
    return replaced


def replace_as_the_model_says(model: nn.Module) -> Replaced:
    """A copy of `model` without its wrappers, and with the counterparts that its own file registers.

    What other model files register, which may be loaded by chance, changes nothing.
    """
    own = {
        source: metadata
        for source, metadata in REGISTERED.items()
        if metadata.quantized_target_class is not None
        and metadata.quantized_target_class.__module__ == type(model).__module__
    }
    return replace_modules(model, registered=own)


class _Replacing:
    """One walk over one network, outermost modules first."""

    def __init__(
        self, instructions: Sequence[QuantizedMetadata], registered: Mapping[type[nn.Module], QuantizedMetadata]
    ) -> None:
        self.instructions = instructions
        self.registered = registered
        self.made: dict[int, tuple[nn.Module, nn.Module]] = {}
        """By id of the float module (kept alive here): one that is used at two places has one counterpart."""

    def visit(self, module: nn.Module, path: str, replaced: Replaced, done: frozenset[int] | None) -> nn.Module:
        """What is at `path` afterwards. `done` holds the instructions that led here; None: replace no more."""
        instruction = self._instruction(module, path, done)
        if instruction is None:
            self._visit_children(module, path, replaced, done)
            return module
        if instruction.action in (ReplacementAction.SKIP, ReplacementAction.UNWRAP):
            replaced.skipped.append(path)
            return _unwrapped(module, path) if instruction.action is ReplacementAction.UNWRAP else module
        if instruction.input_quant_descriptor is not None or instruction.weights_quant_descriptor is not None:
            replaced.described.append((path, instruction))
        float_module = module.float_module if isinstance(module, QuantizedMapping) else module
        assert isinstance(float_module, nn.Module)
        target = instruction.quantized_target_class
        if done is None or target is None:
            self._visit_children(float_module, path, replaced, done)
            return float_module
        return self._replace(float_module, path, replaced, instruction, target, done)

    def _replace(
        self,
        module: nn.Module,
        path: str,
        replaced: Replaced,
        instruction: QuantizedMetadata,
        target: type[nn.Module],
        done: frozenset[int],
    ) -> nn.Module:
        if id(module) in self.made:
            return self.made[id(module)][1]
        inner = done | {id(instruction)}  # a counterpart may hold a module of the type that it stands for
        if instruction.action is ReplacementAction.RECURE_AND_REPLACE:
            self._visit_children(module, path, replaced, inner)
        counterpart = make_counterpart(module, target, path)
        self.made[id(module)] = (module, counterpart)
        self.made[id(counterpart)] = (counterpart, counterpart)
        if instruction.action is not ReplacementAction.RECURE_AND_REPLACE:
            recurses = instruction.action is ReplacementAction.REPLACE_AND_RECURE
            self._visit_children(counterpart, path, replaced, inner if recurses else None)
        return counterpart

    def _visit_children(self, module: nn.Module, path: str, replaced: Replaced, done: frozenset[int] | None) -> None:
        for name, child in list(module._modules.items()):
            if child is not None:
                place = f"{path}.{name}" if path else name
                module._modules[name] = self.visit(child, place, replaced, done)

    def _instruction(self, module: nn.Module, path: str, done: frozenset[int] | None) -> QuantizedMetadata | None:
        by_name = [item for item in self.instructions if path and item.selects_name(path)]
        if by_name:
            return by_name[-1]
        if isinstance(module, SkipQuantization):
            return _SKIP_WRAPPER
        if isinstance(module, QuantizedMapping):
            return module.instruction
        by_type = [item for item in self.instructions if item.selects_type(module)]
        chosen = by_type[-1] if by_type else self.registered.get(type(module))
        return None if chosen is None or (done and id(chosen) in done) else chosen


def _unwrapped(module: nn.Module, path: str) -> nn.Module:
    inner = getattr(module, "float_module", None)
    if not isinstance(inner, nn.Module):
        raise ModelError(
            f"`{path}` cannot be unwrapped: {type(module).__name__} has no module `float_module`",
            fix="use the action SKIP, or wrap it in `SkipQuantization`",
        )
    return inner


def _selects(instruction: QuantizedMetadata, model: nn.Module) -> bool:
    return any(
        instruction.selects_type(module) or (path and instruction.selects_name(path))
        for path, module in model.named_modules()
    )


def _nothing_selected(instruction: QuantizedMetadata, model: nn.Module) -> UsageError:
    source = instruction.float_source
    types = sorted({type(module).__name__ for module in model.modules()})
    if isinstance(source, type):
        message, fix = unknown_name("module type", source.__name__, types)
        is_same_name = source.__name__ in types
        fix = f"the network has another {source.__name__}: check the import" if is_same_name else fix
    else:
        text = source.pattern if isinstance(source, re.Pattern) else source
        names = [path for path, _ in model.named_modules() if path]
        message, fix = unknown_name("module", text, names if len(names) > 1 else [*names, *types])
    return UsageError(message, fix=fix)
