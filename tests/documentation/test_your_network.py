"""The page for newcomers, followed to the letter: its files are written, its commands run, its outputs come out."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "your-network.md"
SCENARIO = "scenarios/fruit.yaml"
_STEP = re.compile(r"^(?:(?P<before>[^\n]+)\n\n?)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_PROGRAMS = {"harness": ("-m", "harness"), "pytest": ("-m", "pytest"), "python": ()}


@dataclass(frozen=True)
class Step:
    """A fenced block and the line before it."""

    before: str
    kind: str
    text: str

    @property
    def exit_code(self) -> int:
        found = re.fullmatch(r"<!-- exits with (\d+) -->", self.before)
        return int(found[1]) if found else 0


def steps() -> list[Step]:
    text = PAGE.read_text(encoding="utf-8")
    return [Step(found["before"] or "", found["kind"], found["text"]) for found in _STEP.finditer(text)]


def with_sections(scenario: str, sections: str) -> str:
    """The scenario with these sections in place of its own of that name; new ones at its end."""
    for section, name in re.findall(r"^((\w+):.*?)(?=^\w|\Z)", sections, re.MULTILINE | re.DOTALL):
        scenario = _with_section(scenario, name, section)
    return scenario


def _with_section(scenario: str, name: str, section: str) -> str:
    own = re.compile(rf"^{name}:.*?(?=^\w|\Z)", re.MULTILINE | re.DOTALL)
    section = section.rstrip("\n") + "\n\n"
    return own.sub(lambda _: section, scenario) if own.search(scenario) else f"{scenario.rstrip()}\n\n{section}"


def run(command: str, folder: Path) -> tuple[int, str]:
    """With this interpreter, whose environment is the only one that has the harness."""
    words = shlex.split(command)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HARNESS_")}
    environment |= {"PYTHONPATH": str(ROOT), "COLUMNS": "500", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    environment |= {"HARNESS_STORE": str(folder / "store"), "HARNESS_MEASURING_LOCK": str(folder / "measuring.lock")}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = os.pathsep.join(filter(None, (value, environment.get(name))))
    line = [sys.executable, "-W", "ignore", *_PROGRAMS[words[0]], *words[1:]]
    if words[0] == "pytest":
        line += ["-p", "harness.pytest_plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_page_has_every_kind_of_step() -> None:
    kinds = [step.kind for step in steps()]
    assert {kind: kinds.count(kind) for kind in ("python", "bash", "text", "yaml")} == {
        "python": 4,
        "bash": 6,
        "text": 6,
        "yaml": 4,
    }


def test_sections_are_replaced_and_added() -> None:
    before = "name: a\nmatrix:\n  method: [fp32]\nmeasurement: {}\n"
    after = with_sections(before, "matrix:\n  method: [ptq]\n\ngates: []\n")
    assert after.split() == ["name:", "a", "matrix:", "method:", "[ptq]", "measurement:", "{}", "gates:", "[]"]


def is_in(shown: str, output: str) -> bool:
    """Whether the line was printed; `…` stands for anything."""
    return bool(re.search(".*".join(map(re.escape, shown.split("…"))), output))


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


@pytest.mark.slow
def test_the_page_works_from_an_empty_folder(tmp_path: Path) -> None:
    output = ""
    for step in steps():
        named = re.fullmatch(r"`([\w/]+\.\w+)`:", step.before)
        if named:
            write(tmp_path / named[1], step.text)
        elif step.before == f"<!-- into {SCENARIO} -->":
            write(tmp_path / SCENARIO, with_sections((tmp_path / SCENARIO).read_text(encoding="utf-8"), step.text))
        elif step.kind == "bash":
            code, output = run(step.text.strip(), tmp_path)
            assert code == step.exit_code, f"{step.text}{output}"
        elif step.kind == "text" and output:
            missing = [line for line in step.text.splitlines() if not is_in(line, output)]
            assert missing == [], output
    links_lead_somewhere(max(tmp_path.glob("reports/nightly-*")))


def links_lead_somewhere(nightly: Path) -> None:
    text = (nightly / "nightly.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert any("/logs/" in link for link in links)
    assert [link for link in links if not (nightly / link).is_file()] == []
