"""Finding the file and its project, checking values against each other and against files, and errors raised later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import ScenarioError
from harness.scenario import check_names, find_root, load_scenario


class TestFile:
    def test_a_missing_file_names_its_neighbours(self, project: Path) -> None:
        for name in ("quickstart.yaml", "other.yaml", "notes.md"):
            (project / "scenarios" / name).write_text("")
        path = project / "scenarios" / "quikstart.yaml"
        with pytest.raises(ScenarioError) as caught:
            load_scenario(path)
        assert str(caught.value) == (
            f"{path}: there is no such scenario file\n  fix: near it are: `{project / 'scenarios' / 'quickstart.yaml'}`"
        )

    def test_a_missing_folder_is_named(self, project: Path) -> None:
        with pytest.raises(ScenarioError) as caught:
            load_scenario(project / "scenaros" / "a.yaml")
        assert f"`{project / 'scenaros'}` does not exist" in str(caught.value.fix)

    def test_a_folder_names_its_files(self, project: Path) -> None:
        (project / "scenarios" / "a.yaml").write_text("")
        with pytest.raises(ScenarioError, match="is a folder") as caught:
            load_scenario(project / "scenarios")
        assert caught.value.fix == "name one of its files: a.yaml"

    def test_the_path_is_shown_as_it_was_given(self, project: Path, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
        (project / "scenarios" / "s.yaml").write_text(head)
        monkeypatch.chdir(project)
        scenario = load_scenario("scenarios/s.yaml")
        assert scenario.path == Path("scenarios/s.yaml")
        assert scenario.root == project


class TestRoot:
    @pytest.mark.parametrize("marker", ["models", "pyproject.toml", ".git"])
    def test_the_nearest_folder_with_a_marker_is_the_root(self, tmp_path: Path, marker: str) -> None:
        (tmp_path / "pyproject.toml").write_text("")
        inner = tmp_path / "inner"
        (inner / "a" / "b").mkdir(parents=True)
        (inner / marker).mkdir()
        assert find_root(inner / "a" / "b" / "s.yaml") == inner

    def test_a_marker_beside_the_file_comes_first(self, project: Path) -> None:
        (project / "scenarios" / "models").mkdir()
        assert find_root(project / "scenarios" / "s.yaml") == project / "scenarios"

    def test_paths_are_relative_to_the_root(self, load: Any, head: str, project: Path) -> None:
        assert load(head).resolve("models/resnet.py") == project / "models" / "resnet.py"
        assert load(head).resolve("~/data") == Path.home() / "data"


class TestConsistency:
    def test_location_path_needs_a_path(self, refuse: Any) -> None:
        error = refuse("name: a\ndataset: {source: d, location: §path}\nmodels: {r: {factory: 'a:f'}}\n")
        assert error.message == "`location: path` needs a `path`"

    def test_another_location_takes_no_path(self, refuse: Any) -> None:
        error = refuse("name: a\ndataset:\n  source: d\n  §path: data\nmodels: {r: {factory: 'a:f'}}\n")
        assert error.message == "`path` is not used by `location: auto`"

    def test_a_location_with_its_path(self, load: Any) -> None:
        text = "name: a\ndataset: {source: d, location: path, path: data}\nmodels: {r: {factory: 'a:f'}}\n"
        assert load(text).dataset.path == "data"

    def test_a_missing_model_file_names_the_nearest(self, refuse: Any) -> None:
        error = refuse("name: a\ndataset: {source: d}\nmodels: {r: {factory: §models/resnt.py:resnet8}}\n")
        assert error.message == "the model file `models/resnt.py` does not exist"
        assert error.fix == "did you mean `models/resnet.py`?"

    def test_a_missing_weights_file_names_the_nearest(self, refuse: Any) -> None:
        error = refuse(
            "name: a\ndataset: {source: d}\nmodels:\n  r:\n    factory: a:f\n    weights: §models/q.safetensors\n"
        )
        assert error.message == "the weights file `models/q.safetensors` does not exist"
        assert error.fix == "did you mean `models/r.safetensors`?"

    def test_weights_that_exist(self, load: Any) -> None:
        text = "name: a\ndataset: {source: d}\nmodels: {r: {factory: 'a:f', weights: models/r.safetensors}}\n"
        assert load(text).models["r"].weights == "models/r.safetensors"

    def test_warm_up_is_at_most_training(self, refuse: Any, head: str) -> None:
        error = refuse(f"{head}training: {{max_epochs: 2, lr_warmup_epochs: §3}}\n")
        assert error.message == "`lr_warmup_epochs` 3 is more than `max_epochs` 2 of `r`"

    def test_an_override_that_is_shorter_than_warm_up_is_where_it_points(self, refuse: Any) -> None:
        error = refuse(
            "name: a\ndataset: {source: d}\ntraining: {lr_warmup_epochs: 3}\n"
            "models: {r: {factory: 'a:f', training: {max_epochs: §2}}}\n"
        )
        assert error.message == "`lr_warmup_epochs` 3 is more than `max_epochs` 2 of `r`"

    def test_calibration_batches_must_fit_into_the_calibration_samples(self, refuse: Any, head: str) -> None:
        # 5 batches of the default 128 samples are 640; the default of calibration_samples is 512.
        error = refuse(f"{head}quantization_params: {{calib_params: {{num_calib_batches: §5}}}}\n")
        assert "asks for 640 samples of `r`" in error.message
        assert error.fix == "raise `dataset.calibration_samples` to 640"

    def test_calibration_count(self, load: Any, head: str) -> None:
        assert load(head).calibration_count("r") == 512
        some = load(f"{head}quantization_params: {{calib_params: {{num_calib_batches: 3}}}}\n")
        assert some.calibration_count("r") == 3 * 128

    @pytest.mark.parametrize(
        ("batch_size", "count"),
        [(128, 4 * 128), (100, 5 * 100), (513, 512)],  # 512 // batch size, at least one batch, at most all there are
    )
    def test_no_number_of_batches_is_512_samples_in_full_batches(
        self, load: Any, head: str, batch_size: int, count: int
    ) -> None:
        scenario = load(f"{head}training: {{batch_size: {batch_size}}}\n")
        assert scenario.quantization_params.calib_params.num_calib_batches is None
        assert scenario.calibration_count("r") == count

    def test_a_calibration_data_set_is_counted_by_itself(self, load: Any, refuse: Any, head: str) -> None:
        calib = "calib_dataset: {source: d, samples: 200}\n"
        assert load(f"{head}{calib}").calibration_count("r") == 200
        error = refuse(f"{head}{calib}quantization_params: {{calib_params: {{num_calib_batches: §2}}}}\n")
        assert error.fix == "raise `calib_dataset.samples` to 256"

    def test_the_place_of_calibration_data_is_checked_like_that_of_other_data(self, refuse: Any, head: str) -> None:
        error = refuse(f"{head}calib_dataset: {{source: d, location: §path}}\n")
        assert error.message == "`location: path` needs a `path`"

    def test_rounds_must_be_in_order(self, refuse: Any, head: str) -> None:
        error = refuse(f"{head}measurement:\n  min_processes: 10\n  max_processes: §5\n")
        assert error.message == "`max_processes` 5 is less than `min_processes` 10"


class TestLaterErrors:
    @pytest.mark.parametrize(
        ("loc", "place"),
        [
            (("name",), (1, 7)),
            (("dataset", "source"), (2, 19)),
            (("dataset", "calibration_samples"), (2, 1)),  # not in the file: the level where it is missing
            (("training", "ema"), (1, 1)),
            (("matrix", "target", 0), (5, 11)),
            (("matrix", "skip", 1), (6, 14)),
            (("matrix",), (4, 1)),  # a block: its key
        ],
    )
    def test_an_error_points_at_its_place(
        self, load: Any, head: str, loc: tuple[str | int, ...], place: tuple[int, int]
    ) -> None:
        error = load(f"{head}matrix:\n  target: tensorrt\n  skip: [[], [a]]\n").error(loc, "wrong", fix="mend it")
        assert (error.line, error.column) == place
        assert (error.message, error.fix) == ("wrong", "mend it")

    def test_check_names_accepts_what_is_known_and_skips_what_is_not_given(self, load: Any, head: str) -> None:
        scenario = load(f"{head}matrix: {{target: mars}}\n")
        check_names(scenario, sources=["fashion_mnist"], augmentations=[], toolkits=["harness"])

    @pytest.mark.parametrize(
        ("tail", "known", "expected"),
        [
            ("", {"sources": ["fashion-mnist"]}, "2:19: unknown data source `fashion_mnist`"),
            ("matrix: {target: [onnxruntime, ort]}", {"targets": ["onnxruntime"]}, "4:32: unknown target `ort`"),
            ("targets: {onnxrt: {}}", {"targets": ["onnxruntime"]}, "4:11: unknown target `onnxrt`"),
            ("matrix: {include: {target: x}}", {"targets": ["onnxruntime"]}, "4:28: unknown target `x`"),
            ("matrix: {method: ptq, toolkit: tor}", {"toolkits": ["harness"]}, "4:32: unknown toolkit `tor`"),
            ("training: {augmentations: flip}", {"augmentations": ["crop"]}, "4:27: unknown augmentation `flip`"),
        ],
    )
    def test_check_names_points_at_unknown_names(
        self, load: Any, head: str, tail: str, known: dict[str, Any], expected: str
    ) -> None:
        scenario = load(f"{head}{tail}\n")
        with pytest.raises(ScenarioError) as caught:
            check_names(scenario, **known)
        assert str(caught.value).startswith(f"{scenario.path}:{expected}\n  fix: ")
