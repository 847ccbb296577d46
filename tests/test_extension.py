"""A new calibrator, metric, target, toolkit or data source is one new file: it is found by being there."""

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FILES = {
    "harness.quantization.calibrators": (
        "calibrators",
        """
        from dataclasses import dataclass
        from typing import ClassVar
        from harness.quantization.calibrators.base import Calibrator

        @dataclass(frozen=True)
        class Half(Calibrator):
            name: ClassVar[str] = "half"
            def choose(self, histogram, levels):
                return histogram.abs_max / 2

        CALIBRATOR = Half
        """,
    ),
    "harness.metrics": (
        "metrics",
        """
        from harness.metrics.base import Metric
        from harness.results import MetricValue

        class Half(Metric):
            name = "half"
            def compute(self, evidence):
                return MetricValue(value=0.5, unit="1", higher_is_better=True)

        METRIC = Half()
        """,
    ),
    "harness.targets": (
        "targets",
        """
        from harness.targets.onnxruntime import OnnxRuntime

        class Half(OnnxRuntime):
            name = "half"

        TARGET = Half()
        """,
    ),
    "harness.data.sources": (
        "data_sources",
        """
        from harness.data.sources.random_images import RandomImages

        class Half(RandomImages):
            name = "half"

        SOURCE = Half()
        """,
    ),
}


@pytest.fixture
def add(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Puts a file `half.py` into a package for the length of a test."""
    folder = str(tmp_path)

    def put(package_name: str) -> None:
        name, source = FILES[package_name]
        (tmp_path / "half.py").write_text(textwrap.dedent(source), encoding="utf-8")
        package = importlib.import_module(package_name)
        package.__path__.append(folder)  # in place: the package's spec holds the same list
        getattr(package, name).cache_clear()

    yield put
    for package_name, (name, _) in FILES.items():
        package = importlib.import_module(package_name)
        sys.modules.pop(f"{package_name}.half", None)
        if folder in package.__path__:
            package.__path__.remove(folder)
            getattr(package, name).cache_clear()


@pytest.mark.parametrize("package_name", FILES)
def test_a_file_is_found_by_being_there(add: Callable[[str], None], package_name: str) -> None:
    registry = getattr(importlib.import_module(package_name), FILES[package_name][0])
    assert "half" not in registry()
    add(package_name)
    assert "half" in registry()


def test_scenarios_may_name_a_new_calibrator_at_once(add: Callable[[str], None]) -> None:
    from harness.scenario.axes import Axes

    with pytest.raises(ValueError, match="half"):
        Axes.model_validate({"calibrator": "half"})
    add("harness.quantization.calibrators")
    assert Axes.model_validate({"calibrator": "half"}).calibrator == ("half",)
