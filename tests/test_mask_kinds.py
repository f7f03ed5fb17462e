"""What the values of masks mean."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mask_sets import SIZE, THREE, halves, mask, pairs, photo, values_of
from striate.core.errors import InputError
from striate.data.collection import ReaderOptions
from striate.data.formats.maskfiles import read_mask
from striate.data.formats.maskkinds import between
from striate.data.formats.masks import MaskReader
from striate.data.reader import open_data


@pytest.mark.parametrize("high", [1, 255, 77])
def test_zero_and_one_other_value_are_background_and_foreground(high: int, tmp_path: Path) -> None:
    reader = open_data(pairs(tmp_path, [halves(0, high), halves(0, 0)]))
    assert reader.classes == ("background", "foreground")
    assert (values_of(reader), values_of(reader, 1)) == ({0, 1}, {0})
    assert [one.code for one in reader.problems] == ["mask-scaled"] * (high > 1)
    assert f"masks of 0 and {high}, taken as background and foreground" in reader.found


def test_one_bit_masks_are_binary(tmp_path: Path) -> None:
    reader = open_data(pairs(tmp_path, [halves(0, 1) > 0] * 2))
    assert (reader.classes, values_of(reader)) == (("background", "foreground"), {0, 1})


def test_blurred_binary_masks_keep_what_is_sure(tmp_path: Path) -> None:
    values = np.zeros((80, 80), dtype=np.uint8)
    values[:, 40:] = 255
    values[:40, 39] = np.arange(10, 250, 6)
    for number in range(2):
        photo(tmp_path / f"images/{number}.png", (80, 80))
        mask(tmp_path / f"masks/{number}.png", values)
    reader = open_data(tmp_path)
    assert reader.classes == ("background", "foreground")
    assert values_of(reader) == {0, 1, 255}
    assert sum(reader.unknown_values(0).values()) == 40  # type: ignore[attr-defined]


def test_masks_of_0_and_1_among_those_of_0_and_255_show_as_wrong(tmp_path: Path) -> None:
    reader = open_data(pairs(tmp_path, [halves(0, 255)] * 9 + [halves(0, 1)] * 2))
    assert reader.classes == ("background", "foreground")
    assert reader.unknown_values(0) == {}  # type: ignore[attr-defined]
    assert reader.unknown_values(10) == {1: 96}  # type: ignore[attr-defined]


def test_255_among_low_numbers_is_void_and_options_decide_otherwise(tmp_path: Path) -> None:
    data = pairs(tmp_path, [halves(0, 1), halves(2, 255), halves(1, 2)])
    reader = open_data(data)
    assert (reader.classes, values_of(reader, 1), reader.settled.void) == (("0", "1", "2"), {2, 255}, 255)
    assert open_data(data, options=reader.settled).fingerprint() == reader.fingerprint()
    other = open_data(data, options=ReaderOptions(void=0))
    assert (other.classes, values_of(other, 0)) == (("1", "2", "255"), {0, 255})


def test_names_given_decide_how_many_classes_there_are(tmp_path: Path) -> None:
    data = pairs(tmp_path, [halves(0, 1), halves(1, 3), halves(0, 3)])
    reader = open_data(data, options=ReaderOptions(classes=("a", "b", "c")))
    assert reader.classes == ("a", "b", "c")
    assert reader.unknown_values(1) == {3: 96}  # type: ignore[attr-defined]


def test_a_class_that_no_mask_looked_at_has_is_still_one(tmp_path: Path) -> None:
    assert open_data(pairs(tmp_path, [halves(0, 1), halves(2, 4)])).classes == ("0", "1", "2", "3", "4")


def test_a_value_far_from_all_others_in_one_mask_is_no_class(tmp_path: Path) -> None:
    reader = open_data(pairs(tmp_path, [*THREE * 3, halves(1, 200)]))
    assert reader.classes == ("0", "1", "2")
    assert reader.unknown_values(9) == {200: 96}  # type: ignore[attr-defined]
    assert values_of(reader, 9) == {1, 255}


def test_palette_masks_give_indices_not_colours(tmp_path: Path) -> None:
    colours = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
    for number, values in enumerate([halves(0, 1), halves(2, 3)]):
        photo(tmp_path / f"images/{number}.png")
        mask(tmp_path / f"masks/{number}.png", values, colours)
    reader = open_data(tmp_path)
    assert (reader.classes, values_of(reader, 1)) == (("0", "1", "2", "3"), {2, 3})


def test_palettes_that_contradict_each_other_give_colours(tmp_path: Path) -> None:
    for number, colours in enumerate([[0, 0, 0, 255, 0, 0], [255, 0, 0, 0, 0, 0]]):
        photo(tmp_path / f"images/{number}.png")
        mask(tmp_path / f"masks/{number}.png", halves(0, 1), colours)
    reader = open_data(tmp_path)
    assert reader.classes == ("#000000", "#ff0000")
    left = [int(reader.targets(place)["mask"].arrays()["values"][0, 0]) for place in range(2)]
    assert left == [0, 1]


def coloured(*colours: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    values = np.zeros((*SIZE, 3), dtype=np.uint8)
    for place, colour in enumerate(colours):
        values[place * 3 : place * 3 + 3] = colour
    return values


RED, GREEN, STRANGE = (128, 0, 0), (0, 128, 0), (1, 2, 3)


def test_colours_found_are_classes_in_order(tmp_path: Path) -> None:
    reader = open_data(pairs(tmp_path, [coloured(RED, GREEN)] * 2))
    assert reader.classes == ("#000000", "#008000", "#800000")
    assert reader.targets(0)["mask"].arrays()["values"][[0, 3, 8], 0].tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    "name, text",
    [
        ("class_dict.csv", "name,r,g,b\nnothing,0,0,0\nroad,128,0,0\nvoid,0,128,0\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nnothing:0,0,0::\nroad:128,0,0::\nvoid:0,128,0::\n"),
        ("label_colors.txt", "0 0 0\tnothing\n128 0 0\t\troad\r\n0 128 0\tVoid\n"),
        ("colors.txt", "nothing 0 0 0\nroad 128 0 0\nvoid 0 128 0"),
    ],
)
def test_colour_tables_name_classes_and_void(name: str, text: str, tmp_path: Path) -> None:
    (pairs(tmp_path, [coloured(RED, GREEN, STRANGE), coloured(RED)]) / name).write_text(text)
    reader = open_data(tmp_path)
    assert reader.classes == ("nothing", "road")
    assert reader.targets(0)["mask"].arrays()["values"][[0, 3, 6, 9], 0].tolist() == [1, 255, 255, 0]
    assert reader.unknown_values(0) == {0x010203: 48}  # type: ignore[attr-defined]
    assert not reader.problems


def test_lines_of_a_colour_table_without_sense_are_problems(tmp_path: Path) -> None:
    (pairs(tmp_path, [coloured(RED)] * 2) / "class_dict.csv").write_text("name,r,g,b\na,0,0,0\nb,128,0\nc,1,2,999\n")
    found = [(one.code, one.file) for one in open_data(tmp_path).problems]
    assert found == [("annotation-malformed", "class_dict.csv:3"), ("annotation-malformed", "class_dict.csv:4")]


def test_more_than_256_colours_are_no_classes(tmp_path: Path) -> None:
    values = np.zeros((40, 90, 3), dtype=np.uint8)
    values[20:, :, 0], values[30:, :, 1] = np.arange(90) * 2 + 1, np.arange(90) + 3
    values[:5, :, 2], values[5:9, :, 2] = np.arange(90) + 1, np.arange(90) + 101
    for number in range(2):
        photo(tmp_path / f"images/{number}.png", (40, 90))
        mask(tmp_path / f"masks/{number}.png", values)
    with pytest.raises(InputError, match=r"colours, which cannot all be classes .*class_dict\.csv"):
        MaskReader(tmp_path)


def test_grey_saved_as_rgb_is_read_as_numbers(tmp_path: Path) -> None:
    stacked = [np.repeat(one[..., None], 3, axis=2) for one in THREE]
    reader = open_data(pairs(tmp_path, stacked))
    assert (reader.classes, values_of(reader, 1)) == (("0", "1", "2"), {1, 2})


def test_names_of_numbers_come_from_a_file(tmp_path: Path) -> None:
    (pairs(tmp_path, THREE) / "classes.txt").write_text("a\nb\nvoid\nd\n")
    reader = open_data(tmp_path)
    assert (reader.classes, values_of(reader, 1)) == (("a", "b", "d"), {1, 255})


def test_numbers_shifted_by_one_against_the_names_are_a_problem(tmp_path: Path) -> None:
    (pairs(tmp_path, [halves(1, 2), halves(2, 3)]) / "classes.txt").write_text("a\nb\nc\n")
    reader = open_data(tmp_path)
    assert [one.code for one in reader.problems] == ["class-offset"]
    assert reader.unknown_values(1) == {3: 96}  # type: ignore[attr-defined]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_of_few_bits_gives_the_stored_numbers(bits: int, tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + bytes([0b11010010])
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8 // bits, 1, bits, 0, 0, 0, 0))
    path = tmp_path / "x.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b""))
    wanted = {1: [1, 1, 0, 1, 0, 0, 1, 0], 2: [3, 1, 0, 2], 4: [13, 2]}
    assert read_mask(path, 100).values.tolist() == [wanted[bits]]


def instances(count: int, kind: Any = np.uint16) -> np.ndarray[Any, Any]:
    values = np.zeros((12, 64), dtype=kind)
    for number in range(count):
        values[2:5, number * 2 : number * 2 + 2] = number + 1
    return values


def instance_set(base: Path, counts: list[int], kind: Any = np.uint16) -> Path:
    for number, count in enumerate(counts):
        photo(base / f"images/{number}.png", (12, 64))
        mask(base / f"masks/{number}.png", instances(count, kind))
    return base


@pytest.mark.parametrize("kind, counts", [(np.uint16, [3, 2, 0]), (np.uint8, [30, 4, 12])])
def test_instances_are_an_object_class_or_boxes(kind: Any, counts: list[int], tmp_path: Path) -> None:
    data = instance_set(tmp_path, counts, kind)
    reader = open_data(data)
    assert (reader.classes, values_of(reader)) == (("background", "object"), {0, 1})
    boxes = open_data(data, options=ReaderOptions(target="boxes"))
    assert (boxes.classes, boxes.target) == (("object",), "boxes")
    assert [len(boxes.targets(place)["boxes"].arrays()["classes"]) for place in range(3)] == counts
    first = boxes.read(0).targets["boxes"]
    assert first.annotated()[1].tolist() == [2, 2, 5, 4]  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_the_border_class_is_as_wide_as_asked(width: int, tmp_path: Path) -> None:
    reader = open_data(instance_set(tmp_path, [1, 2]), options=ReaderOptions(border=width))
    assert reader.classes == ("background", "object", "border")
    line = np.zeros((1, 20), dtype=np.uint16)
    line[:, :10], line[:, 10:] = 1, 2
    assert between(line, width).sum() == width
    assert 2 in values_of(reader, 1)
    assert 2 not in values_of(reader, 0)


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_the_border_is_where_a_window_holds_two_objects(width: int, seed: int) -> None:
    objects = np.random.default_rng(seed).choice([0, 0, 0, 5, 9], (6, 7))
    found = between(objects, width)
    for y, x in np.ndindex(*objects.shape):
        low = (max(y - width // 2, 0), max(x - width // 2, 0))
        high = (y + width - width // 2 + 1, x + width - width // 2 + 1)
        window = objects[low[0] : high[0], low[1] : high[1]]
        assert found[y, x] == (len(set(window[window > 0].tolist())) > 1)


def test_boxes_of_classes_are_refused(tmp_path: Path) -> None:
    (pairs(tmp_path, THREE) / "classes.txt").write_text("a\nb\nc\n")
    with pytest.raises(InputError, match="tell no objects apart"):
        open_data(tmp_path, options=ReaderOptions(target="boxes"))


def test_jpeg_masks_of_0_and_255_are_brought_back_and_others_refused(tmp_path: Path) -> None:
    values = np.zeros((64, 64), dtype=np.uint8)
    values[16:48, 16:48] = 255
    for number in range(3):
        photo(tmp_path / f"a/images/{number}.png", (64, 64))
        mask(tmp_path / f"a/masks/{number}.jpg", values)
        photo(tmp_path / f"b/images/{number}.png", (64, 64))
        mask(tmp_path / f"b/masks/{number}.jpg", values // 3 + 40)
    reader = open_data(tmp_path / "a")
    assert [one.code for one in reader.problems].count("mask-lossy") == 3
    assert torch.equal(reader.targets(0)["mask"].arrays()["values"], torch.from_numpy(values // 255))
    with pytest.raises(InputError, match=r"stored as JPEG.*export the masks as PNG"):
        open_data(tmp_path / "b")
