"""Every real data set, without a flag: opened with the counts its source states, looked at, prepared, and loaded."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from striate.core.sample import Boxes
from striate.data.doctor.examine import examine
from striate.data.loader import Loader
from striate.recipes.sources import DataSettings, open_for, open_source

pytestmark = pytest.mark.slow

SETS: dict[str, tuple[str, str, dict[str, int], int]] = {
    "sign-digits": ("image folder", "label", {"all": 2062}, 10),
    "bccd": ("voc", "boxes", {"train": 205, "val": 87, "test": 72}, 3),
    "coco128/object_detection": ("yolo", "boxes", {"train": 128, "val": 128}, 80),
    "coco128/semantic_segmentation": ("masks", "mask", {"train": 100, "val": 100}, 129),
    "coco128/instance_segmentation": ("yolo", "mask", {"train": 100, "val": 100}, 81),
    "camvid": ("masks", "mask", {"train": 367, "val": 101}, 11),
    "nuclei": ("masks", "mask", {"all": 664}, 2),
    "ucr/GunPoint": ("ucr", "label", {"train": 50, "test": 150}, 2),
    "ucr/ArrowHead": ("ucr", "label", {"train": 36, "test": 175}, 3),
    "ucr/ItalyPowerDemand": ("ucr", "label", {"train": 67, "test": 1029}, 2),
    "ucr/OSULeaf": ("ucr", "label", {"train": 200, "test": 242}, 6),
    "ucr/ACSF1": ("ucr", "label", {"train": 100, "test": 100}, 10),
    "ucr/Coffee": ("ucr", "label", {"train": 28, "test": 28}, 2),
    "ucr/PigCVP": ("ucr", "label", {"train": 104, "test": 208}, 52),
    "ucr/Trace": ("arrays", "label", {"train": 100, "test": 100}, 4),
    "ucr/JapaneseVowels": ("ucr", "label", {"train": 270, "test": 370}, 9),
    "ucr/BasicMotions": ("ucr", "label", {"train": 40, "test": 40}, 4),
    "ucr/PLAID": ("ucr", "label", {"train": 537, "test": 537}, 11),
}
"""Name -> format, target, samples of each split, classes."""
BOXES = {"bccd": 4888, "coco128/object_detection": 941 + 898 - 12}
"""Boxes; the label files 656.txt and 659.txt of coco128, with 12 of its 941, have no image."""


@pytest.mark.parametrize("name", SETS)
def test_the_set_is_opened_looked_at_prepared_and_loaded(
    name: str, shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    kind, target, splits, classes = SETS[name]
    settings = DataSettings(path=str(shared_data(name)), cache=str(tmp_path))
    opened = open_for(settings)
    reader = opened.reader
    assert (reader.format, reader.target, len(reader.classes)) == (kind, target, classes)
    assert {split: len(rows) for split, rows in reader.splits.items()} == splits
    if name in BOXES:
        boxes = [reader.targets(position)["boxes"] for position in range(len(reader))]
        assert sum(len(one.classes) for one in boxes if isinstance(one, Boxes)) == BOXES[name]
    diagnosis = examine(reader, workers=1, deep=False)
    assert diagnosis.samples == len(reader) and 0 < diagnosis.looked_at <= len(reader)
    source = open_source(settings, opened=opened)
    assert len(source.shards) == len(reader)
    loader = Loader(source.shards, source.splits["train"], 4, 0, normalise=source.normalise, fit=source.fit)
    batch = loader.batch(0)
    assert tuple(batch.images.shape) == (4, *source.input_shape)
    assert bool(batch.images.isfinite().all()) and set(batch.targets) == {target}


def test_the_two_bad_boxes_of_the_blood_cells_are_found_and_left_out(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = DataSettings(path=str(shared_data("bccd")), cache=str(tmp_path))
    finding = examine(open_for(settings).reader, workers=2).finding("box-empty")
    assert finding is not None and finding.count == 2
    assert [Path(name).stem for name in finding.files] == ["BloodImage_00338", "BloodImage_00343"]
    shards = open_source(settings).shards
    kept = [one for one in shards.targets(np.arange(len(shards)))["boxes"] if isinstance(one, Boxes)]
    assert sum(len(one.classes) for one in kept) == 4886
    assert sum("dropped" in note for _, note in shards.notes) == 2


def test_the_nuclei_are_as_many_as_their_source_states(shared_data: Callable[[str], Path]) -> None:
    from striate.data.collection import ReaderOptions
    from striate.data.reader import open_data

    reader = open_data(shared_data("nuclei"), options=ReaderOptions(target="boxes"))
    boxes = [reader.targets(position)["boxes"] for position in range(len(reader))]
    assert sum(len(one.classes) for one in boxes if isinstance(one, Boxes)) == 28_986
