"""Faults planted in every step of ten networks are all found, in that step; what is right is never accused."""

from __future__ import annotations

from pathlib import Path

import pytest
from oracles.verified_networks import VERIFIED
from oracles.verified_steps import Steps, outcome

pytestmark = pytest.mark.slow  # captures and exports each network


@pytest.fixture(scope="module", params=[*((name, 8) for name in VERIFIED), ("resnet8", 16)], ids=str)
def steps(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Steps:
    name, activation_bits = request.param
    return Steps(name, activation_bits=activation_bits, folder=tmp_path_factory.mktemp("steps"))


def test_every_planted_fault_is_found_in_its_step(steps: Steps) -> None:
    found = [(step, fault, outcome(check)) for step, fault, check in steps.wrong()]
    assert len({step for step, _, _ in found}) == 7
    missed = [(step, fault, message) for step, fault, message in found if not message.startswith(step)]
    assert not missed


def test_right_steps_are_not_accused(steps: Steps) -> None:
    assert len(list(steps.right())) == 12


@pytest.mark.parametrize("name", VERIFIED)
@pytest.mark.parametrize(
    "options",
    [
        {"target": "tensorrt-rtx"},
        {"per_channel": False},
        {"weight_bits": 4},
        {"activation_bits": 16},
        {"target": "tensorrt-rtx", "per_channel": False, "weight_bits": 4},
        {"skip": ("head",)},
    ],
    ids=["tensorrt", "per tensor", "4 bits", "16-bit activations", "tensorrt, per tensor, 4 bits", "skip set"],
)
def test_right_steps_are_not_accused_in_other_formats(name: str, options: dict[str, object], tmp_path: Path) -> None:
    assert len(list(Steps(name, folder=tmp_path, **options).right())) >= 9  # type: ignore[arg-type]
