"""Faults of boxes and intervals as annotated."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.data.doctor.check_boxes import box_faults

SIZE = (100, 200)
CLASSES = ("cat", "dog")


def faults(
    boxes: Sequence[Sequence[float]], labels: Sequence[int] | None = None, size: tuple[int, ...] = SIZE
) -> list[str]:
    bounds = np.array(boxes, dtype=np.float64)
    numbers = np.zeros(len(boxes), np.int64) if labels is None else np.array(labels)
    return [fault.code for fault in box_faults(bounds, numbers, size, CLASSES)]


@pytest.mark.parametrize(
    ("box", "code"),
    [
        ((10, 20, 10, 40), "box-empty"),
        ((10, 20, 30, float("nan")), "box-empty"),
        ((30, 20, 10, 40), "box-inverted"),
        ((10, 40, 30, 20), "box-inverted"),
        ((120, 20, 140, 40), "box-outside"),
        ((10, 200, 30, 230), "box-outside"),
        ((-30, 20, -5, 40), "box-outside"),
        ((-3, 20, 30, 40), "box-beyond"),
        ((10, 20, 30, 203), "box-beyond"),
        ((10, 20, 13, 60), "box-tiny"),
        ((0, 0, 100, 200), "box-whole-image"),
    ],
)
def test_a_fault_is_told_once_and_by_its_name(box: tuple[float, ...], code: str) -> None:
    assert faults([box]) == [code]


def test_rounding_at_the_edge_is_no_fault() -> None:
    assert faults([(-0.3, 10, 50, 200.4)]) == []


def test_the_same_box_again_is_a_duplicate_and_under_another_class_a_contradiction() -> None:
    box = (10, 20, 50, 60)
    assert faults([box, (1, 2, 30, 40), box]) == ["box-duplicate"]
    assert faults([box, box], [0, 1]) == ["box-two-classes"]


def test_a_crowd_may_be_tiny_whole_or_twice_there() -> None:
    bounds = np.array([(0, 0, 100, 200), (0, 0, 100, 200), (1, 1, 3, 3)], dtype=np.float64)
    assert box_faults(bounds, np.zeros(3, np.int64), SIZE, CLASSES, np.ones(3, bool)) == []


def test_the_words_count_boxes_from_one_and_name_the_class() -> None:
    (fault,) = box_faults(np.array([[30.0, 20, 10, 40]]), np.array([1]), SIZE, CLASSES)
    assert fault.detail == "box 1, dog: x 20 to 40, y 30 to 10 of 200 x 100"


def test_an_event_beyond_its_signal_is_outside_and_a_short_one_is_not_tiny() -> None:
    assert faults([(90, 120)], size=(100,)) == ["event-outside"]
    assert faults([(10, 12)], size=(100,)) == []


def test_no_boxes_have_no_faults() -> None:
    assert box_faults(np.zeros((0, 4)), np.zeros(0, np.int64), SIZE) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.integers(4, 90)] * 2, st.integers(5, 9), st.integers(5, 100)), max_size=8, unique=True))
def test_good_boxes_have_no_faults(items: list[tuple[int, int, int, int]]) -> None:
    boxes = np.array([(y, x, y + high, x + wide) for y, x, high, wide in items], dtype=np.float64).reshape(-1, 4)
    assert box_faults(boxes, np.zeros(len(boxes), np.int64), SIZE) == []
