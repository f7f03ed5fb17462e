"""What is wrong with a COCO set is said, one thing at a time, and nothing hostile in it is followed."""

import os
from pathlib import Path

import pytest
from PIL import Image

from coco_sets import box, boxes, content, image, one_image, said, written
from striate.core.errors import InputError
from striate.data.formats.coco import CocoReader
from striate.data.reader import open_data

FAULTS = {
    "bbox of three": (box(bbox=[1, 2, 3]), "annotation-malformed", "bbox is [1, 2, 3], not four finite numbers"),
    "bbox of text": (box(bbox=["1", 2, 3, 4]), "annotation-malformed", "not four finite numbers"),
    "bbox missing": (box(bbox=None), "annotation-malformed", "bbox is None"),
    "bbox infinite": (box(bbox=[1, 2, float("inf"), 4]), "annotation-malformed", "not four finite numbers"),
    "bbox huge": (box(bbox=[1, 2, 10**400, 4]), "annotation-malformed", "not four finite numbers"),
    "image unknown": (box(image_id=7), "annotation-malformed", "no image has the id 7"),
    "image a list": (box(image_id=[0]), "annotation-malformed", "no image has the id [0]"),
    "category unknown": (box(category=4), "class-undeclared", "no category has the id 4"),
    "category missing": (box(category=None), "class-undeclared", "no category has the id None"),
    "no object": ([1, 2], "annotation-malformed", "annotation number 2: it is [1, 2], not an object"),
    "id again": (box(number=5), "annotation-malformed", "1 annotation ids come again"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_annotation_is_named_and_the_others_are_kept(tmp_path: Path, fault: str) -> None:
    row, code, words = FAULTS[fault]
    reader = open_data(one_image(tmp_path, [box(number=5), row]))
    assert len(boxes(reader).points) == (2 if fault == "id again" else 1)
    assert [problem.code for problem in reader.problems] == [code]
    assert words in said(reader, code)[0]
    assert said(reader, code)[0].startswith("annotations.json: ")


def test_images_missing_unlisted_and_of_another_size_are_named(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.jpg", (20, 31))
    image(tmp_path / "images" / "more" / "c.jpg")
    (tmp_path / "images" / "notes.txt").write_text("x")
    written(tmp_path / "a.json", content(["a.jpg", "gone.jpg", "away.jpg"], [box(), box(1, number=1)]))
    reader = open_data(tmp_path)
    assert said(reader, "label-without-image") == ["gone.jpg: listed in a.json and not there (1 annotations)"]
    assert said(reader, "listed-missing") == ["away.jpg: listed in a.json and not there (0 annotations)"]
    assert said(reader, "image-without-label") == ["images/more/c.jpg: no JSON lists it"]
    assert said(reader, "size-declared-wrong") == ["images/a.jpg: declared 30 x 20, it is 31 x 20"]
    assert len(reader) == 1


def test_images_with_one_id_are_both_left_out(tmp_path: Path) -> None:
    for name in "abc":
        image(tmp_path / "images" / f"{name}.jpg")
    document = content(["a.jpg", "b.jpg", "c.jpg", "c.jpg"], [box(0), box(2, number=1), box(3, number=2)])
    document["images"][1]["id"] = 0
    reader = open_data(written(tmp_path / "set.json", document).parent)
    assert [reader.name(place) for place in range(len(reader))] == ["images/c.jpg"]
    assert (
        "image id 0 is that of a.jpg and of b.jpg: both are left out (1 annotations)"
        in (said(reader, "annotation-malformed")[0])
    )
    assert said(reader, "twice-labelled") == [
        "c.jpg: listed again in set.json with id 3: the first is taken (1 annotations)"
    ]


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "/etc/secret.jpg", "x/../../secret.jpg", "C:\\secret.jpg", "..\\secret.jpg"]
)
def test_names_that_lead_out_of_the_images_are_not_followed(tmp_path: Path, name: str) -> None:
    image(tmp_path / "set" / "secret.jpg")
    image(tmp_path / "set" / "images" / "a.jpg")
    written(tmp_path / "set" / "set.json", content(["a.jpg", name], [box()]))
    reader = open_data(tmp_path / "set")
    assert [reader.name(place) for place in range(len(reader))] == ["images/a.jpg"]
    assert "leads out of the folder of the images" in said(reader, "annotation-malformed")[0]


@pytest.mark.parametrize("name", ["a\0.jpg", "\ud800.jpg", "a" * 300, ""])
def test_names_that_cannot_be_are_named(tmp_path: Path, name: str) -> None:
    image(tmp_path / "images" / "a.jpg")
    written(tmp_path / "set.json", content(["a.jpg", name], [box()]))
    assert len(open_data(tmp_path).problems) == 1


def test_categories_of_one_name_are_one_class_and_it_is_said(tmp_path: Path) -> None:
    categories = [{"id": 0, "name": "fish", "supercategory": "none"}, {"id": 1, "name": "fish"}, {"id": 2, "name": ""}]
    reader = open_data(one_image(tmp_path, [box(category=1)], categories))
    assert reader.classes == ("fish", "2")
    assert boxes(reader).classes.tolist() == [0]
    assert len(said(reader, "class-names-alike")) == 1
    assert "category 2 has no name" in said(reader, "annotation-malformed")[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"images": [],\n "annotations": [,]}', r"set.json:2: it is not valid JSON \(Expecting value, column 18"),
        ('{"images": [], "annotations": [' + "[" * 200_000, "nested too deep"),
        ('{"images": [], "annotations": []', "set.json:1: it is not valid JSON"),
        ('{"images": [], "annotations": {}}', "no list of annotations"),
        ('{"images": [], "annotations": [], "x": ' + "1" * 5000 + "}", "a number that cannot be"),
        ("[]", "a list .results of a detector have no images."),
    ],
)
def test_a_file_that_is_no_coco_json_is_an_error_of_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "set.json").write_text(text)
    with pytest.raises(InputError, match=words):
        open_data(tmp_path / "set.json", "coco")


