"""YOLO sets written without loss, from YOLO and from VOC."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labelled_files import boxes, names, numbers, put
from striate.core.errors import InputError
from striate.data.collection import ReaderOptions
from striate.data.formats.voc import VocReader
from striate.data.formats.yolo import YoloReader
from striate.data.reader import Reader, open_data
from striate.data.writers import voc as write_voc
from striate.data.writers import yolo as write_yolo

LINE = "0 0.5 0.5 0.5 0.25\n"


def read(folder: Path, **options: object) -> YoloReader:
    return YoloReader(folder, ReaderOptions(minimum_classes=0, **options))  # type: ignore[arg-type]


def again(reader: Reader, folder: Path) -> tuple[YoloReader, list[str]]:
    folder.mkdir()
    lines = write_yolo.write(reader, folder, lambda line: None)
    return read(folder), lines


def same(one: Reader, two: Reader) -> None:
    """The same samples in the same splits, in whichever order, with the same boxes to the last bit."""
    mine = {Path(name).stem: position for position, name in enumerate(names(one))}
    theirs = {Path(name).stem: position for position, name in enumerate(names(two))}
    assert mine.keys() == theirs.keys()
    assert one.classes == two.classes
    for split, rows in numbers(one).items():
        assert {Path(one.name(at)).stem for at in rows} == {Path(two.name(at)).stem for at in numbers(two)[split]}
    for stem, position in mine.items():
        left, right = boxes(one, position), boxes(two, theirs[stem])
        assert torch.equal(left.annotated(), right.annotated())
        assert left.classes.tolist() == right.classes.tolist()


@pytest.mark.parametrize("splits", [("train", "val"), ("train", "train"), ("",)])
def test_what_is_written_is_read_again(tmp_path: Path, splits: tuple[str, ...]) -> None:
    files: dict[str, str | None] = {"classes.txt": "no\n1.10\n'q: #\n"}
    for number, split in enumerate(splits):
        stem = f"{split}/{number}"
        files |= {
            f"images/{stem}.png": None,
            f"labels/{stem}.txt": f"{number} 0.123456 0.3 0.7 0.1\n2 1.2 -.5 .1 -.3\n",
        }
    first = read(put(tmp_path / "in", files, size=(33, 71)))
    second, lines = again(first, tmp_path / "out")
    same(first, second)
    assert second.problems == []
    assert lines == (
        [] if splits[0] else ["the set has no splits: data.yaml names no train and val, which other programs ask for"]
    )


def test_splits_that_share_samples_are_written_as_lists(tmp_path: Path) -> None:
    put(
        tmp_path / "in",
        {"data.yaml": "train: images\nval: images\nnames: [cat]\n", "images/a.png": None, "labels/a.txt": LINE},
    )
    second, _ = again(read(tmp_path / "in"), tmp_path / "out")
    assert numbers(second) == {"train": [0], "val": [0]}


@settings(max_examples=30)
@given(st.lists(st.tuples(*[st.floats(-0.5, 1.5)] * 4), max_size=6), st.integers(1, 900), st.integers(1, 900))
def test_any_labels_are_read_again_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, ...]], height: int, width: int
) -> None:
    folder = tmp_path_factory.mktemp("yolo")
    text = LINE + "".join(f"1 {' '.join(map(repr, row))}\n" for row in rows)
    first = read(put(folder / "in", {"a.png": None, "a.txt": text}, size=(height, width)))
    same(first, again(first, folder / "out")[0])


def test_voc_to_yolo_and_back_loses_nothing_but_ignored_marks(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    first = open_data(shared_data("bccd"))
    middle, lines = again(first, tmp_path / "yolo")
    assert lines == []
    same(first, middle)  # whole pixels: to the last bit
    (tmp_path / "voc").mkdir()
    write_voc.write(middle, tmp_path / "voc", lambda line: None)
    same(first, VocReader(tmp_path / "voc"))


def test_ignored_marks_are_counted_and_fractions_kept(tmp_path: Path) -> None:
    box = "<bndbox><xmin>1.3</xmin><ymin>0.123456789</ymin><xmax>33.3</xmax><ymax>7.7</ymax></bndbox>"
    thing = f"<object><name>cat</name><difficult>1</difficult>{box}</object>"
    xml = f"<annotation><filename>a.png</filename>{thing}</annotation>"
    first = VocReader(put(tmp_path / "in", {"a.png": None, "a.xml": xml}), ReaderOptions(minimum_classes=1))
    second, lines = again(first, tmp_path / "out")
    assert lines[0] == "1 ignored marks: YOLO has none, these boxes count like all others"
    assert torch.allclose(boxes(second).annotated(), boxes(first).annotated(), rtol=0, atol=1e-9)


def test_masks_are_not_written(tmp_path: Path) -> None:
    reader = read(put(tmp_path, {"a.png": None, "a.txt": "0 .1 .1 .9 .1 .9 .9\n"}))
    with pytest.raises(InputError, match="its target is mask"):
        write_yolo.write(reader, tmp_path, lambda line: None)
    with pytest.raises(InputError, match="its target is mask"):
        write_voc.write(reader, tmp_path, lambda line: None)


def test_names_that_are_no_text_are_read_and_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    put(tmp_path / "in", {f"train/{name}.png": None, f"train/{name}.txt": LINE})
    second, _ = again(read(tmp_path / "in"), tmp_path / "out")
    assert names(second) == [f"images/train/{name}.png"]
