"""Model files that do what model files should not: end, crash or block the process, flood it, or change it for others.

Each has a factory `net` for one-channel images and ten classes. `python -m oracles.hostile_models FOLDER` writes them.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Literal

Strikes = Literal["planning", "stage", "never"]

NETWORK = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=7)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        return self.linear(torch.relu(self.norm(self.conv(x))).flatten(1))


def net():
    return Net()
"""

LATER = '''
import os, sys, time, ctypes
import torch
from torch import nn

CALLS = [0]


class Net(nn.Module):
    """Strikes when torch traces it, which happens in stages only."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(784, 10)

    def forward(self, x):
        if torch.compiler.is_exporting() or isinstance(x, torch._subclasses.FakeTensor) or CALLS[0] >= 2:
            strike()
        CALLS[0] += 1
        return self.linear(x.flatten(1))


def net():
    return Net()


@torch.compiler.disable
def strike():
    {strike}
'''


@dataclass(frozen=True)
class HostileModel:
    """A model file, and what it must come to."""

    name: str
    source: str
    strikes: Strikes
    """When its rows fail: `planning` before anything runs, `stage` while they are made, `never` where the network is
    sound and only its surroundings suffer."""
    reason: str = ""
    """Regular expression that the reason of its rows matches."""
    hangs: bool = False


def _at_import(name: str, code: str, reason: str, *, hangs: bool = False) -> HostileModel:
    return HostileModel(name, dedent(code) + NETWORK, "planning", reason, hangs)


def _in_factory(name: str, code: str, reason: str, *, hangs: bool = False) -> HostileModel:
    body = "".join(f"    {line}\n" for line in dedent(code).strip().splitlines())
    return HostileModel(name, f"{NETWORK}\n\ndef net():\n{body}    return Net()\n", "planning", reason, hangs)


def _in_forward(name: str, code: str, reason: str, *, hangs: bool = False) -> HostileModel:
    body = "".join(f"        {line}\n" for line in dedent(code).strip().splitlines())
    source = NETWORK.replace("    def forward(self, x):\n", f"    def forward(self, x):\n{body}")
    return HostileModel(name, source, "planning", reason, hangs)


def _later(name: str, strike: str, reason: str, *, hangs: bool = False) -> HostileModel:
    return HostileModel(name, LATER.replace("{strike}", strike), "stage", reason, hangs)


def _sound(name: str, code: str) -> HostileModel:
    return HostileModel(name, dedent(code) + NETWORK, "never")


