"""A shipped folder gives the outputs of the run, without the harness; and what is refused."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from harness.cli import app
from harness.comparison.sources import load_results
from harness.data.load import load_splits
from harness.data.samples import Samples
from harness.data.settings import DatasetSpec
from harness.errors import StageError, UsageError
from harness.results import Decision, Gate, RunResults
from harness.shipping import ship
from harness.shipping.card import not_proven
from harness.shipping.choose import chosen_row
from harness.standalone.program import normalised
from harness.targets import targets

VARIANTS = tuple(
    f"net-{method}-{target}-b1" for target in ("onnxruntime", "openvino") for method in ("fp32", "ptq-max-perchannel")
)
ORT = "net-ptq-max-perchannel-onnxruntime-b1"
ALONE = """\
import runpy, sys
from importlib.abc import MetaPathFinder

class Nothing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"harness", "torch", "pydantic", "onnx", "pandas", "scipy", "models"}:
            raise ModuleNotFoundError(f"{name} is not there in production")

sys.meta_path.insert(0, Nothing())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_alone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The shipped program in a process that has neither the harness nor what it is made with."""
    command = [sys.executable, "-I", "-B", "-c", ALONE, str(folder / "predict.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)


@pytest.fixture(scope="module")
def shipped(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a variant, shipped once."""
    root = tmp_path_factory.mktemp("shipped")

    def of(variant: str) -> Path:
        folder = root / variant
        return folder if folder.is_dir() else ship(run_folder, variant, folder).folder

    return of


