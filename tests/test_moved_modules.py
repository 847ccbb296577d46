"""Programs that import modules by the names they had before still work."""

import subprocess
import sys

import pytest

OLD = """
import warnings
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    from harness.quantization.selective import SelectiveQuantizer
    from harness.export.quantized import export_quantized_module_to_onnx
    from harness.export.onnx_export import export_onnx
    from harness.quantization.capture import capture
    from harness.markers import Residual
import harness
import harness.skip_connections
import harness.exporting.onnx_export, harness.supergradients.selective, harness.quantization.capture.graph
assert harness.exporting.onnx_export.export_onnx is export_onnx
assert harness.supergradients.selective.SelectiveQuantizer is SelectiveQuantizer
assert harness.exporting.onnx_export.__spec__.name == "harness.exporting.onnx_export"
assert harness.quantization.capture.graph.capture is capture
assert harness.skip_connections.Residual is Residual
moved = [str(each.message) for each in told if "now" in str(each.message)]
assert "`harness.export.onnx_export` is `harness.exporting.onnx_export` now" in moved, moved
try:
    harness.export("no network", "net.onnx")
except harness.HarnessError:
    print("a function")
"""


def test_old_names_are_the_modules_of_today() -> None:
    done = subprocess.run([sys.executable, "-c", OLD], capture_output=True, text=True, check=False)
    assert done.stdout == "a function\n", done.stderr


@pytest.mark.parametrize("name", ["harness.export.no_such", "harness.nothing", "harness.comparison.nothing"])
def test_a_name_that_never_was_is_not_found(name: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        __import__(name)
