"""Every TensorRT name in the code exists in every version that the target claims to serve."""

import importlib
import importlib.util

import pytest
from oracles.tensorrt_names import ADAPTER, RTX_ONLY, apis, lacking, touched, touched_by_the_harness

VERSIONS = ["tensorrt-10.0", "tensorrt-10.16", "tensorrt-11.4", "tensorrt-rtx-1.7"]


def test_the_member_lists_are_those_of_the_versions_served():
    assert sorted(apis()) == VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", touched_by_the_harness())
def test_every_name_exists_in_every_version(file: str, version: str):
    names = touched_by_the_harness()[file]
    allowed = RTX_ONLY if file == ADAPTER and "rtx" not in version else set()
    assert lacking(names, apis()[version]) - allowed == set()


def test_the_walk_sees_what_the_code_uses():
    """The names without which no engine can be built or run, each found where it is used."""
    seen = set().union(*touched_by_the_harness().values())
    assert seen >= {
        "Builder.build_serialized_network",
        "OnnxParser.parse_from_file",
        "IBuilderConfig.set_memory_pool_limit",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "BuilderFlag.TF32",
        "IExecutionContext.execute_async_v3",
        "IExecutionContext.set_tensor_address",
        "ICudaEngine.get_tensor_profile_shape",
        "Runtime.deserialize_cuda_engine",
        "functions.nptype",
        "OnnxParser.__doc__",
        "ILogger.__doc__",
    }


def test_names_for_rtx_alone_are_used_and_are_missing_elsewhere():
    names = touched_by_the_harness()[ADAPTER]
    assert names >= RTX_ONLY
    assert all(lacking({name}, apis()["tensorrt-10.0"]) for name in RTX_ONLY)


@pytest.mark.parametrize(
    ("planted", "name", "versions_without"),
    [
        ("config.set_flag(trt.BuilderFlag.INT8)", "BuilderFlag.INT8", {"tensorrt-11.4", "tensorrt-rtx-1.7"}),
        ("config.int8_calibrator = c", "IBuilderConfig.int8_calibrator", {"tensorrt-11.4", "tensorrt-rtx-1.7"}),
        ("self._context.execute_async_v2(b)", "IExecutionContext.execute_async_v2", set(VERSIONS)),
        ("builder.max_workspace_size = 1", "Builder.max_workspace_size", set(VERSIONS)),
        ("n = engine.num_bindings", "ICudaEngine.num_bindings", set(VERSIONS)),
        (
            "trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
            "NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
            {"tensorrt-11.4", "tensorrt-rtx-1.7"},
        ),
    ],
)
def test_a_removed_name_is_found(planted: str, name: str, versions_without: set[str]):
    names = touched(planted)
    assert {version for version, api in apis().items() if name in lacking(names, api)} == versions_without


@pytest.mark.parametrize(("module", "is_rtx"), [("tensorrt", False), ("tensorrt_rtx", True)])
def test_the_installed_binding_has_every_name(module: str, is_rtx: bool):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    trt = importlib.import_module(module)
    names = set().union(*touched_by_the_harness().values())
    missing = {name for name in names if not has(trt, name)}
    assert missing - (set() if is_rtx else RTX_ONLY) == set()


def has(trt, name: str) -> bool:
    owner, _, member = name.partition(".")
    holder = trt if owner == "functions" else getattr(trt, owner, None)
    return hasattr(holder, member)
