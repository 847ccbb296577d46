"""Functions that the tests run in processes of their own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from harness.engine.child import run_child
from harness.errors import StageError


def abort(*_arguments: str) -> None:
    os.abort()


def describe(*arguments: str) -> str:
    return json.dumps(
        {
            "arguments": arguments,
            "stdin": sys.stdin.read(),
            "main": getattr(sys.modules["__main__"], "__file__", None),
            "leads": os.getpgrp() == os.getpid() == os.getsid(0),
            "path": sys.path,
        }
    )


def refuse() -> None:
    raise StageError("no such kernel", fix="take another")


def print_much(size: str) -> None:
    for number in range(int(size) // 100):
        sys.stdout.write(f"{number:099}\n")


def hang(pid_file: str) -> None:
    """With a child that outlives its parent unless it is ended, in a group of its own."""
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    grandchild = subprocess.Popen(command, start_new_session=True)
    Path(pid_file).write_text(f"{os.getpid()} {grandchild.pid}")
    time.sleep(600)


def start_hanging(pid_file: str) -> None:
    run_child("oracles.children:hang", pid_file)
