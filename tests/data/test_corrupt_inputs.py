"""What may be given to the corruptions: images, arrays, tensors, datasets, and anything else."""

from __future__ import annotations

import pickle

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from support.paths import GOLDEN_FOLDER
from timm_pushpull import InputError
from timm_pushpull.corruptions import PRESETS, Corruption, corrupt, corrupt_batch

GOLDEN = np.load(GOLDEN_FOLDER / "corruptions.npz")


# --- The transform ---


def test_transform_of_images_arrays_and_tensors():
    image = GOLDEN["input_32"]
    fog = Corruption("fog", 3, "cifar10-c", seed=2)
    expected = fog(image)
    np.testing.assert_array_equal(np.asarray(fog(Image.fromarray(image))), expected)
    np.testing.assert_array_equal(fog(torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0).numpy(), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fog))(image), expected)
    np.testing.assert_array_equal(fog(image, index=7), corrupt(image, "fog", 3, "cifar10-c", seed=2, index=7))
    other = image.copy()
    other[0, 0, 0] ^= 1
    assert (fog(other) != expected).mean() > 0.5  # another image, another fog
    with pytest.raises(InputError, match="did you mean 'fog'"):
        Corruption("fogg", 3)
    with pytest.raises(InputError, match=r"torch.float32"):
        fog(torch.zeros(3, 32, 32))
    with pytest.raises(InputError, match="the image is tuple; give"):  # a whole sample of a dataset
        fog((Image.fromarray(image), 7))
    with pytest.raises(InputError, match="seed is -1"):
        Corruption("fog", 3, seed=-1)
    with pytest.raises(InputError, match="indices are 5; give one index per image"):
        corrupt_batch(image[None], "fog", 3, "cifar10-c", indices=5)


@pytest.mark.parametrize("batched", [False, True])
def test_transform_maps_over_datasets(batched):
    images = [Image.fromarray(GOLDEN["input_32"]), Image.fromarray(GOLDEN["input_64"])]
    dataset = datasets.Dataset.from_dict(
        {"image": images, "label": [0, 1]},
        features=datasets.Features(image=datasets.Image(), label=datasets.Value("int64")),
    )
    mapped = dataset.map(Corruption("shot_noise", 2).on("image"), batched=batched, with_indices=True)
    for index, (before, after) in enumerate(zip(images, mapped["image"], strict=True)):
        np.testing.assert_array_equal(np.asarray(after), corrupt(np.asarray(before), "shot_noise", 2, index=index))
    assert mapped["label"][:] == [0, 1]


def test_a_label_beside_the_image_stays_as_it_is():
    """transforms.v2 hands all that comes with an image to every transform."""
    image = tv_tensors.Image(torch.from_numpy(GOLDEN["input_32"]).permute(2, 0, 1))
    noise = Corruption("gaussian_noise", 3, "cifar10-c")
    compose = v2.Compose([noise, v2.ToDtype(torch.float32)])
    for label in (0, 5, torch.tensor(5)):
        corrupted, kept = compose(image, label)
        assert torch.equal(corrupted, noise(image).float())
        assert kept is label
        assert isinstance(noise(image), tv_tensors.Image)


@pytest.mark.parametrize("batched", [False, True])
def test_a_streaming_dataset_repeats_no_draws(batched):
    """Its indices start again in every worker."""
    images = [Image.fromarray(np.roll(GOLDEN["input_32"], shift, axis=0)) for shift in range(4)]
    features = datasets.Features(image=datasets.Image(), place=datasets.Value("int64"))
    dataset = datasets.Dataset.from_dict({"image": images, "place": [0, 1, 2, 3]}, features=features)
    stream, noise = dataset.to_iterable_dataset(num_shards=2), Corruption("gaussian_noise", 3, "cifar10-c")
    indexed = stream.map(noise.on("image"), batched=batched, with_indices=True)
    with pytest.raises(InputError, match="leave with_indices out"):
        list(DataLoader(indexed, batch_size=None, num_workers=2))
    for row in DataLoader(stream.map(noise.on("image"), batched=batched), batch_size=None, num_workers=2):
        np.testing.assert_array_equal(np.asarray(row["image"]), np.asarray(noise(images[row["place"]])))
    for place, row in enumerate(indexed):
        np.testing.assert_array_equal(np.asarray(row["image"]), np.asarray(noise(images[place], index=place)))


