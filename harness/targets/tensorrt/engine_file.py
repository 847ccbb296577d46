"""Engine files, checked before they are used: a foreign or damaged one is an error, never a crash."""

from __future__ import annotations

from pathlib import Path

from harness.errors import StageError
from harness.targets.engine_record import EngineRecord, sha256
from harness.targets.tensorrt import api
from harness.targets.tensorrt.binding import check_validity
from harness.targets.tensorrt.gpu import TensorRtGpu
from harness.targets.tensorrt.logger import last_error, process_logger

_BUILD_AGAIN = "build it again on this machine, with this version and for this GPU"


def check_engine_file(path: Path, library: str, gpu: TensorRtGpu | None, *, any_version: bool = False) -> None:
    """Before anything of CUDA is touched, check an engine file against its record and this machine's library and GPU.

    StageError for a file that is not what was built, or that was built for something else. `library` is the module and
    its version; `any_version` is for engines that later versions run, too. An engine without a record is left to
    TensorRT's own checks.
    """
    if gpu is None:
        raise StageError(f"there is no NVIDIA GPU here to run {path.name} on", fix="run it on a machine with one")
    record = EngineRecord.load(path)
    if record is None:
        return
    wanted = record.compute_capability
    problems = (
        (record.sha256 not in (None, sha256(path)), "is not the file that was built: its checksum differs"),
        (not any_version and record.builder != library, f"was built by {record.builder}, and {library} is installed"),
        (wanted not in (None, gpu.compute_capability), f"was built for {wanted}; here is a {gpu.compute_capability}"),
    )
    for holds, words in problems:
        if holds:
            raise StageError(f"{path.name} {words}", fix=_BUILD_AGAIN)


def load_engine(path: Path, trt: api.TensorRtModule, *, version_compatible: bool = False) -> api.CudaEngine:
    """The engine of a file; StageError when it is damaged, or made by another version or for another GPU.

    `version_compatible` lets TensorRT execute the runtime that such a file brings along.
    """
    plan = path.read_bytes()
    if not plan:
        raise StageError(f"{path.name} is empty", fix="build the engine again")
    logger = process_logger(trt)
    before = len(logger.messages)
    runtime = trt.Runtime(logger)
    check_validity(trt, runtime, plan, path.name)
    runtime.engine_host_code_allowed = version_compatible
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        reason = last_error(logger, before) or "TensorRT gives no reason"
        raise StageError(f"{path.name} cannot be loaded: {reason}", fix=_BUILD_AGAIN)
    return engine
