"""The networks of a scenario as planning sees them: described by a process of their own, whatever their code does.

The parent imports no file of the user's. One process describes all networks of a scenario, for importing torch takes
seconds; when one fails there after another, it is tried again in a fresh process, so that it does not pay for what
the other's code has done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import HarnessError, ScenarioError
from harness.runs.known_networks import KnownNetworks
from harness.runs.prober import ProbeFailed, Prober
from harness.runs.timeouts import network_timeout_s
from harness.scenario import Scenario
from harness.stages.network_probe import PART_FACTORY, NetworkFacts, NetworkFault, NetworkRequest, ProbeJob

if TYPE_CHECKING:
    from harness.data.samples import Splits

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
    known, limit_s = KnownNetworks.of(scenario.root), network_timeout_s(scenario)
    with Prober.opened(limit_s) as prober:
        for name in scenario.models:
            request = _request(scenario, name, splits)
            result = known.get(request) or _describe(prober, request, limit_s)
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


def _describe(prober: Prober, request: NetworkRequest, limit_s: float) -> NetworkFacts | NetworkFault:
    """What the network is, or why it cannot be used."""

    def job(number: int) -> ProbeJob:
        return ProbeJob(f"network {number}", request.factory, request, limit_s)

    found = prober.ask(job, is_good=lambda value: isinstance(value, NetworkFacts))
    if isinstance(found, ProbeFailed):
        return NetworkFault(PART_FACTORY, found.message, found.fix or _BOUNDARY_FIX)
    assert isinstance(found, NetworkFacts | NetworkFault)
    return found
