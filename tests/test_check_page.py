"""The page of a check: whole, self-contained, with the findings and pictures of every kind of data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memory_reader import MemoryReader, photo
from striate.core.errors import InputError
from striate.data.doctor.examine import examine
from striate.recipes.check_page import write_check_page
from striate.report.overlays import Outline, Shown, palette, pictures, severity_bars
from striate.report.records import Section, Text


def page(reader: MemoryReader, path: Path, **more: Any) -> str:
    """The text of the page of a reader."""
    write_check_page(reader, examine(reader), path / "check.html", **more)
    return (path / "check.html").read_text(encoding="utf-8")


def boxed() -> MemoryReader:
    """Photos with boxes, some of them wrong in every way."""
    boxes = [([[5, 5, 30, 40]], [0])] * 12
    wrong = [
        [30, 40, 5, 5],
        [7, 7, 7, 9],
        [90, 10, 99, 20],
        [-9, -9, 20, 20],
        [2, 2, 4, 4],
        [0, 0, 48, 64],
        [9, 9, 30, 30],
    ]
    boxes[3] = ([*wrong, wrong[-1]], [1] * 8)
    return MemoryReader(
        [photo(seed) for seed in range(12)], boxes=boxes, splits={"train": range(8), "val": range(8, 12)}
    )


def test_every_finding_is_on_the_page_with_its_fix_and_files(tmp_path: Path) -> None:
    reader = boxed()
    text = page(reader, tmp_path)
    for finding in examine(reader).findings:
        assert finding.title[1:] in text
        assert finding.fix.replace("'", "&#x27;") in text
    assert "s3.png: box 1, dog" in text


def test_it_loads_nothing(tmp_path: Path) -> None:
    text = page(boxed(), tmp_path)
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert "<script" not in text


def test_sections_of_others_are_put_in(tmp_path: Path) -> None:
    extra = Section("What the network makes of it", (Text("Seven objects are too small."),))
    assert "Seven objects are too small." in page(boxed(), tmp_path, extra_sections=(extra,))


def test_masks_signals_volumes_and_unreadable_samples_have_pages(tmp_path: Path) -> None:
    masks = [np.zeros((48, 64), np.uint8) for _ in range(6)]
    for number, mask in enumerate(masks):
        mask[5 : 9 + number, 5:30] = 1
        mask[0] = 255
    masks[2][3, 3] = 77
    draw = np.random.default_rng(0)
    readers = [
        MemoryReader([photo(seed) for seed in range(6)], masks=masks, classes=("background", "cell")),
        MemoryReader([draw.normal(size=(3, 30 + n)).astype(np.float32) for n in range(6)], labels=[0, 1] * 3),
        MemoryReader([draw.integers(0, 255, (1, 4, 9, 9)).astype(np.uint8) for _ in range(6)], labels=[0, 1] * 3),
        MemoryReader([photo(1), photo(1), *[InputError("x", "it is gone", "restore it")] * 3], labels=[0, 1, 0, 1, 0]),
        MemoryReader([draw.normal(size=(1, 90)).astype(np.float32) for _ in range(6)],
                     boxes=[([[10, 40], [80, 200]], [0, 1])] * 6),
    ]  # fmt: skip
    for number, reader in enumerate(readers):
        place = tmp_path / str(number)
        place.mkdir()
        assert "Verdict" in page(reader, place)


def test_the_page_is_the_same_every_time(tmp_path: Path) -> None:
    assert page(boxed(), tmp_path) == page(boxed(), tmp_path)


def test_hostile_names_do_no_harm(tmp_path: Path) -> None:
    reader = MemoryReader(
        [photo(seed) for seed in range(4)], labels=[0, 1] * 2, classes=("<b>x</b>", "\udcff\x1b[31m$y$")
    )
    text = page(reader, tmp_path)
    assert "<b>x" not in text
    assert "\x1b" not in text


def test_colours_are_many_distinct_and_none_is_red() -> None:
    colours = palette(60)
    assert len(set(colours)) == 60
    parts = np.array([[int(one[i : i + 2], 16) for i in (1, 3, 5)] for one in colours], dtype=float)
    assert not ((parts[:, 0] > 200) & (parts[:, 1:] < 60).all(axis=1)).any()


def test_a_fault_beyond_the_picture_is_drawn_and_a_broken_box_is_not() -> None:
    outlines = (Outline((-20, -20, 10, 10), 0, True), Outline((float("nan"), 0, 1, 1), 0), Outline((1, 1, 20, 20), 9))
    item = Shown(photo(0), "a", outlines, note="beyond " * 60, focus=(-24, -24, 48, 64))
    assert pictures([item], ("cat",)).image.startswith(b"<")


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        pictures([], ("cat",))
    with pytest.raises(ValueError, match="no findings"):
        severity_bars([])
