"""What is written as COCO JSON comes back as it was."""

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coco_sets import box, boxes, content, image, one_image, written
from striate.core.errors import InputError
from striate.data.collection import ReaderOptions
from striate.data.reader import Reader, open_data
from striate.data.writers.coco import _extent, write


def equal(first: Reader, second: Reader) -> bool:
    def listed(reader: Reader) -> dict[str, Any]:
        return {
            Path(reader.name(place)).name: (split, *(part.tolist() for part in boxes(reader, place).arrays().values()))
            for split, rows in reader.splits.items()
            for place in rows.tolist()
        }

    return first.classes == second.classes and listed(first) == listed(second)


def test_a_set_with_crowds_gaps_and_foreign_names_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    categories = [{"id": 90, "name": "Ünïcode 猫"}, {"id": 7, "name": "b"}, {"id": 8, "name": "unused"}]
    for split in ("train", "val", "test"):
        names = [f"x/{split} é{number}.png" for number in range(4)]
        for name in names:
            image(tmp_path / "from" / split / name)
        rows = [
            box(number % 3, [90, 7][number % 2], rng.uniform(0, 20, 4).tolist(), number, iscrowd=number % 4 // 3)
            for number in range(40)
        ]
        rows[0]["bbox"] = [3.1, 4.7, 0, 2.3]
        written(tmp_path / "from" / f"{split}.json", content(names, rows, categories))
    first, spoken = open_data(tmp_path / "from"), []
    (tmp_path / "to").mkdir()
    assert write(first, tmp_path / "to", spoken.append) == []
    assert spoken == ["train: 4 images", "val: 4 images", "test: 4 images"]
    second = open_data(tmp_path / "to")
    assert second.format == "coco"
    assert equal(first, second)
    assert not second.problems
    source, copy = first.source_file(0), second.source_file(0)
    assert source is not None
    assert copy is not None
    assert source.read_bytes() == copy.read_bytes()


@settings(max_examples=200)
@given(st.floats(0, 1e4), st.floats(0, 1e4))
def test_a_box_at_positive_coordinates_comes_back_to_the_last_bit(low: float, more: float) -> None:
    high = low + more
    assert low + _extent(low, high) == high


@settings(max_examples=200)
@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_any_box_comes_back_to_a_billionth_of_a_pixel(low: float, high: float) -> None:
    assert abs(low + _extent(low, high) - high) < 1e-9


def test_keypoints_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    image(tmp_path / "from" / "images" / "a.jpg")
    image(tmp_path / "from" / "images" / "b.jpg")
    rows = [
        box(0, 1, number=number, keypoints=np.column_stack((rng.uniform(0, 20, (3, 2)), [2, 0, 1])).ravel().tolist())
        for number in range(4)
    ]
    categories = [{"id": 1, "name": "person", "keypoints": ["nose", "left_eye", "right_eye"]}]
    written(tmp_path / "from" / "person_keypoints.json", content(["a.jpg", "b.jpg"], rows, categories))
    (tmp_path / "to").mkdir()
    first = open_data(tmp_path / "from")
    assert write(first, tmp_path / "to", lambda line: None) == []
    second = open_data(tmp_path / "to")
    assert (second.target, second.classes, len(second)) == ("keypoints", first.classes, 2)
    mine, theirs = first.targets(0)["keypoints"].arrays(), second.targets(0)["keypoints"].arrays()
    assert torch.allclose(mine["points"], theirs["points"], rtol=0, atol=1e-9)
    assert torch.equal(mine["visible"], theirs["visible"])
    assert torch.equal(mine["pairs"], theirs["pairs"])


def test_masks_are_not_written_as_coco(tmp_path: Path) -> None:
    folder = one_image(tmp_path / "from", [box(segmentation=[[1, 1, 5, 1, 5, 5]])])
    with pytest.raises(InputError, match="its target is mask"):
        write(open_data(folder, options=ReaderOptions(target="mask")), tmp_path, lambda line: None)


def test_what_cannot_be_read_is_left_out_aloud(tmp_path: Path) -> None:
    image(tmp_path / "from" / "images" / "a.jpg")
    (tmp_path / "from" / "images" / "b.jpg").write_bytes(b"no image")
    written(tmp_path / "from" / "set.json", content(["a.jpg", "b.jpg"], [box()]))
    (tmp_path / "to").mkdir()
    lines = write(open_data(tmp_path / "from"), tmp_path / "to", lambda line: None)
    assert len(lines) == 1
    assert "1 samples cannot be read, left out: images/b.jpg" in lines[0]
    assert len(open_data(tmp_path / "to")) == 1


def test_pycocotools_reads_what_was_written(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    folder = one_image(tmp_path / "from", [box(number=1), box(category=3, number=2, iscrowd=1)])
    (tmp_path / "to").mkdir()
    write(open_data(folder), tmp_path / "to", lambda line: None)
    theirs = coco.COCO(tmp_path / "to" / "annotations" / "instances_all.json")
    rows = theirs.loadAnns(theirs.getAnnIds(imgIds=[1], iscrowd=None))
    assert [(row["bbox"], row["category_id"], row["iscrowd"]) for row in rows] == [
        ([1, 2, 3, 4], 2, 0),
        ([1, 2, 3, 4], 1, 1),
    ]


def test_the_blood_cells_as_coco_have_their_boxes(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    source = shared_data("bccd") / "BCCD"
    names = ("RBC", "WBC", "Platelets")
    (tmp_path / "images").symlink_to((source / "JPEGImages").resolve())
    counts = {}
    for split in ("train", "val", "test"):
        listed = (source / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
        rows = []
        for place, stem in enumerate(listed):
            for found in ElementTree.parse(source / "Annotations" / f"{stem}.xml").iter("object"):
                ends = [float(found.findtext(f"bndbox/{side}") or 0) for side in ("xmin", "ymin", "xmax", "ymax")]
                bbox = [ends[0], ends[1], ends[2] - ends[0], ends[3] - ends[1]]
                rows.append(box(place, names.index(found.findtext("name") or "") * 10, bbox, len(rows)))
        counts[split] = len(listed)
        document = content([f"{stem}.jpg" for stem in listed], rows, [])
        document["categories"] = [{"id": 10 * place, "name": name} for place, name in enumerate(names)]
        for entry in document["images"]:
            entry.update(width=640, height=480)
        written(tmp_path / "annotations" / f"instances_{split}.json", document)
    reader = open_data(tmp_path)
    assert (
        {split: len(rows) for split, rows in reader.splits.items()} == counts == {"train": 205, "val": 87, "test": 72}
    )
    assert sum(len(boxes(reader, place).points) for place in range(len(reader))) == 4888
    assert reader.classes == names
    assert not reader.problems
    (tmp_path / "to").mkdir()
    assert write(reader, tmp_path / "to", lambda line: None) == []
    assert equal(reader, open_data(tmp_path / "to"))


def test_a_file_name_that_is_no_utf_8_comes_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xe9.jpg")
    image(tmp_path / "from" / "images" / "a.jpg")
    (tmp_path / "from" / "images" / "a.jpg").rename(tmp_path / "from" / "images" / name)
    written(tmp_path / "from" / "set.json", content([name], [box()]))
    (tmp_path / "to").mkdir()
    first = open_data(tmp_path / "from")
    assert write(first, tmp_path / "to", lambda line: None) == []
    second = open_data(tmp_path / "to")
    assert second.name(0) == f"all/{name}"
    assert equal(first, second)


def test_samples_that_are_no_files_become_png(tmp_path: Path) -> None:
    folder = one_image(tmp_path / "from", [box()])
    reader = open_data(folder)
    reader._collection = replace(reader._collection, images=[reader.image(0)])
    (tmp_path / "to").mkdir()
    write(reader, tmp_path / "to", lambda line: None)
    second = open_data(tmp_path / "to")
    assert second.name(0) == "all/a.jpg.png"
    assert np.array_equal(second.image(0), reader.image(0))
