"""YOLO text: layouts, what a YAML says, faults, and masks from polygons."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from labelled_files import boxes, codes, names, numbers, put
from striate.core.errors import InputError
from striate.core.sample import Mask
from striate.data.collection import ReaderOptions
from striate.data.formats.yolo import YoloReader
from striate.data.reader import Reader, open_data

LINE = "0 0.5 0.5 0.5 0.25\n"
SQUARE = "0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75"


def read(folder: Path, **options: object) -> YoloReader:
    return YoloReader(folder, ReaderOptions(minimum_classes=0, **options))  # type: ignore[arg-type]


def mask(reader: Reader, position: int = 0) -> list[list[int]]:
    target = reader.targets(position)["mask"]
    assert isinstance(target, Mask)
    return target.values.tolist()


# layouts


@pytest.mark.parametrize(
    "files",
    [
        ("images/train/a.png", "labels/train/a.txt", "images/val/b.png", "labels/val/b.txt"),
        ("train/images/a.png", "train/labels/a.txt", "valid/images/b.png", "valid/labels/b.txt"),
        ("train/a.png", "train/a.txt", "val/b.png", "val/b.txt"),
        ("images/train2017/a.png", "labels/train2017/a.txt", "images/val2017/b.png", "labels/val2017/b.txt"),
        ("Images/train/a.png", "Labels/train/a.txt", "Images/val/b.png", "Labels/val/b.txt"),
    ],
)
def test_layouts_are_found_without_a_yaml(tmp_path: Path, files: tuple[str, ...]) -> None:
    put(tmp_path, {name: LINE if name.endswith("txt") else None for name in files} | {"classes.txt": "cat\ndog\n"})
    reader = open_data(tmp_path)
    assert (reader.format, reader.target, reader.classes) == ("yolo", "boxes", ("cat", "dog"))
    assert numbers(reader) == {"train": [0], "val": [1]}
    assert boxes(reader).annotated().tolist() == [[15, 20, 25, 60]]
    assert reader.problems == []


def test_images_and_labels_side_by_side_are_one_split(tmp_path: Path) -> None:
    reader = open_data(put(tmp_path, {"a.png": None, "a.txt": "1 .5 .5 .1 .1\n"}))
    assert numbers(reader) == {"all": [0]}
    assert reader.classes == ("0", "1")
    assert "no names" in reader.found


def test_an_orientation_is_applied_before_shares_become_pixels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 40)).save(tmp_path / "a.jpg", exif=exif)
    put(tmp_path, {"a.txt": LINE})
    reader = read(tmp_path)
    assert reader.size(0) == (80, 40)
    assert boxes(reader).annotated().tolist() == [[30, 10, 50, 30]]


@pytest.mark.parametrize("name", ["data.yaml", "dataset.yml", "config.yaml", "mine.yaml"])
@pytest.mark.parametrize(
    "text",
    [
        "path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n",
        "path: /not/here\ntrain: ../images/train\nval: [images/val]\nnc: 2\nnames: {0: cat, 1: dog}\n",
        "train: /content/set/images/train\nval: /content/set/images/val\nnames: {'0': cat, '1': dog}\n",
        "train: train.txt\nval: lists/val.txt\nnames: [cat, dog]\n",
    ],
)
def test_what_a_yaml_says(tmp_path: Path, name: str, text: str) -> None:
    files: dict[str, str | None] = {}
    for split, stem in (("train", "a"), ("val", "b"), ("other", "c")):
        files |= {f"images/{split}/{stem}.png": None, f"labels/{split}/{stem}.txt": LINE}
    put(tmp_path, files | {"train.txt": "./images/train/a.png\n", "lists/val.txt": "/content/x/images/val/b.png\n"})
    put(tmp_path, {name: text})
    for path in (tmp_path, tmp_path / name):
        reader = open_data(path)
        assert (reader.format, reader.classes) == ("yolo", ("cat", "dog"))
        assert numbers(reader) == {"train": [0], "val": [1]}
        assert names(reader) == ["images/train/a.png", "images/val/b.png"]
        assert codes(reader) == [("not-in-a-split", "images/other/c.png")]


def test_darknet_data_names_lists(tmp_path: Path) -> None:
    put(tmp_path, {"obj.data": "classes = 1\ntrain = data/train.txt\nnames = data/obj.names\nbackup = x/\n"})
    put(tmp_path, {"obj.names": "cat\ndog\n", "train.txt": "data/obj_train_data/a.png\ndata/obj_train_data/b.png\n"})
    put(tmp_path, {"obj_train_data/a.png": None, "obj_train_data/a.txt": LINE})
    reader = open_data(tmp_path)
    assert (reader.classes, numbers(reader)) == (("cat", "dog"), {"train": [0]})
    assert codes(reader) == [("listed-missing", "train.txt:2")]


def test_a_set_one_folder_down_and_several_of_them(tmp_path: Path) -> None:
    for name in ("one", "two"):
        place = tmp_path / name
        put(place, {"data.yaml": "train: images\nnames: [cat, dog]\n", "images/a.png": None, "labels/a.txt": LINE})
        if name == "one":
            assert open_data(tmp_path).classes == ("cat", "dog")
    with pytest.raises(InputError, match="several YOLO sets"):
        open_data(tmp_path)


def test_sparse_ids_are_mapped_in_their_order(tmp_path: Path) -> None:
    text = "train: images\nnames: {27: backpack, 1: person}\n"
    put(tmp_path, {"data.yaml": text, "images/a.png": None, "labels/a.txt": f"27 {LINE[2:]}1 {LINE[2:]}2 {LINE[2:]}"})
    reader = read(tmp_path)
    assert reader.classes == ("person", "backpack")
    assert boxes(reader).classes.tolist() == [1, 0]
    assert codes(reader) == [("class-undeclared", "labels/a.txt:3")]


def test_one_folder_for_two_splits_is_a_leak_told_once(tmp_path: Path) -> None:
    put(
        tmp_path,
        {"data.yaml": "train: images\nval: images\nnames: [cat]\n", "images/a.png": None, "labels/a.txt": LINE},
    )
    reader = read(tmp_path)
    assert numbers(reader) == {"train": [0], "val": [0]}
    assert codes(reader) == [("leak", "data.yaml")]


# what is missing, and what makes no sense


def test_an_image_without_a_label_file_is_a_negative(tmp_path: Path) -> None:
    files = {"images/a.png": None, "labels/a.txt": LINE, "images/b.png": None, "images/c.png": None, "labels/c.txt": ""}
    put(tmp_path, files)
    reader = read(tmp_path)
    assert [len(boxes(reader, position).classes) for position in range(3)] == [1, 0, 0]
    assert codes(reader) == [("image-without-label", "images/b.png")]
    put(tmp_path, {"data.yaml": "train: images\nskip_if_label_file_missing: true\nnames: [cat]\n"})
    reader = read(tmp_path)
    assert names(reader) == ["images/a.png", "images/c.png"]
    assert reader.problems == []
    assert "1 images without a label file left out" in reader.found


def test_labels_without_images_are_counted(tmp_path: Path) -> None:
    put(tmp_path, {"images/a.png": None, "labels/a.txt": LINE, "labels/b.txt": LINE * 3, "labels/classes.txt": "cat\n"})
    reader = read(tmp_path)
    assert codes(reader) == [("label-without-image", "labels/b.txt")]
    assert "3 objects" in reader.found
    assert reader.classes == ("cat",)


@pytest.mark.parametrize(
    "line",
    [
        "0 .5 .5 .5",
        "0 .5 .5 .5 .5 .5",
        "x .5 .5 .5 .5",
        "0 nan .5 .5 .5",
        "0 inf .5 .5 .5",
        "0.5 .5 .5 .5 .5",
        "0 1e9 1 1 1",
    ],
)
def test_lines_that_make_no_sense_are_named(tmp_path: Path, line: str) -> None:
    reader = read(put(tmp_path, {"a.png": None, "a.txt": f"{LINE}\n{line}\n"}))
    assert codes(reader) == [("annotation-malformed", "a.txt:3")]
    assert len(boxes(reader).classes) == 1


def test_shares_outside_the_image_and_negative_sizes_are_kept(tmp_path: Path) -> None:
    reader = read(put(tmp_path, {"a.png": None, "a.txt": f"{LINE}0 1.5 0.5 0.5 -0.5\n"}))
    assert boxes(reader).annotated()[1].tolist() == [30, 100, 10, 140]
    assert reader.problems == []


def test_a_label_file_that_is_no_text_leaves_its_image_out(tmp_path: Path) -> None:
    put(tmp_path, {"a.png": None, "a.txt": LINE, "b.png": None})
    (tmp_path / "b.txt").write_bytes(b"0 .5 .5 .5 .5\n\xff\xfe")
    reader = read(tmp_path)
    assert codes(reader) == [("label-unreadable", "b.txt")]
    assert names(reader) == ["a.png"]


def test_a_name_for_each_class_is_demanded_and_counts_compared(tmp_path: Path) -> None:
    put(tmp_path, {"images/a.png": None, "labels/a.txt": LINE})
    put(tmp_path, {"data.yaml": "train: images\nnc: 3\nnames: [cat, dog]\n"})
    assert codes(read(tmp_path)) == [("class-undeclared", "data.yaml")]
    put(tmp_path, {"data.yaml": "train: images\nnames: [cat, ~]\n"})
    with pytest.raises(InputError, match="class 1 has no name"):
        read(tmp_path)


def test_nothing_labelled_and_nothing_found_are_errors(tmp_path: Path) -> None:
    put(tmp_path, {"data.yaml": "train: images\nnames: [cat]\n", "images/a.png": None})
    with pytest.raises(InputError, match="none of its 1 images has a label"):
        read(tmp_path)
    put(tmp_path, {"data.yaml": "train: elsewhere\nnames: [cat]\n"})
    with pytest.raises(InputError, match="train: elsewhere"):
        read(tmp_path)
    with pytest.raises(InputError, match="no keypoints"):
        read(tmp_path, target="keypoints")


# recognising it


@pytest.mark.parametrize(
    "files",
    [
        {"a.png": None, "a.txt": "a cat on a mat\n"},
        {"a.txt": LINE},
        {"labels/a.txt": LINE},
        {"a.png": None, "b.txt": LINE},
        {"a.png": None, "a.txt": "1 2 3 4 5\n6 7 8 9 10\n"},
        {"a.png": None, "a.txt": ""},
        {"data.yaml": "train: images\nnames: [cat]\n", "images/a.png": None},
        {"config.yaml": "train:\n  images: i\n  masks: m\nclasses: {0: x}\n", "i/a.png": None},
    ],
)
def test_other_folders_are_not_taken_for_it(tmp_path: Path, files: dict[str, str | None]) -> None:
    assert YoloReader.detect(put(tmp_path, files)) is None


def test_nothing_hangs_and_a_bad_yaml_is_named(tmp_path: Path) -> None:
    put(tmp_path, {"images/a.png": None, "labels/a.txt": LINE})
    os.mkfifo(tmp_path / "labels/b.txt")
    os.mkfifo(tmp_path / "data.yaml")
    (tmp_path / "images" / "loop").symlink_to(tmp_path)
    assert YoloReader.detect(tmp_path) is not None
    assert len(read(tmp_path)) == 1
    (tmp_path / "data.yaml").unlink()
    put(tmp_path, {"data.yaml": "train: [images\n"})
    with pytest.raises(InputError, match=r"data\.yaml:2"):
        open_data(tmp_path)


def test_without_labels_images_are_listed(tmp_path: Path) -> None:
    reader = read(put(tmp_path, {"images/a.png": None, "images/b.png": None}), labelled=False)
    assert names(reader) == ["images/a.png", "images/b.png"]


# polygons


def test_polygons_are_masks_with_the_smaller_on_top(tmp_path: Path) -> None:
    small = "1 0.25 0.25 0.5 0.25 0.5 0.5 0.25 0.5"
    put(tmp_path, {"a.png": None, "a.txt": f"{small}\n0 {SQUARE}\n", "classes.txt": "cat\ndog\n"}, size=(4, 4))
    reader = read(tmp_path)
    assert (reader.target, reader.classes) == ("mask", ("background", "cat", "dog"))
    assert mask(reader) == [[0, 0, 0, 0], [0, 2, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert reader.settled.target == "mask"


def test_a_class_called_background_is_the_background(tmp_path: Path) -> None:
    put(tmp_path, {"a.png": None, "a.txt": f"2 {SQUARE}\n", "classes.txt": "cat\nBackground\ndog\n"}, size=(4, 4))
    reader = read(tmp_path)
    assert reader.classes == ("background", "cat", "dog")
    assert mask(reader)[1] == [0, 2, 2, 0]


def test_polygons_are_boxes_where_boxes_are_asked_for_or_in_the_majority(tmp_path: Path) -> None:
    put(tmp_path, {"a.png": None, "a.txt": f"0 {SQUARE}\n"}, size=(4, 8))
    assert boxes(read(tmp_path, target="boxes")).annotated().tolist() == [[1, 2, 3, 6]]
    put(tmp_path, {"a.txt": f"0 {SQUARE}\n{LINE}"})
    reader = read(tmp_path)
    assert reader.target == "boxes"
    assert "1 of them around polygons" in reader.found


def test_boxes_are_filled_where_masks_are_asked_for(tmp_path: Path) -> None:
    put(tmp_path, {"a.png": None, "a.txt": "0 .5 .5 .5 .5\n"}, size=(4, 4))
    assert mask(read(tmp_path, target="mask"))[1] == [0, 1, 1, 0]


def test_more_than_255_classes_need_a_wider_mask(tmp_path: Path) -> None:
    put(tmp_path, {"a.png": None, "a.txt": f"299 {SQUARE}\n"}, size=(4, 4))
    target = read(tmp_path).targets(0)["mask"]
    assert isinstance(target, Mask)
    assert (int(target.values.max()), target.ignore) == (300, -1)


def test_keypoints_after_a_box_are_passed_over(tmp_path: Path) -> None:
    text = "train: images\nkpt_shape: [2, 3]\nnames: [cat]\n"
    put(tmp_path, {"data.yaml": text, "images/a.png": None, "labels/a.txt": "0 .5 .5 .5 .5 .1 .1 2 .2 .2 1\n"})
    reader = read(tmp_path)
    assert boxes(reader).annotated().tolist() == [[10, 20, 30, 60]]
    assert "keypoints are passed over" in reader.found


# images of another set


def test_images_are_looked_for_beside_the_set(tmp_path: Path) -> None:
    put(tmp_path, {"seg/data.yaml": "train: ../images/train\nnames: [cat]\n", "seg/labels/train/a.txt": LINE})
    put(tmp_path, {"det/images/train/a.png": None, "det/labels/train/a.txt": LINE * 2, "x/images/train/b.png": None})
    reader = read(tmp_path / "seg")
    assert names(reader) == ["../det/images/train/a.png"]
    assert len(boxes(reader).classes) == 1
    assert "../det/images/train" in reader.found


def test_images_from_a_folder_that_is_told(tmp_path: Path) -> None:
    put(tmp_path, {"set/data.yaml": "train: images/train\nnames: [cat]\n", "set/labels/train/a.txt": LINE})
    put(tmp_path, {"photos/train/a.png": None})
    assert names(read(tmp_path / "set", images=str(tmp_path / "photos"))) == ["../photos/train/a.png"]


# the real sets


def test_coco128_boxes_are_read_as_their_source_says(shared_data: Callable[[str], Path]) -> None:
    reader = open_data(shared_data("coco128/object_detection"))
    assert (reader.format, len(reader.classes)) == ("yolo", 80)
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 128, "val": 128}
    counts = {n: sum(len(boxes(reader, int(at)).classes) for at in rows) for n, rows in reader.splits.items()}
    # the source counts the lines of label files: 941 + 898, of which 12 are of two images that it does not have
    assert counts == {"train": 941 - 12, "val": 898}
    assert [code for code, _ in codes(reader)].count("label-without-image") == 2
    assert "2 more label files with 12 objects have no image" in reader.found


def test_coco128_polygons_find_their_images_beside_them(shared_data: Callable[[str], Path]) -> None:
    reader = open_data(shared_data("coco128/instance_segmentation"))
    assert (reader.format, reader.target, len(reader.classes)) == ("yolo", "mask", 81)
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 100, "val": 100}
    assert "../object_detection/images/train2017" in reader.found
    assert reader.problems == []
    target = reader.targets(0)["mask"]
    assert isinstance(target, Mask)
    assert tuple(target.values.shape) == reader.size(0)
    assert {reader.classes[value] for value in target.values.unique().tolist()} >= {"background", "bowl", "broccoli"}
