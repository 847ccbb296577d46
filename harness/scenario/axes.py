"""The matrix of a scenario: which variants are run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator

from harness.fields import ActivationBits, Bits, Count, Listed, Name, Percent, Section, Seed, Unit
from harness.plugin_names import PluginName
from harness.quantization.settings import Calibrator, PtqSteps, SkipSet
from harness.results import BatchNormMode, Method
from harness.results.variant import current_toolkit_name
from harness.scenario.source import Loc

QUANTIZATION_AXES = frozenset(
    {"toolkit", "calibrator", "percentile", "per_channel", "weight_bits", "activation_bits", "skip", "ptq_steps"}
)
"""Axes that `fp32`, `fp16` and `bf16` rows do not have."""
QAT_AXES = frozenset({"learn_amax", "batch_norm", "qat_seed"})
"""Axes that only `qat` rows have."""


class Axes(Section):
    """Values per axis; one value is read as a list of one.

    In an `exclude` entry, an axis that is left out matches every value. In an `include` entry, it takes the first
    value of the matrix axis.
    """

    model: Listed[Name] | None = None
    """Names of `models`. Default: all."""
    method: Listed[Method] | None = None
    """Default: `[fp32, ptq, qat]`. The FP32 row that others are judged against is added when it is left out."""
    toolkit: Listed[Annotated[PluginName, AfterValidator(current_toolkit_name)]] | None = None
    """What quantizes. Default: `[harness]`, the harness's own quantizer. Other toolkits have `ptq` rows only."""
    calibrator: Listed[Calibrator] | None = None
    """Default: from `quantization_params`: `max` if `calibrator_i` is `max`, else `histogram_calib_method`."""
    percentile: Listed[Percent] | None = None
    """Multiplies the calibrator `percentile` only. Default: `quantization_params.calib_params.percentile`."""
    per_channel: Listed[bool] | None = None
    """Granularity of weight scales. Default: `quantization_params.selective_quantizer_params.per_channel`."""
    weight_bits: Listed[Bits] | None = None
    """Default: `[8]`."""
    activation_bits: Listed[ActivationBits] | None = None
    """Default: `[8]`. Rows of 16 bits have a Q/DQ file; as no target has integer kernels for it, they are `simulated`:
    [16-bit activations](design/quantization.md#16-bit-activations)."""
    skip: Listed[SkipSet] | None = None
    """Skip sets: each a list of modules that stay unquantized (name, glob, `re:EXPRESSION`, type or `role:ROLE`), `[]`
    for none. A plain text is a set of one. Default: one set,
    `quantization_params.selective_quantizer_params.skip_modules`."""
    ptq_steps: Listed[PtqSteps] | None = None
    """What PTQ does beside choosing ranges: each value a list of steps in order, `[]` for none. A plain text is a list
    of one. QAT starts from the result. Only the toolkit `harness` has them. Default: one list,
    `quantization_params.ptq_steps`."""
    learn_amax: Listed[bool] | None = None
    """Whether QAT trains the ranges too. Default: `quantization_params.selective_quantizer_params.learn_amax`."""
    batch_norm: Listed[BatchNormMode] | None = None
    """Batch norm during QAT: `folded` into the weights before it; beside them with `frozen` statistics; or `live`, with
    those of each batch until `qat_params.freeze_batch_norm_after`. Default: `[folded]`."""
    qat_seed: Listed[Seed] | None = None
    """Seeds of QAT, a row each. Default: one row with the scenario's `seed`."""
    target: Listed[PluginName] | None = None
    """Where the variant is deployed. Default: `[onnxruntime]`."""
    batch_size: Listed[Annotated[Count, Unit("sample")]] | None = None
    """Samples per inference when latency is measured. Default: `[1]`."""

    def given(self) -> dict[str, tuple[Any, ...]]:
        """The axes that were written down, in the order of the schema."""
        values = {name: getattr(self, name) for name in Axes.model_fields}
        return {name: value for name, value in values.items() if value is not None}


class Matrix(Axes):
    """One variant for each combination of the axes, minus `exclude`, plus `include`.

    `fp32`, `fp16` and `bf16` quantize nothing, so they are one row for each model, target and batch size.
    """

    exclude: Listed[Axes] = ()
    """A variant is left out when it matches every key of one entry."""
    include: Listed[Axes] = ()
    """Each entry adds the product of its own axes, after `exclude`; variants that exist already are not repeated."""

    def located(self) -> Iterator[tuple[Loc, Axes]]:
        """The matrix itself and its entries, each with its place in the scenario."""
        yield ("matrix",), self
        for index, entry in enumerate(self.exclude):
            yield ("matrix", "exclude", index), entry
        for index, entry in enumerate(self.include):
            yield ("matrix", "include", index), entry
