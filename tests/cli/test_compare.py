"""`harness compare` and `harness baseline`: what they print, write and exit with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from oracles.recorded_runs import ENVIRONMENT, PTQ, recorded, right
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import UsageError
from harness.report.comparison import MARK
from harness.results import Gate
from harness.results.comparison import Comparison
from harness.runs import complete

QUICKSTART = Path(__file__).parents[2] / "scenarios" / "quickstart.yaml"
CLASS = "x86_64-vnni-2core-intel-xeon"
runner = CliRunner()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the run `base` and its baseline, and the slower run `slow`; it is the working directory."""
    monkeypatch.chdir(tmp_path)
    recorded().write(tmp_path / "runs" / "base")
    recorded(started_at="2025-01-02T12:00:00+00:00").add(PTQ, speedup=1.2, correct=right(lost=1)).write(
        tmp_path / "slow"
    )
    return tmp_path


def invoke(*arguments: str, code: int) -> str:
    result = runner.invoke(app, list(arguments), env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.output


def refused(*arguments: str) -> UsageError:
    result = runner.invoke(app, list(arguments))
    assert isinstance(result.exception, UsageError), result.output
    return result.exception


class TestGatesOfARun:
    """`harness run` with the outcome of the run given: what it says about gates, and its exit code."""

    @pytest.fixture
    def finish(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
        """Runs with gates of these verdicts, checks the exit code, returns what was printed."""

        def run(*verdicts: str, code: int, failed: bool = False, strict: bool = False) -> str:
            gates = tuple(
                Gate(variant=PTQ, metric="latency.speedup", limit="at least 2", value=1.5, verdict=verdict)
                for verdict in verdicts
            )
            night = recorded().add("net-qat-onnxruntime-b1", status="failed", reason="no") if failed else recorded()
            results = night.results.model_copy(update={"gates": gates})
            about = SimpleNamespace(name="tiny")
            monkeypatch.setattr(complete, "prepare_runs", lambda *_: [SimpleNamespace(about=about, notes=())])
            monkeypatch.setattr(complete, "run_scenario", lambda *_: results)
            monkeypatch.setattr(complete, "render", lambda *_: [])
            arguments = [
                "run",
                str(QUICKSTART),
                "--no-history",
                "--out",
                str(tmp_path / "out"),
                *(["--strict"] if strict else []),
            ]
            return invoke(*arguments, code=code)

        return run

    def test_a_proven_breach_exits_1_with_the_gate(self, finish: Callable[..., str]) -> None:
        printed = finish("pass", "fail", code=1)
        assert f"gate fail: {PTQ}: latency.speedup is 1.5; it must be at least 2" in printed
        assert "gates: 1 pass, 1 fail" in printed
        assert "gate pass" not in printed

    def test_an_undecided_gate_counts_with_strict_only(self, finish: Callable[..., str]) -> None:
        assert "gate inconclusive" in finish("pass", "inconclusive", code=0)
        finish("pass", "inconclusive", strict=True, code=4)
        finish("pass", strict=True, code=0)

    def test_what_is_proven_counts_more_than_what_failed_and_that_more_than_doubt(
        self, finish: Callable[..., str]
    ) -> None:
        finish("fail", failed=True, code=1)
        finish("inconclusive", failed=True, strict=True, code=3)


class TestBaseline:
    def test_it_is_saved_under_the_machine_class(self, project: Path) -> None:
        assert f"written: baselines/{CLASS}/tiny.json" in invoke("baseline", "save", "runs/base", code=0)
        assert "replaced:" in invoke("baseline", "save", "runs/base/results.json", code=0)

    def test_name_and_folder_may_be_chosen(self, project: Path) -> None:
        invoke("baseline", "save", "runs/base", "--name", "main", "--to", "kept", code=0)
        assert json.loads((project / "kept" / "main.json").read_text())["scenario"] == "tiny"

    def test_every_scenario_of_a_folder_is_saved(self, project: Path) -> None:
        recorded(scenario="other").write(project / "runs" / "other")
        invoke("baseline", "save", "runs", code=0)
        assert sorted(path.name for path in (project / "baselines" / CLASS).iterdir()) == ["other.json", "tiny.json"]
        assert "2 scenarios" in refused("baseline", "save", "runs", "--name", "x").message

    def test_a_name_stays_in_its_folder(self, project: Path) -> None:
        assert "is not a file name" in refused("baseline", "save", "runs/base", "--name", "../x").message


class TestCompare:
    def test_a_run_against_itself_is_fine(self, project: Path) -> None:
        assert "No regression proven" in invoke("compare", "runs/base", "runs/base", "--strict", code=0)

    def test_a_regression_exits_1_and_names_the_variant(self, project: Path) -> None:
        invoke("baseline", "save", "runs/base", code=0)
        printed = invoke("compare", "baselines", "slow", code=1)
        assert f"regression: {PTQ}: slower by 25.0 %" in printed  # 1.5 / 1.2
        assert "1 regression proven" in printed

    def test_a_stored_baseline_judges_as_the_run_does(self, project: Path) -> None:
        invoke("baseline", "save", "runs/base", code=0)
        for base, file in ((f"baselines/{CLASS}/tiny.json", "a.json"), ("runs/base", "b.json")):
            invoke("compare", base, "slow", "--json", file, code=1)
        stored, run = (Comparison.model_validate_json((project / name).read_text()) for name in ("a.json", "b.json"))
        assert [(each.metric, each.verdict, each.is_paired) for each in stored.findings] == [
            (each.metric, each.verdict, each.is_paired) for each in run.findings
        ]

    def test_undecided_figures_exit_4_with_strict(self, project: Path) -> None:
        invoke("compare", "runs/base", "slow", "--only", "accuracy", code=0)
        assert "inconclusive" in invoke("compare", "runs/base", "slow", "--only", "accuracy", "--strict", code=4)

    def test_of_several_runs_the_latest_is_judged(self, project: Path) -> None:
        recorded(started_at="2025-01-03T12:00:00+00:00").write(project / "runs" / "z")
        recorded(started_at="2025-01-02T12:00:00+00:00").add(PTQ, speedup=1.0).write(project / "runs" / "a")
        invoke("compare", "runs/base", "runs", code=0)

    def test_a_scenario_without_a_run_vanished(self, project: Path) -> None:
        recorded(scenario="other").write(project / "runs" / "other")
        invoke("baseline", "save", "runs", code=0)
        assert "scenario other vanished" in invoke("compare", "baselines", "runs/base", code=1)

    def test_only_baselines_of_this_kind_of_machine_are_used(self, project: Path) -> None:
        invoke("baseline", "save", "runs/base", code=0)
        cpu = ENVIRONMENT["cpu"] | {"model": "AMD EPYC 9R14"}  # type: ignore[operator]
        recorded(environment=ENVIRONMENT | {"cpu": cpu}).write(project / "elsewhere")
        error = refused("compare", "baselines", "elsewhere")
        assert f"there are baselines for {CLASS}" in error.message
        assert "AMD EPYC 9R14" in refused("compare", f"baselines/{CLASS}/tiny.json", "elsewhere").message
        invoke("compare", f"baselines/{CLASS}", "elsewhere", "--only", "accuracy,size,coverage,parity", code=0)
        invoke("compare", f"baselines/{CLASS}", "elsewhere", "--force", code=0)

    def test_other_json_beside_the_runs_is_passed_over(self, project: Path) -> None:
        invoke("compare", "runs/base", "slow", "--json", "runs/comparison.json", code=1)
        (project / "runs" / "benchmark.json").write_text("[]")
        invoke("compare", "runs", "slow", code=1)
        invoke("baseline", "save", "runs", code=0)
        invoke("compare", "baselines", "runs", code=0)

    def test_a_damaged_file_in_a_folder_of_baselines_is_not_passed_over(self, project: Path) -> None:
        invoke("baseline", "save", "runs", code=0)
        (path,) = project.glob("baselines/*/*.json")
        path.write_text(path.read_text()[:-20])
        assert f"{path.name} is not a baseline" in refused("compare", "baselines", "slow").message

    def test_markdown_names_what_regressed_and_folds_the_rest(self, project: Path) -> None:
        invoke("compare", "runs/base", "slow", "--markdown", "out/comment.md", code=1)
        text = (project / "out" / "comment.md").read_text()
        assert text.startswith(f"{MARK}\n## 1 regression proven\n")
        bullet = next(line for line in text.splitlines() if line.startswith("- **Regression.**"))
        assert "slower by 25.0 %" in bullet and "Cause:" in bullet
        assert "<details><summary>Every figure</summary>" in text
        assert text.count("| same |") == 13  # 15 figures, one worse, one undecided

    def test_markdown_fits_into_a_comment_and_says_what_is_left_out(self, project: Path) -> None:
        ids = [f"net{number:03}-ptq-max-perchannel-onnxruntime-b1" for number in range(300)]
        base, new = recorded(), recorded(started_at="2025-01-02T12:00:00+00:00")
        for variant in ids:
            base.add(variant)
            new.add(variant, speedup=1.2)
        base.write(project / "many")
        new.write(project / "slower")
        text = invoke("compare", "many", "slower", "--markdown", "-", code=1)
        assert len(text) < 65_536
        told = text.count("- **Regression.**")
        assert 0 < told < len(ids)
        assert f"- {len(ids) - told} more are left out here." in text
        assert "more rows are left out here." in text

    def test_markdown_on_the_standard_output_stands_alone(self, project: Path) -> None:
        assert invoke("compare", "runs/base", "slow", "--markdown", "-", code=1).startswith(MARK)

    @pytest.mark.parametrize(
        ("base", "message"),
        [
            ("nowhere", "there is no nowhere"),
            ("runs/base/samples", "holds neither a run nor a baseline"),
            ("text.json", "text.json is not a baseline: "),
            ("old.json", "old.json is not a baseline: Field required at `scenario`"),
        ],
    )
    def test_what_is_no_run_and_no_baseline_is_refused(self, project: Path, base: str, message: str) -> None:
        (project / "text.json").write_text("no JSON")
        (project / "old.json").write_text("{}")
        assert message in refused("compare", base, "slow").message
