"""TIFF stacks as volumes: told from single pages by their headers, with classes or with masks in three axes."""

import builtins
import importlib
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from striate.core.errors import InputError
from striate.data.collection import ReaderOptions
from striate.data.formats.stacks import read_stack
from striate.data.formats.tiffs import is_stack
from striate.data.formats.volumes import VolumeReader
from striate.data.reader import open_data

tifffile = pytest.importorskip("tifffile")
SHAPE = (4, 6, 7)


def stack(path: Path, values: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.asarray(values), photometric="minisblack", metadata=None)
    return path


def numbers(kind: Any, shape: tuple[int, ...] = SHAPE) -> np.ndarray[Any, Any]:
    return np.arange(np.prod(shape)).reshape(shape).astype(kind)


def class_folders(base: Path, kinds: Sequence[Any] = (np.uint8, np.uint8)) -> Path:
    for place, kind in enumerate(kinds):
        stack(base / "ab"[place] / "x.tif", numbers(kind) + place)
        stack(base / "ab"[place] / "y.tiff", numbers(kind))
    return base


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_stack_is_told_by_its_header(big: bool, order: str, tmp_path: Path) -> None:
    for pages in (1, 2, 9):
        with tifffile.TiffWriter(tmp_path / "x.tif", bigtiff=big, byteorder=order) as file:
            for _ in range(pages):
                file.write(numbers(np.uint16)[0], contiguous=False, metadata=None)
        assert is_stack(tmp_path / "x.tif") == (pages > 1)


def test_a_thumbnail_or_a_page_of_another_size_makes_no_stack(tmp_path: Path) -> None:
    for shape, kind in (((6, 7), 1), ((3, 3), 0)):
        with tifffile.TiffWriter(tmp_path / "x.tif") as file:
            file.write(numbers(np.uint8)[0], metadata=None)
            file.write(np.zeros(shape, np.uint8), subfiletype=kind, metadata=None)
        assert not is_stack(tmp_path / "x.tif")


