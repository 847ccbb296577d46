"""Nightly runs of the starter project: `python tests/benchmarks/nightly_runs.py FOLDER [--nights 20] [--slow 10]`.

First clean nights, none of which may raise an alarm; then nights in which one engine takes longer, each of which must
be found. Both are compared with a baseline of their own: the slowed ones with a night whose timing goes through the
same code without taking longer. Prints a line for each night; exit code 1 when any was judged wrongly. For a quiet
machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
SLOWED = TESTS / "nightly" / "slowed_engine.py"
ENGINE = "small_cnn-ptq-max-perchannel-onnxruntime-b1"
_HARNESS = (sys.executable, "-m", "harness.cli")


def main() -> int:
    """Run, print, count."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nights", type=int, default=20, help="clean nights")
    parser.add_argument("--slowed", type=int, default=3, help="nights with one slower engine")
    parser.add_argument("--slow", type=float, default=10.0, help="by how many percent")
    given = parser.parse_args()
    project = given.folder.resolve() / "project"
    os.environ |= {
        "HARNESS_STORE": str(given.folder.resolve() / "store"),
        "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]),
    }
    if not project.exists():
        subprocess.run([*_HARNESS, "init", str(project)], check=True)
    wrong = night(project, "clean-first", _HARNESS, "--first") != 0
    wrong += sum(night(project, f"clean-{number:02}", _HARNESS) != 0 for number in range(1, given.nights + 1))
    apart = ("--isolation", "none", "--baselines", "baselines-slowed")
    wrong += night(project, "slowed-first", (sys.executable, str(SLOWED), ENGINE, "0"), "--first", *apart) != 0
    slowed = (sys.executable, str(SLOWED), ENGINE, f"{given.slow:g}")
    wrong += sum(night(project, f"slowed-{number:02}", slowed, *apart) != 1 for number in range(1, given.slowed + 1))
    print(f"{wrong} of {given.nights + given.slowed + 2} nights judged wrongly")  # noqa: T201
    return int(wrong > 0)


def night(project: Path, name: str, command: tuple[str, ...], *options: str) -> int:
    """One night; its exit code, printed with what was said of regressions."""
    line = [*command, "nightly", "scenarios", "--quiet", "--out", f"reports/{name}", *options]
    done = subprocess.run(line, cwd=project, capture_output=True, text=True, check=False)
    said = [text for text in (done.stdout + done.stderr).splitlines() if text.startswith(("regression", "harness:"))]
    print(name, done.returncode, *said, sep="\n  " if said else " ", flush=True)  # noqa: T201
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
