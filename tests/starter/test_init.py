"""`harness init`: what it writes, and what it never touches."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from harness import __version__
from harness.cli import app
from harness.runs.preparation import RunOptions, prepare_run
from harness.scenario import expand, load_scenario
from harness.starter import write
from harness.starter.write import installed_requirement

runner = CliRunner()
EXPECTED = {
    ".github/workflows/ci.yml",
    ".github/workflows/nightly.yml",
    ".gitignore",
    "README.md",
    "models/small_cnn.py",
    "pyproject.toml",
    "requirements.txt",
    "scenarios/scenario.schema.json",
    "scenarios/small_cnn.yaml",
    "tests/test_small_cnn.py",
    "tox.ini",
}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "my_project"
    assert runner.invoke(app, ["init", str(folder)]).exit_code == 0
    return folder


def test_every_file_is_written(project):
    assert files(project) == EXPECTED
    assert (project / "README.md").read_text().startswith("# my_project\n")


def test_no_placeholder_is_left(project):
    for name in EXPECTED:
        for word in ("REQUIREMENT", "PROJECT", "VERSION"):
            assert f"@{word}@" not in (project / name).read_text()


def test_the_scenario_is_ready_to_run(project):
    scenario = load_scenario(project / "scenarios" / "small_cnn.yaml")
    assert [variant.method for variant in expand(scenario)] == ["fp32", "ptq", "ptq", "qat"]
    assert len(scenario.gates) == 4
    prepare_run(scenario, RunOptions())


def test_the_starter_has_a_deadline_in_milliseconds(project):
    """A gate that a machine which is slow as a whole breaks; multiples of FP32 would not see it."""
    scenario = load_scenario(project / "scenarios" / "small_cnn.yaml")
    (deadline,) = [gate for gate in scenario.gates if gate.metric == "latency.median_ms"]
    assert deadline.at_most == 5
    assert deadline.of is None and deadline.above is None


def test_nothing_is_overwritten_and_what_is_there_is_listed(project):
    readme = project / "README.md"
    readme.write_text("mine", encoding="utf-8")
    (project / "tox.ini").unlink()
    result = runner.invoke(app, ["init", str(project)])
    assert result.exit_code == 2
    assert f"exists: {readme}" in result.output
    assert not (project / "tox.ini").exists()
    assert runner.invoke(app, ["init", str(project), "--add"]).exit_code == 0
    assert (project / "tox.ini").is_file()
    assert readme.read_text() == "mine"


def test_what_a_project_of_ones_own_lacks_is_shown(tmp_path):
    """Without it, pytest passes without a scenario, and the workflows name environments of tox that are not there."""
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'mine'\n", encoding="utf-8")
    (tmp_path / "tox.ini").write_text("[testenv:nightly]\n", encoding="utf-8")
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    output = runner.invoke(app, ["init", str(tmp_path), "--add"]).output
    assert f"add to {tmp_path / 'pyproject.toml'}" in output
    assert '    harness_scenarios = ["scenarios/*.yaml"]' in output
    assert output.count("add to ") == 1


def test_the_requirement_is_the_users_or_where_the_package_came_from(tmp_path, monkeypatch):
    line = "quant-harness[pytest] @ git+https://example.org/harness@v1"
    runner.invoke(app, ["init", str(tmp_path / "a"), "--requirement", line])
    assert line in (tmp_path / "a" / "requirements.txt").read_text().splitlines()


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (
            '{"url": "https://example.org/q", "vcs_info": {"vcs": "git", "commit_id": "abc"}}',
            " @ git+https://example.org/q@abc",
        ),
        ('{"url": "file:///home/me/q", "dir_info": {}}', " @ file:///home/me/q"),
        (None, f"=={__version__}"),
    ],
    ids=["repository", "folder", "index"],
)
def test_without_one_it_is_where_the_package_came_from(tmp_path, monkeypatch, origin, expected):
    class Distribution:
        def read_text(self, name):
            assert name == "direct_url.json"
            return origin

    monkeypatch.setattr(write.importlib.metadata, "distribution", lambda _: Distribution())
    assert installed_requirement() == f"quant-harness[pytest]{expected}"
    output = runner.invoke(app, ["init", str(tmp_path / "a")]).output
    assert ("a place on this machine" in output) == ("file:" in expected)


@pytest.mark.parametrize("name", ["ci", "nightly"])
def test_workflows_read_only_and_keep_their_reports(project, name):
    workflow = YAML(typ="safe").load((project / ".github" / "workflows" / f"{name}.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}  # no commit, no pull request
    for job in workflow["jobs"].values():
        uploads = [step for step in job["steps"] if step.get("uses", "").startswith("actions/upload-artifact")]
        assert [step["if"] for step in uploads] == ["always()"]


def test_the_night_runs_what_tox_runs_and_keeps_the_history(project):
    workflow = YAML(typ="safe").load((project / ".github" / "workflows" / "nightly.yml").read_text())
    cpu, gpu = workflow["jobs"]["cpu"], workflow["jobs"]["gpu"]
    assert "tox -e nightly" in [step.get("run") for step in cpu["steps"]]
    assert "commands = harness nightly scenarios {posargs}" in (project / "tox.ini").read_text()
    assert any(step.get("run", "").endswith("harness nightly scenarios") for step in gpu["steps"])
    assert gpu["if"] == "vars.HARNESS_GPU == 'true'"
    assert gpu["runs-on"][0] == "self-hosted"
    saved = [step["with"]["path"] for step in cpu["steps"] if step.get("uses", "") == "actions/cache/save@v4"]
    assert saved == ["store", "history"]
    assert cpu["env"]["HARNESS_HISTORY"].endswith("/history/history.sqlite")


@pytest.mark.parametrize(("name", "job"), [("ci", "tests"), ("nightly", "cpu")])
def test_the_store_is_cached_by_content_and_starts_from_the_newest(project, name, job):
    workflow = YAML(typ="safe").load((project / ".github" / "workflows" / f"{name}.yml").read_text())
    steps = [step for step in workflow["jobs"][job]["steps"] if step.get("with", {}).get("path") == "store"]
    restored, saved = steps
    assert saved["with"]["key"] == restored["with"]["restore-keys"] + "${{ hashFiles('store/**') }}"
    assert saved["if"].startswith("always() && !endsWith(steps.store.outputs.cache-matched-key")
    assert restored["id"] == "store"


def test_what_a_run_leaves_behind_is_no_change_of_the_checkout(project):
    """Or else every nightly run would be reported as one with uncommitted changes."""
    ignored = (project / ".gitignore").read_text().splitlines()
    assert {"/reports/", "/store/", "/history/", ".tox/"} <= set(ignored)
