"""JPEGs decode to the pixels that Pillow gives, are shown upright, and at a smaller scale look the same."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from striate.core import disk as disk_module
from striate.core.errors import InputError
from striate.data import jpeg
from striate.data.collection import ReaderOptions
from striate.data.imagefiles import image_files
from striate.data.images import Blob, ImageRules, decoded, read_header, read_image


def scene(height: int, width: int, channels: int = 3, seed: int = 0) -> Image.Image:
    """A smooth random picture with edges: what JPEG is made for."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(2, height // 9), max(2, width // 9), 3)).astype(np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return image if channels == 3 else image.convert("L")


def saved(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)  # type: ignore[arg-type]
    return file.getvalue()


def of_pillow(data: bytes, mode: str) -> np.ndarray:
    image = ImageOps.exif_transpose(JpegImageFile(io.BytesIO(data)))
    pixels = np.asarray(image.convert(mode))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


@settings(max_examples=60)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    channels=st.sampled_from([1, 3]),
    subsampling=st.sampled_from([0, 1, 2]),
    quality=st.sampled_from([5, 50, 75, 95, 100]),
    progressive=st.booleans(),
    orientation=st.integers(0, 9),
    colour=st.sampled_from(["as found", "grey", "rgb", "rgba"]),
)
def test_the_pixels_are_those_of_pillow(
    height: int,
    width: int,
    channels: int,
    subsampling: int,
    quality: int,
    progressive: bool,
    orientation: int,
    colour: str,
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    data = saved(
        scene(height, width, channels, height * width),
        quality=quality,
        progressive=progressive,
        exif=exif,
        **({"subsampling": subsampling} if channels == 3 else {}),
    )
    header = jpeg.parse(data)
    assert header is not None
    found = decoded(Blob("x.jpg", data), ImageRules(colour=colour))
    mode = {"grey": "L", "rgb": "RGB", "rgba": "RGBA"}.get(colour, "L" if channels == 1 else "RGB")
    assert np.array_equal(found.values, of_pillow(data, mode))
    assert found.size == header.size == found.values.shape[1:]
    assert found.note is None


def test_stored_rgb_is_not_taken_for_ycbcr() -> None:
    data = saved(scene(40, 30), keep_rgb=True)
    assert jpeg.parse(data) is not None
    assert np.array_equal(decoded(Blob("x", data), ImageRules()).values, of_pillow(data, "RGB"))


def test_what_is_not_taken_is_decoded_by_pillow(tmp_path: Path) -> None:
    data = saved(scene(20, 30).convert("CMYK"))
    assert jpeg.parse(data) is None
    (tmp_path / "x.jpg").write_bytes(data)
    values, note = read_image(tmp_path / "x.jpg", ImageRules())
    assert np.array_equal(values, of_pillow(data, "RGB"))
    assert note is None
    assert read_header(tmp_path / "x.jpg", ImageRules()).size == (20, 30)


def test_orientation_in_xmp_is_left_to_pillow() -> None:
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    data = saved(scene(20, 30), xmp=packet)
    assert jpeg.parse(data) is None
    assert decoded(Blob("x", data), ImageRules()).values.shape == (3, 30, 20)


@settings(max_examples=150)
@given(seed=st.integers(0, 10_000), cut=st.booleans())
def test_a_header_is_never_read_otherwise_than_by_pillow(seed: int, cut: bool) -> None:
    rng = np.random.default_rng(seed)
    exif = Image.Exif()
    exif[274], exif[271] = 6, "maker"
    data = bytearray(saved(scene(21, 34), exif=exif))
    for place in rng.integers(2, 300, 3):
        data[place] = int(rng.integers(256))
    header = jpeg.parse(bytes(data[: int(rng.integers(2, 400))] if cut else data))
    if header is None:
        return
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            image = JpegImageFile(io.BytesIO(bytes(data)))
        except (OSError, SyntaxError):
            return
        known = image.getexif().get(274, 1)
    assert (header.height, header.width, header.components) == (image.height, image.width, len(image.getbands()))
    if not warned:  # of other damage to the EXIF record, for which Pillow may leave out all of it
        assert header.orientation == (known if known in range(1, 9) else 1)


@pytest.mark.parametrize("kept", [0.05, 0.3, 0.7, 0.95, 0.999])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_cut_file_is_refused(kept: float, progressive: bool) -> None:
    data = saved(scene(120, 160), progressive=progressive)
    with pytest.raises(InputError, match=r"^x.jpg: the image is damaged \(.*\); replace or remove the file$"):
        decoded(Blob("x.jpg", data[: int(len(data) * kept)]), ImageRules())


def test_a_scan_that_lost_its_place_is_refused_although_pillow_would_show_it() -> None:
    data = saved(scene(120, 160), quality=95)
    middle = len(data) // 2
    spoilt = data[:middle] + data[middle - 500 :]
    assert JpegImageFile(io.BytesIO(spoilt)).load() is not None
    with pytest.raises(InputError, match=r"the image is damaged \(Corrupt JPEG data"):
        decoded(Blob("x.jpg", spoilt), ImageRules())


def test_filling_before_the_end_is_kept_and_noted() -> None:
    data = saved(scene(40, 50))
    found = decoded(Blob("x.jpg", data[:-2] + b"\x11" * 9 + data[-2:]), ImageRules())
    assert np.array_equal(found.values, of_pillow(data, "RGB"))
    assert found.note is not None
    assert "extraneous bytes" in found.note


def test_too_many_pixels_are_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*given: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(jpeg, "decode", forbidden)
    with pytest.raises(InputError, match="40 x 30 is 1,200 pixels, more than the 1,000 allowed"):
        decoded(Blob("x", saved(scene(30, 40))), ImageRules(maximum_pixels=1000))


@pytest.mark.parametrize(
    ("size", "at_least", "by"),
    [
        ((2000, 3000), 0, 1),
        ((2000, 3000), 250, 8),
        ((2000, 3000), 251, 4),
        ((2000, 3000), 501, 2),
        ((2000, 3000), 1001, 1),
        ((2001, 3000), 250, 2),  # at 1/8 and 1/4 the last row would be one eighth and one quarter full
        ((375, 500), 100, 1),
        ((376, 504), 47, 8),
    ],
)
def test_the_scale_keeps_the_shorter_side_and_the_proportions(size: tuple[int, int], at_least: int, by: int) -> None:
    assert jpeg.factor(size, at_least) == by


@pytest.mark.parametrize("orientation", [1, 6, 8])
@pytest.mark.parametrize("colour", ["rgb", "grey"])
@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_a_scaled_decode_is_close_to_a_full_one_resized(mode: str, colour: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    data = saved(scene(320, 480).convert(mode), quality=92, exif=exif)
    whole = decoded(Blob("x", data), ImageRules(colour=colour))
    small = decoded(Blob("x", data), ImageRules(colour=colour, at_least=80))
    assert whole.size == small.size == whole.values.shape[1:]
    assert small.values.shape[1:] == tuple(n // 4 for n in small.size)
    channels = [
        np.asarray(Image.fromarray(one).resize(small.values.shape[:0:-1], Image.Resampling.BOX), dtype=float)
        for one in np.ascontiguousarray(whole.values)
    ]
    error = np.abs(np.stack(channels) - small.values)
    assert error.mean() < 2.5
    assert np.quantile(error, 0.99) < 12


def test_real_photos_scaled_are_close_to_full_ones_resized(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("coco128") / "object_detection"
    for path in sorted(folder.rglob("*.jpg"))[:12]:
        whole, small = (decoded(path, ImageRules(colour="rgb", at_least=n)) for n in (0, 160))
        assert np.array_equal(whole.values, of_pillow(path.read_bytes(), "RGB"))
        if small.values.shape == whole.values.shape:
            continue
        size = small.values.shape[:0:-1]
        resized = Image.fromarray(np.ascontiguousarray(whole.values.transpose(1, 2, 0))).resize(
            size, Image.Resampling.BOX
        )
        assert np.abs(np.asarray(resized, dtype=float).transpose(2, 0, 1) - small.values).mean() < 2.5


def test_a_sample_opens_its_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / "a.jpg", tmp_path / "b.png"]
    for path in paths:
        scene(64, 96).save(path)
    found = image_files(paths, ReaderOptions(colour="rgb", bits=8, decode_at_least=16))
    opened: list[object] = []
    real = disk_module._opened

    def counting(path: Path) -> tuple[int, int]:
        opened.append(path)
        return real(path)

    monkeypatch.setattr(disk_module, "_opened", counting)
    assert [found[place].shape for place in (0, 1)] == [(3, 16, 24), (3, 64, 96)]
    assert [found.size(place) for place in (0, 1)] == [(64, 96), (64, 96)]
    assert opened == paths
