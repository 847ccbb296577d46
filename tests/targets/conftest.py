"""What needs a GPU is marked so, and `pytest -m gpu` ends with a table that its owner can send back."""

import importlib.metadata
import platform
from collections.abc import Iterator

import pytest

from harness.targets.base import Target
from harness.targets.tensorrt.gpu import find_gpu

LIBRARIES = (
    "torch",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-rtx-cu13",
    "tensorrt-rtx-cu12",
    "pycuda",
)
OUTCOMES = {"passed": "pass", "failed": "FAIL", "error": "FAIL", "skipped": "skip"}


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the contract suite, what builds or runs on a target of GPUs."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        target = callspec.params.get("target") if callspec is not None else None
        if isinstance(target, Target) and target.needs_gpu and "usable" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.gpu)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.option.markexpr == "gpu":
        terminalreporter.section("table to send back")
        for line in table(terminalreporter.stats):
            terminalreporter.write_line(line)


def table(stats: dict[str, list[pytest.TestReport]]) -> Iterator[str]:
    """Machine, libraries, and one line for each test, as Markdown."""
    gpu = find_gpu()
    yield f"GPU: {f'{gpu.name}, {gpu.compute_capability}' if gpu else 'none'}; Python {platform.python_version()}"
    yield "; ".join(f"{name} {found}" for name in LIBRARIES if (found := version(name)))
    yield ""
    yield "| Test | Result | Why |"
    yield "| --- | --- | --- |"
    reports = [(report, word) for outcome, word in OUTCOMES.items() for report in stats.get(outcome, [])]
    for report, word in sorted(reports, key=lambda each: each[0].nodeid):
        yield f"| {report.nodeid.removeprefix('tests/targets/')} | {word} | {reason(report)} |"
    counts = {word: sum(found == word for _, found in reports) for word in dict.fromkeys(OUTCOMES.values())}
    yield ""
    yield ", ".join(f"{count} {word}" for word, count in counts.items())


def reason(report: pytest.TestReport) -> str:
    """Why a test was skipped or failed, on one line."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    lines = [line for line in str(report.longrepr or "").splitlines() if line.startswith("E ")]
    return lines[0].removeprefix("E ").strip().replace("|", "\\|") if lines else ""


def version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