@settings(max_examples=60)
@given(st.binary(max_size=60), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b""]))
def test_no_bytes_make_the_header_reading_fail(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, start: bytes
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "x.tif"
    path.write_bytes(start + data)
    assert is_stack(path) in (True, False)


@pytest.mark.parametrize(
    "kinds, dtype, factor",
    [
        ((np.uint8, np.uint8), np.uint8, 1),
        ((np.uint16, np.uint16), np.uint16, 1),
        ((np.uint8, np.uint16), np.uint16, 257),
        ((np.float32, np.float32), np.float32, 1),
        ((np.int16, np.uint8), np.float32, 1),
    ],
)
def test_class_folders_of_stacks_come_in_one_type(
    kinds: Sequence[Any], dtype: Any, factor: int, tmp_path: Path
) -> None:
    reader = open_data(class_folders(tmp_path, kinds))
    assert (reader.format, reader.classes, len(reader)) == ("tiff volumes", ("a", "b"), 4)
    assert reader.labels is not None and reader.labels.tolist() == [0, 0, 1, 1]
    first = reader.image(0)
    assert (first.dtype, first.shape, reader.size(0)) == (dtype, (1, *SHAPE), SHAPE)
    assert np.array_equal(first[0], numbers(dtype) * dtype(factor))
    assert open_data(tmp_path, options=reader.settled).fingerprint() == reader.fingerprint()


def test_splits_are_folders_around_classes(tmp_path: Path) -> None:
    for split in ("train", "val"):
        class_folders(tmp_path / split)
    reader = open_data(tmp_path)
    assert {split: len(rows) for split, rows in reader.splits.items()} == {"train": 4, "val": 4}
    assert reader.classes == ("a", "b")


def test_single_pages_in_class_folders_stay_images(tmp_path: Path) -> None:
    for name in "ab":
        stack(tmp_path / name / "x.tif", numbers(np.uint8)[0])
    assert VolumeReader.detect(tmp_path) is None
    assert open_data(tmp_path).format == "image folder"


def segmented(base: Path, masks: Sequence[Any]) -> Path:
    for place, values in enumerate(masks):
        stack(base / f"images/{place}.tif", numbers(np.uint8))
        stack(base / f"masks/{place}.tif", values)
    return base


def cube(number: int, kind: Any = np.uint8) -> np.ndarray[Any, Any]:
    values = np.zeros(SHAPE, dtype=kind)
    values[1:3, 2:5, 1:] = number
    return values


def test_masks_of_stacks_are_masks_in_three_axes(tmp_path: Path) -> None:
    reader = open_data(segmented(tmp_path, [cube(255), cube(0)]))
    assert (reader.format, reader.classes, reader.target) == ("tiff volumes", ("background", "foreground"), "mask")
    sample = reader.read(0)
    assert tuple(sample.image.shape) == (1, *SHAPE)
    assert np.array_equal(sample.targets["mask"].arrays()["values"].numpy(), cube(1))
    assert reader.unknown_values(0) == {}  # type: ignore[attr-defined]


def test_instances_give_boxes_in_three_axes(tmp_path: Path) -> None:
    values = cube(7, np.uint16)
    values[0, 0, 0] = 9
    reader = open_data(segmented(tmp_path, [values, values]), options=ReaderOptions(target="boxes"))
    boxes = reader.read(0).targets["boxes"]
    assert boxes.annotated().tolist() == [[1, 2, 1, 3, 5, 7], [0, 0, 0, 1, 1, 1]]  # type: ignore[attr-defined]


def test_a_stack_of_too_many_voxels_is_not_decoded(tmp_path: Path) -> None:
    path = stack(tmp_path / "x.tif", numbers(np.uint8))
    with pytest.raises(InputError, match="4 pages of 7 x 6 are 168 voxels, more than the 167 allowed"):
        read_stack(path, 167)
    assert read_stack(path, 168).shape == SHAPE


def test_colour_pages_of_another_size_and_damage_are_said(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((3, 5, 5, 3), np.uint8), photometric="rgb")
    with tifffile.TiffWriter(tmp_path / "sizes.tif") as file:
        for size in (5, 5, 4):
            file.write(np.zeros((size, 5), np.uint8), metadata=None)
    path = stack(tmp_path / "cut.tif", numbers(np.uint8))
    path.write_bytes(path.read_bytes()[:200])
    for name, reason in (("rgb", "3 channels"), ("sizes", "page 3"), ("cut", "damaged")):
        with pytest.raises(InputError, match=reason):
            read_stack(tmp_path / f"{name}.tif", 10_000)


def test_a_compression_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with suppress(ImportError):
        importlib.import_module("imagecodecs")
        pytest.skip("with imagecodecs there is hardly a compression that is not read")
    frames = [Image.fromarray(page) for page in numbers(np.uint8)]
    frames[0].save(tmp_path / "x.tif", save_all=True, append_images=frames[1:], compression="tiff_lzw")
    with pytest.raises(InputError, match="save it uncompressed or with deflate"):
        read_stack(tmp_path / "x.tif", 10_000)


def test_a_loop_of_pages_ends(tmp_path: Path) -> None:
    path = stack(tmp_path / "x.tif", numbers(np.uint8)[:2])
    data = bytearray(path.read_bytes())
    first = struct.unpack_from("<I", data, 4)[0]
    entries = struct.unpack_from("<H", data, first)[0]
    second = struct.unpack_from("<I", data, first + 2 + 12 * entries)[0]
    entries = struct.unpack_from("<H", data, second)[0]
    struct.pack_into("<I", data, second + 2 + 12 * entries, first)
    path.write_bytes(data)
    with suppress(InputError):
        assert len(read_stack(path, 10_000)) <= 3


def test_without_tifffile_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path)
    real = builtins.__import__

    def without(
        name: str,
        scope: Mapping[str, object] | None = None,
        local: Mapping[str, object] | None = None,
        names: Sequence[str] = (),
        level: int = 0,
    ) -> Any:
        if name == "tifffile":
            raise ImportError(name)
        return real(name, scope, local, names, level)

    monkeypatch.setattr(builtins, "__import__", without)
    assert VolumeReader.detect(tmp_path) is not None
    with pytest.raises(InputError, match=r"pip install striate\[volumes\]"):
        open_data(tmp_path)
