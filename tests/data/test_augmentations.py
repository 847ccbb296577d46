import pytest
import torch

from harness.data.augmentations import AUGMENTATIONS, augmentations
from harness.errors import DataError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shape_and_type_stay_and_equal_seeds_give_equal_images(name, dtype):
    images = torch.randint(0, 256, (8, 3, 16, 16), generator=seeded()).to(dtype)
    out = AUGMENTATIONS[name](images, seeded(1))
    assert out.shape == images.shape
    assert out.dtype == dtype
    assert torch.equal(out, AUGMENTATIONS[name](images, seeded(1)))
    assert not torch.equal(out, AUGMENTATIONS[name](images, seeded(2)))


def test_every_flipped_image_is_itself_or_its_mirror_image():
    images = torch.arange(64 * 4, dtype=torch.float32).view(64, 1, 1, 4)
    out = AUGMENTATIONS["horizontal_flip"](images, seeded())
    same = (out == images).flatten(1).all(1)
    mirrored = (out == images.flip(3)).flatten(1).all(1)
    assert torch.all(same ^ mirrored)
    assert 16 < int(mirrored.sum()) < 48  # 32 expected of 64 at probability one half, 4 standard deviations wide


def test_every_crop_is_the_image_shifted_by_at_most_the_padding():
    images = torch.zeros(200, 1, 16, 16, dtype=torch.uint8)
    images[:, 0, 8, 8] = 1  # one bright pixel shows where the image went
    out = AUGMENTATIONS["random_crop"](images, seeded())
    rows, columns = out[:, 0].nonzero()[:, 1] - 8, out[:, 0].nonzero()[:, 2] - 8
    # The padding is 16 / 8 = 2 pixels: shifts from -2 to 2, each of the 25 combinations.
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {
        (row, column) for row in range(-2, 3) for column in range(-2, 3)
    }


def test_what_comes_in_from_outside_is_black():
    out = AUGMENTATIONS["random_crop"](torch.ones(100, 1, 16, 16), seeded())
    assert set(out.unique().tolist()) == {0.0, 1.0}


def test_channels_are_shifted_together():
    images = torch.rand(20, 1, 16, 16, generator=seeded()).repeat(1, 3, 1, 1)
    out = AUGMENTATIONS["random_crop"](images, seeded(1))
    assert torch.equal(out[:, 0], out[:, 1])
    assert torch.equal(out[:, 0], out[:, 2])


def test_names_are_resolved_in_order_and_a_misspelt_one_names_the_nearest():
    assert augmentations(["horizontal_flip", "random_crop"]) == (
        AUGMENTATIONS["horizontal_flip"],
        AUGMENTATIONS["random_crop"],
    )
    with pytest.raises(DataError, match="unknown augmentation `random_crap`") as error:
        augmentations(["random_crap"])
    assert error.value.fix == "did you mean `random_crop`?"
