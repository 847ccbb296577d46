"""What is quantized, how ranges are chosen, and what is different for single modules; also usable from Python."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from harness.errors import unknown_name
from harness.fields import ActivationBits, Count, Listed, Percent, Positive, Section, Text, Unit
from harness.plugin_names import OneOfOrPlugin
from harness.registry import file_names

DEFAULT_PERCENTILE = 99.99
DEFAULT_CALIBRATION_SAMPLES = 512
"""As in SuperGradients, in full batches."""
REGEX, ROLE = "re:", "role:"
Role = Literal["first_conv", "last_linear", "residual_add", "depthwise_conv", "concat"]
"""What an operation is in its network, whatever the names of the modules are."""


def calibrator_names() -> tuple[str, ...]:
    """Every calibrator, in alphabetical order: its name is that of its file."""
    return file_names("harness.quantization.calibrators")


def ptq_step_names() -> tuple[str, ...]:
    """Every PTQ step, likewise."""
    return file_names("harness.quantization.ptq.steps")


_ROUNDING = "weight_rounding"
_CORRECTIONS = {"bias_correction", "sequential_bias_correction", "batch_norm_reestimation"}


def _calibration_methods() -> tuple[str, ...]:
    return ("histogram", *calibrator_names())


def _as_set(patterns: tuple[str, ...]) -> tuple[str, ...]:
    # Two spellings of one skip set must be one variant.
    return tuple(sorted(set(patterns)))


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def rounding_first(steps: tuple[str, ...]) -> tuple[str, ...]:
    """The steps as they are; ValueError where weights are rounded after what rounding did was corrected."""
    before = set(steps[: steps.index(_ROUNDING)]) & _CORRECTIONS if _ROUNDING in steps else set()
    if before:
        raise ValueError(f"`{_ROUNDING}` undoes what `{min(before)}` corrects: write it first")
    return steps


Calibrator = Annotated[str, OneOfOrPlugin(calibrator_names, "calibrator")]
PtqStep = Annotated[str, OneOfOrPlugin(ptq_step_names, "PTQ step")]
PtqSteps = Annotated[Listed[PtqStep], AfterValidator(_once), AfterValidator(rounding_first)]
"""The order counts, so it is kept."""


def _numbers(value: Any) -> Any:
    return value if value is None else tuple(map(float, value)) if isinstance(value, (list, tuple)) else (float(value),)


def _some(numbers: tuple[float, ...] | None) -> tuple[float, ...] | None:
    if numbers == ():
        raise PydanticCustomError("amax", "`amax` is empty", {"fix": "give one number, or one for each channel"})
    return numbers


def _single_axis(value: Any) -> Any:
    """pytorch-quantization takes a tuple of axes; engines have scales along one."""
    return value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value


def _pattern(text: str) -> str:
    """A regular expression must compile, and a role must be one."""
    if text.startswith(REGEX):
        try:
            re.compile(text.removeprefix(REGEX))
        except (re.error, RecursionError, OverflowError) as error:
            fix = "correct the expression; `(`, `[` and `.` of a name are written with a backslash before them"
            raise PydanticCustomError(
                "pattern", "`{text}` is no regular expression: {why}", {"text": text, "why": str(error), "fix": fix}
            ) from None
    if text.startswith(ROLE) and text.removeprefix(ROLE) not in get_args(Role):
        message, fix = unknown_name("role", text.removeprefix(ROLE), get_args(Role))
        raise PydanticCustomError("pattern", "{message}", {"message": message, "fix": fix})
    return text


Pattern = Annotated[Text, AfterValidator(_pattern)]
"""Names modules: dotted name, glob, `re:EXPRESSION`, class name, `type:NAME` or `role:ROLE`."""

SkipSet = Annotated[Listed[Pattern], AfterValidator(_as_set)]

_NUMBER = {"type": "number", "exclusiveMinimum": 0}
Amax = Annotated[
    tuple[Positive, ...] | None,
    BeforeValidator(_numbers),
    AfterValidator(_some),
    WithJsonSchema({"anyOf": [_NUMBER, {"type": "array", "items": _NUMBER, "minItems": 1}, {"type": "null"}]}),
]
_INTEGER = {"type": "integer"}
Axis = Annotated[
    int | None,
    BeforeValidator(_single_axis),
    WithJsonSchema({"anyOf": [_INTEGER, {"type": "array", "items": _INTEGER, "maxItems": 1}, {"type": "null"}]}),
]


class TensorDescriptor(Section):
    """How one tensor is quantized; keys and meaning of pytorch-quantization's `QuantDescriptor`.

    A key that is left out keeps what the variant says.
    """

    name: Text | None = None
    """Accepted so that descriptors can be pasted; a quantizer is named after its tensor."""
    num_bits: ActivationBits | None = None
    """Width; weights have at most 8 bits. One that the target has no kernels for makes the variant a simulated one."""
    axis: Axis = None
    """Weights only: the output channels' axis (0; 1 for transposed convolutions) for one scale per channel; empty for
    one scale per tensor."""
    amax: Amax = None
    """Fixed range in units of the tensor: one number, or one for each output channel of a weight. Nothing is
    calibrated; with `learn_amax` it is where learning starts."""
    scale_amax: Positive | None = None
    """Multiplies the range that calibration (or `amax`) gives."""
    learn_amax: bool | None = None
    """Train the range during QAT."""
    calib_method: Annotated[str, OneOfOrPlugin(_calibration_methods, "calibrator")] | None = None
    """A calibrator by its name; `histogram` means `calib_params.histogram_calib_method`."""
    percentile: Percent | None = None
    """For `calib_method: percentile`; empty: `calib_params.percentile`."""
    unsigned: bool = False
    """Inputs only: negative values are clipped away, so that all steps serve the positive ones."""
    narrow_range: bool = True
    """Weights only: leave the most negative integer out, as every target's format does."""
    fake_quant: bool = True
    """With `false` the tensor is not quantized."""

    @model_serializer(mode="wrap")
    def _only_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Keys that were not written must not come back as overrides when a dump is read again.
        return {name: value for name, value in handler(self).items() if name in self.model_fields_set}

    def given(self) -> dict[str, Any]:
        """The keys that were written down."""
        return {name: getattr(self, name) for name in self.model_fields_set}

    def overridden_by(self, other: TensorDescriptor | None) -> TensorDescriptor:
        """This descriptor with the keys of `other` in place of its own."""
        return self if other is None else TensorDescriptor.model_validate(self.given() | other.given())


