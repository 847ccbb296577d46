"""What was measured: every inference by session, round, process and build. The raw material of every verdict."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    Array = npt.NDArray[np.float64]

AA_CONTROL = "twin"
"""A second session of the reference engine, as sample files name it: the ratio between the two is noise."""
_SEPARATOR = ","


@dataclass(frozen=True)
class Round:
    """One turn of every session."""

    samples_ms: dict[str, Array]
    """By session, in the order in which they took their turns."""
    contamination: tuple[str, ...] = ()
    """What else the machine did meanwhile; see `harness.timing.contamination`."""

    def median_ms(self, name: str) -> float:
        """The figure that a round counts with: one inference that was interrupted does not move it."""
        return float(np.median(self.samples_ms[name]))


@dataclass(frozen=True)
class ProcessRounds:
    """The rounds of one process."""

    build: int
    process: int
    rounds: tuple[Round, ...]
    signals: tuple[str, ...] = ()
    """What of `contamination` this machine lets one see."""
    includes_transfers: bool = False
    """Whether the times include copies between host and device."""
    parts_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    """By session and part of an inference, the median of some inferences after the rounds; empty where unknown."""


@dataclass
class Timings:
    """All processes of one group of sessions."""

    blocks: list[ProcessRounds] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        """The sessions, sorted."""
        return tuple(sorted({name for block in self.blocks for name in block.rounds[0].samples_ms}))

    def of_all_blocks(self) -> Timings:
        """Without the sessions that did not take part in every process: one that failed is not timed again."""
        common = set.intersection(*(set(block.rounds[0].samples_ms) for block in self.blocks))
        return Timings([_only(block, common) for block in self.blocks])

    @property
    def rounds(self) -> Iterable[Round]:
        """Rounds of all processes."""
        return (each for block in self.blocks for each in block.rounds)

    @property
    def n_rounds(self) -> int:
        """In all processes together."""
        return sum(len(block.rounds) for block in self.blocks)

    @property
    def n_builds(self) -> int:
        """Engines of each session that took part."""
        return len({block.build for block in self.blocks})

    def samples(self, name: str) -> Array:
        """All inferences of one session in milliseconds, in order."""
        return np.concatenate([each.samples_ms[name] for each in self.rounds])

    def log_ratios(self, reference: str, name: str) -> list[list[Array]]:
        """ln(reference time / time) of every round, by build and process: above zero, `name` is faster."""
        builds: dict[int, list[Array]] = {}
        for block in self.blocks:
            ratios = [np.log(each.median_ms(reference) / each.median_ms(name)) for each in block.rounds]
            builds.setdefault(block.build, []).append(np.array(ratios))
        return [builds[build] for build in sorted(builds)]

    def contaminated_rounds(self) -> dict[str, int]:
        """How many rounds carry each label."""
        labels = [label for each in self.rounds for label in each.contamination]
        return {label: labels.count(label) for label in sorted(set(labels))}

    def signals(self) -> tuple[str, ...]:
        """What of the machine's doings was watched."""
        return tuple(sorted({signal for block in self.blocks for signal in block.signals}))

    @property
    def includes_transfers(self) -> bool:
        """Whether the times include copies between host and device."""
        return any(block.includes_transfers for block in self.blocks)

    def parts_ms(self) -> dict[str, dict[str, float]]:
        """By session and part of an inference, the median over processes."""
        found: dict[str, dict[str, list[float]]] = {}
        for block in self.blocks:
            for name, parts in block.parts_ms.items():
                for part, ms in parts.items():
                    found.setdefault(name, {}).setdefault(part, []).append(ms)
        return {name: {part: float(np.median(ms)) for part, ms in parts.items()} for name, parts in found.items()}

    def to_frame(self) -> pd.DataFrame:
        """One line per inference.

        Columns: session, build, process, round (in the process), turn (of the session in the round), index (in the
        turn), ms, contamination (labels of the round, joined by commas).
        """
        import pandas as pd

        parts = [
            pd.DataFrame(
                {
                    "session": name,
                    "build": block.build,
                    "process": block.process,
                    "round": number,
                    "turn": turn,
                    "index": np.arange(len(samples)),
                    "ms": samples,
                    "contamination": _SEPARATOR.join(each.contamination),
                }
            )
            for block in self.blocks
            for number, each in enumerate(block.rounds)
            for turn, (name, samples) in enumerate(each.samples_ms.items())
        ]
        return pd.concat(parts, ignore_index=True).astype({"session": "category", "contamination": "category"})

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Timings:
        """What `to_frame` made; signals and parts are not in it.

        Raises:
            ValueError: the inferences of several groups, as a run keeps them; each has an A/A control of its own.
        """
        if "group" in frame and frame["group"].nunique() > 1:
            raise ValueError('several groups of sessions: choose one, `frame[frame["group"] == FP32_ROW]`')
        rounds: dict[tuple[int, int], dict[int, Round]] = {}
        by = ["build", "process", "round", "turn", "session", "contamination"]
        for key, group in frame.groupby(by, sort=True, observed=True):
            build, process, number, _, session, contamination = map(str, key)
            labels = tuple(filter(None, contamination.split(_SEPARATOR)))
            of_process = rounds.setdefault((int(build), int(process)), {})
            each = of_process.setdefault(int(number), Round({}, labels))
            each.samples_ms[session] = group.sort_values("index")["ms"].to_numpy(np.float64)
        return cls(
            [ProcessRounds(build, process, tuple(of.values())) for (build, process), of in sorted(rounds.items())]
        )

    @classmethod
    def from_parquet(cls, path: Path) -> Timings:
        """Read what `to_frame().to_parquet(path)` wrote."""
        import pandas as pd

        return cls.from_frame(pd.read_parquet(path))


def _only(block: ProcessRounds, names: set[str]) -> ProcessRounds:
    if set(block.rounds[0].samples_ms) == names:
        return block
    rounds = tuple(
        replace(each, samples_ms={name: ms for name, ms in each.samples_ms.items() if name in names})
        for each in block.rounds
    )
    parts = {name: parts for name, parts in block.parts_ms.items() if name in names}
    return replace(block, rounds=rounds, parts_ms=parts)


def save_block(block: ProcessRounds, path: Path) -> None:
    """Write what one process measured, without pandas, which would take longer to import than to time a round."""
    arrays = {
        f"{number}/{turn}/{name}": samples
        for number, each in enumerate(block.rounds)
        for turn, (name, samples) in enumerate(each.samples_ms.items())
    }
    about = {
        "build": block.build,
        "process": block.process,
        "signals": block.signals,
        "includes_transfers": block.includes_transfers,
        "parts_ms": block.parts_ms,
        "contamination": [each.contamination for each in block.rounds],
    }
    np.savez(path, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]  # the stubs take every keyword for `allow_pickle`


def load_block(path: Path) -> ProcessRounds:
    """Read what `save_block` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        about = json.loads(str(arrays["about"]))
        rounds = [Round({}, tuple(labels)) for labels in about["contamination"]]
        for key in arrays.files:
            if key != "about":
                number, _, name = key.split("/", 2)
                rounds[int(number)].samples_ms[name] = arrays[key]
    return ProcessRounds(
        about["build"],
        about["process"],
        tuple(rounds),
        tuple(about["signals"]),
        bool(about["includes_transfers"]),
        about["parts_ms"],
    )
