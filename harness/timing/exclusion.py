"""An engine that crashes or hangs while it is timed costs its own row: the others are timed without it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from harness.timing.request import EngineFile, TimingFailed, TimingRequest, run_process
from harness.timing.samples import AA_CONTROL, ProcessRounds


@dataclass
class ExcludingFailures:
    """Runs timing processes, and repeats one that failed without the session at fault.

    That is the session whose turn it was. When it was the turn of the reference, which all others are compared with,
    or of none, the reference is run alone, and then each other session beside it: memory that one engine destroyed may
    end another.
    """

    make_order: Callable[[int, int, float], TimingRequest]
    """With all sessions: number of the build, number of the process, seconds that it may take."""
    reference: str
    run: Callable[[TimingRequest], ProcessRounds] = run_process
    failed: dict[str, str] = field(default_factory=dict)
    """Why a session is no longer timed."""

    def __call__(self, build: int, process: int, limit_s: float) -> ProcessRounds:
        """Time all sessions that have not failed; TimingFailed when the reference itself fails."""
        order = self.make_order(build, process, limit_s)
        while True:
            try:
                return self.run(_without(order, self.failed))
            except TimingFailed as error:
                self.failed |= self._at_fault(order, error)

    def _at_fault(self, order: TimingRequest, error: TimingFailed) -> Mapping[str, str]:
        if error.session not in (None, self.reference, AA_CONTROL):
            return {str(error.session): error.message}
        others = [name for name in order.sessions if name not in {self.reference, AA_CONTROL, *self.failed}]
        if not others:
            raise error
        self.run(_only(order, {self.reference, AA_CONTROL}))
        found = {name: reason for name in others if (reason := self._failure_beside(order, name)) is not None}
        if not found:
            raise error
        return found

    def _failure_beside(self, order: TimingRequest, name: str) -> str | None:
        try:
            self.run(_only(order, {self.reference, AA_CONTROL, name}))
        except TimingFailed as error:
            return error.message
        return None


def _without(order: TimingRequest, names: Collection[str]) -> TimingRequest:
    return _only(order, set(order.sessions) - set(names))


def _only(order: TimingRequest, names: Collection[str]) -> TimingRequest:
    sessions: dict[str, EngineFile] = {name: file for name, file in order.sessions.items() if name in names}
    return order.model_copy(update={"sessions": sessions})
