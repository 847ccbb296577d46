"""The matrix from pytest: one test for each variant of a scenario, and scenarios in tests written in Python.

Loaded in every pytest session where the package is installed, so nothing heavy is imported before a scenario is met.
PYTEST_DONT_REWRITE: there are no assertions to explain here.
"""

from __future__ import annotations

from collections.abc import Generator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.pytest_plugin.matrix import scenario_matrix
from harness.pytest_plugin.options import add_options
from harness.pytest_plugin.state import STATE, PluginState, cell_of

if TYPE_CHECKING:
    from harness.pytest_plugin.cell import LoadedScenario, VariantCase
    from harness.pytest_plugin.runs import MatrixRuns, Run, Runner
    from harness.results import Row, RunResults, Variant

__all__ = ["scenario_matrix"]

_WORKER_RUNS = "harness_runs"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options and their ini equivalents."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers whose names are known beforehand."""
    config.stash[STATE] = PluginState(config)
    config.addinivalue_line(
        "markers", "scenario_matrix(*patterns, select=...): run the test once for each variant of these scenario files"
    )
    for method in ("fp32", "fp16", "bf16", "ptq", "qat"):
        config.addinivalue_line("markers", f"{method}: variants of a scenario with this method (quant-harness)")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Scenario files that were named on the command line, or that `harness_scenarios` matches."""
    if file_path.suffix not in (".yaml", ".yml"):
        return None
    from harness.pytest_plugin.files import is_wanted

    if not is_wanted(file_path, parent.session):
        return None
    from harness.pytest_plugin.collect import ScenarioFile

    return ScenarioFile.from_parent(parent, path=file_path)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give functions under `@scenario_matrix` their variants."""
    marker = metafunc.definition.get_closest_marker(scenario_matrix.__name__)
    if marker is not None:
        from harness.pytest_plugin.matrix import parametrize

        parametrize(metafunc, marker)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Remember which variants are left after `-k`, `-m`, `--lf`: no others run."""
    session.config.stash[STATE].choose(session.items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Name the scenario, and not this plugin, as the place of a skip."""
    report = yield
    if report.skipped and cell_of(item) is not None and isinstance(report.longrepr, tuple):
        path, line, _ = item.reportinfo()
        report.longrepr = (str(path), (line or 0) + 1, report.longrepr[2])
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell an xdist controller where this worker's runs lie."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_WORKER_RUNS] = [str(folder) for folder in session.config.stash[STATE].folders]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take from an xdist worker where its runs lie; one that crashed says nothing."""
    folders = (getattr(node, "workeroutput", None) or {}).get(_WORKER_RUNS, ())
    node.config.stash[STATE].folders.update(dict.fromkeys(map(Path, folders)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The verdicts and where the reports are."""
    folders = config.stash[STATE].folders
    if folders:
        from harness.pytest_plugin.summary import write_summary

        write_summary(terminalreporter, list(folders))


@pytest.fixture(scope="session")
def harness_runner(pytestconfig: pytest.Config) -> Runner:
    """What runs a scenario; override it in a `conftest.py` to run scenarios elsewhere."""

    def runner(loaded: LoadedScenario, chosen: AbstractSet[str], directory: Path) -> RunResults:
        from harness.pytest_plugin.execute import run_matrix

        return run_matrix(loaded, chosen, directory, pytestconfig)

    return runner


@pytest.fixture(scope="session")
def harness_runs(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, harness_runner: Runner
) -> MatrixRuns:
    """Runs each scenario of the session once, with the variants that were chosen."""
    from harness.pytest_plugin.runs import MatrixRuns

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if hasattr(pytestconfig, "workerinput") else base  # all xdist workers share the parent
    return MatrixRuns(pytestconfig.stash[STATE], harness_runner, shared / "harness")


@pytest.fixture
def harness_cell(request: pytest.FixtureRequest) -> VariantCase:
    """The scenario and variant of this test."""
    cell = cell_of(request.node)
    if cell is None:
        pytest.fail(f"{request.node.nodeid} has no variant; fix: put `@scenario_matrix(FILES)` on it", pytrace=False)
    return cell


@pytest.fixture
def variant(harness_cell: VariantCase) -> Variant:
    """The variant that a test under `@scenario_matrix` is for; nothing is run to get it."""
    return harness_cell.variant


@pytest.fixture
def harness_run(harness_cell: VariantCase, harness_runs: MatrixRuns) -> Run:
    """The run of the test's scenario in this session: `results` and `directory`."""
    from harness.pytest_plugin.collect import skip_if_unavailable

    skip_if_unavailable(harness_cell.variant)
    return harness_runs.of(harness_cell.scenario)


@pytest.fixture
def harness_timed(request: pytest.FixtureRequest, harness_cell: VariantCase, harness_run: Run) -> bool:
    """Whether the variant has a latency; where not, pytest-benchmark must not wait for one."""
    timed = harness_run.row(harness_cell.variant).latency is not None
    if not timed:
        request.node.funcargs.setdefault("benchmark", None)
    return timed


@pytest.fixture
def row(harness_cell: VariantCase, harness_run: Run) -> Row:
    """What was found out about the variant of a test under `@scenario_matrix`; skips and fails as the variant did."""
    from harness.pytest_plugin.judge import checked_row

    return checked_row(harness_run, harness_cell.variant)
