import dataclasses
import functools
import gzip
from pathlib import Path

import numpy as np
import pytest
from oracles.located import locate

from harness.data.load import load_splits
from harness.data.make_embedded import draw
from harness.data.samples import shared_images
from harness.data.settings import DatasetSpec
from harness.data.sources import fashion_mnist
from harness.data.subset import KEYS, read_subset
from harness.errors import DataError

SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
needs_full_set = pytest.mark.skipif(
    not SYSTEM_FOLDER.is_dir(), reason="the full Fashion-MNIST is not installed (apt-get install dataset-fashion-mnist)"
)


@pytest.fixture(scope="module")
def embedded():
    wanted = DatasetSpec(source="fashion_mnist", location="embedded", calibration_samples=512)
    return load_splits(wanted, root=Path("/"), seed=0)


@pytest.fixture(scope="module")
def full_set():
    wanted = DatasetSpec(source="fashion_mnist", location="system", calibration_samples=1000)
    return load_splits(wanted, root=Path("/"), seed=3)


def spec(**fields):
    return DatasetSpec(source="fashion_mnist", calibration_samples=10, **fields)


class TestResolution:
    """Where the data is looked for; `bare_machine` has the embedded subset only."""

    def test_auto_falls_back_to_the_embedded_subset(self, bare_machine):
        assert locate(spec(), bare_machine).description == "embedded"

    def test_auto_takes_the_first_place_that_has_it(self, bare_machine, write_tiny, monkeypatch):
        cache = bare_machine / "user-cache" / "datasets" / "fashion-mnist"
        monkeypatch.setenv("HARNESS_DATA", str(bare_machine / "mine"))
        expected = []
        for kind, folder in (
            ("system", bare_machine / "system"),
            ("cache", cache),
            ("env", bare_machine / "mine" / "fashion-mnist"),
        ):
            write_tiny(folder)
            expected.append((locate(spec(), bare_machine).description, f"{kind}: {folder}"))
        assert [found for found, _ in expected] == [wanted for _, wanted in expected]

    def test_a_path_comes_before_everything_and_is_relative_to_the_root(self, bare_machine, write_tiny):
        write_tiny(bare_machine / "system")
        folder = write_tiny(bare_machine / "here")
        assert locate(spec(path="here", location="path"), bare_machine).description == f"path: {folder}"

    def test_a_python_package_is_found_without_being_imported(self, bare_machine, write_tiny, monkeypatch):
        package = bare_machine / "site" / "clothes"
        write_tiny(package / "files")
        (package / "__init__.py").write_text("raise RuntimeError('imported')")
        monkeypatch.syspath_prepend(bare_machine / "site")
        places = dataclasses.replace(fashion_mnist.PLACES, packages=(("clothes", "files"), ("no_such_package", "x")))
        monkeypatch.setattr(fashion_mnist, "PLACES", places)
        assert locate(spec(), bare_machine).description == f"package: {package / 'files'}"

    @pytest.mark.parametrize(
        ("fields", "message", "fix"),
        [
            ({"location": "path", "path": "nowhere"}, "looked in", "correct `path`"),
            ({"location": "env"}, r"\$HARNESS_DATA is not set", "set HARNESS_DATA to the folder that holds"),
            ({"location": "cache"}, "looked in .*user-cache", "--download"),
            ({"location": "system"}, "looked in .*system", "apt-get install dataset-fashion-mnist"),
            ({"location": "package"}, "nothing provides `location: package`", "use `location: auto`"),
        ],
    )
    def test_a_named_place_without_the_data_is_an_error_with_the_fix(self, bare_machine, fields, message, fix):
        with pytest.raises(DataError, match=message) as error:
            locate(spec(**fields), bare_machine)
        assert fix in (error.value.fix or "")

    def test_an_incomplete_folder_is_an_error_not_skipped(self, bare_machine, write_tiny):
        (write_tiny(bare_machine / "system") / "t10k-labels-idx1-ubyte.gz").unlink()
        with pytest.raises(DataError, match=r"has no t10k-labels-idx1-ubyte\.gz"):
            locate(spec(), bare_machine)

    def test_a_file_with_another_content_is_an_error_that_names_it(self, bare_machine, write_tiny):
        (write_tiny(bare_machine / "system") / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"other"))
        with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz is not the original"):
            locate(spec(), bare_machine)

    def test_the_fingerprint_is_of_the_content_not_of_the_place_or_compression(
        self, bare_machine, write_tiny, tiny_payloads
    ):
        one = locate(spec(location="path", path=write_tiny(bare_machine / "one")), bare_machine)
        other = bare_machine / "other"
        other.mkdir()
        for name, payload in tiny_payloads.items():
            (other / name).write_bytes(payload)
        assert locate(spec(location="path", path=other), bare_machine).fingerprint == one.fingerprint
        assert locate(spec(), bare_machine).fingerprint != one.fingerprint

    def test_arguments_are_refused(self, bare_machine):
        with pytest.raises(DataError, match="unknown argument of data source `fashion_mnist` `size`"):
            locate(spec(args={"size": 3}), bare_machine)


