"""`separate_run.py STORE JOURNAL FUNCTION…` runs one task for each function, and prints the outcome of the last."""

import sys
from pathlib import Path

from oracles.example_stages import task

from harness.engine.local import LocalExecutor
from harness.engine.store import Store

if __name__ == "__main__":
    root, journal, *functions = sys.argv[1:]
    tasks = [task(function, Path(journal)) for function in functions]
    outcomes = LocalExecutor(Store(Path(root)), jobs=1).run(tasks)
    sys.stdout.write(type(outcomes[tasks[-1].key]).__name__ + "\n")
