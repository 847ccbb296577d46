"""Tiny stages that worker processes import by name, and a short way to make tasks of them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.engine.context import StageContext
from harness.engine.graph import Inputs, Stage, Task
from harness.errors import DataError


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float = 0
    journal: Path = Field(exclude=True)


class Found(BaseModel):
    """What a stage returns."""

    model_config = ConfigDict(extra="allow", ser_json_inf_nan="constants")


def task(
    function: str,
    journal: Path,
    value: float = 0,
    inputs: Mapping[str, Task] | None = None,
    label: str = "",
    **stage: Any,
) -> Task:
    """A task of the example stage `function`; `stage` sets further fields of the stage."""
    made = Stage(name=function, version=1, function=f"oracles.example_stages:{function}", **stage)
    return Task(made, Config(value=value, journal=journal), inputs or {}, label=label)


def add(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> Found:
    """The configured value plus the results of all inputs."""
    _write_journal(config, "add")
    total = config.value + sum(float(source.file("sum.txt").read_text()) for source in inputs.values())
    (folder / "sum.txt").write_text(str(total))
    return Found(sum=total)


def slow_add(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> Found:
    time.sleep(0.5)
    return add(config, inputs, folder, context)


def hang(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> Found:
    (folder / "half.txt").write_text("unfinished")
    _write_journal(config, f"hang {os.getpid()}")
    time.sleep(600)
    return Found()


def raise_value_error(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> Found:
    _write_journal(config, "raise")
    (folder / "half.txt").write_text("unfinished")
    raise ValueError("7 is not prime enough")


def raise_harness_error(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> Found:
    raise DataError("the photos are missing", fix="install them")


def die_by_signal(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> Found:
    os.write(2, b"about to die\n")
    os.kill(os.getpid(), int(config.value))
    signal.pause()
    return Found()


def exit_at_once(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> Found:
    os._exit(int(config.value))


def sys_exit(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> Found:
    sys.exit(3)


def return_none(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> None:
    return None


def return_nan(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> Found:
    return Found(loss=float("nan"))


def talk(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> Found:
    sys.stdout.write("printed by Python\n")
    os.write(1, b"printed by native code\n")
    context.note("half time")
    context.progress(3, 3, "epochs")
    return Found(pid=os.getpid(), omp=os.environ.get("OMP_NUM_THREADS"), threads=context.threads)


def _write_journal(config: Config, line: str) -> None:
    with config.journal.open("a") as file:
        file.write(line + "\n")


def works_slowly(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> Found:
    """Longer than the limit, with signs of progress in between."""
    for step in range(6):
        time.sleep(config.value / 3)
        context.progress(step + 1, 6)
    return Found()


def waits_for_another(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> Found:
    context.waiting("waiting for another run")
    time.sleep(config.value * 2)
    context.working()
    return Found()


def leaves_processes(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> Found:
    """One in the process group, and one in a session of its own."""
    _write_journal(config, str(subprocess.Popen(["sleep", "600"]).pid))
    _write_journal(config, str(subprocess.Popen(["sleep", "600"], start_new_session=True).pid))
    if config.value:
        time.sleep(600)
    return Found()


def forks_and_goes_on(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> Found:
    os.fork()
    (folder / "pid.txt").write_text(str(os.getpid()))
    _write_journal(config, "ran")
    return Found(pid=os.getpid())


def raises_a_base_exception(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> Found:
    class Odd(BaseException):
        def __str__(self) -> str:
            raise KeyboardInterrupt

    raise Odd


def floods(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> Found:
    for _ in range(100):
        os.write(1, b"x" * 1_000_000)
    raise ValueError("x" * 1_000_000)


def writes_into_every_pipe(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> Found:
    """The length of a message that never comes, into whatever is open."""
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(descriptor, b"\x00\x00\x10\x00partly")
    time.sleep(600)
    return Found()


def fills_every_pipe(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> Found:
    """The length of a message of 16 EiB, and then what there is of it without end."""
    import threading

    def fill(descriptor: int) -> None:
        with contextlib.suppress(OSError):
            os.write(descriptor, b"\xff\xff\xff\xff\x7f" + b"\xff" * 7)
            while True:
                os.write(descriptor, b"\xff" * 65_536)

    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            threading.Thread(target=fill, args=(descriptor,), daemon=True).start()
    time.sleep(600)
    return Found()


def closes_all_descriptors(config: Config, inputs: Inputs, folder: Path, context: StageContext) -> Found:
    os.closerange(0, 1024)
    time.sleep(600)
    return Found()