# --- Bad input ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "gausian_noise"}, "did you mean 'gaussian_noise'"),
        ({"name": None}, "unknown corruption None"),
        ({"severity": 0}, "severity is 0"),
        ({"severity": 6}, "severity is 6"),
        ({"severity": 2.5}, r"severity is 2\.5"),
        ({"severity": "3"}, "severity is '3'"),
        ({"preset": "imagenet"}, "did you mean 'imagenet-c'"),
        ({"image": np.zeros((40, 40, 3))}, "the image is float64"),
        ({"image": np.full((40, 40, 3), np.nan, np.float32)}, "the image is float32"),
        ({"image": np.zeros((40, 40, 4), np.uint8)}, "alpha channel"),
        ({"image": np.zeros((2, 40, 40, 3), np.uint8)}, "use corrupt_batch for several images"),
        ({"image": np.zeros((0, 40, 3), np.uint8)}, "0 x 40 px"),
        ({"image": np.zeros((31, 40, 3), np.uint8)}, "31 x 40 px; preset 'imagenet-c' needs at least 32 px"),
        ({"image": np.zeros((7, 40, 3), np.uint8), "preset": "cifar10-c"}, "needs at least 8 px"),
        ({"image": [[1]]}, "the image is list"),
        ({"image": torch.zeros(3, 40, 40, dtype=torch.uint8)}, r"the image is Tensor; .*permute\(1, 2, 0\)"),
        ({"image": Image.new("RGBA", (40, 40))}, "RGBA"),
        ({"image": Image.new("P", (40, 40))}, "'P'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1.5}, r"seed is 1\.5"),
        ({"index": -1}, "index is -1"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"jpeg_quality": 0}, "jpeg_quality is 0"),
        ({"jpeg_quality": 101}, "jpeg_quality is 101"),
    ],
)
def test_bad_input_is_named(arguments, message):
    arguments = {"image": np.zeros((40, 40, 3), np.uint8), "name": "gaussian_noise", "severity": 1, **arguments}
    with pytest.raises(InputError, match=message):
        corrupt(**arguments)


@pytest.mark.parametrize(
    ("images", "indices", "message"),
    [
        (np.zeros((40, 40, 3), np.uint8), None, "images have shape"),
        (torch.zeros(2, 3, 40, 40, dtype=torch.uint8), None, r"images are Tensor; .*permute\(0, 2, 3, 1\)"),
        ([np.zeros((40, 40, 3), np.uint8)] * 2, None, r"images are list; .*np.stack\(images\)"),
        (Image.new("RGB", (40, 40)), None, "images are Image"),
        (np.zeros((2, 40, 40, 3), np.uint8), [1], "1 indices for 2 images"),
        (np.zeros((2, 40, 40, 3), np.uint8), [1, -2], "index is -2"),
    ],
)
def test_bad_batches_are_named(images, indices, message):
    with pytest.raises(InputError, match=message):
        corrupt_batch(images, "gaussian_noise", 1, indices=indices)


ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.just([1]))


@given(
    image=st.one_of(
        ANYTHING,
        npst.arrays(
            st.sampled_from([np.uint8, np.float32, np.int64]),
            npst.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=34),
        ),
    ),
    name=st.one_of(ANYTHING, st.sampled_from(["contrast", "gaussian_noise", "jpeg_compression"])),
    severity=st.one_of(ANYTHING, st.integers(0, 6)),
    preset=st.one_of(ANYTHING, st.sampled_from(list(PRESETS))),
    options=st.fixed_dictionaries({}, optional={"seed": ANYTHING, "index": ANYTHING, "jpeg_quality": ANYTHING}),
)
@settings(max_examples=300, deadline=None)
def test_whatever_is_given_is_corrupted_or_refused(image, name, severity, preset, options):
    for function, extra in ((corrupt, options), (corrupt_batch, {k: v for k, v in options.items() if k != "index"})):
        try:
            output = function(image, name, severity, preset, **extra)
        except InputError as error:
            lines = str(error).splitlines()
            assert len(lines) == 1
        else:
            assert output.dtype == np.uint8
            assert min(output.shape[-3:-1]) >= PRESETS[preset].min_size
