"""A timing process whose targets can be slowed: `onnxruntime+2%` is `onnxruntime` with 2 % more time per inference.

The time is spent waiting busily after each inference, in proportion to how long that inference took, so that the
slow-down is the same whatever the machine does. `+0%` goes through the same code and is what it is compared with.
"""

import re
import time

from harness.targets import get_target
from harness.targets.base import Session
from harness.timing import process


class SlowedSession(Session):
    """Another session, slowed."""

    def __init__(self, session: Session, share: float) -> None:
        self._session, self._share = session, share

    def run(self, batch):
        return self._session.run(batch)

    def time_runs(self, batch, runs):
        clock, durations = time.perf_counter_ns, []
        for _ in range(runs):
            start = clock()
            self._session.time_runs(batch, 1)
            until = start + (clock() - start) * (1 + self._share)
            while (now := clock()) < until:
                pass
            durations.append((now - start) / 1e6)
        return durations


class SlowedTarget:
    """As much of a target as a timing process uses."""

    def __init__(self, name: str) -> None:
        found = re.fullmatch(r"(.*)\+(.*)%", name)
        assert found is not None, name
        self._target, self._share = get_target(found[1]), float(found[2]) / 100
        self.options_from, self.needs_gpu = self._target.options_from, self._target.needs_gpu

    def open(self, path, options) -> Session:
        return SlowedSession(self._target.open(path, options), self._share)


def main(order_json: str, result: str) -> None:
    """What `harness.timing.process:main` does."""
    process.get_target = SlowedTarget
    process.main(order_json, result)