class TestDownload:
    """Upstream is a folder here, reached by file:// through the same code."""

    @pytest.fixture
    def upstream(self, bare_machine, write_tiny, monkeypatch):
        folder = write_tiny(bare_machine / "upstream")
        fetch = functools.partial(fashion_mnist.fetch_into, upstream=folder.as_uri())
        monkeypatch.setattr(fashion_mnist, "fetch_into", fetch)
        return folder

    def test_auto_downloads_instead_of_falling_back(self, bare_machine, upstream):
        cache = bare_machine / "user-cache" / "datasets" / "fashion-mnist"
        assert locate(spec(), bare_machine, download=True).description == f"cache: {cache}"
        assert len(load_splits(spec(), root=bare_machine, seed=0).test) == 20  # found again, without downloading

    def test_nothing_is_downloaded_when_a_place_has_it(self, bare_machine, upstream, write_tiny):
        folder = write_tiny(bare_machine / "system")
        assert locate(spec(), bare_machine, download=True).description == f"system: {folder}"

    def test_a_named_cache_is_filled(self, bare_machine, upstream):
        assert locate(spec(location="cache"), bare_machine, download=True).description.startswith("cache: ")

    def test_what_has_the_wrong_content_is_not_kept(self, bare_machine, upstream):
        (upstream / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"tampered"))
        with pytest.raises(DataError, match="sha256 of its content is") as error:
            locate(spec(), bare_machine, download=True)
        assert "nothing was kept" in (error.value.fix or "")
        assert not list((bare_machine / "user-cache").rglob("*images*"))


class TestEmbeddedSubset:
    def test_counts_shape_and_source(self, embedded):
        assert (len(embedded.train), len(embedded.calibration), len(embedded.test)) == (5000 - 512, 512, 10_000)
        assert embedded.input_shape == (1, 28, 28)
        assert embedded.n_classes == 10
        record = embedded.provenance()
        assert (record.name, record.source) == ("fashion_mnist", "embedded")
        assert [(part.name, part.n) for part in record.splits] == [
            ("train", 4488),
            ("calibration", 512),
            ("test", 10_000),
        ]
        assert record.splits[2].sha256 == embedded.test.sha256()

    def test_all_parts_are_class_balanced(self, embedded):
        for samples in (embedded.train, embedded.calibration, embedded.test):
            counts = np.bincount(samples.required_labels().numpy(), minlength=10)
            assert counts.max() - counts.min() <= 1

    def test_no_picture_is_in_two_parts(self, embedded):
        assert shared_images(embedded.train, embedded.calibration) == 0
        assert shared_images(embedded.train, embedded.test) == 0
        assert shared_images(embedded.calibration, embedded.test) == 0

    def test_pixels_are_normalised_with_the_full_sets_mean_and_std(self, embedded):
        inputs = embedded.train.inputs()
        assert float(inputs.mean()) == pytest.approx(0.0, abs=0.02)
        assert float(inputs.std()) == pytest.approx(1.0, abs=0.02)

    def test_the_licence_travels_with_it(self):
        notice = fashion_mnist.EMBEDDED_FILE.with_name("LICENSE-fashion-mnist.txt").read_text()
        assert "The above copyright notice and this permission notice shall be included" in notice
        assert "Copyright (c) 2017 Zalando SE" in notice

    def test_a_damaged_file_is_noticed(self, tmp_path):
        content = bytearray(fashion_mnist.EMBEDDED_FILE.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file = tmp_path / "damaged.npz"
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"damaged\.npz"):
            read_subset(file, fashion_mnist.EMBEDDED_SHA256)

    @needs_full_set
    def test_the_script_reproduces_it_from_the_full_set(self):
        drawn = draw(SYSTEM_FOLDER)
        embedded = read_subset(fashion_mnist.EMBEDDED_FILE, fashion_mnist.EMBEDDED_SHA256)
        for key in KEYS:
            assert np.array_equal(drawn[key], embedded[key]), key

    @needs_full_set
    def test_its_test_images_are_all_of_the_published_ones_in_their_order(self, embedded, full_set):
        assert embedded.test.sha256() == full_set.test.sha256()


@needs_full_set
class TestFullSet:
    def test_counts(self, full_set):
        assert (len(full_set.train), len(full_set.calibration), len(full_set.test)) == (59_000, 1000, 10_000)

    def test_no_picture_is_in_two_parts(self, full_set):
        assert shared_images(full_set.calibration, full_set.train) == 0
        assert shared_images(full_set.test, full_set.train) == 0
        assert shared_images(full_set.test, full_set.calibration) == 0

    def test_the_first_test_label_is_the_published_one(self, full_set):
        # The first test image is an ankle boot, class 9.
        assert int(full_set.test.required_labels()[0]) == 9

    def test_more_calibration_samples_than_there_are(self):
        wanted = DatasetSpec(source="fashion_mnist", location="system", calibration_samples=70_000)
        with pytest.raises(DataError, match=r"calibration_samples \(70000\) .* the training part has 60000 samples"):
            load_splits(wanted, root=Path("/"), seed=0)
