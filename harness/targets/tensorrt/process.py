"""Each engine is built in a process of its own; how it ended becomes a reply or an error."""

from __future__ import annotations

from harness.engine.child import run_child
from harness.errors import StageError
from harness.targets.tensorrt.builder import TensorRtBuildReply, TensorRtBuildRequest

_BUILDER = "harness.targets.tensorrt.builder:main"
BUILD_LOG = "build.log"
"""Beside the engine, and where it would have been: all messages of the builder."""


def build_in_new_process(request: TensorRtBuildRequest) -> TensorRtBuildReply:
    """The reply of the builder; StageError when it refuses the network or its process dies."""
    ended = run_child(_BUILDER, request.model_dump_json())
    if ended.exit_code != 0 or not ended.reply:
        raise StageError(f"{request.module} failed while it built {request.onnx_path.name}: {ended.reason}")
    reply = TensorRtBuildReply.model_validate_json(ended.reply)
    if reply.log:
        log = request.engine_path.with_name(BUILD_LOG)
        log.write_text("\n".join(reply.log) + "\n", encoding="utf-8")
    if reply.error is not None:
        raise StageError(reply.error, fix=reply.fix)
    return reply
