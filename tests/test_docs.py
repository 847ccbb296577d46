"""The documents are true where a machine can tell: links lead somewhere, commands exist, scenarios load."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from harness.errors import ScenarioError
from harness.scenario import expand, load_scenario
from harness.scenario.schema import Scenario

ROOT = Path(__file__).parents[1]
SMALLEST = """\
name: smallest
dataset: {source: fashion_mnist}
models:
  net: {factory: models/resnet.py:resnet8}
  resnet8: {factory: models/resnet.py:resnet8}
  mobilenet: {factory: models/mobilenet.py:mobilenet_v2_small}
"""
FIRST_SCREEN_LINES = 40
_GENERATED = {"_build", "build", "dist", "node_modules"}
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_INLINE_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def documents() -> list[Path]:
    found = [path.relative_to(ROOT) for path in ROOT.rglob("*.md")]
    return sorted(path for path in found if not is_generated(path))


def is_generated(path: Path) -> bool:
    hidden = any(part.startswith(".") and part != ".github" for part in path.parts)
    in_a_run = path.parts[0] == "reports" and len(path.parts) > 2 and path.parts[1] != "example"
    return hidden or in_a_run or not _GENERATED.isdisjoint(path.parts)


def links(text: str) -> Iterator[str]:
    """Targets of the links outside code that do not leave the repository."""
    prose = _INLINE_CODE.sub("code", _FENCED.sub("", text))
    return (link for link in _LINK.findall(prose) if not re.match(r"[a-z]+:", link))


def anchors(text: str) -> set[str]:
    """Anchors of the headings, made as GitHub makes them."""
    headings = _HEADING.findall(_FENCED.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def read(path: Path | str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_links_in_code_and_to_other_sites_are_not_checked():
    text = "[a](x.md) `[b](y.md)` [c](https://example.org)\n```\n[d](z.md)\n```\n[e](#part)"
    assert list(links(text)) == ["x.md", "#part"]


def test_anchors_are_made_as_github_makes_them():
    assert anchors("# Top\n\n## A scenario, step by step\n") == {"top", "a-scenario-step-by-step"}


def test_the_main_documents_are_checked():
    assert {Path("README.md"), Path("CHANGELOG.md"), Path("docs/index.md")} <= set(documents())


@pytest.mark.parametrize("document", documents(), ids=str)
def test_every_relative_link_leads_somewhere(document: Path):
    broken = []
    for link in links(read(document)):
        name, _, anchor = link.partition("#")
        target = (ROOT / document).parent / name if name else ROOT / document
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert broken == []


def fences_of_the_first_screen() -> list[tuple[str, str]]:
    """Line before the fence, and the command in it."""
    screen = "\n".join(read("README.md").splitlines()[:FIRST_SCREEN_LINES])
    return re.findall(r"^([^\n]*)\n```(?:bash|sh|shell|console)?\n(.*?)\n```$", screen, re.MULTILINE | re.DOTALL)


def test_the_first_screen_has_two_commands_one_per_fence():
    screen = read("README.md").splitlines()[:FIRST_SCREEN_LINES]
    assert sum(line.startswith("```") for line in screen) == 4  # two fences, opened and closed
    commands = [command for _, command in fences_of_the_first_screen()]
    assert [len(command.splitlines()) for command in commands] == [1, 1]
    assert "harness run scenarios/quickstart.yaml" in commands[0]
    assert "pytest" in commands[1]


def test_ci_runs_the_test_command_of_the_readme():
    before, command = fences_of_the_first_screen()[1]
    assert before == "<!-- test command -->"
    assert f"run: {command}\n" in read(".github/workflows/ci.yml")


def test_the_commands_that_exist_are_listed():
    from harness.cli import app

    existing = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    existing |= {str(group.name) for group in app.registered_groups}
    assert set(re.findall(r"^\| `harness (\w+)", read("docs/commands.md"), re.MULTILINE)) == existing


def test_listed_options_exist():
    from typer.main import get_command

    from harness.cli import app

    row = next(line for line in read("docs/commands.md").splitlines() if line.startswith("| `harness run "))
    # A switch that is on by default is listed by the name that turns it off.
    options = get_command(app).commands["run"].params
    existing = {name for option in options for name in option.secondary_opts or option.opts}
    assert set(re.findall(r"`(--[a-z-]+)`", row)) == existing & {name for name in existing if name.startswith("--")}


def test_every_scenario_is_listed():
    listed = set(re.findall(r"\(\.\./scenarios/(\w+\.yaml)\)", read("docs/scenarios.md")))
    assert listed == {path.name for path in (ROOT / "scenarios").glob("*.yaml")}


def scenario_blocks() -> list[Any]:
    """Every YAML block of every document, by document and number."""
    blocks = [
        (page, re.findall(r"^```ya?ml\n(.*?)^```$", read(page), re.MULTILINE | re.DOTALL)) for page in documents()
    ]
    return [
        pytest.param(block, id=f"{page}-{number}")
        for page, of_page in blocks
        for number, block in enumerate(of_page, start=1)
    ]


def load_block(block: str, folder: Path) -> Scenario:
    """The block as a scenario; one that shows a few sections takes the others from the smallest scenario."""
    yaml = YAML(typ="safe")
    yaml.default_flow_style = False
    shown = yaml.load(block)
    rest = {key: value for key, value in yaml.load(SMALLEST).items() if key not in shown}
    file = folder / "scenario.yaml"
    # The text itself is loaded, so that what the page shows is what is checked.
    with file.open("w", encoding="utf-8") as stream:
        if rest:
            yaml.dump(rest, stream)
        stream.write(block)
    for name in re.findall(r"[\w./-]+\.(?:py|pth|pt|ckpt|safetensors)", block + SMALLEST):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()  # that they are there is checked, what is in them is not
    return load_scenario(file)


@pytest.mark.parametrize("block", scenario_blocks())
def test_every_scenario_block_loads(block: str, tmp_path: Path) -> None:
    assert expand(load_block(block, tmp_path))


def test_blocks_of_all_folders_are_loaded() -> None:
    ids = {str(parameter.id) for parameter in scenario_blocks()}
    assert {"README.md-1", "docs/scenario.md-7", "docs/design/ptq-steps.md-1", "docs/plugins/metric.md-1"} <= ids


def test_a_block_with_a_wrong_key_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"unknown key `max_epoch`"):
        load_block("training:\n  max_epoch: 6\n", tmp_path)


def test_the_scenario_of_the_readme_has_the_variants_that_it_shows(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", read("README.md"), re.MULTILINE | re.DOTALL)
    # fp32; ptq and qat with 2 calibrators each; the skip set: 1 + 2 * 2 + 1
    assert len(expand(load_block(block, tmp_path))) == 6
