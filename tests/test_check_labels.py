"""Faults of classes, splits and groups, found by the doctor."""

from collections.abc import Sequence
from typing import Any

from memory_reader import MemoryReader, photo
from striate.data.doctor.diagnosis import Finding
from striate.data.doctor.examine import examine

PHOTOS = [photo(seed) for seed in range(60)]


def found(labels: Sequence[int], code: str, **more: Any) -> Finding:
    """The finding of a code for photos with these labels."""
    finding = examine(MemoryReader(PHOTOS[: len(labels)], labels=labels, **more)).finding(code)
    assert finding is not None, f"{code} was not found"
    return finding


def test_a_class_that_is_never_used_is_named() -> None:
    assert found([0, 1] * 12, "class-unused", classes=("a", "b", "c")).details == ("class 2, c",)


def test_rare_and_unequal_classes_are_told_with_their_counts() -> None:
    labels = [0] * 57 + [1] * 3
    assert found(labels, "class-rare").details == ("dog: 3 samples",)
    assert found(labels, "imbalance").details == ("cat has 57 samples, dog 3: 19 to 1",)


def test_names_that_are_alike_are_told() -> None:
    assert found([0, 1] * 12, "class-names-alike", classes=("Red cell", "red_cell")).details == (
        "'Red cell' and 'red_cell'",
    )


def test_classes_missing_on_either_side_are_told() -> None:
    labels = [0, 1] * 20 + [0, 2] * 10
    splits = {"train": range(40), "val": range(40, 60)}
    classes = ("a", "b", "c")
    assert found(labels, "class-missing-in-split", splits=splits, classes=classes).details == ("val lacks 1: b",)
    assert found(labels, "class-never-trained", splits=splits, classes=classes).details == ("c is in val only",)


def test_a_split_too_small_to_measure_with_is_told() -> None:
    splits = {"train": range(50), "test": range(50, 60)}
    assert found([0, 1] * 30, "split-small", splits=splits).details == ("test has 10 of 60 samples",)


def test_no_validation_split_is_a_note() -> None:
    assert found([0, 1] * 12, "no-validation").severity == "note"


def test_groups_divided_between_splits_are_named() -> None:
    groups = [f"patient {number // 4}" for number in range(60)]
    splits = {"train": range(42), "val": range(42, 60)}
    finding = found([0, 1] * 30, "group-split", splits=splits, groups=groups)
    assert finding.count == 1
    assert finding.lines() == ["s40.png: group patient 10 is in train and val"]


def test_a_sample_without_a_label_is_named() -> None:
    assert found([0, 1] * 12 + [-1], "image-without-label").files == ("s24.png",)
