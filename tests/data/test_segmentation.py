"""Data with a class for every pixel: what is generated, how it is checked, split and augmented."""

import numpy as np
import pytest
import torch

from harness.data.augmentations import AUGMENTATIONS
from harness.data.load import load_splits
from harness.data.samples import Samples
from harness.data.settings import DatasetSpec
from harness.data.tasks import IGNORED_LABEL
from harness.errors import DataError, ModelError
from harness.training.factory import build_model
from harness.training.loop import _moved_alike


def splits(tmp_path, seed=0, **fields):
    spec = DatasetSpec(source="generated_shapes", **({"train_samples": 20, "calibration_samples": 6} | fields))
    return load_splits(spec, root=tmp_path, seed=seed)


class TestGeneratedShapes:
    def test_every_image_has_a_label_per_pixel(self, tmp_path):
        found = splits(tmp_path, test_samples=10, args={"size": 24})
        assert (found.task, found.n_classes, found.input_shape) == ("segmentation", 3, (1, 24, 24))
        assert [len(part) for part in (found.train, found.calibration, found.test)] == [20, 6, 10]
        assert found.test.labels.shape == (10, 24, 24)
        assert found.test.labels.unique().tolist() == [0, 1, 2]

    def test_without_noise_a_pixel_differs_from_the_background_where_it_has_a_class(self, tmp_path):
        found = splits(tmp_path, test_samples=20, args={"noise": 0.0})
        for image, label in zip(found.test.images[:, 0], found.test.labels, strict=True):
            background = image[label == 0].unique()
            assert len(background) == 1
            assert (image[label != 0] != background).float().mean() > 0.6  # a shape may have nearly the same grey

    def test_equal_seeds_give_equal_images_and_others_do_not(self, tmp_path):
        first, again, other = (splits(tmp_path, seed).test for seed in (0, 0, 1))
        assert first.sha256() == again.sha256() != other.sha256()

    def test_unknown_arguments_and_places_are_refused(self, tmp_path):
        with pytest.raises(DataError, match="nois"):
            splits(tmp_path, args={"nois": 0.1})
        with pytest.raises(DataError, match="generates its images"):
            splits(tmp_path, location="system")


class TestSamples:
    def test_labels_must_have_the_size_of_the_images(self):
        images = torch.zeros(2, 1, 4, 6, dtype=torch.uint8)
        Samples(images, torch.zeros(2, 4, 6, dtype=torch.int64), (0.0,), (1.0,), task="segmentation")
        with pytest.raises(DataError, match=r"labels are \(2,\)") as caught:
            Samples(images, torch.zeros(2, dtype=torch.int64), (0.0,), (1.0,), task="segmentation")
        assert caught.value.fix == "provide (2, 4, 6) as int64"


class TestAugmentations:
    @pytest.mark.parametrize("name", AUGMENTATIONS)
    def test_labels_move_with_the_pixels(self, name):
        rng = np.random.default_rng(0)
        labels = torch.from_numpy(rng.integers(1, 5, (8, 16, 16)))
        images, generator = labels.unsqueeze(1).to(torch.uint8), torch.Generator().manual_seed(0)
        moved = _moved_alike(labels, AUGMENTATIONS[name], generator)
        augmented = AUGMENTATIONS[name](images, generator)[:, 0].to(torch.int64)
        outside = augmented == 0  # black comes in from outside, and has no class
        assert torch.equal(moved[~outside], augmented[~outside])
        assert (moved[outside] == IGNORED_LABEL).all()
        assert not torch.equal(augmented, labels)


class TestNetwork:
    def test_must_give_logits_for_every_pixel(self, tmp_path):
        (tmp_path / "net.py").write_text("import torch\ndef conv(s): return torch.nn.Conv2d(1, 3, 3, s, 1)\n")
        arguments = {"root": tmp_path, "seed": 0, "input_shape": (1, 8, 8), "n_classes": 3}
        model = build_model("net.py:conv", {"s": 1}, task="segmentation", **arguments)
        assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 3, 8, 8)
        with pytest.raises(ModelError, match=r"\(2, 3, 4, 4\)") as caught:
            build_model("net.py:conv", {"s": 2}, task="segmentation", **arguments)
        assert caught.value.fix == "return logits (N, n_classes, 8, 8)"
        with pytest.raises(ModelError, match=r"\(2, 3, 8, 8\)") as caught:
            build_model("net.py:conv", {"s": 1}, **arguments)
        assert caught.value.fix == "return logits (N, n_classes)"
