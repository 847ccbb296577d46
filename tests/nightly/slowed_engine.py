"""The command `harness` with one engine slowed: `python slowed_engine.py VARIANT PERCENT ARGUMENTS…`.

Only the timing process of that engine spends more time, as one with a worse kernel would; everything else is real. The
stages must run in this process (`--isolation none`), which starts the timing processes.
"""

import os
import re
import sys

from benchmarks.slowed_process import SlowedSession

from harness.targets import get_target
from harness.timing import process, request

VARIABLE = "SLOWED_ENGINE"


class SlowedTarget:
    """As much of a target as a timing process uses; `+PERCENT` behind its name slows it."""

    def __init__(self, name: str) -> None:
        found = re.fullmatch(r"(.*)\+(.*)%", name)
        assert found is not None, name
        self._target, self._share = get_target(found[1]), float(found[2]) / 100
        self.options_from, self.needs_gpu = self._target.options_from, self._target.needs_gpu

    def open(self, path, options):
        return SlowedSession(self._target.open(path, options), self._share)


def slowed_process(order_json: str, result: str) -> None:
    """A timing process in which every session goes through the same code, and one takes longer."""
    variant, percent = os.environ[VARIABLE].split("=")
    read = process.TimingRequest.model_validate_json

    def marked(text: str) -> request.TimingRequest:
        plain = read(text)
        sessions = {
            name: engine.model_copy(update={"target": f"{engine.target}+{percent if name == variant else 0}%"})
            for name, engine in plain.sessions.items()
        }
        return plain.model_copy(update={"sessions": sessions})

    process.get_target = SlowedTarget
    process.TimingRequest = type("Marked", (), {"model_validate_json": staticmethod(marked)})
    process.main(order_json, result)


if __name__ == "__main__":
    os.environ[VARIABLE] = f"{sys.argv[1]}={sys.argv[2]}"
    request.PROCESS = "slowed_engine:slowed_process"
    from harness.cli import main

    sys.argv[1:3] = []
    main()