class Rule(Section):
    """Modules or operations, and what is different for them.

    Several kinds of selectors in one rule must all match; several values of one kind are alternatives. Where rules
    contradict each other, `modules` beats `types`, `types` beats `roles`, and of one kind the later rule wins.
    """

    modules: Listed[Pattern] = ()
    """Dotted names (`layer1.0.conv1`), globs (`layer*.conv1`) or regular expressions (`re:layer[12].*`) of modules; a
    container stands for all that is inside it."""
    types: Listed[Text] = ()
    """Class names (`Conv2d` or `torch.nn.Conv2d`) of modules; a container means all that is inside it."""
    subclasses: bool = False
    """Whether `types` also match subclasses of the classes named."""
    roles: Listed[Role] = ()
    """`first_conv`, `last_linear`, `residual_add`, `depthwise_conv` or `concat`: operations of the captured graph."""
    skip: bool | None = None
    """`true` excludes them from quantization; `false` includes them again after a weaker or earlier rule."""
    input: TensorDescriptor | None = None
    """How the tensors that they read are quantized."""
    weight: TensorDescriptor | None = None
    """How their weights are quantized."""

    @model_validator(mode="after")
    def _selects_and_changes(self) -> Self:
        if not (self.modules or self.types or self.roles):
            raise PydanticCustomError("rule", "the rule selects nothing", {"fix": "add `modules`, `types` or `roles`"})
        if self.skip is None and not any(each and each.given() for each in (self.input, self.weight)):
            raise PydanticCustomError("rule", "the rule changes nothing", {"fix": "add `skip`, `input` or `weight`"})
        return self

    @property
    def strength(self) -> int:
        """Rank among contradicting rules."""
        return 2 if self.modules else 1 if self.types else 0


class SelectiveQuantizerParams(Section):
    """What is quantized, and with which ranges."""

    calibrator_w: Literal["max", "histogram"] = "max"
    """Calibrator of the weights."""
    calibrator_i: Literal["max", "histogram"] = "histogram"
    """Calibrator of the activations: `max`, or the `calib_params.histogram_calib_method`."""
    per_channel: bool = True
    """One weight scale per output channel instead of one per tensor; activations have one per tensor."""
    learn_amax: bool = False
    """Train the ranges of all quantizers during QAT (learned step sizes); PTQ's ranges are where they start."""
    skip_modules: Listed[Pattern] = ()
    """Modules that stay unquantized, by name, glob, `re:EXPRESSION`, type or `role:ROLE`; a container takes all that is
    inside with it."""


class CalibParams(Section):
    """How activation ranges are estimated from the calibration samples."""

    histogram_calib_method: Literal["percentile", "entropy", "mse"] = "percentile"
    """The calibrator for `calibrator_i: histogram`; `calibrator_i: max` does not use it."""
    percentile: Percent = DEFAULT_PERCENTILE
    """Share of |x| inside the range, for the method `percentile` only."""
    num_calib_batches: Annotated[Count, Unit("batch")] | None = None
    """Batches of `training.batch_size` samples to calibrate on; empty: 512 // `training.batch_size`, at least one. The
    ranges depend on the samples, not on how they are divided into batches."""
    verbose: bool = False
    """Log every range that is estimated."""

    def samples(self, batch_size: int, pool: int) -> int:
        """Samples that calibrate a network trained in batches of `batch_size`: `num_calib_batches` of them.

        Without that number: as many full batches as make up 512 samples, at least one, or all of the `pool`.
        """
        if self.num_calib_batches is None:
            return min(max(1, DEFAULT_CALIBRATION_SAMPLES // batch_size) * batch_size, pool)
        return self.num_calib_batches * batch_size


class QuantizationParams(Section):
    """PTQ, and the quantizers that QAT starts from; the keys and defaults of a SuperGradients recipe."""

    ptq_only: bool = False
    """Drop every `qat` row of the matrix."""
    ptq_steps: PtqSteps = ()
    """What PTQ does beside choosing ranges, in order: `cross_layer_equalization`, `bias_correction`, ….
    docs/design/ptq-steps.md lists the steps and what each is worth."""
    selective_quantizer_params: SelectiveQuantizerParams = Field(default_factory=SelectiveQuantizerParams)
    calib_params: CalibParams = Field(default_factory=CalibParams)
    rules: Listed[Rule] = ()
    """What is different for single modules or operations, in every quantized variant. The `skip` sets of the matrix
    come after them."""
