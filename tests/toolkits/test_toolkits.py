"""Every toolkit keeps one contract; those that are not installed say so, and their tests are skipped."""

from __future__ import annotations

import copy
import importlib.metadata
import pkgutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from oracles.networks import INPUT_SHAPE, captured, make_network

from harness import toolkits as package
from harness.errors import StageError, UsageError
from harness.exporting.onnx_export import export_onnx
from harness.quantization.calibrators import make_calibrator
from harness.quantization.placement.rules import RuleSet
from harness.results import Variant
from harness.runs.availability import unavailable_reason
from harness.targets import get_target
from harness.toolkits import get_toolkit, toolkits
from harness.toolkits.base import Batches, NetworkSource, Request
from harness.toolkits.support.skipped import skipped_modules

TARGET = get_target("onnxruntime")
REQUEST = Request("max", None, per_channel=True, weight_bits=8, skip=(), target="onnxruntime")
SAMPLES = 12
NETWORK = "residual"
"""Without max pooling: ONNX Runtime 1.32 cannot load what NNCF's own placement writes for it (int8 into uint8)."""


def variant(toolkit: str, **changes) -> Variant:
    fields = {
        "id": "v",
        "model": "m",
        "method": "ptq",
        "target": "onnxruntime",
        "batch_size": 1,
        "toolkit": toolkit,
        "calibrator": "max",
        "per_channel": True,
        "weight_bits": 8,
        "activation_bits": 8,
    }
    return Variant.model_validate(fields | changes)


def calibration_images() -> torch.Tensor:
    return torch.randn(SAMPLES, *INPUT_SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fp32") / "fp32.onnx"
    export_onnx(captured(NETWORK), INPUT_SHAPE, path, integer_biases=True)
    return path


@pytest.fixture(params=sorted(name for name, toolkit in toolkits().items() if toolkit.writes_onnx))
def installed(request: pytest.FixtureRequest) -> str:
    found = get_toolkit(request.param).availability()
    if not found.usable:
        pytest.skip(f"{found.detail}: {found.fix}")
    return request.param


Quantize = Callable[..., onnx.ModelProto]


@pytest.fixture
def quantize(fp32: Path, tmp_path: Path) -> Quantize:
    def make_quantizer(skip: tuple[str, ...]):
        return TARGET.quantizer(
            TARGET.number_format(8, 8),
            per_channel=True,
            weight_calibrator=make_calibrator("max"),
            rules=RuleSet(skip=skip),
        )

    def run(toolkit: str, request: Request = REQUEST, read: Callable | None = None, network=None) -> onnx.ModelProto:
        images = calibration_images()
        source = NetworkSource(
            onnx_path=fp32,
            input_shape=INPUT_SHAPE,
            make_network=lambda: network or copy.deepcopy(make_network(NETWORK)),
            make_graph=lambda: copy.deepcopy(captured(NETWORK)),
            make_quantizer=lambda: make_quantizer(request.skip),
        )
        destination = tmp_path / "quantized.onnx"
        batches = Batches(SAMPLES, 1, read or (lambda part: images[part]))
        get_toolkit(toolkit).quantize(source, destination, batches, request)
        onnx.checker.check_model(str(destination), full_check=True)
        return onnx.load(destination)

    return run


def outputs(model: onnx.ModelProto | Path, batch: torch.Tensor) -> np.ndarray:
    content = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"input": batch.numpy()})[0]


def layers_with_float_weights(model: onnx.ModelProto) -> list[str]:
    """Convolutions and gemms whose weight does not come out of a DequantizeLinear."""
    producers = {output: node.op_type for node in model.graph.node for output in node.output}
    passes_on = {"Transpose", "Reshape", "Identity"}
    sources = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type in passes_on}

    def producer(tensor: str) -> str | None:
        while tensor in sources:
            tensor = sources[tensor]
        return producers.get(tensor)

    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert len(layers) == 4  # stem, conv1, conv2, head
    return [node.name for node in layers if producer(node.input[1]) != "DequantizeLinear"]


class TestContract:
    def test_all_weights_are_quantized_and_the_outputs_stay_close(
        self, installed: str, quantize: Quantize, fp32: Path
    ) -> None:
        model = quantize(installed)
        assert layers_with_float_weights(model) == []
        batch = calibration_images()
        expected, found = outputs(fp32, batch), outputs(model, batch)
        noise_db = 10 * np.log10(np.square(expected).sum() / np.square(expected - found).sum())
        assert 20 < noise_db < 60  # 8 bits give 6 dB per bit at best; more would mean that nothing was quantized

    def test_any_batch_size_runs(self, installed: str, quantize: Quantize) -> None:
        model = quantize(installed)
        for size in (1, 3):
            assert outputs(model, calibration_images()[:size]).shape == (size, 5)

    def test_every_sample_is_read_and_none_beyond(self, installed: str, quantize: Quantize) -> None:
        images, seen = calibration_images(), set()

        def read(part: slice) -> torch.Tensor:
            seen.update(range(part.start, part.stop))
            return images[part]

        quantize(installed, read=read)
        assert seen == set(range(SAMPLES))

    def test_a_skipped_module_keeps_float_weights(self, installed: str, quantize: Quantize) -> None:
        request = Request("max", None, per_channel=True, weight_bits=8, skip=("conv1.0",), target=TARGET.name)
        model = quantize(installed, request)
        assert len(layers_with_float_weights(model)) == 1

    def test_percentile_clips_where_max_does_not(self, installed: str, quantize: Quantize) -> None:
        percentile = Request("percentile", 90.0, per_channel=True, weight_bits=8, skip=(), target=TARGET.name)
        batch = calibration_images()
        clipped, whole = (np.abs(outputs(quantize(installed, each), batch)).max() for each in (percentile, REQUEST))
        assert clipped < whole

    def test_what_is_not_refused_is_8_bits(self, installed: str) -> None:
        assert get_toolkit(installed).refusal(variant(installed)) is None
        assert "8-bit" in str(get_toolkit(installed).refusal(variant(installed, weight_bits=4)))


