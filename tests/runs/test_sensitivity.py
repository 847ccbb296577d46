"""`harness sensitivity` from the scenario file to the fragment, on a network that is solved instead of trained."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from harness import cli
from harness.data.load import load_splits
from harness.data.settings import DatasetSpec
from harness.engine.outcomes import ignore
from harness.engine.store import STORE_VARIABLE, Store
from harness.errors import StageError, UsageError
from harness.report.sensitivity import conclusion, markdown_text, render_sensitivity
from harness.results.sensitivity import Analysis, SensitivityRecord
from harness.runs.preparation import RunOptions, prepare_run
from harness.runs.sensitivity import SensitivityOptions, analyse, check_choice, keep, plan_analyses
from harness.scenario import expand, load_scenario

MODEL = """\
from torch import nn

class Net(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.first = nn.Conv2d(1, 2, 1)
        self.wide = nn.Conv2d(2, 1, 1)
        self.head = nn.Linear(784, n_classes)

    def forward(self, x):
        return self.head(self.wide(self.first(x)).flatten(1))

def net(n_classes=10):
    return Net(n_classes)
"""
SCENARIO = """\
name: solved
dataset: {source: fashion_mnist, location: embedded, calibration_samples: 100, test_samples: 100}
models:
  net: {factory: models/net.py:net, weights: net.safetensors}
matrix:
  method: [fp32, ptq]
  calibrator: [max]
  per_channel: [false]
"""
Analyse = Callable[..., SensitivityRecord]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear classifier behind two layers that change nothing in float.

    `first` hands on (0, x), `wide` computes 1000 * 0 + 1 * x. With one weight scale for `wide` the step is
    1000 / 127 = 7.9: the weight 1 is rounded to zero, and nothing of the image is left.
    """
    folder = tmp_path_factory.mktemp("project")
    (folder / "models").mkdir()
    (folder / "models" / "net.py").write_text(MODEL, encoding="utf-8")
    train = load_splits(DatasetSpec(source="fashion_mnist", location="embedded"), root=folder, seed=0).train
    images, labels = train.inputs().flatten(1).numpy(), train.required_labels().numpy()
    ridge = images.T @ images + 1000.0 * np.eye(784, dtype=np.float32)
    head = np.linalg.solve(ridge, images.T @ (np.eye(10, dtype=np.float32)[labels] - 0.1))
    tensors = {
        "first.weight": torch.tensor([0.0, 1.0]).view(2, 1, 1, 1),
        "first.bias": torch.zeros(2),
        "wide.weight": torch.tensor([1000.0, 1.0]).view(1, 2, 1, 1),
        "wide.bias": torch.zeros(1),
        "head.weight": torch.from_numpy(head.T.astype(np.float32)).contiguous(),
        "head.bias": torch.zeros(10),
    }
    save_file(tensors, folder / "net.safetensors")
    return folder


@pytest.fixture(scope="module")
def run(project: Path) -> Analyse:
    """Analyses the scenario (with a text replaced) in this process; all share one store."""

    def run(name: str, old: str = "", new: str = "", **options: object) -> SensitivityRecord:
        path = project / f"{name}.yaml"
        path.write_text(SCENARIO.replace(old, new), encoding="utf-8")
        directory = project / "reports" / name
        directory.mkdir(parents=True)
        run_options = RunOptions(jobs=1, isolation="none")
        scenario = load_scenario(path)
        prepared = prepare_run(scenario, run_options)
        wanted = SensitivityOptions(**{"budget": 0.05, "top": 2} | options)
        display = lambda: contextlib.nullcontext(ignore)  # noqa: E731
        store = Store(project / "store")
        return keep(analyse(prepared, store, run_options, wanted, display), scenario, directory, store)

    return run


@pytest.fixture(scope="module")
def record(run: Analyse) -> SensitivityRecord:
    return run("first")


@pytest.fixture(scope="module")
def analysis(record: SensitivityRecord) -> Analysis:
    (analysis,) = record.analyses
    return analysis


class TestAnalysis:
    def test_the_sensitive_layer_is_first_by_sqnr_and_by_accuracy(self, analysis: Analysis) -> None:
        first, second, *others = analysis.layers
        assert first.layer == "wide"
        # Nothing of the signal but the head's bias is left: the error is as large as the outputs.
        assert first.sqnr_db == pytest.approx(0.0, abs=0.5)
        assert first.alone is not None
        assert second.alone is not None
        assert first.alone.loss > 0.4 > second.alone.loss
        assert all(cost.alone is None for cost in others)  # `top` is 2

    def test_it_is_one_pass_over_the_calibration_samples(self, analysis: Analysis) -> None:
        assert (analysis.data_passes, analysis.calibration_samples) == (1, 100)

    def test_the_skip_set_is_exactly_that_layer(self, analysis: Analysis) -> None:
        assert analysis.search is not None
        assert (analysis.search.status, analysis.search.chosen.skip) == ("found", ("wide",))
        assert analysis.meets_budget

    def test_accuracies_are_those_of_the_held_out_samples(self, analysis: Analysis) -> None:
        # 5,000 training images less 100 for calibration: a tenth of 4,900, and the 100.
        assert analysis.held_out == {"validation": 490, "calibration": 100}
        assert analysis.quantized is not None
        assert analysis.n == 590
        assert analysis.quantized.value == pytest.approx(0.1, abs=0.05)  # chance
        assert analysis.fp32_top1 == pytest.approx(analysis.quantized.value + analysis.quantized.loss)
        assert analysis.search.chosen.judged.loss_interval[1] < 0.05

    def test_the_interval_is_wider_when_the_choice_among_sets_is_allowed_for(self, analysis: Analysis) -> None:
        search = analysis.search
        # Nothing, all candidates, `wide`: three sets, so 1 - 0.05 / 3 instead of 0.95.
        assert len(search.trials) == 3
        low, high = search.chosen.judged.interval.ends
        wider = search.chosen_interval
        assert wider.low < low < high < wider.high
        assert wider.confidence == pytest.approx(1 - 0.05 / 3)

    def test_the_fragment_pasted_into_the_scenario_adds_the_variant(self, project: Path, analysis: Analysis) -> None:
        fragment = (project / "reports" / "first" / str(analysis.fragment)).read_text(encoding="utf-8")
        entry = fragment[fragment.index("  include:") :]
        path = project / "pasted.yaml"
        path.write_text(SCENARIO + entry, encoding="utf-8")
        added = [variant for variant in expand(load_scenario(path)) if variant.skip]
        assert [variant.model_copy(update={"id": "", "skip": ()}) for variant in added] == [
            analysis.variant.model_copy(update={"id": ""})
        ]
        assert added[0].skip == ("wide",)

    def test_the_record_is_what_was_returned(self, project: Path, record: SensitivityRecord) -> None:
        assert SensitivityRecord.load(project / "reports" / "first" / "sensitivity.json") == record

    def test_the_markdown_has_ranking_accuracies_and_skip_set(self, project: Path, record: SensitivityRecord) -> None:
        path = render_sensitivity(record, project / "reports" / "first")
        text = path.read_text(encoding="utf-8")
        assert text == markdown_text(record)
        assert "| 1 | wide | conv2d | 2 |" in text
        assert "Skipping 1 layer meets the budget of 5 points: wide" in text
        assert "(skip-net-onnxruntime.yaml)" in text
        assert "test samples are not used" in text


class TestStore:
    def test_a_second_call_computes_nothing(self, run: Analyse, analysis: Analysis) -> None:
        (again,) = run("again").analyses
        assert again.cached
        assert again.model_copy(update={"cached": analysis.cached}) == analysis
        assert not analysis.cached

    def test_another_budget_searches_again_in_the_same_ranking(self, run: Analyse, analysis: Analysis) -> None:
        (other,) = run("budget", budget=0.99).analyses
        assert other.layers == analysis.layers
        assert other.seconds["sensitivity"] == analysis.seconds["sensitivity"]
        assert other.search.status == "nothing_to_skip"
        assert other.fragment is None


class TestLimits:
    def test_a_budget_that_the_samples_cannot_prove_is_said(self, run: Analyse, analysis: Analysis) -> None:
        (other,) = run("small", budget=0.001).analyses
        assert other.search.status == "too_few_samples"
        # With no discordant sample of 590 the score interval ends at z^2 / (n + z^2) = 3.8415 / 593.84 = 0.65 points.
        assert other.search.provable_drop == pytest.approx(3.841459 / 593.841459)
        assert not other.meets_budget
        assert "cannot prove the budget of 0.1 points" in conclusion(other)

    def test_without_labels_layers_are_ranked_and_nothing_is_searched(self, run: Analyse) -> None:
        old = "{source: fashion_mnist, location: embedded, calibration_samples: 100, test_samples: 100}"
        new = "{source: random_images, calibration_samples: 20, args: {input_shape: [1, 28, 28], n_classes: 10}}"
        (unlabelled,) = run("unlabelled", old, new).analyses
        assert unlabelled.layers[0].layer == "wide"
        assert (unlabelled.quantized, unlabelled.search, unlabelled.fragment) == (None, None, None)
        assert unlabelled.meets_budget
        assert "No accuracy to judge" in conclusion(unlabelled)

    def test_the_weights_file_is_untouched(self, project: Path, analysis: Analysis) -> None:
        from safetensors.torch import load_file

        assert load_file(project / "net.safetensors")["wide.weight"].flatten().tolist() == [1000.0, 1.0]


class TestErrors:
    def prepared(self, project: Path, text: str):
        path = project / "bad.yaml"
        path.write_text(text, encoding="utf-8")
        return prepare_run(load_scenario(path), RunOptions(isolation="none"))

    def test_a_scenario_without_ptq_rows_is_refused(self, project: Path) -> None:
        prepared = self.prepared(project, SCENARIO.replace("[fp32, ptq]", "[fp32]"))
        with pytest.raises(UsageError, match="no ptq row") as caught:
            plan_analyses(prepared, SensitivityOptions())
        assert "matrix.method" in str(caught.value.fix)

    def test_unknown_names_are_told_with_the_nearest(self, project: Path, record: SensitivityRecord) -> None:
        scenario = load_scenario(project / "first.yaml")
        with pytest.raises(UsageError, match="unknown model") as caught:
            check_choice(scenario, model="nett", target=None, budget=None)
        assert caught.value.fix == "did you mean `net`?"
        with pytest.raises(UsageError, match="unknown target"):
            check_choice(scenario, model=None, target="onnxruntim", budget=None)

    def test_a_budget_is_in_points(self, project: Path, record: SensitivityRecord) -> None:
        with pytest.raises(UsageError, match="--budget"):
            check_choice(load_scenario(project / "first.yaml"), model=None, target=None, budget=-1)


class TestChoice:
    def planned(self, project: Path, matrix: str) -> list[tuple[str, bool]]:
        path = project / "choice.yaml"
        path.write_text(SCENARIO.partition("matrix:")[0] + matrix, encoding="utf-8")
        prepared = prepare_run(load_scenario(path), RunOptions(isolation="none"))
        plans = plan_analyses(prepared, SensitivityOptions())
        return [(str(plan.variant.calibrator), bool(plan.variant.per_channel)) for plan in plans]

    def test_it_is_the_first_ptq_row_of_a_model_and_target(self, project: Path) -> None:
        matrix = "matrix: {method: [fp32, qat, ptq], calibrator: [mse, max], per_channel: [false, true]}\n"
        assert self.planned(project, matrix) == [("mse", False)]

    def test_rows_of_other_toolkits_are_passed_over(self, project: Path) -> None:
        matrix = "matrix: {method: ptq, toolkit: [onnxruntime, harness], calibrator: max}\n"
        assert self.planned(project, matrix) == [("max", True)]


class TestFailure:
    def test_a_stage_that_fails_is_told_and_nothing_else_is_lost(
        self, run: Analyse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise StageError("the search broke", fix="mend it")

        monkeypatch.setattr("harness.stages.sensitivity.smallest_skip_set", fail)
        record = run("failed", budget=0.07)
        (failure,) = record.failures
        assert failure.variant_id == "net-ptq-max-pertensor-onnxruntime-b1"
        assert "the search broke" in failure.reason
        assert "the search broke" in markdown_text(record)
        (analysis,) = record.analyses  # the ranking is there
        assert analysis.layers[0].layer == "wide"
        assert analysis.search is None


class TestCommand:
    def call(self, monkeypatch: pytest.MonkeyPatch, project: Path, *arguments: str) -> int:
        monkeypatch.setenv(STORE_VARIABLE, str(project / "store"))
        monkeypatch.setattr(sys, "argv", ["harness", "sensitivity", *arguments])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        return int(exited.value.code or 0)

    @pytest.mark.parametrize(("budget", "code"), [("5", 0), ("0.1", 4)])
    def test_it_exits_4_when_no_skip_set_is_proven_to_meet_the_budget(
        self,
        budget: str,
        code: int,
        project: Path,
        run: Analyse,
        record: SensitivityRecord,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        out = project / f"out-{budget}"
        options = ["--budget", budget, "--top", "2", "--out", str(out), "--jobs", "1", "--quiet"]
        assert self.call(monkeypatch, project, str(project / "first.yaml"), *options) == code
        printed = capsys.readouterr().out
        assert "SQNR, dB" in printed
        assert ("skip:" in printed) == (code == 0)
        assert (out / "sensitivity.md").is_file()
        assert self.call(monkeypatch, project, str(project / "first.yaml"), *options) == 2  # holds a run already
