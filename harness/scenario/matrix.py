"""From the matrix of a scenario to its variants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

from harness.errors import ScenarioError, unknown_name
from harness.results import BatchNormMode, Method, Variant
from harness.results.base import QUANTIZING_METHODS
from harness.results.variant import OWN_TOOLKIT
from harness.scenario.axes import QAT_AXES, QUANTIZATION_AXES, Axes
from harness.scenario.ids import with_ids
from harness.scenario.schema import Scenario
from harness.scenario.source import Loc, dotted, joined

MAX_VARIANTS = 10_000
"""More than any report can show; a matrix beyond it is refused before it is expanded."""

MAX_TESTS = 1_000_000
"""Variants times entries that each may match: a few seconds."""

_METHOD_ORDER: tuple[Method, ...] = ("fp32", "fp16", "bf16", "ptq", "qat")
_QAT_TOOLKITS = frozenset({OWN_TOOLKIT})
_STEP_TOOLKITS = frozenset({OWN_TOOLKIT})
_ONE_EMPTY_VALUE = {
    "skip": "`[[]]` for one variant that skips nothing",
    "ptq_steps": "`[[]]` for one variant without steps",
}


@dataclass(frozen=True)
class Grid:
    """Every axis with its values, defaults filled in."""

    model: tuple[str, ...]
    method: tuple[Method, ...]
    toolkit: tuple[str, ...]
    calibrator: tuple[str, ...]
    percentile: tuple[float, ...]
    per_channel: tuple[bool, ...]
    weight_bits: tuple[int, ...]
    activation_bits: tuple[int, ...]
    skip: tuple[tuple[str, ...], ...]
    ptq_steps: tuple[tuple[str, ...], ...]
    learn_amax: tuple[bool, ...]
    batch_norm: tuple[BatchNormMode, ...]
    qat_seed: tuple[int | None, ...]
    target: tuple[str, ...]
    batch_size: tuple[int, ...]

    def first(self) -> Grid:
        """The first value of every axis."""
        return replace(self, **{name: values[:1] for name, values in self.__dict__.items()})

    def with_axes(self, axes: Axes) -> Grid:
        """The same grid, with those axes replaced that `axes` gives."""
        return replace(self, **axes.given())

    def size(self) -> int:
        """Upper bound of the number of cells."""
        return prod(len(set(values)) for values in self.__dict__.values())


def expand(scenario: Scenario) -> tuple[Variant, ...]:
    """The variants of a scenario, ordered by model, target, batch size, then fp32, fp16, ptq, qat.

    Every quantized or fp16 row is judged against the fp32 row of its model, target and batch size; where the
    methods leave that row out, it is added. Raises ScenarioError, at its place in the file, for an empty matrix and
    for entries that match nothing.
    """
    grid = _grid(scenario)
    errors = _axis_errors(scenario, grid)
    if errors:
        raise joined(errors)
    every = list(dict.fromkeys(_cells(grid, scenario)))
    kept = [cell for cell in every if not any(fits(cell, entry) for entry in scenario.matrix.exclude)]
    included = [list(_cells(grid.first().with_axes(entry), scenario)) for entry in scenario.matrix.include]
    wanted = dict.fromkeys([*kept, *(cell for cells in included for cell in cells)])
    references = [cell for cell in _references(wanted) if cell not in wanted]
    errors = [*_exclude_errors(scenario, grid, every, references), *_include_errors(scenario, included)]
    if not wanted and not errors:
        errors = [_empty_matrix(scenario, every)]
    if not errors:
        errors = list(_reference_target_errors(scenario, wanted))
    if errors:
        raise joined(errors)
    return with_ids(_ordered([*wanted, *references]))


def _grid(scenario: Scenario) -> Grid:
    selective = scenario.quantization_params.selective_quantizer_params
    calibration = scenario.quantization_params.calib_params
    default = Grid(
        model=tuple(scenario.models),
        method=("fp32", "ptq", "qat"),
        toolkit=(OWN_TOOLKIT,),
        calibrator=("max" if selective.calibrator_i == "max" else calibration.histogram_calib_method,),
        percentile=(calibration.percentile,),
        per_channel=(selective.per_channel,),
        weight_bits=(8,),
        activation_bits=(8,),
        skip=(tuple(sorted(set(selective.skip_modules))),),
        ptq_steps=(scenario.quantization_params.ptq_steps,),
        learn_amax=(selective.learn_amax,),
        batch_norm=("folded",),
        qat_seed=(None,),
        target=("onnxruntime",),
        batch_size=(1,),
    )
    return default.with_axes(scenario.matrix)


def _cells(grid: Grid, scenario: Scenario) -> Iterator[Variant]:
    """The combinations that can exist, without ids."""
    places = [(target, device) for target in grid.target for device in scenario.target_options(target).devices]
    for model, (target, device), batch_size, method in product(grid.model, places, grid.batch_size, grid.method):
        if method == "qat" and scenario.quantization_params.ptq_only:
            continue
        for quantization in _quantizations(grid, method):
            yield Variant(
                id="",
                model=model,
                method=method,
                target=target,
                compute_capability=device,
                batch_size=batch_size,
                **quantization,
            )


def _quantizations(grid: Grid, method: Method) -> Iterator[dict[str, Any]]:
    if method not in QUANTIZING_METHODS:
        yield {}
        return
    calibrations = [
        (calibrator, percentile)
        for calibrator in grid.calibrator
        for percentile in (grid.percentile if calibrator == "percentile" else (None,))
    ]
    toolkits = [toolkit for toolkit in grid.toolkit if method != "qat" or toolkit in _QAT_TOOLKITS]
    bits = product(grid.weight_bits, grid.activation_bits)
    # Steps are the harness' own: the rows of another toolkit are those without.
    procedures = [
        (toolkit, steps) for toolkit in toolkits for steps in (grid.ptq_steps if toolkit in _STEP_TOOLKITS else ((),))
    ]
    for (toolkit, steps), (calibrator, percentile), per_channel, (weight_bits, activation_bits), skip, qat in product(
        procedures, calibrations, grid.per_channel, bits, grid.skip, _qat_settings(grid, method)
    ):
        yield {
            "toolkit": toolkit,
            "calibrator": calibrator,
            "percentile": percentile,
            "per_channel": per_channel,
            "weight_bits": weight_bits,
            "activation_bits": activation_bits,
            "skip": skip,
            "ptq_steps": steps,
            **qat,
        }


def _qat_settings(grid: Grid, method: Method) -> list[dict[str, Any]]:
    if method != "qat":
        return [{}]
    return [
        {"learn_amax": learn_amax, "batch_norm": batch_norm, "qat_seed": qat_seed}
        for learn_amax, batch_norm, qat_seed in product(grid.learn_amax, grid.batch_norm, grid.qat_seed)
    ]


def fits(cell: Variant, entry: Axes) -> bool:
    """Whether a variant matches every axis that an entry gives; quantization axes match quantized variants only."""
    return all(
        getattr(cell, name) in values and (name not in QUANTIZATION_AXES or cell.is_quantized)
        for name, values in entry.given().items()
    )


def _references(cells: Iterator[Variant] | dict[Variant, None]) -> list[Variant]:
    groups = dict.fromkeys((cell.model, cell.target, cell.compute_capability, cell.batch_size) for cell in cells)
    return [
        Variant(id="", model=model, method="fp32", target=target, compute_capability=capability, batch_size=batch_size)
        for model, target, capability, batch_size in groups
    ]


def _axis_errors(scenario: Scenario, grid: Grid) -> list[ScenarioError]:
    """Unknown models, empty axes and entries, and a matrix without bounds."""
    errors = [error for loc, axes in scenario.matrix.located() for error in _entry_errors(scenario, loc, axes)]
    if errors:
        return errors
    matrix = scenario.matrix
    size = grid.size() + sum(grid.first().with_axes(entry).size() for entry in matrix.include)
    if size > MAX_VARIANTS:
        message = f"the matrix has up to {size} variants, more than {MAX_VARIANTS}"
        errors.append(scenario.error(("matrix",), message, fix="split it into several scenarios", on_key=True))
    elif size * (len(matrix.exclude) + len(matrix.include) + len(scenario.gates)) > MAX_TESTS:
        message = "`exclude`, `include` and `gates` have too many entries for so many variants"
        errors.append(scenario.error(("matrix",), message, fix="split it into several scenarios", on_key=True))
    return errors


def _entry_errors(scenario: Scenario, loc: Loc, axes: Axes) -> Iterator[ScenarioError]:
    given = axes.given()
    if not given and len(loc) > 1:
        yield scenario.error(loc, f"`{dotted(loc)}` names no axis", fix="name at least one axis, or delete the entry")
    for name, values in given.items():
        if not values:
            none = _ONE_EMPTY_VALUE.get(name, "at least one value")
            message = f"the matrix is empty: `{dotted((*loc, name))}` has no values"
            yield scenario.error((*loc, name), message, fix=f"write {none}, or delete `{name}`")
    for index, model in enumerate(axes.model or ()):
        if model not in scenario.models:
            message, fix = unknown_name("model", model, scenario.models)
            yield scenario.error((*loc, "model", index), message, fix=fix)


def _exclude_errors(
    scenario: Scenario, grid: Grid, every: list[Variant], references: list[Variant]
) -> Iterator[ScenarioError]:
    for index, entry in enumerate(scenario.matrix.exclude):
        loc: Loc = ("matrix", "exclude", index)
        if not any(fits(cell, entry) for cell in every):
            message = f"`{dotted(loc)}` matches no variant: {_why_no_match(entry, grid)}"
            yield scenario.error(loc, message, fix="correct the entry, or delete it")
        elif "fp32" in (entry.method or ()) and any(fits(cell, entry) for cell in references):
            message = f"`{dotted(loc)}` excludes an fp32 row that others are judged against"
            yield scenario.error((*loc, "method"), message, fix="take fp32 out of the entry, or exclude those rows too")


def _reference_target_errors(scenario: Scenario, wanted: Iterable[Variant]) -> Iterator[ScenarioError]:
    names, given = dict.fromkeys(variant.target for variant in wanted), scenario.reference_target
    if given is not None and given not in names:
        message, fix = unknown_name("target of the matrix", given, names)
        yield scenario.error(("reference_target",), message, fix=fix)


def _why_no_match(entry: Axes, grid: Grid) -> str:
    for name, values in entry.given().items():
        on_axis = getattr(grid, name)
        if not set(values) & set(on_axis):
            shown = ", ".join(str(value) for value in on_axis)
            return f"`{name}` of the matrix is {shown}"
    return "no variant has all of these together"


def _include_errors(scenario: Scenario, included: list[list[Variant]]) -> Iterator[ScenarioError]:
    for index, (entry, cells) in enumerate(zip(scenario.matrix.include, included, strict=True)):
        loc: Loc = ("matrix", "include", index)
        quantization = [f"`{name}`" for name in entry.given() if name in QUANTIZATION_AXES]
        if not cells:
            message = f"`{dotted(loc)}` adds no variant: {_why_no_qat(scenario)}"
            yield scenario.error(loc, message, fix="correct the entry, or delete it")
        elif quantization and not any(cell.is_quantized for cell in cells):
            message = f"`{dotted(loc)}` gives {', '.join(quantization)}, but its method is {cells[0].method}"
            yield scenario.error(loc, message, fix="add `method: ptq` or `method: qat` to the entry")
        elif (names := QAT_AXES & entry.given().keys()) and not any(cell.method == "qat" for cell in cells):
            message = f"`{dotted(loc)}` gives {_quoted(names)}, but its method is {cells[0].method}"
            yield scenario.error(loc, message, fix="add `method: qat` to the entry")
        elif any(entry.ptq_steps or ()) and not any(cell.toolkit in _STEP_TOOLKITS for cell in cells):
            message = f"`{dotted(loc)}` gives `ptq_steps`, but its toolkit is {cells[0].toolkit}"
            yield scenario.error((*loc, "ptq_steps"), message, fix="delete them, or add `toolkit: harness`")


def _quoted(names: AbstractSet[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _why_no_qat(scenario: Scenario) -> str:
    if scenario.quantization_params.ptq_only:
        return "`quantization_params.ptq_only` drops qat rows"
    return "only the toolkit `harness` has qat rows"


def _empty_matrix(scenario: Scenario, every: list[Variant]) -> ScenarioError:
    if every:
        message, fix = f"the matrix is empty: `exclude` leaves none of its {len(every)} variants", "exclude less"
    else:
        message, fix = f"the matrix is empty: {_why_no_qat(scenario)}", "add `ptq` to `matrix.method`"
    return scenario.error(("matrix",), message, fix=fix, on_key=True)


def _ordered(cells: list[Variant]) -> list[Variant]:
    """By model, target and batch size in the order they were first named, then by method; else as generated."""
    models, places, sizes = (
        {value: rank for rank, value in enumerate(dict.fromkeys(getattr(cell, name) for cell in cells))}
        for name in ("model", "place", "batch_size")
    )
    return sorted(
        cells,
        key=lambda cell: (
            models[cell.model],
            places[cell.place],
            sizes[cell.batch_size],
            _METHOD_ORDER.index(cell.method),
        ),
    )