def test_text_that_is_not_utf_8_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "set.json").write_bytes(b'{"images": [],\n\n "annotations": ["\xff"]}')
    with pytest.raises(InputError, match=r"set.json:3: it is not UTF-8 text \(byte 34\)"):
        open_data(tmp_path / "set.json", "coco")


def test_a_file_beyond_the_cap_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("striate.data.formats.coco_index.LARGEST_FILE", 50)
    with pytest.raises(InputError, match="more than the 50 that are read"):
        open_data(one_image(tmp_path, [box()]))


def test_detection_survives_pipes_loops_and_other_json(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.json").symlink_to(tmp_path / "self.json")
    (tmp_path / "other.json").write_text('{"version": 1, "shapes": []}')
    image(tmp_path / "cats" / "a.jpg")
    image(tmp_path / "dogs" / "a.jpg")
    assert open_data(tmp_path).format == "image folder"


def test_detection_looks_at_a_bounded_number_of_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("striate.data.formats.coco_files._MOST_ENTRIES", 6)
    for place in range(10):
        image(tmp_path / "train" / f"{place}.jpg")
    written(tmp_path / "train" / "_annotations.coco.json", content(["1.jpg"], [box()]))
    assert CocoReader.detect(tmp_path) is not None
    assert CocoReader.detect(tmp_path / "nowhere") is None


def test_a_photo_that_its_orientation_turns_is_named(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    folder = one_image(tmp_path, [box()])
    Image.new("RGB", (30, 20)).save(folder / "images" / "a.jpg", exif=exif)
    reader = open_data(folder)
    assert reader.size(0) == (30, 20)
    assert "declared 30 x 20, it is 20 x 30: its EXIF orientation turns it" in said(reader, "size-declared-wrong")[0]
