"""Image files as they occur: each becomes the RGB image that people see, or one clear line that names the file."""

from __future__ import annotations

import io
import os
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, ExifTags, Image, PngImagePlugin, features

from timm_pushpull import InputError
from timm_pushpull.benchmark import evaluate
from timm_pushpull.data import ResizeCenterCrop, generate, load_images
from timm_pushpull.data.images import decode_image

GRADIENT = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
#: Suffix and how Pillow writes such a file.
FORMATS = {
    **{".png": {}, ".jpg": {}, ".gif": {}, ".bmp": {}, ".tiff": {}, ".ppm": {}, ".dds": {}, ".ico": {}, ".tga": {}},
    **{".pcx": {}, ".sgi": {}, ".icns": {}, ".webp": {"lossless": True}, ".qoi": {}},
    ".tif": {"compression": "tiff_lzw"},
    ".jp2": {},
    ".avif": {},
}
_OPTIONAL = {".webp": "webp", ".jp2": "jpg_2000", ".avif": "avif", ".tif": "libtiff"}


def encoded(suffix: str) -> bytes:
    """A file of this type with 24 x 16 px of several colours."""
    if suffix in _OPTIONAL and not features.check(_OPTIONAL[suffix]):
        pytest.skip(f"Pillow without {_OPTIONAL[suffix]}")
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    if suffix == ".icns":
        image = image.resize((32, 32))
    file = io.BytesIO()
    try:
        image.save(file, Image.registered_extensions()[suffix], **FORMATS[suffix])
    except (KeyError, OSError):
        pytest.skip(f"Pillow cannot write {suffix}")
    return file.getvalue()


def mutations(content: bytes, count: int) -> list[bytes]:
    """Cut off, emptied, and with bytes changed: in the header, where the readers decide, and anywhere."""
    rng = np.random.default_rng(1)
    found = [b"", content[:1], content[:7], content[: len(content) // 2], content[:-1], content + b"more"]
    for number in range(count):
        changed = bytearray(content)
        for _ in range(1 + number % 4):
            reach = len(content) if number % 3 == 0 else min(len(content), 64)
            changed[int(rng.integers(reach))] = int(rng.choice([0, 1, 127, 128, 255, int(rng.integers(256))]))
        found.append(bytes(changed))
    return found


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.filterwarnings("ignore")
def test_a_mutated_file_is_an_image_or_one_line_that_names_it(tmp_path, suffix):
    content = encoded(suffix)
    (tmp_path / "class").mkdir()
    path = tmp_path / "class" / f"odd{suffix}"
    path.write_bytes(content)
    images = load_images(tmp_path)
    assert images.read(0).mode == "RGB"
    refused = []
    for mutation in mutations(content, 150):
        path.write_bytes(mutation)
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                image = images.read(0)
        except InputError as error:
            refused.append(str(error))
        else:
            assert image.mode == "RGB"
            assert np.asarray(image).shape == (image.height, image.width, 3)
            assert min(image.size) >= 1
    assert len(refused) >= 3
    assert [line for line in refused if f"odd{suffix}" not in line or len(line.splitlines()) != 1] == []


def saved(folder: Path, image: Image.Image, name: str = "odd.png", **options) -> Path:
    (folder / "class").mkdir(exist_ok=True)
    image.save(folder / "class" / name, **options)
    return folder


# --- EXIF ---


def turned(orientation: int, **fields) -> bytes:
    """A JPEG file with this EXIF orientation, with other fields of the EXIF as they are written into it."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    for name, value in fields.items():
        exif[ExifTags.Base[name]] = value
    file = io.BytesIO()
    Image.fromarray(np.kron(GRADIENT, np.ones((8, 8), np.uint8))).convert("RGB").save(
        file, "JPEG", exif=exif, quality=95
    )
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_pillow_turns_them(orientation):
    from PIL import ImageOps

    content = turned(orientation)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(np.asarray(decode_image(io.BytesIO(content))), np.asarray(expected))


def odd_exif() -> bytes:
    """A turned JPEG file with a field that Pillow reads and cannot write again: it has another type than its tag."""
    content = turned(6, ImageWidth=7)
    # The entry of ImageWidth: tag 0x0100, a LONG or SHORT; as ASCII, its value is text where a number belongs.
    for kind in (b"\x04\x00", b"\x03\x00"):
        entry = b"\x00\x01" + kind + b"\x01\x00\x00\x00"
        if entry in content:
            return content.replace(entry, b"\x00\x01\x02\x00\x01\x00\x00\x00")
        entry = b"\x01\x00" + kind[::-1] + b"\x00\x00\x00\x01"
        if entry in content:
            return content.replace(entry, b"\x01\x00\x00\x02\x00\x00\x00\x01")
    raise AssertionError("no such entry")


def test_an_image_with_an_odd_exif_field_is_turned():
    """Pillow's own `exif_transpose` ends in struct.error here, because it writes the fields again."""
    assert decode_image(io.BytesIO(odd_exif())).size == (32, 48)  # 48 x 32, turned by 90 degrees


def test_an_orientation_that_is_a_text_says_nothing():
    content = turned(6)
    places = [
        (b"\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00", b"\x12\x01\x02\x00\x01\x00\x00\x00\x06\x00"),
        (b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06", b"\x01\x12\x00\x02\x00\x00\x00\x01\x06\x00"),
    ]
    (number, text) = next(place for place in places if place[0] in content)
    content = content.replace(number, text)
    for reduction in (None, lambda size: 2):
        image = decode_image(io.BytesIO(content), reduction)
        assert image.size == ((48, 32) if reduction is None else (24, 16))


# --- Grey levels of more than 8 bits ---


def test_postscript_is_not_run(tmp_path, monkeypatch):
    program, image = tmp_path / "gs", tmp_path / "x.png"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", str(program))
    image.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(InputError, match="PostScript"):
        decode_image(image)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("name", "options"), [("odd.png", {}), ("odd.tif", {}), ("odd.pgm", {})])
def test_sixteen_bits_are_scaled(tmp_path, name, options):
    levels = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    folder = saved(tmp_path, Image.fromarray(levels), name, **options)
    image = np.asarray(load_images(folder).read(0))
    np.testing.assert_array_equal(image, np.repeat((levels >> 8)[..., None], 3, axis=2))


def grey_tiff(levels: bytes, bits: int, photometric: int) -> io.BytesIO:
    """A TIFF file of 2 x 1 grey levels, which Pillow cannot write."""
    fields = [(256, 2), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 122), (277, 1), (278, 1)]
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in [*fields, (279, len(levels))])
    return io.BytesIO(b"II*\0" + struct.pack("<IH", 8, 9) + entries + b"\0" * 4 + levels)


