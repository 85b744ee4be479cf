"""Large and very long images: time and memory grow with their pixels, and nothing is kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from timm_pushpull import InputError
from timm_pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, MAX_SIDE, corrupt, elastic, textures
from timm_pushpull.corruptions.filters import gaussian_weights


def noise_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS + EXTRA_CORRUPTIONS)
def test_the_longest_side_works_in_memory_that_grows_with_the_pixels(name):
    image = noise_image(32, MAX_SIDE)
    corrupt(image[:, :64].copy(), name, 1)  # textures and tables
    tracemalloc.start()
    corrupt(image, name, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * image.nbytes
    with pytest.raises(InputError, match=r"32 x 65501 px; resize or crop it to 65,500 px"):
        corrupt(noise_image(32, MAX_SIDE + 1), name, 1)


def test_frost_computes_the_part_of_an_enlarged_texture_that_it_needs():
    for texture in textures.frost(None, 1.0, 900, 1300):
        assert texture.rows > 900
        assert texture.columns > 1300
        whole, *start = texture.window(0, 0, texture.rows, texture.columns)
        assert start == [0, 0]
        part, top, left = texture.window(3, 17, 40, 50)
        np.testing.assert_array_equal(part[top : top + 40, left : left + 50], whole[3:43, 17:67])


def test_frost_keeps_nothing_of_the_sizes_that_it_has_seen():
    image = noise_image(800, 900)
    corrupt(image, "frost", 1)
    tracemalloc.start()
    for size in range(780, 800, 2):
        corrupt(image[:size, : size + 100].copy(), "frost", 1)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1 << 20


def test_fog_repeats_along_a_very_long_side_only():
    flat = np.full((32, 5000, 3), 128, np.uint8)
    foggy = corrupt(flat, "fog", 3)
    np.testing.assert_array_equal(foggy[:, :2048], foggy[:, 2048:4096])
    assert (foggy[:, :1024] != foggy[:, 1024:2048]).mean() > 0.5
    foggy = corrupt(np.full((260, 2500, 3), 128, np.uint8), "fog", 3)  # eight times 260 is more than 2048
    assert (foggy[:, :452] != foggy[:, 2048:]).mean() > 0.5


@pytest.mark.parametrize("sigma", [20.0, 150.0])
def test_the_displacements_of_large_images_are_those_of_small_ones(sigma, monkeypatch):
    fields = np.random.default_rng(0).uniform(-1, 1, (2, 90, 131))
    assert len(gaussian_weights(sigma, 3.0)) > elastic._DENSE
    expected = elastic._smooth(fields, sigma)
    monkeypatch.setattr(elastic, "_LARGE", 100)
    np.testing.assert_allclose(elastic._smooth(fields, sigma), expected, rtol=0, atol=1e-13)


# --- What is kept of the frost textures follows the files ---


@pytest.fixture
def originals(tmp_path, monkeypatch) -> Path:
    """A folder of five images that pass for the original textures."""
    folder, known = tmp_path / "originals", {}
    folder.mkdir()
    for number, name in enumerate(textures._FILES):
        Image.fromarray(noise_image(50 + number, 60)).save(folder / name)
        known[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(textures, "_FILES", known)
    return folder


def test_textures_that_are_put_into_the_folder_later_are_found(tmp_path, originals):
    with pytest.raises(InputError, match=r"frost1.png is missing"):
        textures.source(tmp_path)
    for name in textures._FILES:
        shutil.copy(originals / name, tmp_path)
    assert textures.source(tmp_path) == textures.ORIGINAL
    (tmp_path / "frost4.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=r"frost4.jpg is a different file"):
        textures.source(tmp_path)
    (tmp_path / "frost4.jpg").unlink()
    with pytest.raises(InputError, match=r"frost4.jpg is missing"):
        textures.source(tmp_path)


def test_a_relative_folder_of_textures_is_that_of_the_working_folder(tmp_path, originals, monkeypatch):
    (tmp_path / "without" / "frost").mkdir(parents=True)
    (tmp_path / "with").mkdir()
    originals.rename(tmp_path / "with" / "frost")
    monkeypatch.chdir(tmp_path / "with")
    assert textures.source("frost") == textures.ORIGINAL
    os.chdir(tmp_path / "without")
    with pytest.raises(InputError, match=r"frost1.png is missing"):
        textures.source("frost")
    monkeypatch.setenv(textures.ENVIRONMENT, "frost")
    with pytest.raises(InputError, match=r"frost1.png is missing"):
        textures.source()
    os.chdir(tmp_path / "with")
    assert textures.source() == textures.ORIGINAL
