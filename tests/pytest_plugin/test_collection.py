"""Which tests there are: one for each variant, chosen as pytest users choose tests."""

import subprocess
import sys
from pathlib import Path

import pytest
from oracles.scripted_runs import journal

TINY = "scenarios/tiny.yaml"
FP32 = "net-fp32-onnxruntime-b1"
MAX = "net-ptq-max-perchannel-onnxruntime-b1"
MSE = "net-ptq-mse-perchannel-onnxruntime-b1"


def collected(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if "::" in line]


class TestIds:
    def test_a_variant_is_a_test_named_after_it(self, scripted, run) -> None:
        assert collected(run(TINY, "--collect-only", "-q")) == [f"{TINY}::{name}" for name in (FP32, MAX, MSE)]

    def test_collecting_runs_nothing(self, scripted, run) -> None:
        run(TINY, "--collect-only")
        assert journal(scripted) == []

    def test_one_test_is_named_by_its_id(self, scripted, run) -> None:
        run(f"{TINY}::{MSE}").assert_outcomes(passed=1)
        assert journal(scripted) == [{"scenario": "tiny", "chosen": [MSE]}]

    def test_the_place_of_a_test_is_the_matrix_in_the_file(self, scripted, run) -> None:
        line = (scripted / TINY).read_text().splitlines().index("matrix:")
        plugin = Items()
        pytest.main(["-p", "harness.pytest_plugin", TINY, "--collect-only", "-q"], plugins=[plugin])
        assert {item.location[:2] for item in plugin.items} == {(TINY, line)}


class Items:
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = session.items


class TestChoice:
    @pytest.mark.parametrize(
        ("args", "chosen"),
        [
            (("-k", "mse"), [MSE]),
            (("-k", "ptq and not mse"), [MAX]),
            (("-m", "ptq"), [MAX, MSE]),
            (("-m", "fp32 and onnxruntime"), [FP32]),
            (("-m", "net"), [FP32, MAX, MSE]),
            (("--deselect", f"{TINY}::{MAX}"), [FP32, MSE]),
        ],
    )
    def test_only_what_is_left_is_run(self, scripted, run, args, chosen) -> None:
        run(TINY, *args, "--strict-markers", "--strict-config").assert_outcomes(
            passed=len(chosen), deselected=3 - len(chosen)
        )
        assert journal(scripted) == [{"scenario": "tiny", "chosen": chosen}]

    def test_nothing_is_run_when_nothing_is_left(self, scripted, run) -> None:
        run(TINY, "-k", "qat")
        assert journal(scripted) == []

    def test_markers_are_listed(self, scripted, run) -> None:
        run("--markers").stdout.fnmatch_lines_random(["@pytest.mark.qat: *", "@pytest.mark.scenario_matrix(*"])

    def test_a_model_named_as_a_mark_of_pytest_does_not_get_it(self, scripted, run) -> None:
        path = scripted / TINY
        path.write_text(path.read_text().replace("  net:", "  skip:"))
        run(TINY).assert_outcomes(passed=3)


class TestFiles:
    def test_a_folder_is_not_searched_for_scenarios(self, scripted, run) -> None:
        assert run("scenarios").ret == pytest.ExitCode.NO_TESTS_COLLECTED

    @pytest.mark.parametrize(("glob", "n"), [("scenarios/*.yaml", 3), ("**/*.yaml", 6), ("other/*.yaml", 3)])
    def test_files_that_the_ini_file_names_are_found_in_folders(self, scripted, run, pytester, glob, n) -> None:
        (scripted / "scenarios" / "deeper").mkdir()
        text = (scripted / TINY).read_text()
        (scripted / "scenarios" / "deeper" / "other.yaml").write_text(text)
        glob = glob.replace("other/", "scenarios/deeper/")
        pytester.makeini(f"[pytest]\nharness_scenarios = {glob}\n")
        assert len(collected(run("scenarios", "--collect-only", "-q"))) == n

    def test_other_yaml_is_left_alone(self, scripted, run) -> None:
        for name in ("compose", "workflow"):
            (scripted / f"{name}.yaml").write_text("name: x\njobs:\n  matrix: [1, 2]\n")
        (scripted / "test_python.py").write_text("def test_it(): pass\n")
        run().assert_outcomes(passed=1)
        result = run("compose.yaml")
        assert result.ret == pytest.ExitCode.USAGE_ERROR  # as pytest answers for any file that nobody collects
        assert "Traceback" not in result.stdout.str() + result.stderr.str()

    def test_an_invalid_scenario_is_one_message(self, scripted, run) -> None:
        path = scripted / TINY
        path.write_text(path.read_text().replace("calibrator: [max, mse]", "calibrater: [max, mse]"))
        result = run(TINY)
        result.assert_outcomes(errors=1)
        line = path.read_text().splitlines().index("  calibrater: [max, mse]") + 1
        result.stdout.fnmatch_lines([f"*{TINY}:{line}:*calibrater*", "*did you mean `calibrator`?*"])
        result.stdout.no_fnmatch_line("*Traceback*")

    def test_a_mistyped_section_does_not_make_a_file_something_else(self, scripted, run) -> None:
        path = scripted / TINY
        path.write_text(path.read_text().replace("models:", "modles:"))
        result = run(TINY)
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*did you mean `models`?*"])

    def test_broken_yaml_is_one_message(self, scripted, run) -> None:
        path = scripted / TINY
        path.write_text(path.read_text() + "verdict: {confidence: 0.9\n")
        result = run(TINY)
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines([f"*{TINY}:*"])
        result.stdout.no_fnmatch_line("*Traceback*")

    def test_an_unknown_target_is_found_before_anything_runs(self, scripted, run) -> None:
        path = scripted / TINY
        path.write_text(path.read_text().replace("  method:", "  target: [onxruntime]\n  method:"))
        result = run(TINY)
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*did you mean `onnxruntime`?*"])


def test_a_session_without_scenarios_loads_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    assert 'harness.pytest_plugin' in sys.modules\n"
        "    heavy = ('torch', 'numpy', 'pandas', 'pydantic', 'onnx', 'onnxruntime', 'harness.scenario')\n"
        "    assert [name for name in heavy if name in sys.modules] == []\n"
    )
    (tmp_path / "data.yaml").write_text("name: x\n")
    plugins = ("-p", "harness.pytest_plugin", "-p", "no:hypothesispytest", "-p", "no:benchmark", "-p", "no:xdist")
    command = [sys.executable, "-m", "pytest", *plugins, "-q", "."]
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