ENDING = (
    _at_import("exit_zero", "import sys; sys.exit(0)", r"ended the process: SystemExit\(0\)"),
    _at_import("exit_none", "import sys; sys.exit()", r"ended the process: SystemExit\(.*\)"),
    _at_import("exit_one", "import sys; sys.exit(1)", r"ended the process: SystemExit\(1\)"),
    _at_import("exit_text", "raise SystemExit('usage: train.py DATA')", r"SystemExit\(usage: train.py DATA\)"),
    _at_import("interrupt", "raise KeyboardInterrupt", "KeyboardInterrupt"),
    _at_import("os_exit_zero", "import os; os._exit(0)", "unexpectedly with exit code 0"),
    _in_factory("os_exit_three", "import os; os._exit(3)", "unexpectedly with exit code 3"),
    _in_forward("os_exit_in_forward", "import os; os._exit(0)", "unexpectedly with exit code 0"),
    _in_factory(
        "own_base_exception",
        "class Stop(BaseException):\n    pass\nraise Stop('enough')",
        "failed: Stop: enough",
    ),
    _in_forward("generator_exit", "raise GeneratorExit", "GeneratorExit"),
)
CRASHING = (
    _at_import("segfault", "import ctypes; ctypes.string_at(0)", "crashed with signal SIGSEGV"),
    _in_factory("abort", "import os; os.abort()", "crashed with signal SIGABRT"),
    _in_forward("killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "crashed with signal SIGKILL"),
    _at_import("closes_everything", "import os; os.closerange(0, 512)", "the process ended unexpectedly"),
    _at_import("deep_recursion", "import sys\nsys.setrecursionlimit(10**7)\ndef f(n): return f(n + 1) + 1\nf(0)", ""),
)
BLOCKING = (
    _at_import("endless_loop", "while True: pass", "did not finish within", hangs=True),
    _in_factory("sleeps", "import time; time.sleep(10_000)", "did not finish within", hangs=True),
    _in_forward(
        "keeps_the_interpreter", "import ctypes; ctypes.PyDLL(None).sleep(10_000)", "did not finish within", hangs=True
    ),
    _at_import("prints_without_end", "while True: print('x' * 100_000)", "did not finish within", hangs=True),
    _at_import("asks", "answer = input('overwrite? ')", "EOFError"),
    _at_import(
        "pool_without_guard",
        "import multiprocessing\ndef f(x): return x\nmultiprocessing.get_context('spawn').Pool(2).map(f, [1, 2])",
        "did not finish within",
        hangs=True,
    ),
)
RAISING = (
    _at_import("syntax", "def net(:\n", "SyntaxError|is not Python"),
    _at_import("not_installed", "import no_such_package_anywhere", "no_such_package_anywhere"),
    _in_factory(
        "message_that_raises",
        "class Odd(Exception):\n    def __str__(self):\n        raise SystemExit\nraise Odd",
        "its message cannot be shown",
    ),
    _at_import(
        "patches_torch",
        "import builtins, torch\ntorch.nn.functional.conv2d = None\nbuiltins.print = None",
        "'NoneType' object is not callable",
    ),
    _in_factory("huge_message", "raise ValueError('x' * 50_000_000)", r"50,000,000 characters"),
    _in_factory("no_recursion", "import sys; sys.setrecursionlimit(60)\ndef f(n): return n and f(n - 1)\nf(100)", ""),
)
LATE = (
    _later("later_os_exit", "os._exit(0)", "unexpectedly with exit code 0"),
    _later("later_exit", "sys.exit(0)", "SystemExit"),
    _later("later_segfault", "ctypes.string_at(0)", "crashed with signal SIGSEGV"),
    _later("later_interrupt", "raise KeyboardInterrupt", "KeyboardInterrupt|Interrupt"),
    _later("later_hangs", "time.sleep(10_000)", "showed no progress for", hangs=True),
)
SOUND = (
    _sound("floods_stdout", "for _ in range(40): print('x' * 1_000_000)"),
    _sound(
        "floods_descriptors",
        "import os\nfor _ in range(20): os.write(1, b'x' * 1_000_000), os.write(2, b'y' * 1_000_000)",
    ),
    _sound("closes_streams", "import os, sys\nsys.stdout.close()\nfor fd in (0, 1, 2): os.close(fd)"),
    _sound("moves_away", "import os, sys\nos.chdir('/')\nos.environ.clear()\nsys.path.clear()"),
    _sound(
        "takes_signals",
        """
        import atexit, signal, sys, time
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM): signal.signal(number, signal.SIG_IGN)
        sys.excepthook = None
        atexit.register(time.sleep, 10_000)
        """,
    ),
    _sound("keeps_a_thread", "import threading, time\nthreading.Thread(target=time.sleep, args=(10_000,)).start()"),
    _sound("forks", "import os, time\nif os.fork() == 0:\n    time.sleep(10_000)"),
    _sound("forks_and_goes_on", "import os\nos.fork()"),
    _sound(
        "leaves_a_daemon",
        """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(10_000)
            os._exit(0)
        """,
    ),
    _sound("starts_a_program", "import subprocess\nsubprocess.Popen(['sleep', '10000'], start_new_session=True)"),
)
HOSTILE = (*ENDING, *CRASHING, *BLOCKING, *RAISING, *LATE, *SOUND)
QUICK = ("exit_zero", "os_exit_zero", "segfault", "message_that_raises")
"""Those that need no time limit to strike, one of each kind."""

SCENARIO = """
name: {name}
dataset:
  source: fashion_mnist
  location: embedded
  train_samples: 64
  calibration_samples: 32
  test_samples: 64
models:
{models}
training: {{batch_size: 32}}
matrix:
  method: [fp32, ptq]
  target: onnxruntime
  calibrator: max
measurement: {{latency: false, memory: false, parity: "off"}}
timeouts: {{network_s: 20, stage_s: 120}}
"""


def write(folder: Path, *models: HostileModel, name: str = "hostile", good: bool = True) -> Path:
    """A scenario with these models, and a good one unless told otherwise."""
    (folder / "good.py").write_text(NETWORK)
    for model in models:
        (folder / f"{model.name}.py").write_text(model.source)
    names = [*(model.name for model in models), *(["good"] if good else [])]
    lines = [f'  {each}: {{factory: "{each}.py:net", weights: random}}' for each in names]
    path = folder / f"{name}.yaml"
    path.write_text(SCENARIO.format(name=name, models="\n".join(lines)))
    return path


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for each in HOSTILE:
        write(target, each, name=each.name)
    sys.stdout.write(f"{len(HOSTILE)} scenarios in {target}\n")
