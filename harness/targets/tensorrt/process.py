"""Each engine is built in a process of its own; how it ended becomes a reply or an error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.errors import StageError
from harness.targets.tensorrt.builder import BuildReply, BuildRequest

BUILD_LOG = "build.log"
"""Beside the engine, and where it would have been: all that the builder said."""
_MODULE = "harness.targets.tensorrt.builder"
_SHOWN_OUTPUT_CHARACTERS = 500


def build_in_new_process(request: BuildRequest) -> BuildReply:
    """The reply of the builder; StageError when it refuses the network or its process dies."""
    with tempfile.TemporaryDirectory(prefix="quant-harness-build-") as folder:
        request_path, reply_path = Path(folder) / "request.json", Path(folder) / "reply.json"
        request_path.write_text(request.model_dump_json(), encoding="utf-8")
        done = subprocess.run(  # noqa: S603  # our own module
            [sys.executable, "-m", _MODULE, str(request_path), str(reply_path)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode != 0 or not reply_path.is_file():
            raise StageError(f"{request.module} {_ending(done)} while it built {request.onnx_path.name}")
        reply = BuildReply.model_validate_json(reply_path.read_text(encoding="utf-8"))
    if reply.log:
        log = request.engine_path.with_name(BUILD_LOG)
        log.write_text("\n".join(reply.log) + "\n", encoding="utf-8")
    if reply.error is not None:
        raise StageError(reply.error, fix=reply.fix)
    return reply


def _ending(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"crashed with signal {signal.Signals(-done.returncode).name}"
    last = (done.stderr or done.stdout).strip()[-_SHOWN_OUTPUT_CHARACTERS:]
    return f"failed ({last.splitlines()[-1] if last else f'exit code {done.returncode}'})"
