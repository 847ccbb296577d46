"""Load scenarios need LoadGen: a scenario that asks for them is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import load
from harness.errors import ScenarioError
from harness.runs.availability import check_load
from harness.runs.preparation import RunOptions, prepare_run
from harness.scenario import load_scenario

TEXT = """\
name: loaded
dataset: {source: fashion_mnist, location: embedded}
models:
  net: {factory: models/resnet.py:resnet8}
measurement:
  load: {offline: {}}
"""
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "resnet.py").write_text((REPOSITORY / "models" / "resnet.py").read_text(encoding="utf-8"))
    path = tmp_path / "loaded.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def without_loadgen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "MODULE", "no_such_module")


@pytest.mark.usefixtures("without_loadgen")
def test_a_missing_loadgen_is_one_message_with_the_place_and_the_fix(scenario: Path) -> None:
    with pytest.raises(ScenarioError) as caught:
        prepare_run(load_scenario(scenario), RunOptions())
    assert caught.value.message == "load scenarios cannot run: MLCommons LoadGen is not installed"
    assert (caught.value.line, caught.value.fix) == (6, "pip install mlcommons-loadgen")


@pytest.mark.usefixtures("without_loadgen")
def test_it_is_not_missed_by_scenarios_without_load(scenario: Path) -> None:
    scenario.write_text(TEXT.replace("{offline: {}}", "{}"), encoding="utf-8")
    check_load(load_scenario(scenario))