@pytest.mark.parametrize(
    ("levels", "bits", "photometric", "expected"),
    [
        (struct.pack("<2H", 0x4000, 0xFFFF), 16, 1, [0x40, 0xFF]),
        (struct.pack("<2H", 0x4000, 0xFFFF), 16, 0, [0xBF, 0]),  # white is zero
        (b"\x40\x0f\xff", 12, 1, [0x40, 0xFF]),
    ],
)
def test_grey_levels_of_tiff_files_are_those_that_people_see(levels, bits, photometric, expected):
    image = np.asarray(decode_image(grey_tiff(levels, bits, photometric)))
    assert image[0].tolist() == [[level] * 3 for level in expected]


def test_a_pipe_is_not_waited_for(tmp_path):
    folder = saved(tmp_path, Image.new("RGB", (8, 8)))
    os.mkfifo(folder / "class" / "pipe.png")
    with pytest.raises(InputError, match=r"pipe\.png.* cannot be read: it is not a file"):
        load_images(folder).read(1)


@pytest.mark.parametrize(
    ("dtype", "name", "message"),
    [
        (np.float32, "odd.tif", "decimal numbers of unknown range"),
        (np.int32, "odd.tif", "32-bit integers of unknown range"),
        (np.float32, "odd.pfm", "decimal numbers of unknown range"),
    ],
)
def test_grey_levels_of_unknown_range_are_refused(tmp_path, dtype, name, message):
    folder = saved(tmp_path, Image.fromarray(np.linspace(0, 1, 64).astype(dtype).reshape(8, 8)), name)
    with pytest.raises(InputError, match=rf"{name}.* cannot be read: its grey levels are {message}"):
        load_images(folder).read(0)


# --- Transparency ---


