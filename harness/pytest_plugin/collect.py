"""From a scenario file to one test for each of its variants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from os import PathLike
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.pytest_plugin.cell import VariantCase
from harness.pytest_plugin.judge import judge, properties
from harness.pytest_plugin.latency import MeasuredClock, record
from harness.pytest_plugin.load import marks
from harness.pytest_plugin.runs import Run
from harness.pytest_plugin.state import STATE
from harness.results import Variant


class ScenarioFile(pytest.Module):
    """A scenario file. A module to pytest, so that fixtures of a module's scope work, as for doctest's text files."""

    obj = None

    def collect(self) -> Iterator[pytest.Item]:
        """One test for each variant; bad input becomes one message without a traceback."""
        try:
            loaded = self.config.stash[STATE].load(self.path)
        except HarnessError as error:
            raise self.CollectError(str(error)) from None
        has_benchmark = self.config.pluginmanager.hasplugin("benchmark") and loaded.scenario.measurement.latency
        call: Callable[..., None] = check_variant_and_latency if has_benchmark else check_variant
        for variant in loaded.variants:
            item = VariantItem.from_parent(self, name=variant.id, callobj=call)
            item.prepare(VariantCase(loaded, variant), has_benchmark=has_benchmark)
            yield item


class VariantItem(pytest.Function):
    """The test of one variant."""

    cell: VariantCase

    def prepare(self, cell: VariantCase, *, has_benchmark: bool) -> None:
        """Say what the test is about."""
        self.cell = cell
        for mark in marks(cell, self.config):
            self.add_marker(mark)
        if has_benchmark:
            variant = cell.variant
            group = f"{variant.model} on {variant.place}, batch {variant.batch_size}"
            self.add_marker(pytest.mark.benchmark(group=group, timer=MeasuredClock()))

    def reportinfo(self) -> tuple[PathLike[str] | str, int | None, str]:
        """The place of the matrix in the scenario file."""
        return self.path, self.cell.scenario.line, self.name


def check_variant(request: pytest.FixtureRequest, harness_cell: VariantCase, harness_run: Run) -> None:
    """The test of a variant without latency."""
    settings = request.config.stash[STATE].settings
    request.node.user_properties += properties(harness_run, harness_cell.variant)
    judge(harness_run, harness_cell.variant, strict=settings.strict)


def check_variant_and_latency(
    request: pytest.FixtureRequest, harness_cell: VariantCase, harness_run: Run, harness_timed: bool, benchmark: Any
) -> None:
    """The test of a variant, its timed inferences given to pytest-benchmark."""
    if benchmark is not None:
        clock = request.node.get_closest_marker("benchmark").kwargs["timer"]
        record(harness_run, harness_cell.variant, benchmark, clock)
    check_variant(request, harness_cell, harness_run)


def skip_if_unavailable(variant: Variant) -> None:
    """Skip the test, with the reason, where its target or toolkit is missing."""
    from harness.runs.availability import unavailable_reason

    if reason := unavailable_reason(variant):
        pytest.skip(reason)
