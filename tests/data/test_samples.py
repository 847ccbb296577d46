import hashlib

import pytest
import torch

from harness.data.samples import Samples, shared_images
from harness.errors import DataError


def make(images, labels=None, mean=(0.5,), std=(0.25,)):
    return Samples(images=images, labels=labels, mean=mean, std=std)


def test_uint8_images_are_scaled_to_one_then_normalised():
    samples = make(torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1))
    # (0 / 255 - 0.5) / 0.25 = -2; (51 / 255 - 0.5) / 0.25 = (0.2 - 0.5) / 0.25 = -1.2; (1 - 0.5) / 0.25 = 2
    assert samples.inputs().flatten().tolist() == pytest.approx([-2.0, -1.2, 2.0], abs=1e-6)


def test_float_images_are_normalised_as_they_are():
    samples = make(torch.tensor([[[[0.5]]], [[[1.0]]]]))
    assert samples.inputs().flatten().tolist() == pytest.approx([0.0, 2.0])


def test_each_channel_has_its_own_mean_and_std():
    samples = make(torch.full((1, 2, 1, 1), 255, dtype=torch.uint8), mean=(0.0, 0.5), std=(1.0, 0.5))
    assert samples.inputs().flatten().tolist() == pytest.approx([1.0, 1.0])  # (1 - 0) / 1, (1 - 0.5) / 0.5


def test_batches_cover_all_samples_in_order_and_the_last_may_be_smaller():
    samples = make(torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1), mean=(0.0,), std=(1 / 255,))
    assert [batch.flatten().tolist() for batch in samples.batches(2)] == [
        pytest.approx([0, 1]),
        pytest.approx([2, 3]),
        pytest.approx([4]),
    ]


def test_take_keeps_images_and_labels_together():
    samples = make(torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1), torch.tensor([10, 11, 12, 13]))
    taken = samples.take(torch.tensor([3, 1]))
    assert taken.images.flatten().tolist() == [3, 1]
    assert taken.required_labels().tolist() == [13, 11]


def test_sha256_depends_on_pixels_labels_and_order():
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1)
    samples = make(images, torch.tensor([0, 1, 0, 1]))
    expected = hashlib.sha256(b"(4, 1, 1, 1) torch.uint8" + bytes([0, 1, 2, 3]))
    expected.update(torch.tensor([0, 1, 0, 1]).numpy().tobytes())
    assert samples.sha256() == expected.hexdigest()
    assert samples.sha256() != make(images, torch.tensor([0, 1, 1, 1])).sha256()
    assert samples.sha256() != samples.take(torch.tensor([1, 0, 2, 3])).sha256()


def test_the_same_picture_in_two_sets_is_found_by_its_content():
    a = make(torch.tensor([1, 2, 2, 3], dtype=torch.uint8).view(4, 1, 1, 1))
    b = make(torch.tensor([2, 9], dtype=torch.uint8).view(2, 1, 1, 1))
    assert shared_images(a, b) == 2  # both twos of `a`
    assert shared_images(b, a) == 1


def test_images_without_labels_cannot_train():
    with pytest.raises(DataError, match="no labels"):
        make(torch.zeros(1, 1, 2, 2)).required_labels()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 4, 4), None, "images are"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.int32), None, "images are"),
        (torch.zeros(2, 3, 4, 4), None, "3 channels, mean 1"),
        (torch.zeros(2, 1, 4, 4), torch.tensor([1]), "labels are"),
        (torch.zeros(2, 1, 4, 4), torch.tensor([0.0, 1.0]), "labels are"),
    ],
)
def test_samples_that_do_not_fit_together_are_refused(images, labels, message):
    with pytest.raises(DataError, match=message):
        make(images, labels)
