"""From an ONNX file to an engine, in the process that this module is run in: one process for each engine.

The first logger of a process is the only one TensorRT ever uses, and after a failed build for one GPU generation the
next build of the process silently left convolutions in float. `process.py` therefore starts
`python -m harness.targets.tensorrt.builder REQUEST REPLY` anew each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import StageError
from harness.results import Record
from harness.targets.engine_record import EngineLayer
from harness.targets.tensorrt import api
from harness.targets.tensorrt.binding import (
    LIBRARIES,
    hardware_compatibility,
    network_flags,
    set_compute_capability,
    version_compatible_flags,
)
from harness.targets.tensorrt.inspector import inspected_layers
from harness.targets.tensorrt.layers import LAYERS_HEADING, layers_from_log
from harness.targets.tensorrt.logger import last_error, process_logger
from harness.targets.tensorrt.options import ShapeRange, TensorRtBuildOptions

BYTES_PER_MIB = 1 << 20


class TensorRtBuildRequest(Record):
    """What to build."""

    module: str
    """`tensorrt` or `tensorrt_rtx`."""
    onnx_path: Path
    engine_path: Path
    options: TensorRtBuildOptions
    profiles: tuple[dict[str, ShapeRange], ...]


class TensorRtBuildReply(Record):
    """What became of it; either `error`, or an engine with its layers."""

    error: str | None = None
    fix: str | None = None
    version: str = ""
    layers: tuple[EngineLayer, ...] = ()
    warnings: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    """All messages, where the options ask for them."""


def build(request: TensorRtBuildRequest) -> TensorRtBuildReply:
    """Build one engine and write it; errors come back in the reply."""
    library = LIBRARIES[request.module]
    trt = library.load()
    logger = process_logger(trt)
    try:
        plan = _plan(trt, logger, request)
        layers = engine_layers(trt, plan, request.options, has_gpu=not library.names_capability)
    except StageError as error:
        return TensorRtBuildReply(
            error=error.message, fix=error.fix, version=trt.__version__, log=_log(logger, request)
        )
    request.engine_path.write_bytes(plan)
    return TensorRtBuildReply(
        version=trt.__version__,
        layers=layers,
        warnings=tuple(dict.fromkeys(text for severity, text in logger.messages if severity == "WARNING")),
        log=_log(logger, request),
    )


def engine_layers(
    trt: api.TensorRtModule, plan: Any, options: TensorRtBuildOptions, *, has_gpu: bool
) -> tuple[EngineLayer, ...]:
    """The layers of an engine that this process built.

    From the inspector where the builder needs the GPU anyway: TensorRT 10 logs no types where the batch is dynamic.
    """
    logger = process_logger(trt)
    if has_gpu:
        runtime = trt.Runtime(logger)
        runtime.engine_host_code_allowed = options.version_compatible
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is not None:
            return inspected_layers(engine, trt)
    return layers_from_log(text for _, text in logger.messages if text.startswith(LAYERS_HEADING))


def _plan(trt: api.TensorRtModule, logger: Any, request: TensorRtBuildRequest) -> memoryview:
    builder = trt.Builder(logger)
    network = builder.create_network(network_flags(trt))
    _parse(trt, network, logger, request.onnx_path)
    config = _configure(trt, builder, request.options)
    for ranges in request.profiles:
        _add_profile(builder, config, ranges)
    cache = _timing_cache(config, request.options.timing_cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        text = last_error(logger) or "it gives no reason"
        raise StageError(
            f"{trt.__name__} cannot build {request.onnx_path.name}: {text}", fix=_build_fix(text, request.options)
        )
    if cache is not None and request.options.timing_cache is not None:
        Path(request.options.timing_cache).write_bytes(memoryview(cache.serialize()))
    return memoryview(plan)


def _parse(trt: api.TensorRtModule, network: Any, logger: Any, onnx_path: Path) -> None:
    parser = trt.OnnxParser(network, logger)
    if parser.parse_from_file(str(onnx_path)):
        return
    parser_error = parser.get_error(0)
    text = " ".join(str(parser_error.desc()).split()).partition(" [checkMacros")[0]  # behind it: that there is no GPU
    if text == "false":  # a condition of the parser that has no words
        text = "it gives no reason; most often the operator is not supported"
    node = f" at node `{parser_error.node_name()}` ({parser_error.node_operator()})" if parser_error.node_name() else ""
    raise StageError(f"{trt.__name__} cannot read {onnx_path.name}{node}: {text}", fix=_parse_fix(text))


def _parse_fix(text: str) -> str:
    if "Non-zero zero point" in text:
        return "quantize for this target: symmetric int8, zero point 0"
    if "lugin" in text or "not supported" in text:
        return "replace the operator by ones that TensorRT has"
    if "must have same input types" in text:
        return "give all inputs of the node one type, and export again"
    return "change the network around the node, or deploy it on another target"


def _build_fix(text: str, options: TensorRtBuildOptions) -> str:
    if "status == CUDA_SUCCESS" in text and (options.refit or options.strip_weights):
        return "build engines to refit or without weights (`refit`, `strip_weights`) on a machine with a GPU"
    if "FP32 GEMM is not supported" in text:
        return "SM75 has no FP32 matrix products: build in FP16 (`--fp16`, `method: fp16`, `high_precision: fp16`)"
    return "the builder's log says more: `harness build MODEL.onnx --verbose` prints it"


def _configure(trt: api.TensorRtModule, builder: api.Builder, options: TensorRtBuildOptions) -> api.BuilderConfig:
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.compute_capability is not None:
        set_compute_capability(trt, config, options.compute_capability)
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * BYTES_PER_MIB)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    for flag in _flags(trt, options):
        config.set_flag(flag)
    if options.hardware_compatibility != "none":
        config.hardware_compatibility_level = hardware_compatibility(trt, options.hardware_compatibility)
    return config


def _flags(trt: api.TensorRtModule, options: TensorRtBuildOptions) -> list[Any]:
    flags = []
    if options.refit:
        flags.append(trt.BuilderFlag.REFIT)
    if options.strip_weights:
        flags.append(trt.BuilderFlag.STRIP_PLAN)
    if options.version_compatible:
        flags += version_compatible_flags(trt)
    return flags


def _add_profile(builder: api.Builder, config: api.BuilderConfig, ranges: Mapping[str, ShapeRange]) -> None:
    profile = builder.create_optimization_profile()
    for name, shapes in ranges.items():
        try:
            profile.set_shape(name, shapes.min, shapes.opt, shapes.max)
        except (RuntimeError, ValueError) as error:
            raise _bad_profile(ranges, f": {error}") from error
    if config.add_optimization_profile(profile) < 0:
        raise _bad_profile(ranges)


def _bad_profile(ranges: Mapping[str, ShapeRange], why: str = "") -> StageError:
    shown = "; ".join(f"`{name}` {each.min}, {each.opt}, {each.max}" for name, each in ranges.items())
    return StageError(
        f"TensorRT refuses the profile {shown}{why}", fix="give min <= opt <= max in every dimension of every input"
    )


def _timing_cache(config: api.BuilderConfig, path: str | None) -> api.TimingCache | None:
    if path is None:
        return None
    file = Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab"):  # before minutes of building, whether it can be written
            held = file.read_bytes()
    except OSError as error:
        raise StageError(
            f"cannot write the timing cache {path}: {error.strerror}", fix="give --timing-cache (`timing_cache`) a file"
        ) from error
    cache = config.create_timing_cache(held)
    if cache is None or not config.set_timing_cache(cache, False):
        raise StageError(
            f"the timing cache {path} is damaged, or from another version or GPU", fix="delete it, or give another file"
        )
    return cache


def _log(logger: Any, request: TensorRtBuildRequest) -> tuple[str, ...]:
    return tuple(f"{severity}: {text}" for severity, text in logger.messages) if request.options.verbose else ()


def main(request: str) -> str:
    """Build what a request says; both it and the reply are JSON."""
    return build(TensorRtBuildRequest.model_validate_json(request)).model_dump_json()
