"""Sets of masks with several classes a pixel: found, decided, checked and converted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coco_sets import box, one_image
from command import contents, done, refused
from layer_sets import NAMES, save, small, write_layers
from striate.core.errors import InputError
from striate.data.collection import ReaderOptions
from striate.data.doctor.check_masks import mask_faults, pixel_counts
from striate.data.reader import Reader, open_data

LEFT, TOP = np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.uint8)
LEFT[:, :3], TOP[:2] = 255, 255
RIGHT = 255 - LEFT


def values(reader: Reader, position: int = 0) -> Any:
    return reader.targets(position)["mask"].arrays()["values"].numpy()


def read(path: Path, **options: Any) -> Reader:
    return open_data(path, options=ReaderOptions(**options))


@pytest.mark.parametrize(
    "form",
    ["masks/{name}/{stem}.png", "masks/{stem}_{name}.png", "labels/{stem}-attribute-{name}-mask.png",
     "masks/{name}/{stem}_mask.png", "annotations/{name}/mask_{stem}.png"],
)  # fmt: skip
def test_classes_with_masks_of_their_own_that_overlap_are_bit_sets(tmp_path: Path, form: str) -> None:
    reader = read(small(tmp_path, {"left": [LEFT, LEFT], "top": [TOP, None]}, form))
    assert reader.format == "masks" and reader.target == "mask" and reader.multi_label
    assert reader.classes == ("left", "top") and reader.settled.multi_label is True
    assert (values(reader) == (LEFT > 0) * 1 + (TOP > 0) * 2).all() and (values(reader, 1) == (LEFT > 0)).all()
    assert "several classes a pixel (multi_label), since classes overlap in 1 of 2 images looked at" in reader.found


def test_classes_that_never_overlap_are_one_a_pixel_with_a_background(tmp_path: Path) -> None:
    reader = read(small(tmp_path, {"left": [LEFT, 0 * LEFT], "rest": [RIGHT & TOP, RIGHT]}))
    assert not reader.multi_label and reader.classes == ("background", "left", "rest")
    assert "one class a pixel, since classes overlap in none of 2 images looked at" in reader.found
    assert values(reader).tolist() == [[1, 1, 1, 2, 2, 2]] * 2 + [[1, 1, 1, 0, 0, 0]] * 2
    asked = read(tmp_path, multi_label=True)
    assert asked.multi_label and asked.classes == ("left", "rest") and "as was asked for" in asked.found


def test_overlaps_read_as_one_class_a_pixel_leave_the_smaller_whole(tmp_path: Path) -> None:
    small(tmp_path, {"all": [np.full((4, 6), 255)], "background": [0 * TOP], "top": [TOP]})
    reader = read(tmp_path, multi_label=False)
    assert reader.classes == ("background", "all", "top")
    assert (values(reader) == np.where(TOP > 0, 2, 1)).all()


def test_splits_inside_a_class_and_beside_it_are_found(tmp_path: Path) -> None:
    for split in ("train", "val"):
        save(tmp_path / "images" / split / "a.png", np.zeros((4, 6, 3)))
        for name, layer in (("left", LEFT), ("top", TOP)):
            save(tmp_path / "masks" / name / split / "a.png", layer)
    reader = read(tmp_path)
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 1, "val": 1}
    assert read(write_layers(tmp_path / "other", 8)).splits.keys() == {"train", "val"}


def test_a_list_of_classes_gives_their_order_and_those_without_masks(tmp_path: Path) -> None:
    small(tmp_path, {"left": [LEFT], "top": [TOP]})
    (tmp_path / "classes.txt").write_text("top\nleft\nnever\n")
    reader = read(tmp_path)
    assert reader.classes == ("top", "left", "never") and int(values(reader)[0, 0]) == 3


def test_what_is_unknown_of_one_class_is_unknown(tmp_path: Path) -> None:
    marked = LEFT.copy()
    marked[0, 0] = 128
    reader = read(small(tmp_path, {"left": [marked, LEFT], "top": [TOP, TOP]}))
    assert int(values(reader)[0, 0]) == 255 == reader.targets(0)["mask"].arrays()["ignore"]
    assert reader.settled.void == 128 and reader.unknown_values(0) == {}  # type: ignore[attr-defined]
    other = LEFT.copy()
    other[1, 1] = 7
    small(tmp_path / "damaged", {"left": [LEFT] * 8 + [other], "top": [TOP] * 9})
    assert read(tmp_path / "damaged").unknown_values(8) == {7: 1}  # type: ignore[attr-defined]


def test_masks_of_one_image_must_be_of_one_size(tmp_path: Path) -> None:
    reader = read(small(tmp_path, {"left": [LEFT, LEFT], "top": [TOP, TOP[:2]]}))
    with pytest.raises(InputError, match=r"p1.png: the size of the mask of top is 6 x 2, that of left 6 x 4"):
        reader.targets(1)


def test_masks_that_are_no_yes_or_no_are_refused(tmp_path: Path) -> None:
    numbers = np.arange(24).reshape(4, 6) % 5
    small(tmp_path, {"left": [numbers], "top": [TOP]})
    with pytest.raises(InputError, match=r"hold more than 0 and one other value .*save the mask of a class as 0 and"):
        read(tmp_path)
    with pytest.raises(InputError, match="tell no objects apart"):
        read(tmp_path, target="boxes")


@pytest.mark.parametrize("asked", [True, None])
def test_thirty_one_classes_are_too_many(tmp_path: Path, asked: bool | None) -> None:
    small(tmp_path, {f"class {number}": [TOP] for number in range(31)})
    with pytest.raises(InputError, match="31 classes, and a mask of several classes a pixel holds at most 30"):
        read(tmp_path, multi_label=asked)
    assert len(read(tmp_path, multi_label=False).classes) == 32


def test_several_classes_where_masks_hold_one_number_are_refused(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "images" / f"{number}.png", np.zeros((4, 6, 3)))
        save(tmp_path / "masks" / f"{number}.png", np.arange(24).reshape(4, 6) % 3)
    with pytest.raises(InputError, match=r"its target, mask, has one each; leave that out, or give a mask a class"):
        read(tmp_path, multi_label=True)
    with pytest.raises(InputError, match=r"its target, boxes, has one each; read it with --target mask"):
        read(one_image(tmp_path / "coco", [box()]), multi_label=True)


@pytest.mark.parametrize(
    "masks",
    [("p0.png", "p1.png", "old/p0.png"), ("p0_mask.png", "p1_mask.png", "p1_mask_old.png"),
     ("p0.png", "p1.png", "p1_copy.png")],
)  # fmt: skip
def test_copies_are_no_classes(tmp_path: Path, masks: Sequence[str]) -> None:
    assert not open_data(beside(tmp_path, masks), "masks").multi_label


def test_numbered_masks_are_objects_and_no_classes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of images with a folder of masks"):
        open_data(beside(tmp_path, ("p0_1.png", "p0_2.png", "p1_1.png", "p1_2.png")), "masks")


def beside(folder: Path, masks: Sequence[str]) -> Path:
    """The images p0 and p1 with masks of these names."""
    for name in masks:
        save(folder / "masks" / name, TOP)
    for name in ("p0", "p1"):
        save(folder / "images" / f"{name}.png", np.zeros((4, 6, 3)))
    return folder


def polygon(x0: int, y0: int, x1: int, y1: int, category: int, **more: Any) -> dict[str, Any]:
    shape = [[x0, y0, x1, y0, x1, y1, x0, y1]]
    return box(category=category, bbox=(x0, y0, x1 - x0, y1 - y0), number=category + x0, segmentation=shape, **more)


def test_coco_outlines_that_overlap_are_both_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    annotations = [polygon(0, 0, 20, 10, 18), polygon(10, 0, 30, 20, 3), polygon(0, 15, 5, 20, 18)]
    annotations.append(polygon(25, 0, 30, 5, 18, iscrowd=1))
    folder = one_image(tmp_path, annotations)
    reader = read(folder, target="mask", multi_label=True)
    assert reader.multi_label and reader.classes == ("car", "dog") and reader.settled.multi_label
    found = values(reader)
    assert found[5, 15] == 0b11 and found[5, 5] == 0b10 and found[12, 15] == 0b01 and found[12, 5] == 0
    assert found[17, 2] == 0b10 and found[2, 27] == 255
    plain = read(folder, target="mask")
    assert not plain.multi_label and plain.classes == ("background", "car", "dog") and plain.settled.multi_label is None


def test_yolo_outlines_that_overlap_are_both_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", np.zeros((20, 40, 3)))
    (tmp_path / "labels").mkdir()
    lines = ("0 0 0 0.5 0 0.5 1 0 1", "1 0.25 0 0.75 0 0.75 1 0.25 1")
    (tmp_path / "labels" / "a.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\ntrain: images\n")
    reader = read(tmp_path, target="mask", multi_label=True)
    assert reader.classes == ("cat", "dog") and reader.multi_label
    assert values(reader)[3, [5, 15, 25, 35]].tolist() == [0b01, 0b11, 0b10, 0]
    assert values(read(tmp_path, target="mask")).max() == 2


def test_faults_are_those_of_bit_sets() -> None:
    classes, mask = ("a", "b", "c"), np.array([[0, 7, 5, 255]], np.uint8)
    assert mask_faults(mask, 255, classes, (1, 4), several=True) == []
    assert mask_faults(mask + np.uint8(1), 255, classes, (1, 4), several=True) == [("mask-values", "value 8")]
    empty = mask_faults(0 * mask, 255, classes, (1, 4), several=True)
    assert empty == [("mask-background", "no pixel has any class")]
    assert pixel_counts(mask, 3, several=True).tolist() == [2, 1, 2]


def test_the_check_counts_pixels_of_every_class_and_draws_them(tmp_path: Path) -> None:
    folder = write_layers(tmp_path / "set", 12)
    found = done("check", folder, "--page", tmp_path / "page.html", "--no-steps")
    assert "3 classes, format masks" in found.out and "mask-values" not in found.out and "0 errors" in found.out
    assert "Drawn in colour: disc, square, stripe" in (tmp_path / "page.html").read_text()
    again = done("check", folder, "--no-multi-label", "--page", tmp_path / "one.html", "--no-steps")
    assert "4 classes, format masks" in again.out


def test_converting_keeps_every_class_pixel_for_pixel(tmp_path: Path) -> None:
    folder = write_layers(tmp_path / "set", 8, empty=False)
    (folder / "classes.txt").write_text("\n".join(reversed(NAMES)) + "\n")
    before = contents(folder)
    done("convert", folder, tmp_path / "copy", "--to", "masks")
    assert contents(folder) == before
    first, second = read(folder), read(tmp_path / "copy")
    assert second.multi_label and second.classes == first.classes == NAMES[::-1] and len(second) == len(first) > 0
    assert all((values(first, place) == values(second, place)).all() for place in range(len(first)))
    one = one_image(tmp_path / "coco", [polygon(0, 0, 20, 10, 18), polygon(10, 0, 30, 9, 3, iscrowd=1)])
    done("convert", one, tmp_path / "layers", "--to", "masks", "--target", "mask", "--multi-label")
    back = read(tmp_path / "layers", multi_label=True)
    assert (values(back) == values(read(one, target="mask", multi_label=True))).all() and (values(back) == 255).any()


def test_what_cannot_be_a_folder_or_hold_several_classes_is_refused(tmp_path: Path) -> None:
    categories = [{"id": 18, "name": "dog/cat"}, {"id": 3, "name": "car"}]
    one = one_image(tmp_path / "coco", [polygon(0, 0, 20, 10, 18)], categories)
    asked = ("--target", "mask", "--multi-label")
    assert "the class 'dog/cat' cannot be the name" in refused("convert", one, tmp_path / "a", "--to", "masks", *asked)
    assert not (tmp_path / "a").exists()
    assert "target is mask" in refused("convert", one, tmp_path / "b", "--to", "coco", *asked)


def test_a_corrected_copy_keeps_every_class(tmp_path: Path) -> None:
    folder = write_layers(tmp_path / "set", 8)
    for part in ("images", *(f"masks/{name}" for name in NAMES)):
        (folder / "train" / part / "99.png").write_bytes((folder / "train" / part / "00.png").read_bytes())
    told = done("check", folder, "--no-steps", "--page", tmp_path / "p.html", "--fix", tmp_path / "fixed").err
    assert "1 copies in one split: left out" in told
    first, second = read(folder), read(tmp_path / "fixed")
    assert second.multi_label and second.classes == first.classes and len(second) == len(first) - 1 == 8
    names = {Path(first.name(place)).stem: place for place in range(len(first))}
    assert all((values(second, p) == values(first, names[Path(second.name(p)).stem])).all() for p in range(8))
