"""What one test is about: a variant of a scenario that was read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.results import Variant
    from harness.scenario import Scenario


@dataclass(frozen=True)
class LoadedScenario:
    """A scenario that was read and checked, with its variants."""

    path: Path
    scenario: Scenario
    variants: tuple[Variant, ...]
    line: int
    """Line of the matrix in the file, counted from 0."""


@dataclass(frozen=True)
class VariantCase:
    """What one test is about."""

    scenario: LoadedScenario
    variant: Variant
