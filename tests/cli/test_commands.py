"""The command line: what it prints, and its exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness import __version__
from harness.cli import app, main
from harness.cli.commands import print_summary
from harness.results import Decision, RunResults
from harness.runs.complete import CompleteRun
from harness.words.decision import decisions_of

REPOSITORY = Path(__file__).parents[2]
QUICKSTART = REPOSITORY / "scenarios" / "quickstart.yaml"
HEAVY = ("torch", "onnx", "onnxruntime", "pandas", "scipy")

runner = CliRunner()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from harness.cli import main\n"
        f"sys.argv = ['harness', *{arguments!r}]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print('loaded', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert printed.stdout.splitlines()[-1] == "loaded []"


def test_version() -> None:
    assert runner.invoke(app, ["--version"]).stdout.strip() == f"harness {__version__}"


def test_list_shows_every_variant_and_whether_it_runs_here() -> None:
    result = runner.invoke(app, ["list", str(QUICKSTART)], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert any("resnet8-ptq-entropy-pertensor-onnxruntime-b1" in line and "runs" in line for line in lines)
    assert (
        sum("-onnxruntime-b1" in line for line in lines) == 24
    )  # 2 networks x (FP32 + 4 x 2 PTQ + QAT + PTQ and QAT of 4 bits)


def test_list_takes_a_selection() -> None:
    result = runner.invoke(app, ["list", str(QUICKSTART), "--select", "method=qat"], env={"COLUMNS": "200"})
    assert sum("-qat-" in line for line in result.stdout.splitlines()) == 4


BASE = "name: bad\ndataset: {source: fashion_mnist, location: embedded}\n"
MODEL = "models: {net: {factory: models/resnet.py:resnet8}}\n"


@pytest.mark.parametrize(
    ("text", "place", "message", "fix"),
    [
        (BASE + MODEL + "tranining: {}\n", "4:1", "unknown key `tranining`", "did you mean `training`?"),
        (BASE + MODEL.replace("resnet.py", "resnte.py"), "3:25", "does not exist", "models/resnet.py"),
        (BASE + MODEL.replace(":resnet8", ":resnet9"), "3:25", "unknown function", "did you mean `resnet8`?"),
        (BASE + MODEL + "matrix: {model: [nett]}\n", "4:18", "unknown model `nett`", "did you mean `net`?"),
        (BASE + MODEL + "matrix: {method: []}\n", "4:18", "the matrix is empty", "at least one value"),
        (BASE.replace("embedded", "embedded, calibration_samples: 5001") + MODEL, "2:10", "has 5000 samples", "lower"),
        (BASE + MODEL + "matrix: {target: [tensrot]}\n", "4:19", "unknown target `tensrot`", ""),
        (BASE + "models: {net: {factory: ", "", "not valid YAML", ""),
    ],
    ids=["key", "file", "function", "model", "matrix", "calibration", "target", "yaml"],
)
def test_bad_scenarios_exit_2_with_one_message(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    place: str,
    message: str,
    fix: str,
) -> None:
    (tmp_path / "models").symlink_to(REPOSITORY / "models")
    (tmp_path / "bad.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["harness", "run", "bad.yaml"])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert printed.err.startswith(f"harness: bad.yaml:{place}")
    assert message in printed.err
    assert fix in printed.err
    assert not (tmp_path / "reports").exists()


def test_a_run_is_never_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["harness", "run", str(QUICKSTART), "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 2
    assert "already holds a run" in capsys.readouterr().err
    assert (tmp_path / "results.json").read_text(encoding="utf-8") == "{}"


def test_report_renders_the_example_again(tmp_path: Path) -> None:
    example = REPOSITORY / "reports" / "example" / "results.json"
    (tmp_path / "results.json").write_bytes(example.read_bytes())
    result = runner.invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 0
    assert (tmp_path / "report.html").is_file()
    assert (tmp_path / "report.md").read_text(encoding="utf-8").startswith("# ")


def test_report_of_something_else_exits_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.json").write_text("[]", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["harness", "report", str(tmp_path)])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 2
    assert "is not the record of a run" in capsys.readouterr().err


def test_doctor_names_what_works_here() -> None:
    result = runner.invoke(app, ["doctor"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "onnxruntime" in result.stdout


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        (
            "quantization_params: {rules: [{modules: ['re:('], skip: true}]}\n",
            "4:42",
            "`re:(` is no regular expression",
        ),
        ("matrix: {skip: [['re:(']]}\n", "4:18", "`re:(` is no regular expression"),
        ("matrix: {skip: ['role:first_con']}\n", "4:17", "unknown role `first_con`"),
        ("quantization_params: {rules: [{modules: [head], input: {}}]}\n", "4:31", "the rule changes nothing"),
    ],
)
def test_selectors_are_checked_when_they_are_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    place: str,
    message: str,
) -> None:
    (tmp_path / "models").symlink_to(REPOSITORY / "models")
    (tmp_path / "bad.yaml").write_text(BASE + MODEL + text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["harness", "list", "bad.yaml"])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"harness: bad.yaml:{place}")
    assert message in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", str(QUICKSTART), "--select", "method=pqt"], "--select chooses no variant"),
        (["run", str(QUICKSTART), "--out", f"{QUICKSTART}/x"], "cannot make the folder"),
        (["build", "nothere.onnx", "--save-engine", "x", "--target", "onnxruntime"], "there is no file nothere.onnx"),
        (["build", str(QUICKSTART), "--save-engine", ".", "--target", "onnxruntime"], "is a folder"),
    ],
)
def test_bad_arguments_exit_2_with_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed


class TestTheEndOfARun:
    @pytest.fixture
    def done(self) -> CompleteRun:
        results = RunResults.load(REPOSITORY / "reports" / "example" / "results.json")
        results = results.model_copy(update={"decisions": decisions_of(results)})
        return CompleteRun(results, Path("reports/example"), (Path("reports/example/report.html"),))

    def test_the_decisions_come_first_and_fit_80_columns(
        self, done: CompleteRun, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert print_summary(done, strict=False, as_json=False) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[1].startswith(f"{done.results.decisions[0].model}, batch 1, on ")
        assert max(map(len, lines)) <= 80
        assert lines[-1] == "report: reports/example/report.html"

    def test_as_json_they_are_all_of_stdout(self, done: CompleteRun, capsys: pytest.CaptureFixture[str]) -> None:
        print_summary(done, strict=False, as_json=True)
        printed = capsys.readouterr()
        plain = json.loads(printed.out)
        assert plain["run"] == done.results.run_id
        assert [Decision.model_validate(each) for each in plain["decisions"]] == list(done.results.decisions)
        assert done.results.decisions[0].headline.split()[0] in printed.err
