"""Thousands of scenario files with something wrong in them: each is refused at its place, or is a scenario."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

import pytest
from oracles.command_line import at_most
from oracles.mutations import TEXT_MUTATIONS, broken_bytes, broken_structure
from ruamel.yaml import YAML

from harness.errors import EXIT_USAGE, UsageError
from harness.runs.registries import check_registries
from harness.scenario import expand, load_scenario

REPOSITORY = Path(__file__).parents[2]
SCENARIOS = sorted((REPOSITORY / "scenarios").glob("*.yaml"))
FEW, MANY = 200, 2_400
LONGEST_S = 60.0
"""Of one file on a machine that is busy with other things; a usual one takes a few hundredths of a second."""


def mutant(number: int) -> bytes:
    """The scenario file of a number, with one to three things wrong."""
    random = Random(number)
    content = SCENARIOS[number % len(SCENARIOS)].read_bytes()
    for _ in range(random.choice((1, 1, 2, 3))):
        kind = random.randrange(len(TEXT_MUTATIONS) + 2)
        if kind == 0:
            content = broken_bytes(content, random)
        elif kind == 1:
            content = _structured(content, random)
        else:
            text = content.decode("utf-8", errors="surrogateescape") or "a"
            content = TEXT_MUTATIONS[kind - 2](text, random).encode("utf-8", errors="surrogateescape")
    return content


def _structured(content: bytes, random: Random) -> bytes:
    """JSON is YAML."""
    try:
        plain = YAML(typ="safe", pure=True).load(content)
        return json.dumps(broken_structure(plain, random)).encode("utf-8", errors="surrogatepass")
    except Exception:  # an earlier mutation left no YAML
        return broken_bytes(content, random)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(REPOSITORY / "models", root / "models")
    return root


def outcome(number: int, project: Path) -> str:
    """`fine`, `refused`, or what else came of the file, which is a fault."""
    path = project / "s.yaml"
    path.write_bytes(mutant(number))
    try:
        with at_most(LONGEST_S):
            scenario = load_scenario(path)
            check_registries(scenario)
            expand(scenario)
    except UsageError as error:
        str(error).encode("utf-8")
        return "refused" if error.exit_code == EXIT_USAGE and error.message else f"exit code {error.exit_code}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:200]
    return "fine"


def faults(numbers: range, project: Path) -> dict[int, str]:
    found = {number: outcome(number, project) for number in numbers}
    assert {"fine", "refused"} <= set(found.values())  # else the mutations would be too tame, or too wild
    return {number: text for number, text in found.items() if text not in ("fine", "refused")}


def test_two_hundred_mutations_are_refused_or_fine(project: Path) -> None:
    assert faults(range(FEW), project) == {}


@pytest.mark.slow
def test_thousands_of_mutations_are_refused_or_fine(project: Path) -> None:
    assert faults(range(FEW, FEW + MANY), project) == {}
