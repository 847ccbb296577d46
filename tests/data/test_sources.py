import pkgutil
import subprocess
import sys

import numpy as np
import pytest
from oracles.located import locate
from pydantic import ValidationError

from harness.data import sources
from harness.data.load import load_splits
from harness.data.settings import DatasetSpec
from harness.data.sources import data_source, data_sources
from harness.errors import DataError


def random_spec(**fields):
    defaults = {"source": "random_images", "calibration_samples": 4, "args": {"input_shape": [3, 8, 6]}}
    return DatasetSpec(**(defaults | fields))


def test_every_file_of_the_folder_is_a_source_named_like_it():
    files = {module.name for module in pkgutil.iter_modules(sources.__path__)}
    assert set(data_sources()) == files


def test_an_unknown_source_names_the_nearest():
    with pytest.raises(DataError, match="unknown data source `fashion_mnst`") as error:
        data_source("fashion_mnst")
    assert error.value.fix == "did you mean `fashion_mnist`?"


def test_finding_data_does_not_load_torch(tmp_path):
    code = (
        "import sys, pathlib; from harness.data.sources import data_source;"
        "from harness.data.settings import DatasetSpec;"
        "spec = DatasetSpec(source='fashion_mnist', location='embedded');"
        "data_source('fashion_mnist').locate(spec, pathlib.Path(), download=False);"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "fields", [{"location": "path"}, {"location": "cache", "path": "x"}, {"calibration_samples": -1}, {"colour": 1}]
)
def test_a_spec_that_contradicts_itself_is_refused(fields):
    with pytest.raises(ValidationError):
        DatasetSpec(source="fashion_mnist", **fields)


class TestRandomImages:
    def test_as_many_images_as_asked_for_and_no_labels(self, tmp_path):
        splits = load_splits(random_spec(train_samples=5, test_samples=7), root=tmp_path, seed=0)
        assert (len(splits.train), len(splits.calibration), len(splits.test)) == (5, 4, 7)
        assert splits.input_shape == (3, 8, 6)
        assert not splits.has_labels
        assert splits.n_classes == 1000
        assert splits.source_description == "generated"

    def test_without_train_samples_there_is_nothing_to_train_on(self, tmp_path):
        splits = load_splits(random_spec(), root=tmp_path, seed=0)
        assert (len(splits.train), len(splits.calibration), len(splits.test)) == (0, 4, 64)
        assert [part.n for part in splits.provenance().splits] == [0, 4, 64]

    def test_pixels_are_standard_normal_after_normalisation(self, tmp_path):
        splits = load_splits(random_spec(args={"input_shape": [1, 64, 64]}), root=tmp_path, seed=0)
        inputs = splits.test.inputs().numpy()
        # Clipped at two standard deviations: the variance of such a normal is
        # P(|z| < 2) - 2 * 2 * pdf(2) + 4 * P(|z| > 2) = 0.9545 - 4 * 0.0540 + 4 * 0.0455 = 0.9205.
        assert float(np.mean(inputs)) == pytest.approx(0.0, abs=0.02)
        assert float(np.var(inputs)) == pytest.approx(0.9205, abs=0.02)

    def test_equal_seeds_give_equal_images_and_others_do_not(self, tmp_path):
        def test_sha256(seed):
            return load_splits(random_spec(), root=tmp_path, seed=seed).test.sha256()

        assert test_sha256(1) == test_sha256(1)
        assert test_sha256(1) != test_sha256(2)

    def test_the_fingerprint_follows_arguments_and_counts(self, tmp_path):
        prints = {
            locate(wanted, tmp_path).fingerprint
            for wanted in (
                random_spec(),
                random_spec(test_samples=3),
                random_spec(args={"input_shape": [3, 8, 8]}),
                random_spec(args={"input_shape": [3, 8, 6], "n_classes": 10}),
            )
        }
        assert len(prints) == 4

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"args": {}}, "argument `input_shape`: field required"),
            ({"args": {"input_shape": [3, 8]}}, r"argument `input_shape"),
            ({"args": {"input_shape": [3, 0, 8]}}, r"argument `input_shape\.1`"),
            ({"args": {"input_shap": [3, 8, 8], "input_shape": [3, 8, 8]}}, "unknown argument"),
            ({"location": "system"}, "there is no `location: system`"),
        ],
    )
    def test_what_does_not_fit_is_an_error(self, tmp_path, fields, message):
        with pytest.raises(DataError, match=message):
            locate(random_spec(**fields), tmp_path)
