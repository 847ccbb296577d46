"""Names of the TensorRT API: which ones a source text touches, and which ones each version has.

`tensorrt_api/*.json` lists, per version, the members of the classes that this project uses, as `dir()` gave them.
"""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent / "tensorrt_api"
SOURCES = Path(__file__).parents[2] / "harness" / "targets" / "tensorrt"

OWNERS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "parser_error": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "cache": "ITimingCache",
    "runtime": "Runtime",
    "runtime_config": "IRuntimeConfig",
    "engine": "ICudaEngine",
    "rtx_engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
}
"""What a variable of this name holds, with or without a leading underscore."""

RTX_ONLY = {
    "ComputeCapability.__members__",
    "EngineValidity.INVALID",
    "EngineInvalidityDiagnostics.__members__",
    "DynamicShapesKernelSpecializationStrategy.EAGER",
    "CudaGraphStrategy.DISABLED",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
    "Runtime.get_engine_validity",
    "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy",
    "IRuntimeConfig.cuda_graph_strategy",
    "IRuntimeConfig.create_runtime_cache",
    "IRuntimeConfig.set_runtime_cache",
    "ICudaEngine.create_runtime_config",
    "ComputeCapability.__doc__",
    "EngineValidity.__doc__",
    "EngineInvalidityDiagnostics.__doc__",
    "DynamicShapesKernelSpecializationStrategy.__doc__",
    "CudaGraphStrategy.__doc__",
}
"""Touched by the adapter alone, behind a question whether this is RTX."""
ADAPTER = "binding.py"
_NOT_SCANNED = {"devices.py"}  # pycuda's names: its `context` is CUDA's


def apis() -> dict[str, dict[str, set[str]]]:
    """Per version, the members of each class."""
    found = {}
    for path in sorted(FOLDER.glob("*.json")):
        raw = json.loads(path.read_text())
        classes = {name: set(members.split()) for name, members in raw.items() if isinstance(members, str)}
        classes["functions"] = set(raw["functions"])
        classes.pop("version")
        found[path.stem] = classes
    return found


def touched(source: str) -> set[str]:
    """`Class.member` for every member that a source text uses.

    `functions.name` stands for functions of the module, `Class.__doc__` for a class by itself.
    """
    return {name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute) for name in _names(node)}


def _names(node: ast.Attribute) -> Iterator[str]:
    holder = node.value
    if isinstance(holder, ast.Attribute) and _is_module(holder.value):
        yield f"{holder.attr}.{node.attr}"
    variable = holder.id if isinstance(holder, ast.Name) else holder.attr if isinstance(holder, ast.Attribute) else ""
    owner = OWNERS.get(variable.lstrip("_"))
    if owner is not None:
        yield f"{owner}.{node.attr}"
    if _is_module(holder) and not node.attr.startswith("_"):
        yield f"functions.{node.attr}" if node.attr[:1].islower() else f"{node.attr}.__doc__"


def _is_module(node: ast.AST) -> bool:
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name.lstrip("_") == "trt"


def touched_by_the_harness() -> dict[str, set[str]]:
    """Per file of the target."""
    files = [path for path in sorted(SOURCES.glob("*.py")) if path.name not in _NOT_SCANNED]
    return {path.name: touched(path.read_text()) for path in files}


def lacking(names: set[str], api: dict[str, set[str]]) -> set[str]:
    """Those of `names` that a version does not have."""
    return {name for name in names if name.partition(".")[2] not in _members(api, name.partition(".")[0])}


def _members(api: dict[str, set[str]], owner: str) -> set[str]:
    return api[owner] | {"__members__", "__doc__", "__init__"} if owner in api else set()