def with_alpha(mode: str, alpha: np.ndarray) -> Image.Image:
    image = Image.fromarray(np.kron(GRADIENT, np.ones((2, 2), np.uint8))).convert(mode[:-1])
    image.putalpha(Image.fromarray(alpha.astype(np.uint8)))
    return image


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_alpha_channel_that_hides_nothing_is_dropped(tmp_path, mode):
    image = with_alpha(mode, np.full((8, 12), 255))
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(np.asarray(load_images(saved(tmp_path, image)).read(0)), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("hidden", [0, 254])
def test_transparent_pixels_are_refused(tmp_path, mode, hidden):
    alpha = np.full((8, 12), 255)
    alpha[0, 0] = hidden
    folder = saved(tmp_path, with_alpha(mode, alpha))
    with pytest.raises(InputError, match=r"odd\.png.*it has transparent pixels; blend it with a background"):
        load_images(folder).read(0)


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_counts_where_it_occurs(tmp_path, mode):
    image = Image.fromarray(GRADIENT).convert(mode)
    first = image.getpixel((0, 0))
    for transparent, used in ((first, True), (251 if mode != "RGB" else (1, 2, 3), False)):
        folder = saved(tmp_path, image, "odd.png", transparency=transparent)
        if used:
            with pytest.raises(InputError, match="transparent pixels"):
                load_images(folder).read(0)
        else:
            assert load_images(folder).read(0).mode == "RGB"


def test_a_transparent_grey_level_of_16_bits_counts_too(tmp_path):
    levels = np.arange(96, dtype=np.uint16).reshape(8, 12) * 600
    for transparent, used in ((600, True), (601, False)):
        folder = saved(tmp_path, Image.fromarray(levels), "odd.png", transparency=transparent)
        if used:
            with pytest.raises(InputError, match="transparent pixels"):
                load_images(folder).read(0)
        else:
            assert load_images(folder).read(0).mode == "RGB"


# --- Where decoding is promised ---


def test_a_row_without_an_image_is_named(tmp_path, datasets_cache):
    import datasets

    table = datasets.Dataset.from_dict(
        {"image": [Image.new("RGB", (8, 8)), None], "label": [0, 0]},
        features=datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["a"])),
    )
    (tmp_path / "set").mkdir()
    table.to_parquet(tmp_path / "set" / "test.parquet")
    images = load_images(tmp_path / "set")
    with pytest.raises(InputError, match="image 1 of 'set', split 'test', cannot be read: the row holds no image"):
        images.read(1)
    with pytest.raises(InputError, match="column 'label' of 'set' holds no images"):
        load_images(tmp_path / "set", image_column="label")


@pytest.fixture
def some_damaged(tmp_path) -> Path:
    """Six images, of which four cannot be read, each for a reason of its own."""
    folder = tmp_path / "clean"
    folder.mkdir()
    saved(folder, Image.new("RGB", (32, 32), "red"), "0.png")
    saved(folder, Image.new("RGB", (32, 32), "red"), "1.dds")
    saved(folder, Image.fromarray(np.zeros((32, 32), np.float32)), "2.tif")
    saved(folder, Image.new("RGBA", (32, 32)), "3.png")
    (folder / "class" / "4.gif").write_bytes(b"GIF89a\0\0\0\0\0\0\0")
    (folder / "class" / "5.jpg").write_bytes(b"")
    header = bytearray((folder / "class" / "1.dds").read_bytes())
    header[80:84] = b"\x04\0\0\0"  # a pixel format of four letters
    header[84:88] = b"ABCD"  # of which there is none
    (folder / "class" / "1.dds").write_bytes(header)
    saved(folder, Image.new("RGB", (32, 32), "blue"), "6.png")
    return folder


@pytest.mark.parametrize("layout", ["npy", "imagefolder", "parquet"])
@pytest.mark.filterwarnings("ignore:.*left out")
def test_what_cannot_be_read_is_left_out_and_counted(tmp_path, some_damaged, layout):
    outcome = generate(
        load_images(some_damaged),
        tmp_path / "set",
        format=layout,
        preset="cifar10-c",
        corruptions=["contrast"],
        severities=[1],
        progress=False,
    )
    assert outcome.unreadable == 5
    assert [entry["row"] for entry in outcome.manifest["unreadable"]] == [1, 2, 3, 4, 5]


def test_evaluate_names_the_file(some_damaged):
    with pytest.raises(InputError, match=r"1\.dds.* cannot be read"):
        evaluate(
            lambda images: images.flatten(1)[:, :1],
            load_images(some_damaged),
            ResizeCenterCrop(32, 32),
            mean=(0, 0, 0),
            std=(1, 1, 1),
            corruptions=[],
            progress=False,
        )


def test_a_compressed_text_of_a_file_is_no_reason_to_stop(tmp_path):
    """Pillow reads the texts of a PNG file; one that expands to too much is an error of the file."""
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * (2 << 20), zip=True)
    folder = saved(tmp_path, Image.new("RGB", (8, 8)), pnginfo=info)
    with pytest.raises(InputError, match=r"odd\.png.* cannot be read"):
        load_images(folder).read(0)
