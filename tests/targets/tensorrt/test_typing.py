"""The protocols that the code is typed with hold for TensorRT's published stubs and for what is installed."""

import importlib.util
import os
from pathlib import Path

import pytest
from oracles.tensorrt_stubs import PUBLISHED, complaints, of_installed, published, readable

COMMON = """
import {module} as trt
import api

library: api.TensorRtModule = trt
"""
RTX = """
import tensorrt_rtx_bindings as trt
from tensorrt_rtx_bindings import tensorrt_rtx as classes
import api

library: api.TensorRtRtxModule = trt


def config(it: classes.IBuilderConfig) -> api.RtxBuilderConfig:
    return it


def engine(it: classes.ICudaEngine) -> api.RtxEngine:
    return it


def runtime(it: classes.Runtime) -> api.RtxRuntime:
    return it


def runtime_config(it: classes.IRuntimeConfig) -> api.RtxRuntimeConfig:
    return it
"""


@pytest.fixture(scope="session")
def tensorrt_10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the published stubs."""
    source = os.environ.get(PUBLISHED)
    if source is None:
        pytest.skip(f"{PUBLISHED} is not set: pip install --no-deps --target FOLDER tensorrt-stubs")
    return published(Path(source), tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="session")
def rtx_stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the stubs of the installed TensorRT-RTX."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed; pip install tensorrt-rtx-cu13")
    return of_installed("tensorrt_rtx", tmp_path_factory.mktemp("rtx"))


class TestPublishedStubs:
    def test_tensorrt_10_is_what_the_code_is_typed_with(self, tensorrt_10: Path):
        assert complaints(COMMON.format(module="tensorrt_bindings"), tensorrt_10) == []

    @pytest.mark.slow
    def test_a_name_that_was_removed_is_found(self, tensorrt_10: Path, tmp_path: Path):
        without = published(tensorrt_10, tmp_path)
        stub = without / "tensorrt_bindings" / "tensorrt.pyi"
        stub.write_text(stub.read_text().replace("def execute_async_v3(", "def execute_async_v9("))
        said = complaints(COMMON.format(module="tensorrt_bindings"), without)
        assert "Incompatible types in assignment" in said[0]
        assert any("Runtime" in line for line in said)  # the way to the context that lost it


class TestInstalledRtx:
    @pytest.mark.slow
    def test_it_is_what_the_code_is_typed_with(self, rtx_stubs: Path):
        assert complaints(RTX, rtx_stubs) == []

    @pytest.mark.parametrize(
        ("owner", "base", "name"),
        [("trt", "TensorRtModule", "build_engine"), ("classes.IBuilderConfig", "BuilderConfig", "int8_calibrator")],
    )
    def test_a_name_that_was_removed_is_found(self, rtx_stubs: Path, owner: str, base: str, name: str):
        planted = f"class Old(api.{base}, Protocol):\n    def {name}(self) -> int: ...\n"
        use = "old: Old = trt\n" if owner == "trt" else f"def use(it: {owner}) -> Old:\n    return it\n"
        said = complaints(f"from typing import Protocol\n{RTX}\n\n{planted}\n\n{use}", rtx_stubs)
        assert f"note:     {name}" in said


class TestProtocols:
    """These need neither stubs nor TensorRT."""

    @pytest.mark.parametrize(
        ("planted", "name"),
        [
            ("trt.BuilderFlag.INT8", "INT8"),
            ("trt.Builder(None).create_builder_config().int8_calibrator", "int8_calibrator"),
            ("trt.Builder(None).max_workspace_size", "max_workspace_size"),
        ],
    )
    def test_a_removed_name_in_the_code_is_found(self, tmp_path: Path, planted: str, name: str):
        said = complaints(
            f"import api\n\n\ndef use(trt: api.TensorRtModule) -> object:\n    return {planted}\n", tmp_path
        )
        assert len(said) == 1
        assert f'has no attribute "{name}"' in said[0]

    def test_what_the_code_uses_passes(self, tmp_path: Path):
        used = "trt.Builder(None).create_builder_config().set_flag(trt.BuilderFlag.TF32)"
        assert complaints(f"import api\n\n\ndef use(trt: api.TensorRtModule) -> None:\n    {used}\n", tmp_path) == []


def test_signatures_that_are_no_python_take_anything():
    text = "class A:\n    def f(self, x: std::vector<int>) -> int: ...\n    def g(self, a=1, b):\n        'doc'\n"
    assert readable(text) == (
        "class A:\n    def f(self, *args, **kwargs): ...\n    def g(self, *args, **kwargs):\n        'doc'\n"
    )
