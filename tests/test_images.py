"""Images are decoded by the documented rules, and what cannot be decoded is refused in one line."""

import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.core.disk import read_whole
from striate.core.errors import InputError
from striate.data.images import ImageRules, decode_png, encode_png, read_header, read_image

RULES = ImageRules()
SCENE = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.tiff", "x.webp"])
def test_lossless_formats_keep_every_value(tmp_path: Path, name: str) -> None:
    options = {"lossless": True} if name.endswith("webp") else {}
    values, note = read_image(saved(tmp_path / name, Image.fromarray(SCENE), **options), RULES)
    assert np.array_equal(values, SCENE.transpose(2, 0, 1))
    assert note is None


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", Image.fromarray(SCENE))
    path.rename(tmp_path / "x.jpg")
    assert np.array_equal(read_image(tmp_path / "x.jpg", RULES)[0], SCENE.transpose(2, 0, 1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    upright = {
        1: SCENE,
        2: SCENE[:, ::-1],
        3: SCENE[::-1, ::-1],
        4: SCENE[::-1],
        5: SCENE.transpose(1, 0, 2),
        6: SCENE.transpose(1, 0, 2)[:, ::-1],
        7: SCENE.transpose(1, 0, 2)[::-1, ::-1],
        8: SCENE.transpose(1, 0, 2)[::-1],
    }[orientation]
    values, _ = read_image(saved(tmp_path / "x.png", Image.fromarray(SCENE), exif=exif), RULES)
    assert np.array_equal(values, upright.transpose(2, 0, 1))


def test_sixteen_bits_are_exact(tmp_path: Path) -> None:
    grey = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16) ^ 0x5A
    for name in ("x.png", "x.tiff"):
        values, _ = read_image(saved(tmp_path / name, Image.fromarray(grey)), RULES)
        assert values.dtype == np.uint16
        assert np.array_equal(values[0], grey)
    assert read_header(tmp_path / "x.png", RULES).bits == 16


def test_bits_are_converted_so_that_white_stays_white(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    path = saved(tmp_path / "x.png", Image.fromarray(ramp))
    wide, _ = read_image(path, ImageRules(bits=16))
    assert np.array_equal(wide[0], ramp.astype(np.uint16) * 257)
    back = saved(tmp_path / "y.png", Image.fromarray(wide[0]))
    assert np.array_equal(read_image(back, ImageRules(bits=8))[0][0], ramp)


def test_float_images_stay_floats(tmp_path: Path) -> None:
    grey = np.linspace(-2, 3, 20, dtype=np.float32).reshape(4, 5)
    path = saved(tmp_path / "x.tiff", Image.fromarray(grey))
    assert np.array_equal(read_image(path, RULES)[0][0], grey)
    with pytest.raises(InputError, match="32-bit floats in a set of whole numbers"):
        read_image(path, ImageRules(bits=8))


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", Image.fromarray(SCENE[:, :, 0] > 128))
    assert np.array_equal(read_image(path, RULES)[0][0], np.where(SCENE[:, :, 0] > 128, 255, 0))


def test_palettes_are_rgb(tmp_path: Path) -> None:
    image = Image.fromarray(SCENE).quantize(16)
    values, _ = read_image(saved(tmp_path / "x.png", image), RULES)
    assert np.array_equal(values, np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def test_transparency_is_laid_over_the_background_or_kept(tmp_path: Path) -> None:
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], dtype=np.uint8)
    path = saved(tmp_path / "x.png", Image.fromarray(pixels))
    white, _ = read_image(path, RULES)
    assert white[:, 0, 0].tolist() == [10, 20, 30]
    assert white[:, 0, 1].tolist() == [255, 255, 255]
    assert abs(int(white[0, 0, 2]) - 127) <= 1
    assert read_image(path, ImageRules(background=(1, 2, 3)))[0][:, 0, 1].tolist() == [1, 2, 3]
    assert np.array_equal(read_image(path, ImageRules(colour="rgba"))[0], pixels.transpose(2, 0, 1))


def test_transparent_palette_entry_and_grey_with_alpha(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([9, 9, 9, 50, 60, 70])
    image.putpixel((1, 0), 1)
    values, _ = read_image(saved(tmp_path / "p.png", image, transparency=0), RULES)
    assert values[:, 0].T.tolist() == [[255, 255, 255], [50, 60, 70]]
    grey = np.array([[[40, 255], [40, 0]]], dtype=np.uint8)
    values, _ = read_image(saved(tmp_path / "la.png", Image.fromarray(grey, "LA")), RULES)
    assert values.tolist() == [[[40, 255]]]


def test_cmyk_is_rgb(tmp_path: Path) -> None:
    image = Image.new("CMYK", (3, 2), (0, 255, 255, 0))
    values, _ = read_image(saved(tmp_path / "x.tiff", image), RULES)
    assert values.shape == (3, 2, 3)
    assert values[:, 0, 0].tolist() == [255, 0, 0]


def test_colour_is_brought_to_what_is_asked(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", Image.fromarray(SCENE))
    grey, _ = read_image(path, ImageRules(colour="grey"))
    luma = SCENE @ np.array([0.299, 0.587, 0.114])
    assert grey.shape == (1, 5, 7)
    assert np.abs(grey[0] - luma).max() <= 1
    one = saved(tmp_path / "g.png", Image.fromarray(SCENE[:, :, 0]))
    assert np.array_equal(read_image(one, ImageRules(colour="rgb"))[0], np.repeat(SCENE[None, :, :, 0], 3, axis=0))


def test_of_an_animation_the_first_frame_is_taken_and_noted(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), value) for value in (10, 90, 200)]
    for name in ("x.gif", "x.webp", "x.tiff"):
        options = {"lossless": True} if name.endswith("webp") else {}
        path = saved(tmp_path / name, frames[0], save_all=True, append_images=frames[1:], **options)
        values, note = read_image(path, RULES)
        assert int(values.max()) == 10
        assert note is not None
        assert "first" in note


def test_sixteen_bit_colour_is_noted(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    pixel = zlib.compress(b"\0" + struct.pack(">3H", 0x1234, 0xABCD, 0xFFFF))
    path = tmp_path / "x.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixel) + chunk(b"IEND", b""))
    values, note = read_image(path, RULES)
    assert values[:, 0, 0].tolist() == [0x12, 0xAB, 0xFF]
    assert note == "16-bit colour, of which the upper 8 bits were kept"


def test_eighty_one_megapixels_are_refused_before_decoding(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", Image.new("1", (9000, 9000)))
    with pytest.raises(InputError, match=r"9000 x 9000 is 81,000,000 pixels.*maximum_pixels = 81000000"):
        read_image(path, RULES)
    assert read_header(path, ImageRules(maximum_pixels=81_000_000)).width == 9000


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.gif", "x.bmp", "x.tiff", "x.webp"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.8])
def test_truncated_files_are_refused(tmp_path: Path, name: str, kept: float) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    data = saved(tmp_path / name, noise).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(InputError) as caught:
        read_image(tmp_path / name, RULES)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"", "it is empty"),
        (b"8BPS\0\1" + bytes(40), "Photoshop"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (b"\xc5\xd0\xd3\xc6" + bytes(40), "PostScript"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC"),
        (b"<svg xmlns=", "SVG"),
        (b"hello", "its content is not"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "damaged"),
        (b"GIF89a" + bytes(100), "no pixels|damaged"),
        (b"II*\0" + b"\xff" * 40, "damaged"),
    ],
)
def test_other_content_is_refused_with_its_name(tmp_path: Path, first: bytes, reason: str) -> None:
    (tmp_path / "x.png").write_bytes(first)
    with pytest.raises(InputError, match=reason):
        read_image(tmp_path / "x.png", RULES)


def test_what_is_no_file_is_refused_without_opening(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    os.symlink("loop.png", tmp_path / "loop.png")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s.png"))
    for path in (tmp_path / "fifo.png", tmp_path / "loop.png", tmp_path / "s.png", tmp_path, Path("/dev/zero")):
        with pytest.raises(InputError):
            read_image(path, RULES)
    listening.close()
    with pytest.raises(InputError, match="there is no such file"):
        read_image(tmp_path / "missing.png", RULES)


def test_random_damage_never_escapes_as_another_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for name in ("x.png", "x.jpg", "x.gif", "x.bmp", "x.tiff", "x.webp"):
        data = saved(tmp_path / name, Image.fromarray(SCENE)).read_bytes()
        for _ in range(40):
            changed = bytearray(data)
            for place in rng.integers(0, len(data), 4):
                changed[place] = int(rng.integers(0, 256))
            (tmp_path / name).write_bytes(bytes(changed))
            try:
                values, _ = read_image(tmp_path / name, ImageRules(maximum_pixels=1_000_000))
            except InputError:
                continue
            assert values.ndim == 3


def test_png_round_trip() -> None:
    for channels in (1, 3):
        values = np.ascontiguousarray(SCENE.transpose(2, 0, 1)[:channels])
        assert np.array_equal(decode_png(encode_png(values), "x"), values)
    with pytest.raises(InputError, match="a stored image is damaged"):
        decode_png(encode_png(values)[:50], "x")


def test_small_files_are_read_as_carefully_as_large_ones(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123456")
    assert read_whole(tmp_path / "a", 6) == b"123456"
    assert read_whole(tmp_path / "a", 5) is None
    assert b"Linux" in (read_whole("/proc/version", 1 << 20) or b"")  # says that it has no bytes
    assert read_whole("/proc/version", 5) is None
    os.mkfifo(tmp_path / "pipe")
    faults = {"pipe": "a FIFO", "/dev/null": "a device", ".": "a folder", "b": "no such file", "a\0": "cannot be used"}
    for name, cause in faults.items():
        with pytest.raises(InputError, match=cause):
            read_whole(f"{tmp_path}/{name}" if name[0] != "/" else name, 100)
