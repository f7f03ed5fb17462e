"""Pascal VOC: layouts, split lists, which pixel is the first, faults, and writing without loss."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labelled_files import boxes, codes, numbers, put
from striate.core.errors import InputError
from striate.data.collection import ReaderOptions
from striate.data.formats.voc import VocReader
from striate.data.reader import Reader, open_data
from striate.data.writers import voc as write_voc

Corners = tuple[float, float, float, float]
CAT: tuple[str, Corners] = ("cat", (2, 3, 9, 8))


def annotation(*objects: tuple[str, Corners], size: tuple[int, int] | None = None, more: str = "") -> str:
    """The XML of (name, (xmin, ymin, xmax, ymax)); size is height and width."""
    said = "" if size is None else f"<size><width>{size[1]}</width><height>{size[0]}</height></size>"
    parts = [
        f"<object><name>{name}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
        "</bndbox></object>"
        for name, (x0, y0, x1, y1) in objects
    ]
    return f"<annotation><filename>a.jpg</filename>{said}{more}{''.join(parts)}</annotation>"


def read(folder: Path, **options: object) -> VocReader:
    return VocReader(folder, ReaderOptions(minimum_classes=1, **options))  # type: ignore[arg-type]


# layouts


@pytest.mark.parametrize(
    "files",
    [
        ("VOC/Annotations/a.xml", "VOC/JPEGImages/a.jpg"),
        ("annotations/a.xml", "images/a.jpg"),
        ("a.xml", "a.png"),
        ("train/a.xml", "train/a.jpg"),
        ("train/annotations/a.xml", "train/images/a.jpg"),
        ("images/train/a.jpg", "annotations/train/a.xml"),
        ("anything/a.xml", "photos of mine/a.JPG"),
    ],
)
def test_layouts_are_found(tmp_path: Path, files: tuple[str, str]) -> None:
    put(tmp_path, {name: annotation(CAT) if name.endswith("xml") else None for name in files})
    reader = open_data(tmp_path, options=ReaderOptions(minimum_classes=1))
    assert (reader.format, len(reader), reader.target, reader.classes) == ("voc", 1, "boxes", ("cat",))
    assert set(reader.splits) == ({"train"} if any("train" in name for name in files) else {"all"})
    assert reader.problems == []


def test_folders_of_splits(tmp_path: Path) -> None:
    xml = annotation(CAT)
    put(tmp_path, {"train/a.xml": xml, "train/a.png": None, "valid/a.xml": xml, "valid/a.png": None})
    assert numbers(read(tmp_path)) == {"train": [0], "val": [1]}


def test_lists_make_splits_and_those_of_classes_do_not(tmp_path: Path) -> None:
    files: dict[str, str | None] = {}
    for name in ("a", "b 1", "c", "d"):
        files |= {f"Annotations/{name}.xml": annotation(CAT), f"JPEGImages/{name}.png": None}
    main = "ImageSets/Main"
    lists = {"train": "a\n", "val": "b 1\n", "test": "c -1\n", "trainval": "a\nb 1\n", "cat_train": "a 1\nd -1\n"}
    put(tmp_path, files | {f"{main}/{name}.txt": text for name, text in lists.items()})
    reader = read(tmp_path)
    assert numbers(reader) == {"train": [0], "val": [1], "test": [2]}
    assert codes(reader) == [("not-in-a-split", "JPEGImages/d.png")]


def test_trainval_is_training_where_there_is_no_train(tmp_path: Path) -> None:
    files: dict[str, str | None] = {}
    for name in "abc":
        files |= {f"Annotations/{name}.xml": annotation(CAT), f"JPEGImages/{name}.png": None}
    put(tmp_path, files | {"ImageSets/Main/trainval.txt": "a\nb\n", "ImageSets/Main/test.txt": "c\nmissing\n"})
    reader = read(tmp_path)
    assert numbers(reader) == {"train": [0, 1], "test": [2]}
    assert codes(reader) == [("listed-missing", "ImageSets/Main/test.txt:2")]


def test_a_sample_of_two_lists_is_a_leak(tmp_path: Path) -> None:
    put(tmp_path, {"Annotations/a.xml": annotation(CAT), "JPEGImages/a.png": None})
    put(tmp_path, {"ImageSets/Main/train.txt": "a", "ImageSets/Main/test.txt": "a"})
    assert codes(read(tmp_path)) == [("listed-twice", "JPEGImages/a.png")]


# boxes


def test_pixels_from_one_where_nothing_says_otherwise(tmp_path: Path) -> None:
    reader = read(put(tmp_path, {"a.xml": annotation(CAT), "a.png": None}))
    assert boxes(reader).annotated().tolist() == [[2, 1, 8, 9]]
    assert reader.settled.box_origin == 1
    assert "pixels from 1" in reader.found


@pytest.mark.parametrize(
    "xml",
    [
        annotation(CAT, ("dog", (0, 3, 9, 8))),
        annotation(CAT, more="<path>/x/a.jpg</path>"),
        annotation(CAT, ("dog", (4, 3, 4, 8))),
        annotation(("cat", (2.5, 3, 9, 8)), CAT, ("cat", (2, 3.25, 9, 8))),
    ],
)
def test_edges_from_zero_where_a_file_shows_it(tmp_path: Path, xml: str) -> None:
    reader = read(put(tmp_path, {"a.xml": xml, "a.png": None}))
    assert reader.settled.box_origin == 0
    assert [3, 2, 8, 9] in boxes(reader).annotated().tolist()
    assert "edges from 0" in reader.found


def test_the_origin_can_be_told(tmp_path: Path) -> None:
    put(tmp_path, {"a.xml": annotation(CAT), "a.png": None})
    assert boxes(read(tmp_path, box_origin=0)).annotated().tolist() == [[3, 2, 8, 9]]


def test_difficult_objects_are_ignored_and_odd_boxes_are_kept(tmp_path: Path) -> None:
    xml = annotation(CAT, ("cat", (9, 9, 5, 5)), ("cat", (100, 100, 200, 200)))
    xml = xml.replace("<name>", "<difficult>1</difficult><name>", 1)
    reader = read(put(tmp_path, {"a.xml": xml, "a.png": None}))
    assert boxes(reader).marks.tolist() == [True, False, False]
    assert boxes(reader).annotated()[1].tolist() == [8, 8, 5, 5]
    assert reader.problems == []


def test_classes_are_in_natural_order_or_that_of_a_list(tmp_path: Path) -> None:
    xml = annotation(*((name, (2, 3, 9, 8)) for name in ("c10", "c9", "b")))
    put(tmp_path, {"a.xml": xml, "a.png": None})
    assert read(tmp_path).classes == ("b", "c9", "c10")
    put(tmp_path, {"classes.txt": "c10\nunused\nc9\n"})
    reader = read(tmp_path)
    assert reader.classes == ("c10", "unused", "c9", "b")
    assert codes(reader) == [("class-undeclared", "classes.txt")]
    assert boxes(reader).classes.tolist() == [0, 2, 3]


# faults

LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><annotation><filename>&b;</filename></annotation>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><filename>&a;</filename></annotation>'


@pytest.mark.parametrize(
    "text",
    [LAUGHS, OUTSIDE, "<annotation>", "", "<annotation><size></annotation>", '<?xml version="1.0" encoding="x"?><a/>'],
)
def test_a_file_that_cannot_be_read_is_a_problem_of_that_file(tmp_path: Path, text: str) -> None:
    put(tmp_path, {"a.xml": annotation(CAT), "a.png": None, "b.xml": text, "b.png": None})
    reader = read(tmp_path)
    assert codes(reader) == [("label-unreadable", "b.xml")]
    assert len(reader) == 1
    assert "left out" in reader.problems[0].detail


def test_objects_that_make_no_sense_are_listed_and_the_others_kept(tmp_path: Path) -> None:
    bad = [
        "<object><bndbox/></object>",
        "<object><name>x</name></object>",
        annotation(("y", (2, 3, 9, 8))).split("</filename>")[1].removesuffix("</annotation>").replace(">9<", ">nan<"),
        "<object><name>z</name><bndbox><xmin>1</xmin></bndbox></object>",
    ]
    reader = read(put(tmp_path, {"a.xml": annotation(CAT, more="".join(bad)), "a.png": None}))
    assert codes(reader) == [("annotation-malformed", "a.xml")] * 4
    assert [problem.detail for problem in reader.problems][2] == "object 3 (y): its xmax is 'nan', not a number"
    assert len(boxes(reader).classes) == 1


def test_images_and_annotations_without_a_partner(tmp_path: Path) -> None:
    xml = annotation(CAT).replace("a.jpg", "none.jpg")
    put(tmp_path, {"a.xml": xml, "a.png": None, "b.png": None, "c.xml": xml, "d.xml": "<project/>"})
    reader = read(tmp_path)
    assert sorted(codes(reader)) == [("image-without-label", "b.png"), ("label-without-image", "c.xml")]
    assert reader.skipped == [("d.xml", "XML, but no Pascal VOC annotation")]


def test_an_image_labelled_twice_and_a_wrong_size(tmp_path: Path) -> None:
    put(tmp_path, {"images/a.png": None, "annotations/a.xml": annotation(CAT, size=(21, 30))})
    put(tmp_path, {"labels/a.xml": annotation(CAT)})
    assert sorted(codes(read(tmp_path))) == [
        ("size-declared-wrong", "images/a.png"),
        ("twice-labelled", "labels/a.xml"),
    ]


def test_an_image_found_by_the_name_its_annotation_gives(tmp_path: Path) -> None:
    put(tmp_path, {"Annotations/1.xml": annotation(CAT), "JPEGImages/a.jpg": None})
    assert read(tmp_path).name(0) == "JPEGImages/a.jpg"


def test_images_in_another_folder(tmp_path: Path) -> None:
    put(tmp_path, {"set/a.xml": annotation(CAT), "photos/a.jpg": None})
    reader = read(tmp_path / "set", images=str(tmp_path / "photos"))
    assert reader.name(0) == "../photos/a.jpg"


def test_without_labels_all_images_are_listed(tmp_path: Path) -> None:
    put(tmp_path, {"a.xml": annotation(CAT), "a.png": None, "b.png": None})
    reader = read(tmp_path, labelled=False)
    assert [reader.name(position) for position in range(2)] == ["a.png", "b.png"]
    assert reader.targets(0) == {}


def test_other_targets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no mask"):
        read(put(tmp_path, {"a.xml": annotation(CAT), "a.png": None}), target="mask")


def test_other_xml_is_not_taken_for_it_and_nothing_hangs(tmp_path: Path) -> None:
    put(
        tmp_path,
        {"a.png": None, "a.xml": "<project><annotation/></project>", "b.xml": "<annotation>free text</annotation>"},
    )
    os.mkfifo(tmp_path / "c.xml")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert VocReader.detect(tmp_path) is None
    put(tmp_path, {"d.xml": annotation(CAT), "d.png": None})
    assert VocReader.detect(tmp_path) is not None
    names = [name for name, _ in read(tmp_path).skipped]
    assert sorted(names) == ["a.xml", "c.xml", "loop"]


def test_names_that_are_no_text_are_read(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    put(tmp_path, {f"JPEGImages/{name}.png": None, f"Annotations/{name}.xml": annotation(CAT)})
    place = tmp_path / "ImageSets" / "Main"
    place.mkdir(parents=True)
    (place / "train.txt").write_bytes(b"caf\xe9\n")
    reader = read(tmp_path)
    assert numbers(reader) == {"train": [0]}
    (tmp_path / "out").mkdir()
    write_voc.write(reader, tmp_path / "out", lambda line: None)
    assert read(tmp_path / "out").name(0) == f"JPEGImages/{name}.png"


# writing


def again(reader: Reader, folder: Path) -> tuple[VocReader, list[str]]:
    folder.mkdir()
    lines = write_voc.write(reader, folder, lambda line: None)
    return read(folder), lines


def stems(reader: Reader) -> list[str]:
    return [Path(reader.name(position)).stem for position in range(len(reader))]


def same(one: Reader, two: Reader) -> None:
    assert stems(one) == stems(two)
    assert one.classes == two.classes
    assert numbers(one) == numbers(two)
    for position in range(len(one)):
        mine, theirs = boxes(one, position), boxes(two, position)
        assert torch.equal(mine.annotated(), theirs.annotated())
        assert mine.classes.tolist() == theirs.classes.tolist()
        assert mine.marks.tolist() == theirs.marks.tolist()


@pytest.mark.parametrize(
    ("corners", "origin"),
    [
        ((2, 3, 9, 8), 1),
        ((0, 3, 9, 8), 1),
        ((-4, 3, 9, 8), 0),
        ((0.1, 3, 9, 8), 0),
        ((5, 5, 5, 8), 1),
        ((9, 9, 3, 2), 1),
    ],
)
def test_what_is_written_is_read_again(tmp_path: Path, corners: Corners, origin: int) -> None:
    xml = annotation(("a &amp; &lt;b>", corners), ("z", (2, 2, 8, 8)))
    put(tmp_path / "in", {"a.xml": xml, "a.png": None, "classes.txt": "z\nnever\na & <b>\n"})
    first = read(tmp_path / "in")
    second, lines = again(first, tmp_path / "out")
    same(first, second)
    assert second.settled.box_origin == origin
    assert second.problems == []
    assert lines == [
        "coordinates are " + ("pixels from 1, the last included" if origin else "edges from 0 (that is told by <path>)")
    ]
    assert (tmp_path / "out/JPEGImages/a.png").read_bytes() == (tmp_path / "in/a.png").read_bytes()


@settings(max_examples=30)
@given(st.lists(st.tuples(*[st.floats(-50, 1000) | st.integers(0, 40)] * 4), max_size=4), st.sampled_from([0, 1]))
def test_any_boxes_are_read_again_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, corners: list[Corners], origin: int
) -> None:
    folder = tmp_path_factory.mktemp("voc")
    put(folder / "in", {"a.xml": annotation(CAT, *(("dog", one) for one in corners)), "a.png": None})
    first = read(folder / "in", box_origin=origin)
    same(first, again(first, folder / "out")[0])


def test_splits_are_written_and_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    xml = annotation(CAT)
    put(tmp_path / "in", {"train/a.xml": xml, "train/a.png": None, "val/a.xml": xml, "val/a.png": None})
    second, _ = again(read(tmp_path / "in"), tmp_path / "out")
    assert numbers(second) == {"train": [0], "val": [1]}
    assert stems(second) == ["train_a", "val_a"]


def test_class_names_that_xml_cannot_hold_are_refused(tmp_path: Path) -> None:
    put(tmp_path, {"a.xml": annotation(CAT), "a.png": None})
    reader = read(tmp_path, classes=("cat\x01",))
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="cannot hold"):
        write_voc.write(reader, tmp_path / "out", lambda line: None)


# the real set


def test_bccd_is_read_as_its_source_says(shared_data: Callable[[str], Path]) -> None:
    reader = open_data(shared_data("bccd"))
    assert reader.format == "voc"
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 205, "val": 87, "test": 72}
    assert reader.classes == ("Platelets", "RBC", "WBC")
    bounds = torch.cat([boxes(reader, position).annotated() for position in range(len(reader))])
    assert bounds.shape == (4888, 4)
    empty = (bounds[:, 2:] <= bounds[:, :2]).any(dim=1)
    assert bounds[empty].tolist() == [[337, 504, 337, 504], [329, 181, 329, 181]]
    assert reader.settled.box_origin == 0
    assert reader.problems == []


def test_bccd_is_written_without_loss(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    first = open_data(shared_data("bccd"))
    same(first, again(first, tmp_path / "out")[0])
