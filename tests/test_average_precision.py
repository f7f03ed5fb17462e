"""COCO figures against pycocotools and against a slow, obvious scorer in one, two and three axes."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from box_scenes import scene, slow_overlap
from striate.ops import box_matching
from striate.ops.average_precision import AREAS, RECALLS, area_under_curve, average_precision, coco_figures
from striate.ops.box_matching import match
from striate.ops.box_sets import FoundBoxes, TrueBoxes

NAMES = (
    "map", "map50", "map75", "map_small", "map_medium", "map_large",
    "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip


def judged_by_pycocotools(found, truth, classes):
    coco, evaluation = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")

    def xywh(bounds):
        y0, x0, y1, x1 = bounds.tolist()
        return [x0, y0, x1 - x0, y1 - y0]

    annotations = [
        {
            "id": 0, "image_id": image, "category_id": int(kind), "bbox": xywh(box),
            "area": float(area), "iscrowd": int(crowd),
        }
        for image, entries in enumerate(zip(*truth, strict=True))
        for box, kind, crowd, area in zip(*entries, strict=True)
    ]  # fmt: skip
    for number, one in enumerate(annotations, start=1):
        one["id"] = number
    results = [
        {"image_id": image, "category_id": int(kind), "bbox": xywh(box), "score": float(score)}
        for image, entries in enumerate(zip(*found, strict=True))
        for box, kind, score in zip(*entries, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        judge = coco.COCO()
        judge.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(len(truth[0]))],
            "categories": [{"id": number} for number in range(classes)],
            "annotations": annotations,
        }
        judge.createIndex()
        if results:
            answers = judge.loadRes(results)
        else:  # loadRes cannot take an empty list
            answers = coco.COCO()
            answers.dataset = {**judge.dataset, "annotations": []}
            answers.createIndex()
        run = evaluation.COCOeval(judge, answers, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


def compare(found, truth, classes):
    run = judged_by_pycocotools(found, truth, classes)
    ours = coco_figures(*found, *truth, count=classes)
    assert tuple(ours) == NAMES
    np.testing.assert_allclose([ours[name] for name in NAMES], run.stats, rtol=0, atol=1e-9)
    both = average_precision(FoundBoxes.of_images(*found), TrueBoxes.of_images(*truth), classes)
    np.testing.assert_allclose(both.precision, run.eval["precision"][..., -1], rtol=0, atol=1e-9)
    np.testing.assert_allclose(both.recall, run.eval["recall"], rtol=0, atol=1e-9)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.sampled_from([None, 1, 2, 7]),
    st.booleans(),
    st.sampled_from([0.0, 0.15, 0.6]),
)
def test_all_figures_and_curves_equal_pycocotools(seed, classes, steps, whole, crowds):
    found, truth = scene(seed, classes=classes, steps=steps, whole=whole, crowds=crowds)
    compare(found, truth, classes)


@pytest.mark.parametrize("steps", [None, 3])
def test_more_than_a_hundred_detections_of_a_class_in_an_image(steps):
    found, truth = scene(5, images=3, classes=1, most=60, extra=9.0, steps=steps, whole=True)
    assert max(map(len, found[2])) > 100
    compare(found, truth, 1)


def test_classes_without_boxes_images_without_any_and_an_empty_data_set():
    found, truth = scene(7, classes=3)
    compare(found, truth, 6)
    nothing = [np.zeros((0, 4))] * 4, [np.zeros(0, int)] * 4, [np.zeros(0)] * 4
    no_truth = nothing[0], nothing[1], [np.zeros(0, bool)] * 4, nothing[2]
    some, all_of_it = tuple(part[:4] for part in found), tuple(part[:4] for part in truth)
    compare(nothing, all_of_it, 3)
    compare(some, no_truth, 3)
    compare(nothing, no_truth, 3)
    assert set(coco_figures(*some, *no_truth, count=3).values()) == {-1.0}


def test_only_crowds_leave_no_figure():
    found, truth = scene(9, crowds=1.0)
    compare(found, truth, 4)


def test_sizes_exactly_at_the_ends_of_the_ranges_belong_to_both():
    sides = np.array([32.0, 96.0, 31.0, 33.0, 97.0])
    boxes = np.stack((np.zeros(5), 200 * np.arange(5), sides, 200 * np.arange(5) + sides), axis=1)
    kinds, scores = np.zeros(5, int), np.linspace(0.9, 0.5, 5)
    truth = [boxes], [kinds], [np.zeros(5, bool)], [sides**2]
    compare(([boxes + 1], [kinds], [scores]), truth, 1)
    made = average_precision(FoundBoxes.of_images([boxes], [kinds], [scores]), TrueBoxes.of_images(*truth), 1)
    assert made.ranges == tuple(AREAS)
    assert made.support.tolist() == [[5, 2, 3, 2]]
    assert {name: value for name, value in made.figures().items() if value != pytest.approx(1)} == {"ar1": 0.2}


def slow_average_precision(found, truth, threshold, number):
    """One class at one threshold, by the definition, one detection at a time."""
    entries = []
    for image, (boxes, kinds, scores) in enumerate(zip(*found, strict=True)):
        entries += [(-score, image, place, box) for place, (box, kind, score) in
                    enumerate(zip(boxes, kinds, scores, strict=True)) if kind == number]  # fmt: skip
    positives = sum(int(((kinds == number) & ~marks).sum()) for kinds, marks in zip(truth[1], truth[2], strict=True))
    if not positives:
        return -1.0
    free = [(kinds == number) & ~marks for kinds, marks in zip(truth[1], truth[2], strict=True)]
    curve, right, seen = [], 0, 0
    for _, image, _, box in sorted(entries, key=lambda entry: entry[:3]):
        overlaps = np.array([slow_overlap(box, one, crowd) for one, crowd in zip(truth[0][image], truth[2][image],
                                                                                 strict=True)])  # fmt: skip
        open_ones = np.flatnonzero(free[image] & (overlaps >= threshold)) if len(overlaps) else []
        if len(open_ones):
            free[image][max(open_ones, key=lambda place: (overlaps[place], place))] = False
            right += 1
        elif any(overlaps[(truth[1][image] == number) & truth[2][image]] >= threshold):
            continue
        seen += 1
        curve.append((right / positives, right / seen))
    return float(np.mean([max((p for r, p in curve if r >= recall), default=0.0) for recall in RECALLS]))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3]), st.booleans())
def test_any_number_of_axes_equals_the_slow_scorer(seed, axes, whole):
    found, truth = scene(seed, images=6, classes=2, axes=axes, most=5, whole=whole, steps=5)
    made = average_precision(
        FoundBoxes.of_images(*found, axes=axes), TrueBoxes.of_images(*truth, axes=axes), 2, thresholds=(0.3, 0.5, 0.8)
    )
    assert made.ranges == (tuple(AREAS) if axes == 2 else ("all",))
    for place, threshold in enumerate(made.thresholds):
        expected = [slow_average_precision(found, truth, threshold, number) for number in range(2)]
        np.testing.assert_allclose(made.by_class(place), expected, atol=1e-12)


def test_the_partner_is_the_box_matched_at_the_first_threshold():
    found = FoundBoxes.of_images(
        [[[0, 10], [1, 10], [0, 5.5], [50, 60]]], [[0, 0, 0, 0]], [[0.5, 0.9, 0.8, 0.7]], axes=1
    )
    truth = TrueBoxes.of_images([[[0, 6], [0, 10]]], [[0, 0]], axes=1)
    made = match(found, truth, (0.5, 0.95))
    assert made.partner.tolist() == [-1, 1, 0, -1]
    assert made.rank.tolist() == [3, 0, 1, 2]
    assert made.table(made.right).tolist() == [[0, 1], [1, 0], [1, 0], [0, 0]]


def test_comparing_in_small_blocks_changes_nothing(monkeypatch):
    found, truth = scene(6, most=12, extra=3.0)
    made = coco_figures(*found, *truth, count=4)
    for block in (1, 7, 50):
        monkeypatch.setattr(box_matching, "BLOCK", block)
        assert coco_figures(*found, *truth, count=4) == made


def test_the_area_under_the_whole_curve():
    hits, tries = np.array([1, 0, 1, 0], np.uint8), np.ones(4, np.uint8)
    assert area_under_curve(hits, tries, 3) == pytest.approx((1 + 2 / 3) / 3)
    with pytest.raises(ValueError, match="without boxes"):
        area_under_curve(hits, tries, 0)


def test_what_does_not_fit_is_refused():
    box, kind, score = [np.array([[0.0, 0, 4, 4]])], [np.array([0])], [np.array([0.5])]
    with pytest.raises(ValueError, match="from 3 to 3 came with 2 classes"):
        coco_figures(box, [np.array([3])], score, box, kind, count=2)
    with pytest.raises(ValueError, match=r"bounds \(n, 4\)"):
        coco_figures([np.zeros((1, 3))], kind, score, box, kind, count=1)
    with pytest.raises(ValueError, match="detections of 1 images"):
        coco_figures(box, kind, score, box * 2, kind * 2, count=1)
    with pytest.raises(ValueError, match="1 numbers of the scores are not finite"):
        coco_figures(box, kind, [np.array([np.nan])], box, kind, count=1)
    with pytest.raises(ValueError, match="as many of each"):
        coco_figures(box, [np.array([0, 0])], score, box, kind, count=1)
    found, truth = FoundBoxes.of_images(box, kind, score), TrueBoxes.of_images(box, kind)
    with pytest.raises(ValueError, match="rise within"):
        match(found, truth, (0.5, 0.5))
    with pytest.raises(ValueError, match="1 to 64 combinations"):
        match(found, truth, tuple(np.linspace(0.1, 0.9, 65)))
    with pytest.raises(ValueError, match="limits of detections"):
        average_precision(found, truth, 1, limits=(10, 1))
