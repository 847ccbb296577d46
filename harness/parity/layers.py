"""Layer by layer: each is given the reference's inputs, so that it answers for its own error alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from onnx import ModelProto

from harness.parity.comparison_points import ComparisonPoint, comparison_points
from harness.parity.deviation import Deviation
from harness.parity.engine_points import EnginePoint, candidate_tensors, located
from harness.parity.onnx_graph import cut, exposed, runner
from harness.parity.torch_points import TorchPoints
from harness.results import LayerParity, LayerStep
from harness.targets.base import EngineGraph, EngineTensors

if TYPE_CHECKING:
    from torch.fx import GraphModule

    from harness.parity.onnx_graph import Array, Arrays, Run

_KEPT_CHANNELS = 8
"""Faulty channels that a record lists."""


def compare_layers(
    model: ModelProto,
    batches: Iterable[torch.Tensor],
    *,
    prepared: GraphModule | None = None,
    engine: EngineGraph | EngineTensors | None = None,
) -> tuple[LayerParity, ...]:
    """Compare a Q/DQ file with the fake-quantized network `prepared`, and `engine` with the file, at every point.

    Both are optional: other toolkits have no fake-quantized network, and some engines cannot be inspected.
    """
    all_points = comparison_points(model)
    free = runner(exposed(model, {point.tensor: point.element_type for point in all_points}))
    comparisons: list[_Comparison] = []
    if prepared is not None:
        comparisons.append(_FromTorch(model, all_points, prepared))
    if isinstance(engine, EngineGraph):
        comparisons.append(_FromFile(engine, all_points))
    elif engine is not None:
        comparisons.append(_FromEngine(model, free, engine, all_points))
    for batch in batches:
        values = free({model.graph.input[0].name: batch.numpy()})
        for comparison in comparisons:
            comparison.update(batch, values)
    return tuple(record for comparison in comparisons for record in comparison.records())


@dataclass
class _Compared:
    """One comparison point: with the reference's inputs, and with the errors of all layers before it."""

    alone: Deviation
    behind_others: Deviation

    def record(self, step: LayerStep) -> LayerParity:
        deviation, point = self.alone, self.alone.point
        faulty = deviation.faulty_channels
        return LayerParity(
            step=step,
            layer=point.layer,
            op=point.op,
            tensor=point.tensor,
            kind=point.kind,
            sqnr_db=deviation.sqnr_db,
            accumulated_sqnr_db=self.behind_others.sqnr_db,
            largest_steps=float(deviation.largest_steps.max(initial=0.0)),
            noise_steps2=float(deviation.noise_steps2.max(initial=0.0)),
            is_fault=bool(faulty),
            faulty_channels=tuple(faulty[:_KEPT_CHANNELS]),
            n_faulty_channels=len(faulty),
            n_channels=len(deviation.largest_steps),
        )


class _Comparison(ABC):
    """What is compared in one step, in batches."""

    step: LayerStep

    def __init__(self) -> None:
        self._compared: dict[str, _Compared] = {}
        """By tensor of the file."""

    @abstractmethod
    def update(self, batch: torch.Tensor, values: Arrays) -> None:
        """Compare one batch; `values` is what the file computes for it."""

    def records(self) -> list[LayerParity]:
        """One for each tensor."""
        return [compared.record(self.step) for compared in self._compared.values()]


class _FromTorch(_Comparison):
    """The Q/DQ file, each piece fed with what the fake-quantized network computes in its place."""

    step = "torch_quantized → onnx_quantized"

    def __init__(self, model: ModelProto, all_points: Sequence[ComparisonPoint], prepared: GraphModule) -> None:
        super().__init__()
        self._model = model
        self._torch = TorchPoints(prepared, all_points)
        self._points = [point for point in all_points if point.tensor in self._torch.matched]
        self._pieces: Run | None = None

    def update(self, batch: torch.Tensor, values: Arrays) -> None:
        computed = self._torch.values(batch)
        if self._pieces is None:
            self._points = [point for point in self._points if computed[point.tensor].size == values[point.tensor].size]
            self._pieces = runner(cut(self._model, {point.tensor: point.element_type for point in self._points}))
            self._compared = _new(self._points)
        expected = {point.tensor: _like(computed[point.tensor], values[point.tensor]) for point in self._points}
        pieces = self._pieces({self._model.graph.input[0].name: batch.numpy(), **expected})
        for point in self._points:
            _update(self._compared[point.tensor], expected[point.tensor], pieces[point.tensor], values[point.tensor])


