"""`harness history`: what it prints and writes."""

import pytest
from history.conftest import night
from typer.testing import CliRunner

from harness.cli import app

runner = CliRunner()


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HARNESS_HISTORY", raising=False)
    for number in range(5):
        folder = tmp_path / "reports" / f"night-{number}"
        folder.mkdir(parents=True)
        night(number, engine_bytes=1400 if number < 3 else 2000).save(folder / "results.json")
    return tmp_path / "reports"


def test_old_runs_are_added_once_and_shown_with_their_step(runs):
    assert "5 added, 0 known: " in runner.invoke(app, ["history", "add", "reports"]).stdout
    assert "0 added, 1 known" in runner.invoke(app, ["history", "add", "reports/night-2"]).stdout
    assert (runs / "history.sqlite").is_file()
    result = runner.invoke(app, ["history", "--metric", "size.*", "--html", "page.html"])
    assert result.exit_code == 0
    assert "worse: tiny, net-ptq-max-perchannel-onnxruntime-b1: size.engine_bytes rose by 42.9 %" in result.stdout
    assert "run night-3 of 2026-01-04 02:00, commit 0000000000" in result.stdout
    assert (runs.parent / "page.html").read_text().startswith("<!doctype html>")


def test_a_scenario_can_be_named_without_a_subcommand(runs):
    runner.invoke(app, ["history", "add", "reports"])
    assert runner.invoke(app, ["history", "tiny"]).exit_code == 0
    assert "size.engine_bytes" in runner.invoke(app, ["history", "show", "tiny"]).stdout


def test_export(runs):
    runner.invoke(app, ["history", "add", "reports"])
    result = runner.invoke(app, ["history", "export", "--parquet", "h.parquet"])
    assert result.exit_code == 0
    assert (runs.parent / "h.parquet").is_file()
