"""Images with masks: which mask belongs to which image, and the real sets."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_sets import SIZE, THREE, halves, mask, pairs, photo, values_of
from striate.core.errors import InputError
from striate.data.collection import ReaderOptions
from striate.data.formats.maskclasses import read_table
from striate.data.formats.maskfiles import read_mask
from striate.data.formats.maskpairs import find_pairs
from striate.data.formats.masks import MaskReader
from striate.data.reader import open_data


@pytest.mark.parametrize(
    "images, masks, end",
    [
        ("images", "masks", ""),
        ("JPEGImages", "SegmentationClass", ""),
        ("imgs", "labels", "_label"),
        ("image", "gt", "_gt"),
        ("images", "annotations", "_L"),
        ("images", "annot", "_unheard-of"),
        ("train", "trainannot", ""),
        ("train", "train_masks", "_mask"),
        ("train", "train_labels", "_L"),
        ("train/images", "train/masks", ""),
        ("images/train", "masks/train", ""),
        ("images/train2017", "masks/train2017", ""),
        (".", ".", "_mask"),
        ("images", "images", "_label"),
        ("deeper/images", "deeper/masks", ""),
    ],
)
def test_layouts_are_found(images: str, masks: str, end: str, tmp_path: Path) -> None:
    reader = open_data(pairs(tmp_path, THREE, images, masks, end))
    assert (reader.format, len(reader), reader.classes) == ("masks", 3, ("0", "1", "2"))
    assert list(reader.splits) == ["train" if "train" in images else "all"]
    assert [values_of(reader, place) for place in range(3)] == [{0, 1}, {1, 2}, {0, 2}]
    assert not reader.problems


def test_folders_of_text_or_of_photos_are_no_masks(tmp_path: Path) -> None:
    for number in range(3):
        photo(tmp_path / f"a/images/{number}.png", (64, 64))
        photo(tmp_path / f"a/labels/{number}.png", (65, 64))
        photo(tmp_path / f"b/images/{number}.png")
        (tmp_path / "b/labels").mkdir(exist_ok=True)
        (tmp_path / f"b/labels/{number}.txt").write_text("0 0.5 0.5 1 1")
        photo(tmp_path / f"c/images/{number}.png")
        mask(tmp_path / f"c/masks/{number}-of-others.txt.png", halves(0, 1)).rename(
            tmp_path / f"c/masks/x{number}y.png"
        )
    assert [MaskReader.detect(tmp_path / name) for name in "abc"] == [None, None, None]


def test_folders_with_pascal_voc_boxes_are_left_to_that_format(tmp_path: Path) -> None:
    pairs(tmp_path, THREE, "JPEGImages", "SegmentationClass")
    assert MaskReader.detect(tmp_path) is not None
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations/p0.xml").write_text("<annotation/>")
    assert MaskReader.detect(tmp_path) is None
    assert len(MaskReader(tmp_path)) == 3


def test_a_link_loop_and_a_fifo_do_not_hang(tmp_path: Path) -> None:
    pairs(tmp_path, THREE)
    (tmp_path / "images/loop").symlink_to(tmp_path / "images")
    os.mkfifo(tmp_path / "masks/p9.png")
    (tmp_path / "masks/self.png").symlink_to(tmp_path / "masks/self.png")
    reader = open_data(tmp_path)
    assert len(reader) == 3
    assert {name for name, _ in reader.skipped} == {"images/loop", "masks/p9.png", "masks/self.png"}


def test_names_that_are_no_text_survive(tmp_path: Path) -> None:
    pairs(tmp_path, THREE)
    name = os.fsdecode(b"\xff\xfe")
    photo(tmp_path / "images" / "x.png").rename(tmp_path / "images" / f"{name}.png")
    mask(tmp_path / "masks" / "x.png", halves(0, 1)).rename(tmp_path / "masks" / f"{name}.png")
    assert f"images/{name}.png" in [open_data(tmp_path).name(place) for place in range(4)]


def test_what_has_no_partner_is_listed(tmp_path: Path) -> None:
    pairs(tmp_path, THREE)
    photo(tmp_path / "images/alone.png")
    mask(tmp_path / "masks/gone.png", halves(0, 1))
    mask(tmp_path / "masks/p1.bmp", halves(0, 1))
    (tmp_path / "images/empty.png").touch()
    reader = open_data(tmp_path)
    assert {(one.code, one.file) for one in reader.problems} == {
        ("image-without-label", "images/alone.png"),
        ("label-without-image", "masks/gone.png"),
        ("twice-labelled", "masks/p1.png"),
    }
    assert reader.skipped == [("images/empty.png", "it is empty (0 bytes)")]


def test_images_of_a_split_without_any_masks_are_listed(tmp_path: Path) -> None:
    pairs(tmp_path, THREE, "train", "trainannot")
    photo(tmp_path / "test/a.png")
    assert [(one.code, one.file) for one in open_data(tmp_path).problems] == [("image-without-label", "test/a.png")]


def test_lists_divide_into_splits(tmp_path: Path) -> None:
    pairs(tmp_path, [*THREE, *THREE])
    (tmp_path / "train.txt").write_text("p0\nimages/p1.png\n")
    (tmp_path / "val.txt").write_text("/far/away/p2.png /far/away/mask/p2.png\np3\nnone\np0\n")
    reader = open_data(tmp_path)
    names = {split: [Path(reader.name(row)).stem for row in rows] for split, rows in reader.splits.items()}
    assert names == {"train": ["p0", "p1"], "val": ["p2", "p3"]}
    assert sorted(one.code for one in reader.problems) == [
        "listed-missing",
        "listed-twice",
        "not-in-a-split",
        "not-in-a-split",
    ]


def test_a_list_of_validation_alone_leaves_the_rest_for_training(tmp_path: Path) -> None:
    (pairs(tmp_path, THREE) / "valid.txt").write_text("p1.png\n")
    assert {split: rows.tolist() for split, rows in open_data(tmp_path).splits.items()} == {"train": [0, 2], "val": [1]}


def test_yaml_names_folders_and_classes(tmp_path: Path) -> None:
    pairs(tmp_path, [halves(0, 7), halves(3, 7)], "a", "b")
    (tmp_path / "config.yaml").write_text(
        "train: {images: a, masks: b}\nclasses: {0: unlabeled, 3: cat, 7: dog}\n", "utf-8"
    )
    reader = open_data(tmp_path)
    assert (reader.classes, list(reader.splits)) == (("cat", "dog"), ["train"])
    assert [values_of(reader, place) for place in range(2)] == [{1, 255}, {0, 1}]


def test_a_yaml_whose_images_are_nowhere_is_an_error_that_says_so(tmp_path: Path) -> None:
    mask(tmp_path / "set/b/x.png", halves(0, 1))
    (tmp_path / "set/config.yaml").write_text("train: {images: ../nowhere, masks: b}\n")
    with pytest.raises(InputError, match=r"the folder \.\./nowhere that config\.yaml names is not there"):
        open_data(tmp_path / "set")


def test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    pairs(tmp_path, THREE, "there/photos", "here/masks")
    reader = open_data(tmp_path / "here", "masks", ReaderOptions(images=str(tmp_path / "there/photos")))
    assert len(reader) == 3
    assert reader.name(0) == "photos/p0.png"


def test_without_labels_only_images_are_listed(tmp_path: Path) -> None:
    pairs(tmp_path, THREE)
    photo(tmp_path / "images/alone.png")
    reader = open_data(tmp_path, "masks", ReaderOptions(labelled=False))
    assert (len(reader), reader.targets(0)) == (4, {})


def test_a_mask_of_another_size_is_given_as_it_is(tmp_path: Path) -> None:
    pairs(tmp_path, THREE)
    mask(tmp_path / "masks/p1.png", np.ones((5, 6), dtype=np.uint8))
    reader = open_data(tmp_path)
    assert reader.targets(1)["mask"].arrays()["values"].shape == (5, 6)
    assert reader.size(1) == SIZE


def test_a_damaged_mask_is_an_error_of_its_sample_alone(tmp_path: Path) -> None:
    pairs(tmp_path, [halves(0, 1)] * 3)
    path = tmp_path / "masks/p1.png"
    path.write_bytes(path.read_bytes()[:50])
    reader = open_data(tmp_path)
    assert values_of(reader, 2) == {0, 1}
    with pytest.raises(InputError, match=r"p1\.png"):
        reader.targets(1)


def test_masks_beyond_the_cap_are_not_decoded(tmp_path: Path) -> None:
    path = mask(tmp_path / "x.png", np.zeros((100, 100), dtype=np.uint8))
    with pytest.raises(InputError, match="10,000 pixels, more than the 9,999 allowed"):
        read_mask(path, 9_999)


@given(st.binary(max_size=80))
def test_class_files_of_any_bytes_are_read_or_refused(data: bytes) -> None:
    import tempfile

    for name in ("classes.txt", "class_dict.csv"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            with suppress(InputError):
                assert read_table(path, Path(folder)).names


def test_an_unlikely_pairing_is_none(tmp_path: Path) -> None:
    for number in range(4):
        photo(tmp_path / f"images/{number}.png")
        mask(tmp_path / f"masks/{'abc'[number % 3]}{number}{'xyz'[number % 3]}.png", halves(0, 1))
    assert find_pairs(tmp_path) is None


def test_camvid_has_eleven_classes_and_void(shared_data: Callable[[str], Path]) -> None:
    reader = open_data(shared_data("camvid"))
    assert {split: len(rows) for split, rows in reader.splits.items()} == {"train": 367, "val": 101}
    assert (len(reader.classes), reader.classes[0], reader.classes[10]) == (11, "Sky", "Bicyclist")
    assert reader.size(0) == (360, 480)
    assert values_of(reader) <= {*range(11), 255}
    assert not reader.problems
    assert open_data(reader.path, options=ReaderOptions(void=255)).classes[-1] == "11"


def test_coco128_masks_find_their_images_in_the_other_set(shared_data: Callable[[str], Path]) -> None:
    reader = open_data(shared_data("coco128") / "semantic_segmentation")
    assert {split: len(rows) for split, rows in reader.splits.items()} == {"train": 100, "val": 100}
    assert reader.settled.void == 0
    assert reader.classes[0] == "person"
    assert all(not reader.unknown_values(place) for place in range(0, 200, 20))  # type: ignore[attr-defined]


@pytest.mark.slow
def test_nuclei_are_28986_objects(shared_data: Callable[[str], Path]) -> None:
    reader = open_data(shared_data("nuclei"), options=ReaderOptions(target="boxes"))
    assert (len(reader), list(reader.splits)) == (664, ["all"])
    counts = [len(reader.targets(place)["boxes"].arrays()["classes"]) for place in range(664)]
    assert sum(counts) == 28_986