class _FromFile(_Comparison):
    """The engine, each piece fed with what the Q/DQ file computes in its place."""

    step = "onnx_quantized → engine"

    def __init__(self, engine: EngineGraph, all_points: Sequence[ComparisonPoint]) -> None:
        super().__init__()
        self._engine = engine
        self._input = engine.model.graph.input[0].name
        self._order = {point.tensor: index for index, point in enumerate(all_points)}
        self._candidates = candidate_tensors(engine, all_points)
        types = {tensor: point.element_type for tensor, point in self._candidates.items()}
        self._free = runner(exposed(engine.model, types), engine.open_session)
        self._located: list[EnginePoint] | None = None
        self._pieces: Run | None = None

    def update(self, batch: torch.Tensor, values: Arrays) -> None:
        free = self._free({self._input: batch.numpy()})
        if self._located is None or self._pieces is None:
            found = located(self._candidates, free, values)
            self._located = sorted(found, key=lambda each: self._order[each.point.tensor])
            types = {each.tensor: each.point.element_type for each in self._located}
            self._pieces = runner(cut(self._engine.model, types), self._engine.open_session)
            self._compared = _new([each.point for each in self._located])
        forced = {each.tensor: each.to_engine(values[each.point.tensor]) for each in self._located}
        pieces = self._pieces({self._input: batch.numpy(), **forced})
        for each in self._located:
            alone, behind_others = each.from_engine(pieces[each.tensor]), each.from_engine(free[each.tensor])
            _update(self._compared[each.point.tensor], values[each.point.tensor], alone, behind_others)


class _FromEngine(_Comparison):
    """An engine that takes no inner tensors: the pieces of the file are fed with what the engine computes instead.

    Only quantized tensors and the output are read, which every engine writes down. To hand out another one would keep
    the engine from computing it together with what follows.
    """

    step = "onnx_quantized → engine"

    def __init__(self, model: ModelProto, free: Run, engine: EngineTensors, points: Sequence[ComparisonPoint]) -> None:
        super().__init__()
        self._input, self._free, self._engine = model.graph.input[0].name, free, engine
        readable = [each for each in points if each.is_output or each.kind == "quantized"]
        readable = [each for each in readable if each.tensor in engine.names]
        self._tensors = [each.tensor for each in readable]
        self._pieces = runner(cut(model, {each.tensor: each.element_type for each in readable}))
        self._compared = _new(readable)

    def update(self, batch: torch.Tensor, values: Arrays) -> None:
        size = self._engine.batch_size
        for start in range(0, len(batch) - size + 1, size):
            given = {self._input: batch[start : start + size].numpy()}
            computed, free = self._engine.values(given[self._input], self._tensors), self._free(given)
            found = {tensor: _like(computed[tensor], free[tensor]) for tensor in self._tensors}
            pieces = self._pieces({**given, **found})
            for tensor, compared in self._compared.items():
                compared.alone.update(pieces[tensor], found[tensor])
                compared.behind_others.update(free[tensor], found[tensor])


def _new(found: Sequence[ComparisonPoint]) -> dict[str, _Compared]:
    return {point.tensor: _Compared(Deviation(point), Deviation(point)) for point in found}


def _update(compared: _Compared, expected: Array, alone: Array, behind_others: Array) -> None:
    compared.alone.update(expected, alone)
    compared.behind_others.update(expected, behind_others)


def _like(value: Array, example: Array) -> Array:
    """The value with the type and shape that the file has: it may hold (N, T, C) as rows (N x T, C)."""
    return value.astype(example.dtype).reshape(example.shape)
