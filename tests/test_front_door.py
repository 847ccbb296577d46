"""`import harness`: what it offers, and what it costs."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import harness

_HEAVY = ("torch", "numpy", "pandas", "onnx", "onnxruntime", "scipy", "pydantic", "typer", "rich")


def printed(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.strip()


def test_importing_it_loads_no_library() -> None:
    assert printed(f"import sys, harness; print([name for name in {_HEAVY} if name in sys.modules])") == "[]"


@pytest.mark.parametrize("name", ["load_scenario", "load_results", "RunResults", "HarnessError"])
def test_reading_records_and_scenarios_needs_no_torch(name: str) -> None:
    assert printed(f"import sys; from harness import {name}; print('torch' in sys.modules)") == "False"


def test_every_name_is_there_typed_and_documented() -> None:
    for name in set(harness.__all__) - {"__version__"}:
        member = getattr(harness, name)
        assert member.__doc__, name
        assert name in dir(harness)
        if inspect.isfunction(member):
            signature = inspect.signature(member)
            assert all(each.annotation is not each.empty for each in signature.parameters.values()), name
            assert signature.return_annotation is not signature.empty, name


def test_type_checkers_see_the_same_names() -> None:
    source = Path(harness.__file__).read_text(encoding="utf-8")
    for name in harness.__all__:
        assert f" import {name}\n" in source


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute `quantise`"):
        harness.quantise  # noqa: B018
    with pytest.raises(ImportError, match="quantise"):
        from harness import quantise  # noqa: F401


def test_a_script_needs_no_guard_around_what_it_runs(tmp_path: Path) -> None:
    """Workers do not import the script: it would start a run again in each of them."""
    script = "from harness.engine.child import run_child\nprint(run_child('oracles.children:describe').exit_code)\n"
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], check=True, capture_output=True, text=True, env=environment
    )
    assert done.stdout == "0\n"
