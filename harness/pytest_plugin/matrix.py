"""Scenarios in tests that are written in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import pytest

from harness.errors import HarnessError
from harness.pytest_plugin.cell import VariantCase
from harness.pytest_plugin.state import CELL_FIXTURE, STATE

_Test = TypeVar("_Test", bound=Callable[..., Any] | type)


def scenario_matrix(*patterns: str, select: str | Sequence[str] = ()) -> Callable[[_Test], _Test]:
    """Run a test once for each variant of the scenario files that `patterns` match.

    The test asks for what it needs by argument: `row` (`harness.results.Row`, everything that was found out about the
    variant), `variant` (`harness.results.Variant`, for which nothing is run) or `harness_run` (`results`, the record of
    the whole run, and `directory`, its folder). Variants that cannot run here are skipped with the reason.

    Args:
        patterns: globs, relative to pytest's root folder.
        select: as `harness run --select`: a glob on the variant's id, or `AXIS=VALUE[,VALUE]`; several must all match.

    Example:
        @scenario_matrix("scenarios/*.yaml", select="method=ptq,qat")
        def test_the_first_layer_is_integer(row: Row) -> None:
            assert row.coverage is not None
            assert row.coverage.layers[0].int8
    """
    chosen = (select,) if isinstance(select, str) else tuple(select)
    mark: Callable[[_Test], _Test] = pytest.mark.scenario_matrix(*patterns, select=chosen)
    return mark


def parametrize(metafunc: pytest.Metafunc, marker: pytest.Mark) -> None:
    """Give a test its variants; bad input becomes one message without a traceback."""
    from harness.pytest_plugin.load import marks

    try:
        cells = list(_cells(marker, metafunc.config))
    except HarnessError as error:
        raise pytest.Collector.CollectError(str(error)) from None
    if CELL_FIXTURE not in metafunc.fixturenames:
        name = metafunc.definition.nodeid
        raise pytest.Collector.CollectError(f"{name} takes nothing of the matrix\n  fix: add an argument `row`")
    parameters = [
        pytest.param(cell, id=f"{cell.scenario.scenario.name}-{cell.variant.id}", marks=marks(cell, metafunc.config))
        for cell in cells
    ]
    metafunc.parametrize(CELL_FIXTURE, parameters, indirect=True)


def _cells(marker: pytest.Mark, config: pytest.Config) -> Iterator[VariantCase]:
    from harness.errors import UsageError
    from harness.pytest_plugin.files import find_scenarios
    from harness.scenario.select import matches

    paths = find_scenarios(list(marker.args), config)
    if not paths:
        shown = ", ".join(f"`{pattern}`" for pattern in marker.args) or "no pattern"
        raise UsageError(f"@scenario_matrix: {shown} matches no file in {config.rootpath}", fix="correct the pattern")
    found = False
    for loaded in (config.stash[STATE].load(path) for path in paths):
        for variant in loaded.variants:
            if all(matches(expression, variant) for expression in marker.kwargs.get("select", ())):
                found = True
                yield VariantCase(loaded, variant)
    if not found:
        raise UsageError("@scenario_matrix: `select` chooses no variant", fix="`harness list SCENARIO` prints all")
