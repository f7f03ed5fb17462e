"""Causes of error: cases whose answer is known, and every kind against the definitions applied one box at a time."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from box_scenes import scene, slow_overlap
from striate.ops.average_precision import average_precision
from striate.ops.box_matching import match
from striate.ops.box_sets import FoundBoxes, TrueBoxes
from striate.ops.error_analysis import KINDS, RIGHT, UNCOUNTED, error_analysis, worst_images

A, A_SHIFTED, A_NEAR = (0, 0, 10, 10), (0, 5, 10, 15), (0, 1, 10, 11)  # overlaps with A: 1/3 and 9/11
B, FAR = (50, 50, 60, 60), (200, 200, 220, 220)


def analysed(found, truth, classes=2, ignored=None):
    """Detections (box, class, score) and boxes (box, class) of one image."""
    detections = FoundBoxes.of_images(
        [np.array([one[0] for one in found], float)], [[one[1] for one in found]], [[one[2] for one in found]]
    )
    marks = None if ignored is None else [np.array(ignored)]
    boxes = TrueBoxes.of_images([np.array([one[0] for one in truth], float)], [[one[1] for one in truth]], marks)
    return error_analysis(detections, boxes, classes)


STEP = (51 + 50 * 2 / 3) / 101  # precision 1 up to recall .5, then 2/3
CASES = {
    "a wrong class hides a right one": (
        [(A, 1, 0.9), (B, 1, 0.5)], [(A, 0), (B, 1)], {"class": 1}, 0.25, {"class": 0.75, "false_positive": 0.25}
    ),
    "a wrong place": ([(A_SHIFTED, 0, 0.9)], [(A, 0)], {"localisation": 1}, 0.0, {"localisation": 1.0}),
    "a wrong place scored above the right one": (
        [(A_SHIFTED, 0, 0.9), (A, 0, 0.8)], [(A, 0)], {"localisation": 1}, 0.5, {"localisation": 0.5}
    ),
    "a wrong place scored below the right one": (
        [(A, 0, 0.9), (A_SHIFTED, 0, 0.8)], [(A, 0)], {"localisation": 1}, 1.0, {}
    ),
    "a box found twice": (
        [(A, 0, 0.9), (A_NEAR, 0, 0.8), (B, 0, 0.7)], [(A, 0), (B, 0)], {"duplicate": 1}, STEP, {"duplicate": 1 - STEP}
    ),
    "nothing there": ([(FAR, 0, 0.9), (A, 0, 0.8)], [(A, 0)], {"background": 1}, 0.5, {"background": 0.5}),
    "wrong class and wrong place": (
        [(A_SHIFTED, 1, 0.9), (B, 1, 0.8)], [(A, 0), (B, 1)], {"both": 1, "missed": 1}, 0.25,
        {"both": 0.25, "missed": 0.5},
    ),
    "one of two missed": ([(A, 0, 0.9)], [(A, 0), (B, 0)], {"missed": 1}, 51 / 101, {"missed": 50 / 101}),
    "all is right": ([(A, 0, 0.9), (B, 1, 0.2)], [(A, 0), (B, 1)], {}, 1.0, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_kind_and_the_gain_are_those_known(name):
    found, truth, counts, before, gains = CASES[name]
    errors = analysed(found, truth)
    assert errors.counts() == {kind: counts.get(kind, 0) for kind in KINDS}
    assert errors.average_precision() == pytest.approx(before)
    made = errors.gains()
    for kind in KINDS:
        assert made[kind] == pytest.approx(gains.get(kind, 0.0)), kind
    if "false_positive" in gains:
        assert made["false_positive"] == pytest.approx(gains["false_positive"])
    assert not json.dumps(errors.to_json(), allow_nan=False).count("NaN")


def test_false_positives_and_negatives_are_all_that_is_wrong():
    errors = analysed([(FAR, 0, 0.9), (A_SHIFTED, 0, 0.8), (B, 0, 0.7)], [(A, 0), (B, 0), ((90, 0, 99, 9), 0)], 1)
    before = (1 / 3) * 34 / 101  # the third detection is right: recalls up to 1/3
    assert errors.average_precision() == pytest.approx(before)
    assert errors.gains()["false_positive"] == pytest.approx(34 / 101 - before)
    assert errors.gains()["false_negative"] == pytest.approx(1 / 3 - before)
    assert errors.counts_by_class()["missed"] == [1]  # A is not missed: fixing the place finds it


def test_of_two_wrong_classes_about_one_box_the_larger_score_becomes_right():
    errors = analysed([(A, 1, 0.9), (A_NEAR, 1, 0.8), (B, 1, 0.7)], [(A, 0), (B, 1)])
    assert errors.counts()["class"] == 2
    assert errors.gains()["class"] == pytest.approx((1 + 1) / 2 - (0 + 1 / 3) / 2)


def test_ignored_boxes_cause_no_error():
    errors = analysed([(A, 0, 0.9), (A_NEAR, 0, 0.8), (B, 0, 0.7)], [(A, 0), (B, 0)], 1, ignored=[True, False])
    assert errors.kind.tolist() == [UNCOUNTED, UNCOUNTED, RIGHT]
    assert not any(errors.counts().values()) and not errors.missed.any()
    alone = analysed([(A, 0, 0.9)], [(A, 0)], 1, ignored=[True])
    assert alone.average_precision() is None and set(alone.gains().values()) == {None}


def test_nothing_at_all_is_analysed():
    errors = analysed([], [(A, 0)], 1)
    assert errors.counts()["missed"] == 1 and errors.gains()["missed"] == 1.0
    errors = analysed([(A, 0, 0.5)], [], 1)
    assert errors.counts()["background"] == 1 and errors.average_precision() is None


def kind_by_definition(box, number, boxes, kinds, taken):
    overlaps = [slow_overlap(box, other, False) for other in boxes]
    own = max((o for o, k in zip(overlaps, kinds, strict=True) if k == number), default=0.0)
    other = max((o for o, k in zip(overlaps, kinds, strict=True) if k != number), default=0.0)
    if 0.1 <= own < 0.5:
        return "localisation"
    if other >= 0.5:
        return "class"
    if own >= 0.5:
        assert any(o >= 0.5 and t for o, k, t in zip(overlaps, kinds, taken, strict=True) if k == number)
        return "duplicate"
    return "background" if max(own, other) < 0.1 else "both"


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3]), st.booleans())
def test_every_kind_follows_its_definition(seed, axes, whole):
    found, truth = scene(seed, images=6, classes=3, axes=axes, whole=whole, steps=6)
    detections = FoundBoxes.of_images(*found, axes=axes)
    boxes = TrueBoxes.of_images(*truth, axes=axes)
    errors = error_analysis(detections, boxes, 3)
    taken = np.zeros(len(boxes), bool)
    taken[errors.about[errors.kind == RIGHT]] = True
    for place in np.flatnonzero(errors.kind >= 0):
        here = (boxes.images == detections.images[place]) & ~boxes.ignored
        expected = kind_by_definition(
            detections.bounds[place], detections.classes[place], boxes.bounds[here], boxes.classes[here], taken[here]
        )
        assert KINDS[errors.kind[place]] == expected
        if expected in ("class", "localisation"):
            assert slow_overlap(detections.bounds[place], boxes.bounds[errors.about[place]], False) >= 0.1
            assert not errors.missed[errors.about[place]]
    made = average_precision(detections, boxes, 3)
    assert errors.average_precision() == pytest.approx(made.figures()["map50"], abs=1e-12)
    again = error_analysis(detections, boxes, 3, matching=made.matching)
    assert (again.kind == errors.kind).all() and (again.about == errors.about).all()
    assert all(gain > -1e-12 for gain in errors.gains().values())
    assert sum(errors.counts().values()) == (errors.kind >= 0).sum() + errors.missed.sum()


def test_the_worst_images_are_weighed_by_what_is_missed_and_by_false_scores():
    found = FoundBoxes.of_images(
        [[A], [FAR, B, A], [FAR], [A]], [[0], [0, 0, 0], [0], [0]], [[0.9], [0.8, 0.7, 0.2], [0.6], [0.3]]
    )
    truth = TrueBoxes.of_images([[A], [A], [], [A, B]], [[0], [0], [], [0, 0]])
    matching = match(found, truth, (0.5,))
    made = worst_images(found, truth, matching, 0.5)
    assert [(one["image"], one["missed"], one["false_positives"]) for one in made] == [(1, 1, 2), (3, 2, 0), (2, 0, 1)]
    assert [one["weight"] for one in made] == pytest.approx([2.5, 2.0, 0.6])
    assert [one["image"] for one in worst_images(found, truth, matching, 0.5, count=1)] == [1]
    assert [one["image"] for one in worst_images(found, truth, matching, 0.2)] == [1, 3, 2]
