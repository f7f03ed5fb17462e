"""COCO JSON is read as it stands, in every layout that tools write: boxes, masks and keypoints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from coco_sets import CATEGORIES, box, boxes, content, image, mask, one_image, said, written
from striate.core.errors import InputError
from striate.core.sample import Keypoints
from striate.data.collection import ReaderOptions
from striate.data.formats.coco_targets import pairs_of
from striate.data.formats.outlines import encode_rle, fill
from striate.data.reader import open_data

LAYOUTS = {
    "official": ("annotations/instances_{}2017.json", "{}2017/"),
    "images folder": ("annotations/instances_{}.json", "images/{}/"),
    "one images folder": ("annotations/{}.json", "images/{}_"),
    "roboflow": ("{}/_annotations.coco.json", "{}/"),
    "json at the top": ("{}.json", "{}/"),
    "nested": ("{}/annotations/instances.json", "{}/images/"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_found_with_its_splits(tmp_path: Path, layout: str) -> None:
    jsons, images = LAYOUTS[layout]
    for split in ("train", "valid"):
        place, _, prefix = images.format(split).rpartition("/")
        names = [f"{prefix}{split}{number}.jpg" for number in range(3)]
        for name in names:
            image(tmp_path / place / name)
        written(tmp_path / jsons.format(split), content(names, [box(2)]))
    reader = open_data(tmp_path)
    assert reader.format == "coco"
    assert {split: len(rows) for split, rows in reader.splits.items()} == {"train": 3, "val": 3}
    assert [len(boxes(reader, position).points) for position in range(6)] == [0, 0, 1, 0, 0, 1]
    assert not reader.problems
    assert "6 images with 2 boxes of 2 classes (3 train, 3 val), COCO JSON" in reader.found


def test_one_json_file_is_a_data_set(tmp_path: Path) -> None:
    image(tmp_path / "val2017" / "a.jpg")
    reader = open_data(written(tmp_path / "annotations" / "instances_val2017.json", content(["a.jpg"], [box()])))
    assert list(reader.splits) == ["all"]
    assert reader.name(0) == "a.jpg"


def test_images_in_a_folder_called_as_the_file_are_found(tmp_path: Path) -> None:
    image(tmp_path / "images" / "default" / "a.jpg")
    written(tmp_path / "annotations" / "instances_default.json", content(["a.jpg"], [box()]))
    assert list(open_data(tmp_path).splits) == ["all"]


def test_names_may_have_folders_and_backslashes(tmp_path: Path) -> None:
    image(tmp_path / "images" / "x" / "a.jpg")
    image(tmp_path / "images" / "y" / "b.jpg")
    written(tmp_path / "set.json", content(["x/a.jpg", "y\\b.jpg"], [box(0), box(1, number=1)]))
    reader = open_data(tmp_path)
    assert [reader.name(place) for place in range(2)] == ["images/x/a.jpg", "images/y/b.jpg"]
    assert not reader.problems


def test_the_folder_of_the_images_can_be_named(tmp_path: Path) -> None:
    image(tmp_path / "elsewhere" / "a.jpg")
    written(tmp_path / "set" / "instances.json", content(["a.jpg"], [box()]))
    with pytest.raises(InputError, match=r"none of its 1 images \(such as a.jpg\) is there.*option images"):
        open_data(tmp_path / "set")
    assert len(open_data(tmp_path / "set", options=ReaderOptions(images="../elsewhere"))) == 1
    assert len(open_data(tmp_path / "set", options=ReaderOptions(images=str(tmp_path / "elsewhere")))) == 1


def test_a_split_without_its_images_is_said_and_left_out(tmp_path: Path) -> None:
    image(tmp_path / "val2017" / "a.jpg")
    for split in ("train", "val"):
        written(tmp_path / "annotations" / f"instances_{split}2017.json", content([f"{split[2]}.jpg"], [box()]))
    (tmp_path / "val2017" / "a.jpg").rename(tmp_path / "val2017" / "l.jpg")
    reader = open_data(tmp_path)
    assert list(reader.splits) == ["val"]
    assert "none of its 1 images (such as a.jpg)" in said(reader, "listed-missing")[0]


def test_files_for_other_tasks_are_passed_over_aloud(tmp_path: Path) -> None:
    image(tmp_path / "train2017" / "a.jpg")
    for kind in ("instances", "person_keypoints", "captions"):
        written(tmp_path / "annotations" / f"{kind}_train2017.json", content(["a.jpg"], [box()]))
    reader = open_data(tmp_path)
    assert reader.skipped == [("annotations/person_keypoints_train2017.json", "passed over: instances was read")]


def test_two_files_of_one_split_are_asked_about(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.jpg")
    for name in ("a", "b"):
        written(tmp_path / f"{name}.json", content(["a.jpg"], [box()]))
    with pytest.raises(InputError, match="2 COCO files name no split"):
        open_data(tmp_path)


def test_boxes_are_read_as_they_stand_in_order_of_category_id(tmp_path: Path) -> None:
    bad = [[1.25, 2.5, 3.125, 4], [0, 0, 0, 5], [5, 5, -2, 3], [25, 5, 20, 3]]
    rows = [box(bbox=bbox, category=3 if place else 18, number=place) for place, bbox in enumerate(bad)]
    rows[3]["iscrowd"] = 1
    reader = open_data(one_image(tmp_path, rows))
    assert reader.classes == ("car", "dog")
    found = boxes(reader)
    assert found.annotated().tolist() == [[2.5, 1.25, 6.5, 4.375], [0, 0, 5, 0], [5, 5, 8, 3], [5, 25, 8, 45]]
    assert found.classes.tolist() == [1, 0, 0, 0]
    assert found.marks.tolist() == [False, False, False, True]
    assert not reader.problems
    assert "(1 of them ignored)" in reader.found


def test_classes_of_several_files_are_matched_by_name(tmp_path: Path) -> None:
    other = [{"id": 1, "name": "car"}, {"id": 2, "name": "cat"}]
    for split, categories, number in (("train", CATEGORIES, 18), ("val", other, 1)):
        image(tmp_path / split / "a.jpg")
        written(tmp_path / f"{split}.json", content(["a.jpg"], [box(category=number)], categories))
    reader = open_data(tmp_path)
    assert reader.classes == ("car", "dog", "cat")
    assert [boxes(reader, place).classes.tolist() for place in range(2)] == [[1], [0]]
    assert "category 'cat' is not in train.json" in said(reader, "class-undeclared")[0]


def test_masks_are_painted_from_the_largest_object_to_the_smallest(tmp_path: Path) -> None:
    small = {"segmentation": [[4, 4, 8, 4, 8, 8, 4, 8]]}
    large = {"segmentation": [[2, 2, 12, 2, 12, 12, 2, 12], [20, 2, 24, 2, 24, 6, 20, 6]]}
    crowd = np.zeros((20, 30), dtype=bool)
    crowd[10:18, 10:28] = True
    rows = [
        box(category=3, **small, number=1),
        box(category=18, **large, number=2),
        box(category=3, segmentation=encode_rle(crowd, compressed=False), iscrowd=1, number=3),
        box(category=3, segmentation=encode_rle(crowd.copy()[::-1]), number=4),
    ]
    rows[3]["segmentation"] = encode_rle(np.pad(np.ones((2, 2), bool), ((18, 0), (0, 28))))
    found = mask(one_image(tmp_path, rows))
    expected = np.zeros((20, 30), dtype=np.uint8)
    expected[10:18, 10:28] = 255
    expected[2:12, 2:12] = expected[2:6, 20:24] = 2
    expected[4:8, 4:8] = expected[18:20, 0:2] = 1
    assert found.ignore == 255
    assert np.array_equal(found.values.numpy(), expected)
    reader = open_data(tmp_path, options=ReaderOptions(target="mask"))
    assert reader.classes == ("background", "car", "dog")
    assert reader.read(0).targets["mask"].equals(found)


@pytest.mark.parametrize(
    "given", [None, [], [[]], [[1, 2, 3]], [[1, 2, 3, float("nan"), 5, 6]], "x", {"size": [20, 30]}]
)
def test_an_object_without_an_outline_is_unknown_in_the_mask_and_named(tmp_path: Path, given: Any) -> None:
    rows = [box(segmentation=[[20, 10, 25, 10, 25, 15]]), box(bbox=[2, 3, 4, 5], segmentation=given, number=1)]
    folder = one_image(tmp_path, rows)
    found = mask(folder).values.numpy()
    assert (found[3:8, 2:6] == 255).all()
    assert (found == 255).sum() == 20
    reader = open_data(folder, options=ReaderOptions(target="mask"))
    assert "its box is taken as unknown" in said(reader, "annotation-malformed")[0]
    assert not open_data(folder).problems


def test_a_set_without_outlines_is_no_set_of_masks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no annotation has an outline"):
        open_data(one_image(tmp_path, [box(segmentation=[])]), options=ReaderOptions(target="mask"))


@pytest.mark.parametrize(
    ("rle", "words"),
    [
        ({"size": [100_000, 100_000], "counts": [10**10]}, "of the image"),
        ({"size": [20, 30], "counts": [1, 2]}, "add up to 3"),
        ({"size": [20, 30], "counts": "P"}, "middle of a number"),
    ],
)
def test_run_lengths_that_make_no_sense_are_an_error_naming_the_annotation(
    tmp_path: Path, rle: dict[str, Any], words: str
) -> None:
    folder = one_image(tmp_path, [box(segmentation=rle, number=77)])
    with pytest.raises(InputError, match=f"a.jpg, annotation 77: .*{words}"):
        mask(folder)


POINTS = ["nose", "left_eye", "right_eye"]


def test_keypoints_are_the_middles_of_pixels_with_their_pairs(tmp_path: Path) -> None:
    image(tmp_path / "train2017" / "a.jpg")
    rows = [
        box(category=1, keypoints=[5, 6, 2, 7, 8, 1, 0, 0, 0], num_keypoints=2),
        box(category=1, keypoints=[0] * 9, num_keypoints=0, number=1),
        box(category=1, number=2),
        box(category=1, keypoints=[1, 2, 2], num_keypoints=1, number=3),
    ]
    categories = [{"id": 1, "name": "person", "keypoints": POINTS}]
    written(tmp_path / "annotations" / "person_keypoints_train2017.json", content(["a.jpg"], rows, categories))
    reader = open_data(tmp_path)
    target = reader.targets(0)["keypoints"]
    assert isinstance(target, Keypoints)
    assert target.points.tolist() == [[[6.5, 5.5], [8.5, 7.5], [0.5, 0.5]]]
    assert target.visible.tolist() == [[True, True, False]]
    assert target.arrays()["pairs"].tolist() == [[1, 2]]
    assert reader.classes == tuple(POINTS)
    assert "1 people with keypoints of 3 points, 2 others have none" in reader.found
    assert "not 3 times three finite numbers" in said(reader, "annotation-malformed")[0]
    assert open_data(tmp_path, options=ReaderOptions(target="boxes")).target == "boxes"


def test_keypoints_that_nothing_names_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="categories name no keypoints"):
        open_data(one_image(tmp_path, [box()]), options=ReaderOptions(target="keypoints"))


def test_images_to_predict_on_need_no_annotations(tmp_path: Path) -> None:
    image(tmp_path / "test2017" / "a.jpg")
    document = {"images": [{"id": 1, "file_name": "a.jpg"}], "categories": []}
    written(tmp_path / "annotations" / "image_info_test2017.json", document)
    reader = open_data(tmp_path, "coco", ReaderOptions(labelled=False))
    assert len(reader) == 1
    assert reader.targets(0) == {}
    with pytest.raises(InputError):
        open_data(tmp_path, "coco")


def test_pairs_are_found_by_name() -> None:
    assert pairs_of(["left_a", "nose", "right_b", "right_a", "left_b"]).tolist() == [[0, 3], [4, 2]]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside pycocotools
def test_outlines_of_real_photos_are_nearly_the_masks_of_pycocotools(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    home = shared_data("coco128")
    inner, outer = 0, 0
    for file in sorted((home / "instance_segmentation" / "labels" / "val2017").glob("*.txt"))[:12]:
        with Image.open(home / "object_detection" / "images" / "val2017" / f"{file.stem}.jpg") as photo:
            width, height = photo.size
        for line in file.read_text().splitlines():
            polygon = np.array(line.split()[1:], dtype=float).reshape(-1, 2) * (width, height)
            rle = coco.merge(coco.frPyObjects([polygon.ravel().tolist()], height, width))
            theirs = coco.decode(rle).astype(bool)
            ours = fill([polygon[:, ::-1]], (height, width))
            inner, outer = inner + int((ours & theirs).sum()), outer + int((ours | theirs).sum())
    assert inner / outer > 0.99