@pytest.fixture
def own(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be changed."""
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


def edit_rows(run: Path, **values: object) -> None:
    """Set values of every row in the record of a run."""
    record = json.loads((run / "results.json").read_text(encoding="utf-8"))
    for row in record["rows"]:
        row.update(values)
    (run / "results.json").write_text(json.dumps(record), encoding="utf-8")


class TestWhatComesOut:
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_the_program_gives_the_runs_outputs_for_every_test_image(
        self, run_folder: Path, shipped: Callable[[str], Path], tmp_path: Path, variant: str
    ) -> None:
        dataset = load_results(run_folder).datasets[0]
        spec = DatasetSpec(
            source="image_folder", location="path", path="photos", calibration_samples=6, args=dataset.args or {}
        )
        files = load_splits(spec, root=run_folder.parent, seed=0).test_files
        assert len(files) == 12
        done = run_alone(shipped(variant), *map(str, files), "--save", str(tmp_path / "outputs.npy"))
        assert done.returncode == 0, done.stderr
        top = pd.read_parquet(run_folder / "samples" / "top_classes.parquet").query("variant == @variant")
        measured = top.pivot_table(index="sample", columns="class", values="score", observed=True).to_numpy()
        outputs = np.load(tmp_path / "outputs.npy")
        # One image at a time and twelve at once may be added in another order.
        np.testing.assert_allclose(outputs, measured, rtol=0, atol=1e-5 * float(np.ptp(measured)))

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_the_folder_checks_itself_without_the_harness(self, shipped: Callable[[str], Path], variant: str) -> None:
        done = run_alone(shipped(variant), "--check")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("outputs of 3 samples: ")

    def test_a_relative_output_folder_lies_below_the_working_one(
        self, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "here").mkdir()
        for working, output in ((tmp_path, "a/b"), (tmp_path / "here", ".")):
            monkeypatch.chdir(working)
            found = ship(run_folder, ORT, Path(output))
            assert found.folder == Path(output)
            assert found.checked is not None
            assert {"predict.py", "support", "samples"} <= {path.name for path in (working / output).iterdir()}
            assert [*(working / output).glob(".*")] == []

    def test_checksums_are_those_of_all_other_files(self, shipped: Callable[[str], Path]) -> None:
        folder = shipped(ORT)
        lines = [line.partition("  ") for line in (folder / "SHA256SUMS").read_text().splitlines()]
        listed = {name: digest for digest, _, name in lines}
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        assert listed == {
            name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if name != "SHA256SUMS"
        }
        assert {"model.onnx", "engine.onnx", "predict.py", "MODEL_CARD.md", "samples/expected.npy"} <= set(listed)

    def test_what_is_measured_is_what_is_shipped(self, run_folder: Path, shipped: Callable[[str], Path]) -> None:
        row = load_results(run_folder).row(ORT)
        for kind, name in (("onnx", "model.onnx"), ("engine", "engine.onnx")):
            assert (shipped(ORT) / name).read_bytes() == (run_folder / row.files[kind]).read_bytes()

    def test_names_that_try_to_be_code_are_data(self, run_folder: Path, shipped: Callable[[str], Path]) -> None:
        folder, names = shipped(ORT), load_results(run_folder).datasets[0].class_names
        assert "'); raise SystemExit(9) #" in names
        assert json.loads((folder / "model.json").read_text(encoding="utf-8"))["class_names"] == list(names)
        assert not any("SystemExit(9)" in path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
        done = run_alone(folder, *(str(path) for path in sorted((folder / "samples").glob("[0-9].*"))))
        assert done.returncode == 0
        assert len(done.stdout.splitlines()) == 3  # the newline in a name is shown, not sent

    def test_a_changed_file_fails_the_check_and_is_named(self, shipped: Callable[[str], Path], tmp_path: Path) -> None:
        folder = Path(shutil.copytree(shipped(ORT), tmp_path / "changed"))
        settings = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        settings["input"]["mean"] = [0.9, 0.9, 0.9]
        (folder / "model.json").write_text(json.dumps(settings), encoding="utf-8")
        done = run_alone(folder, "--check")
        assert done.returncode == 1
        assert "model.json: its content is not what was shipped" in done.stderr
        assert "the outputs are not those that were measured" in done.stderr

    def test_a_file_that_is_no_image_is_one_message(self, shipped: Callable[[str], Path], tmp_path: Path) -> None:
        (tmp_path / "text.png").write_text("no image", encoding="utf-8")
        done = run_alone(shipped(ORT), str(tmp_path / "text.png"))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"{tmp_path / 'text.png'}: not a JPEG, PNG, WebP, BMP or TIFF image\n"

    @pytest.mark.slow
    @pytest.mark.parametrize("variant", [VARIANTS[1], VARIANTS[3]])
    def test_it_runs_in_an_empty_environment_with_its_requirements_alone(
        self, shipped: Callable[[str], Path], tmp_path: Path, variant: str
    ) -> None:
        folder = Path(shutil.copytree(shipped(variant), tmp_path / "elsewhere"))
        venv.create(tmp_path / "venv", with_pip=True)
        python = str(tmp_path / "venv" / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", str(folder / "requirements.txt")], check=True)
        installed = subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
        assert "torch" not in installed
        assert "quant-harness" not in installed
        done = subprocess.run([python, "predict.py", "--check"], cwd=folder, capture_output=True, text=True, check=True)
        assert done.stdout.startswith("outputs of 3 samples: ")


class TestWhatIsRefused:
    def test_an_output_folder_that_holds_something_is_kept(self, run_folder: Path, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
        with pytest.raises(UsageError, match=r"is not empty\n  fix: choose another --output"):
            ship(run_folder, ORT, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

    def test_a_missing_engine_is_named_with_what_to_do(self, own: Path, tmp_path: Path) -> None:
        engine = own / load_results(own).row(ORT).files["engine"]
        engine.unlink()
        with pytest.raises(UsageError, match=f"{engine.name} is missing.*\n  fix: restore it, or run the scenario"):
            ship(own, ORT, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_an_engine_that_is_not_the_measured_one_is_refused(self, own: Path, tmp_path: Path) -> None:
        files = load_results(own).row(ORT).files
        shutil.copyfile(own / files["onnx"], own / files["engine"])
        with pytest.raises(UsageError, match="is not the file that was measured"):
            ship(own, ORT, tmp_path / "out")

    def test_outputs_that_do_not_come_out_leave_no_folder(self, own: Path, tmp_path: Path) -> None:
        expected = own / load_results(own).row(ORT).files["example_outputs"]
        np.save(expected, np.load(expected)[::-1])
        with pytest.raises(StageError, match=r"fails its own check here.*the outputs are not those"):
            ship(own, ORT, tmp_path / "out")
        assert [*tmp_path.glob("out*"), *tmp_path.glob(".shipping*")] == []

    def test_a_path_out_of_the_runs_folder_is_refused(self, own: Path, tmp_path: Path) -> None:
        edit_rows(own, files=load_results(own).row(ORT).files | {"onnx": "../scenario.yaml"})
        with pytest.raises(UsageError, match="is not in the run's folder"):
            ship(own, ORT, tmp_path / "out")

    def test_a_record_of_an_earlier_version_says_to_run_again(self, own: Path, tmp_path: Path) -> None:
        edit_rows(own, deployment=None)
        with pytest.raises(UsageError, match="of an earlier version\n  fix: run the scenario again"):
            ship(own, ORT, tmp_path / "out")

    def test_a_target_without_a_script_ships_its_files_and_says_so(self, own: Path, tmp_path: Path) -> None:
        edit_rows(own, deployment={"options": {}})
        found = ship(own, ORT, tmp_path / "out")
        assert found.notes == ("no predict.py: the target `onnxruntime` has no script that runs its engines",)
        assert found.checked is None
        assert {"model.onnx", "engine.onnx"} <= {path.name for path in found.folder.iterdir()}
        assert not (found.folder / "predict.py").exists()

    def test_a_failed_row_with_an_engine_is_shipped_by_name_and_the_card_says_it(
        self, own: Path, tmp_path: Path
    ) -> None:
        edit_rows(own, status="failed", reason="measure: the engine crashed")
        folder = ship(own, ORT, tmp_path / "out").folder
        assert "- The row is failed: measure: the engine crashed.\n" in (folder / "MODEL_CARD.md").read_text()

    def test_a_row_without_an_engine_says_why_it_has_none(self, own: Path, tmp_path: Path) -> None:
        edit_rows(own, status="failed", reason="build: no kernel", files={})
        with pytest.raises(UsageError, match="is failed and has no engine file: build: no kernel\n  fix: name another"):
            ship(own, ORT, tmp_path / "out")

    def test_the_command_prints_the_check_and_the_folder(self, run_folder: Path, tmp_path: Path) -> None:
        done = CliRunner().invoke(app, ["ship", str(run_folder), ORT, "--output", str(tmp_path / "out")])
        assert done.exit_code == 0
        first, last = done.stdout.splitlines()
        assert first.startswith("outputs of 3 samples: ")
        assert last == f"shipped: {tmp_path / 'out'} ({ORT})"


class TestWhichRow:
    @staticmethod
    def with_recommended(run: Path, *recommended: str | None) -> RunResults:
        decisions = tuple(
            Decision(
                model=f"net{number}",
                batch_size=1,
                targets=("t",),
                outcome="ship" if each else "not_proven",
                variant=each,
                headline="Why.",
            )
            for number, each in enumerate(recommended)
        )
        return load_results(run).model_copy(update={"decisions": decisions})

    def test_the_recommended_row_needs_no_name(self, run_folder: Path) -> None:
        assert chosen_row(self.with_recommended(run_folder, ORT), None).variant.id == ORT

    def test_several_are_listed(self, run_folder: Path) -> None:
        results = self.with_recommended(run_folder, VARIANTS[0], VARIANTS[2])
        with pytest.raises(UsageError, match=f"recommends 2 variants: {VARIANTS[0]}, {VARIANTS[2]}\n  fix: name"):
            chosen_row(results, None)

    def test_none_says_why_and_what_can_be_named(self, run_folder: Path) -> None:
        with pytest.raises(UsageError, match=f"recommends nothing to ship: Why.\n  fix: name a variant.*{ORT}"):
            chosen_row(self.with_recommended(run_folder, None), None)

    def test_an_unknown_name_gets_the_nearest(self, run_folder: Path) -> None:
        with pytest.raises(UsageError, match=f"did you mean `{ORT}`"):
            chosen_row(load_results(run_folder), ORT.replace("max", "mxa"))


class TestCard:
    def test_it_has_the_figures_and_says_that_nothing_recommends_the_row(
        self, run_folder: Path, shipped: Callable[[str], Path]
    ) -> None:
        text = (shipped(ORT) / "MODEL_CARD.md").read_text(encoding="utf-8")
        row = load_results(run_folder).row(ORT)
        assert row.accuracy is not None
        assert f"| Top-1 | {100 * row.accuracy.top1:.2f} % (" in text
        assert "The run does not recommend it" in text
        assert "Latency was not measured." in text
        assert "`<b>" not in text  # of a class name

    def test_a_proven_loss_and_a_broken_gate_are_named(self, run_folder: Path) -> None:
        results = load_results(run_folder)
        row = results.row(ORT)
        assert row.accuracy is not None
        assert row.accuracy.comparison is not None
        lost = row.accuracy.comparison.model_copy(update={"verdict": "worse", "is_non_inferior": False})
        row = row.model_copy(update={"accuracy": row.accuracy.model_copy(update={"comparison": lost})})
        gate = Gate(variant=ORT, metric="accuracy.drop", limit="at most 0.01", value=0.2, verdict="fail")
        found = list(not_proven(results.model_copy(update={"gates": (gate,)}), row))
        assert "It loses accuracy, which is proven: top-1 is worse than that of FP32." in found
        assert "The gate accuracy.drop at most 0.01: fail." in found


@pytest.mark.parametrize("name", [name for name, target in targets().items() if target.predict_script()])
def test_scripts_of_targets_import_their_library_and_numpy_alone(name: str) -> None:
    script = targets()[name].predict_script()
    assert script is not None
    code = "import sys; sys.path[:0] = [sys.argv[1]]; import predict; print('harness' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", code, str(script.path.parent)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
    assert "harness" not in script.path.read_text(encoding="utf-8")


def test_the_target_of_the_documentation_has_a_script() -> None:
    page = (Path(__file__).parents[2] / "docs" / "ship.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"__file__": "/plugins/camera.py"}
    exec(block, names)
    assert names["Camera"]().predict_script() == (Path("/plugins/camera_predict.py"), ("camera-runtime",))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_inputs_are_rounded_as_in_evaluation(dtype: type[np.generic]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        mean, std = tuple(rng.uniform(0, 1, 3).tolist()), tuple(rng.uniform(0.01, 1, 3).tolist())
        shape = (1, 3, *rng.integers(1, 20, 2))
        pixels: npt.NDArray[np.generic] = (
            rng.integers(0, 256, shape).astype(np.uint8) if dtype is np.uint8 else rng.random(shape, np.float32)
        )
        samples = Samples(torch.from_numpy(pixels), None, mean, std)
        np.testing.assert_array_equal(normalised(pixels[0], mean, std), samples.inputs()[0].numpy())