class TestSkippedModules:
    @pytest.mark.parametrize(
        ("patterns", "modules"),
        [
            (("conv1",), ("conv1",)),  # the whole subtree, by its outermost module
            (("conv?",), ("conv1", "conv2")),
            (("type:Linear",), ("head",)),
            (("role:first_conv", "head"), ("stem", "head")),  # batch norm is folded: the convolution is all of `stem`
        ],
    )
    def test_patterns_become_names(self, patterns: tuple[str, ...], modules: tuple[str, ...]) -> None:
        assert skipped_modules(captured(NETWORK), RuleSet(skip=patterns)) == modules

    def test_an_operation_without_a_module_of_its_own_is_refused(self) -> None:
        with pytest.raises(StageError, match="skip whole modules only"):
            skipped_modules(captured(NETWORK), RuleSet(skip=("role:residual_add",)))


class TestRegistry:
    def test_a_toolkit_is_a_file_that_defines_one(self) -> None:
        files = {info.name for info in pkgutil.iter_modules(package.__path__)}
        assert {name.replace("-", "_") for name in toolkits()} <= files

    def test_an_unknown_name_is_told_the_nearest(self) -> None:
        with pytest.raises(UsageError) as error:
            get_toolkit("nncf_sequential")
        assert error.value.fix == "did you mean `nncf-sequential`?"

    @pytest.mark.parametrize(
        ("toolkit", "changes", "reason"),
        [
            ("onnxruntime", {"calibrator": "mse"}, "it has entropy, max, percentile"),
            ("nncf", {"calibrator": "entropy"}, "NNCF has no `entropy` calibrator; it has max, mse, percentile"),
            ("nncf-onnx", {"per_channel": False}, "per channel"),
            ("nncf-onnx", {"target": "tensorrt"}, "which tensorrt rejects"),
            ("nncf-openvino", {"per_channel": False}, "per channel"),
            ("nncf-openvino", {"calibrator": "entropy"}, "NNCF has no `entropy` calibrator"),
            ("modelopt", {"calibrator": "mse"}, "its ranges mean nothing"),
            ("modelopt-folded", {"activation_bits": 4}, "8-bit"),
        ],
    )
    def test_what_a_toolkit_cannot_do_is_refused_with_the_reason(
        self, toolkit: str, changes: dict, reason: str
    ) -> None:
        assert reason in str(get_toolkit(toolkit).refusal(variant(toolkit, **changes)))


MODELOPT = "pip install 'nvidia-modelopt>=0.47,<0.48' 'requests>=2.31' 'huggingface-hub>=1.0'"


@pytest.mark.parametrize(("toolkit", "extra"), [("nncf", "nncf"), ("nncf-onnx", "nncf"), ("modelopt", "modelopt")])
def test_an_extra_installs_the_same_as_the_command(toolkit: str, extra: str) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert sorted(project["optional-dependencies"][extra]) == sorted(get_toolkit(toolkit).requirements)


class TestNotInstalled:
    @pytest.mark.parametrize(
        ("toolkit", "missing", "fix"),
        [
            ("nncf", "nncf", "pip install 'nncf>=3.4,<3.5'"),
            ("nncf-sequential", "nncf", "pip install 'nncf>=3.4,<3.5'"),
            ("nncf-onnx", "nncf", "pip install 'nncf>=3.4,<3.5'"),
            ("nncf-openvino", "nncf", "pip install 'nncf>=3.4,<3.5' 'openvino>=2026.1'"),
            ("modelopt", "huggingface-hub", MODELOPT),
            ("modelopt-folded", "nvidia-modelopt", MODELOPT),
        ],
    )
    def test_its_rows_name_the_package_and_the_command(
        self, toolkit: str, missing: str, fix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def version(name: str) -> str:
            if name == missing:
                raise importlib.metadata.PackageNotFoundError(name)
            return "1.0"

        monkeypatch.setattr(importlib.metadata, "version", version)
        expected = f"the package `{missing}` is not installed; fix: {fix}"
        assert unavailable_reason(variant(toolkit)) == expected

    def test_asking_imports_nothing_heavy(self) -> None:
        code = (
            "import sys; from harness.toolkits import toolkits;"
            "[each.availability() for each in toolkits().values()];"
            "sys.exit(bool({'nncf', 'modelopt', 'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nncf_reports_its_use_to_nobody() -> None:
    if not get_toolkit("nncf").availability().usable:
        pytest.skip("nncf is not installed")
    code = (
        "import sys; from harness.toolkits.support.nncf_offline import import_nncf; import_nncf();"
        "sys.exit(sys.modules.get('openvino_telemetry') is not None)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestBatches:
    def test_regrouped_batches_hold_the_same_samples_again_and_again(self) -> None:
        batches = Batches(5, 1, lambda part: torch.arange(5)[part]).of(2)
        assert len(batches) == 3  # 2 + 2 + 1
        for _ in range(2):
            assert [batch.tolist() for batch in batches] == [[0, 1], [2, 3], [4]]
