"""The networks of a scenario as planning sees them: described by a process of their own, whatever their code does.

The parent imports no file of the user's. One process describes all networks of a scenario, for importing torch takes
seconds; when one fails there after another, it is tried again in a fresh process, so that it does not pay for what
the other's code has done.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.engine.isolation import Worker
from harness.engine.outcomes import TIMEOUT, Answer, Event, Failed, TaskNote
from harness.errors import HarnessError, ScenarioError
from harness.machine.hardware import usable_cores
from harness.runs.known_networks import KnownNetworks
from harness.runs.timeouts import TIMEOUT_VARIABLE, network_timeout_s
from harness.scenario import Scenario
from harness.stages.network_probe import PART_FACTORY, NetworkFacts, NetworkFault, NetworkRequest, ProbeJob

if TYPE_CHECKING:
    from harness.data.samples import Splits

_SHOWN_OUTPUT_CHARACTERS = 300
_STARTING = "starting"
_START_FIX = (
    'a script that runs the harness needs `if __name__ == "__main__":` around it; without a script of yours, this user '
    "may not be able to start Python"
)
_BOUNDARY_FIX = (
    "the file must be importable, and the factory return the network, without ending or blocking the process"
)


@dataclass(frozen=True)
class Networks:
    """Every model of a scenario, described or at fault."""

    facts: Mapping[str, NetworkFacts]
    faults: Mapping[str, ScenarioError]
    """Why a model cannot be used, with the place in the scenario."""

    @property
    def reasons(self) -> dict[str, str]:
        """By model, why it cannot be used, without the place in the file."""
        return {name: HarnessError.__str__(fault) for name, fault in self.faults.items()}


def describe_networks(scenario: Scenario, splits: Splits | None) -> Networks:
    """Build every network of the scenario and try it on the data's shape, in a process of its own.

    Without `splits` the networks are built and their weights loaded, and nothing runs through them. A network that is
    known, and of which nothing has changed, is not built again.
    """
    facts: dict[str, NetworkFacts] = {}
    faults: dict[str, ScenarioError] = {}
    known = KnownNetworks.of(scenario.root)
    with _Prober.opened(network_timeout_s(scenario)) as prober:
        for name in scenario.models:
            request = _request(scenario, name, splits)
            result = known.get(request) or prober.describe(request)
            if isinstance(result, NetworkFacts):
                facts[name] = result
                known.add(request, result)
            else:
                faults[name] = scenario.error(("models", name, result.part), result.message, fix=result.fix)
    return Networks(facts, faults)


def _request(scenario: Scenario, name: str, splits: Splits | None) -> NetworkRequest:
    spec = scenario.models[name]
    return NetworkRequest(
        factory=spec.factory,
        args=dict(spec.args),
        root=scenario.root,
        seed=scenario.seed,
        input_shape=None if splits is None else splits.input_shape,
        n_classes=None if splits is None else splits.n_classes,
        task="classification" if splits is None else splits.task,
        weights_path=None if spec.weights in ("train", "random") else scenario.resolve(spec.weights),
        weights_key=spec.weights_key,
    )


class _Prober:
    """Describes one network after another."""

    def __init__(self, timeout_s: float, logs: Path) -> None:
        self._timeout_s = timeout_s
        self._logs = logs
        self._number = itertools.count()
        self._worker: Worker | None = None
        self._step = ""
        self._timed_out = False

    @classmethod
    @contextmanager
    def opened(cls, timeout_s: float) -> Iterator[_Prober]:
        """A prober whose process ends with the block."""
        with tempfile.TemporaryDirectory(prefix="quant-harness-", ignore_cleanup_errors=True) as folder:
            prober = cls(timeout_s, Path(folder))
            try:
                yield prober
            finally:
                prober.close()

    def describe(self, request: NetworkRequest) -> NetworkFacts | NetworkFault:
        """What the network is, or why it cannot be used."""
        is_fresh = self._worker is None
        result = self._attempt(request)
        if isinstance(result, NetworkFacts) or is_fresh or self._timed_out:
            return result
        self.close()
        return self._attempt(request)

    def close(self) -> None:
        """End the process."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def _attempt(self, request: NetworkRequest) -> NetworkFacts | NetworkFault:
        number = next(self._number)
        if self._worker is None:
            self._worker = Worker(usable_cores(), self._logs / f"{number}.log")
        self._step = _STARTING
        self._worker.submit(ProbeJob(f"network {number}", request.factory, request, self._timeout_s))
        reply = self._worker.result(self._hear)
        self._timed_out = isinstance(reply, Failed) and reply.kind == TIMEOUT
        if isinstance(reply, Answer) and isinstance(reply.value, NetworkFacts | NetworkFault):
            return reply.value
        self.close()
        assert isinstance(reply, Failed)
        return self._fault(reply)

    def _hear(self, event: Event) -> None:
        if isinstance(event, TaskNote):
            self._step = event.text

    def _fault(self, failed: Failed) -> NetworkFault:
        if failed.kind == TIMEOUT:
            message = f"{self._step} did not finish within {self._timeout_s:g} s"
            fix = f"if it only needs longer, raise `timeouts.network_s`, or set {TIMEOUT_VARIABLE}"
        elif self._step == _STARTING:
            message, fix = f"the process that builds networks did not start: {failed.reason}", _START_FIX
        else:
            message, fix = f"{self._step}: {failed.reason}", _BOUNDARY_FIX
        return NetworkFault(PART_FACTORY, message + last_words(failed.output), fix)


def last_words(output: str) -> str:
    """Where Python was when it crashed, or the last line that was printed."""
    lines = [line.strip() for line in output.strip().splitlines()]
    crash = next((index for index, line in enumerate(lines) if line.startswith("Fatal Python error")), None)
    if crash is not None:
        # Other threads come before the one that crashed.
        mine = next((index for index in range(crash, len(lines)) if lines[index].startswith("Current thread")), crash)
        place = next((line for line in lines[mine:] if line.startswith("File ")), None)
        return f" at {place[:_SHOWN_OUTPUT_CHARACTERS]}" if place else ""
    return f"; last output: {lines[-1][:_SHOWN_OUTPUT_CHARACTERS]}" if lines else ""
