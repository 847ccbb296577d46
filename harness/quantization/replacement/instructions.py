"""Instructions for modules: which are replaced by a counterpart, and which are not quantized.

The vocabulary is that of SuperGradients' `SelectiveQuantizer`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import torch
from torch import nn

from harness.errors import UsageError
from harness.quantization.capture.modules import fits_name
from harness.quantization.settings import TensorDescriptor

Selector = str | re.Pattern[str] | type[nn.Module]
"""A dotted name, a glob, a regular expression (after `re:` in a text), or a class."""
ClassT = TypeVar("ClassT", bound=type[nn.Module])


@dataclass(frozen=True)
class QuantizedMetadata:
    """One instruction: which modules, and what happens to them."""

    class ReplacementAction(Enum):
        """What happens to a module that is selected."""

        REPLACE = "replace"
        """Its counterpart takes its place; nothing inside the counterpart is replaced."""
        REPLACE_AND_RECURE = "replace_and_recure"
        """Its counterpart takes its place, then what is inside the counterpart is looked at."""
        RECURE_AND_REPLACE = "recure_and_replace"
        """What is inside the module is looked at first, then the counterpart is made from the result."""
        UNWRAP = "unwrap"
        """Remove the wrapper; do not quantize the module in it."""
        SKIP = "skip"
        """The module and its submodules are not quantized."""

    float_source: Selector
    quantized_target_class: type[nn.Module] | None = None
    """None keeps the module; only its descriptors change."""
    action: ReplacementAction = ReplacementAction.REPLACE
    input_quant_descriptor: TensorDescriptor | None = None
    weights_quant_descriptor: TensorDescriptor | None = None
    subclasses: bool = False
    """Whether a class also selects its subclasses."""

    def selects_name(self, path: str) -> bool:
        """Whether this selects a module by its dotted name, as a whole: `layer1.1` is not `layer1.10`."""
        source = self.float_source
        if isinstance(source, re.Pattern):
            return source.fullmatch(path) is not None
        return isinstance(source, str) and fits_name(source, path)

    def selects_type(self, module: nn.Module) -> bool:
        """Whether this selects a module by its class."""
        source = self.float_source
        if not isinstance(source, type):
            return False
        return isinstance(module, source) if self.subclasses else type(module) is source


ReplacementAction = QuantizedMetadata.ReplacementAction


class SkipQuantization(nn.Module):
    """Around a module inside a model: it is not quantized."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.float_module = module

    def forward(self, *inputs: torch.Tensor) -> Any:
        """What the module inside gives."""
        return self.float_module(*inputs)


class QuantizedMapping(nn.Module):
    """Around a module inside a model: it is replaced by `quantized_target_class` when the model is quantized."""

    def __init__(
        self,
        *,
        float_module: nn.Module,
        quantized_target_class: type[nn.Module],
        action: ReplacementAction = ReplacementAction.REPLACE,
        input_quant_descriptor: TensorDescriptor | None = None,
        weights_quant_descriptor: TensorDescriptor | None = None,
    ) -> None:
        super().__init__()
        self.float_module = float_module
        self.instruction = QuantizedMetadata(
            QuantizedMapping, quantized_target_class, action, input_quant_descriptor, weights_quant_descriptor
        )

    def forward(self, *inputs: torch.Tensor) -> Any:
        """What the float module gives."""
        return self.float_module(*inputs)


REGISTERED: dict[type[nn.Module], QuantizedMetadata] = {}
"""Instructions of `register_quantized_module`, which hold for every quantizer."""


def register_quantized_module(
    float_source: type[nn.Module] | Iterable[type[nn.Module]],
    action: ReplacementAction = ReplacementAction.REPLACE,
    input_quant_descriptor: TensorDescriptor | None = None,
    weights_quant_descriptor: TensorDescriptor | None = None,
) -> Callable[[ClassT], ClassT]:
    """Class decorator: the class is the counterpart of every module of type `float_source`.

    UsageError when another class is registered for that type; defining the same class again is fine.
    """
    sources = [float_source] if isinstance(float_source, type) else list(float_source)

    def register(target: ClassT) -> ClassT:
        _require_module_class(target)
        for source in sources:
            _require_module_class(source)
            old = REGISTERED.get(source)
            if old is not None and _full_name(old.quantized_target_class) != _full_name(target):
                raise UsageError(
                    f"{source.__name__} has the counterpart {_full_name(old.quantized_target_class)} already",
                    fix="register one class for each type, or map by name with `register_quantization_mapping`",
                )
            REGISTERED[source] = QuantizedMetadata(
                source, target, action, input_quant_descriptor, weights_quant_descriptor
            )
        return target

    return register


def _require_module_class(kind: Any) -> None:
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise UsageError(f"{getattr(kind, '__name__', kind)} is no subclass of torch.nn.Module", fix="make it one")


def _full_name(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
