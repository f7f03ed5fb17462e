"""The metric of detection: merging, one threshold for everything, padded outputs, and events in signals."""

import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from box_scenes import scene
from striate.core.targets import Boxes
from striate.ops.average_precision import area_under_curve, coco_figures
from striate.ops.box_sets import FoundBoxes, TrueBoxes
from striate.ops.detection_metrics import DetectionMetrics
from striate.ops.event_metrics import Tolerance, event_average_precision, event_f1


def targets_of(truth):
    return [
        Boxes.from_bounds(torch.tensor(bounds), torch.tensor(kinds), torch.tensor(marks))
        for bounds, kinds, marks in zip(*truth[:3], strict=True)
    ]


def measured(found, truth, rows, classes, axes=2, areas=True, **options):
    made = DetectionMetrics(classes, axes=axes, **options)
    targets, names = targets_of(truth), ("bounds", "classes", "scores")
    decoded = {name: [part[row] for row in rows] for name, part in zip(names, found, strict=True)}
    made.update(decoded, [targets[row] for row in rows], [truth[3][row] for row in rows] if areas else None, rows)
    return made


def flat(value):
    return json.dumps(value, allow_nan=False, sort_keys=True)


@settings(deadline=None, max_examples=15)
@given(
    st.integers(0, 10**6),
    st.sampled_from([1, 2, 3]),
    st.lists(st.integers(0, 12), max_size=4),
    st.randoms(use_true_random=False),
)
def test_any_division_and_order_gives_exactly_the_same(seed, axes, cuts, shuffler):
    found, truth = scene(seed, classes=3, axes=axes, steps=4)
    order = list(range(12))
    whole = measured(found, truth, order, 3, axes).compute()
    shuffler.shuffle(order)
    merged = DetectionMetrics(3, axes=axes)
    for rows in np.split(np.array(order), sorted(cuts)):
        merged.merge(measured(found, truth, rows.tolist(), 3, axes))
    assert flat(merged.compute()) == flat(whole)


def test_figures_are_those_of_coco_and_areas_of_outlines_are_used():
    found, truth = scene(3, classes=3, crowds=0.2)
    made = measured(found, truth, list(range(12)), 3).compute()
    expected = coco_figures(*found, *truth, count=3)
    assert {name: made[name] for name in expected} == {k: None if v < 0 else v for k, v in expected.items()}
    without = measured(found, truth, list(range(12)), 3, areas=False).compute()
    assert {name: without[name] for name in expected} == {
        k: None if v < 0 else v for k, v in coco_figures(*found, *truth[:3], count=3).items()
    }
    assert made["map"] == pytest.approx(np.mean([value for value in made["average_precision"] if value is not None]))
    assert made["curves"]["precision"][0] is not None and len(made["curves"]["precision"][0]) == 101
    assert np.mean(made["curves"]["precision"][1]) == pytest.approx(made["average_precision50"][1])


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from([None, 0.0, 0.35, 0.5, 1.0]))
def test_the_table_and_the_confusion_matrix_are_at_one_threshold(seed, threshold):
    found, truth = scene(seed, classes=3, steps=20)
    made = measured(found, truth, list(range(12)), 3, threshold=threshold).compute()
    assert made["threshold"] == (made["best_threshold"] if threshold is None else threshold)
    matrix = np.array(made["confusion"])
    support, boxes = np.array(made["support"]), matrix[:3].sum(axis=1)
    assert (boxes == support).all() and matrix[3, 3] == 0
    said = matrix[:, :3].sum(axis=0)
    counted = sum(int((scores >= made["threshold"]).sum()) for scores in found[2])
    ignored = any(marks.any() for marks in truth[2])
    assert said.sum() <= counted and (ignored or said.sum() == counted)
    for number in range(3):
        right = matrix[number, number]
        assert made["recall"][number] == (right / support[number] if support[number] else None)
        assert made["precision"][number] == (right / said[number] if said[number] else None)
    place = round(100 * made["threshold"])
    for number, curve in enumerate(made["curves"]["f1"]):
        if curve is not None:
            assert made["f1"][number] == pytest.approx(curve[place])
    if made["best_f1"] is not None:
        assert made["best_f1"] == max(made["curves"]["mean_f1"])
        assert threshold is not None or made["macro_f1"] == pytest.approx(made["best_f1"])


def test_the_confusion_matrix_of_a_case_that_is_known():
    boxes = [[0.0, 0, 10, 10], [50, 50, 60, 60], [90, 90, 99, 99]]
    target = Boxes.from_bounds(torch.tensor(boxes), torch.tensor([0, 1, 1]))
    made = DetectionMetrics(2, threshold=0.5)
    decoded = {
        "bounds": [[boxes[0], boxes[0], boxes[1], [200, 200, 210, 210], boxes[2]]],
        "classes": [[0, 0, 0, 1, 1]],
        "scores": [[0.9, 0.8, 0.7, 0.6, 0.4]],
    }
    made.update(decoded, [target])
    result = made.compute()
    assert result["confusion"] == [[1, 0, 0], [1, 0, 1], [1, 1, 0]]
    assert result["precision"] == [1 / 3, 0.0] and result["recall"] == [1.0, 0.0]
    assert result["worst"] == [{"image": 0, "weight": pytest.approx(2 + 0.8 + 0.7 + 0.6), "missed": 2,
                                "false_positives": 3}]  # fmt: skip


def test_padded_tensors_say_how_many_entries_are_meant():
    found, truth = scene(8, images=3, classes=2)
    listed = measured(found, truth, [0, 1, 2], 2, areas=False)
    counts = [len(scores) for scores in found[2]]
    bounds, kinds, scores = torch.zeros(3, 90, 4).double(), torch.full((3, 90), -1), torch.full((3, 90), -7.0).double()
    for row, count in enumerate(counts):
        bounds[row, :count] = torch.tensor(found[0][row])
        kinds[row, :count] = torch.tensor(found[1][row])
        scores[row, :count] = torch.tensor(found[2][row])
    padded = DetectionMetrics(2)
    decoded = {
        "bounds": bounds,
        "classes": kinds,
        "scores": scores,
        "count": torch.tensor(counts),
    }
    padded.update(decoded, targets_of(truth), index=torch.arange(3))
    assert flat(padded.compute()) == flat(listed.compute())


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_perfect_outputs_score_one(axes):
    _, truth = scene(4, classes=3, axes=axes, crowds=0.0, side=60.0, most=3)
    perfect = truth[0], truth[1], [np.full(len(kinds), 0.8) for kinds in truth[1]]
    made = measured(perfect, truth, list(range(12)), 3, axes).compute()
    for name in (
        "map",
        "map50",
        "ar100",
        "best_f1",
        "macro_f1",
        *(["event_map_50_95", "event_f1"] if axes == 1 else []),
    ):
        assert made[name] == 1.0, name
    assert made["threshold"] == pytest.approx(0.4)  # the middle of what serves equally well
    assert not any(made["errors"]["counts"].values()) and made["worst"] == []


def test_images_without_boxes_and_without_detections_leave_no_figures():
    made = DetectionMetrics(2)
    made.update({"bounds": [[]], "classes": [[]], "scores": [[]]}, [Boxes(torch.zeros(0, 4, 2), torch.zeros(0))])
    result = made.compute()
    assert result["map"] is None and result["average_precision"] == [None, None] and result["best_f1"] is None
    flat(result)
    with pytest.raises(ValueError, match="nothing to compute"):
        DetectionMetrics(2).compute()


def test_what_does_not_fit_is_refused_and_leaves_no_trace():
    found, truth = scene(5, images=1, classes=2)
    targets = targets_of(truth)
    decoded = dict(zip(("bounds", "classes", "scores"), found, strict=True))
    made = DetectionMetrics(2)
    for wrong, message in (
        ({**decoded, "scores": [found[2][0] + 1]}, "scores are between 0 and 1"),
        ({**decoded, "classes": [found[1][0] + 2]}, "came with 2 classes"),
        ({**decoded, "scores": []}, "1 targets came with"),
        ({"bounds": found[0]}, "classes, scores did not come"),
        ({**decoded, "count": [1, 2]}, "2 counts"),
    ):
        with pytest.raises(ValueError, match=message):
            made.update(wrong, targets)
    with pytest.raises(ValueError, match="boxes with 1 axes were expected"):
        DetectionMetrics(2, axes=1).update(
            {k: [np.zeros(0)] for k in decoded}, [Boxes(torch.zeros(1, 4, 2), torch.zeros(1))]
        )
    assert not made.images
    with pytest.raises(ValueError, match="different arguments"):
        made.merge(DetectionMetrics(3))
    made.update(decoded, targets, index=[4])
    made.merge(made)
    with pytest.raises(ValueError, match="position 4 of the data came twice"):
        made.compute()
    mixed = DetectionMetrics(2)
    mixed.update(decoded, targets, index=[4])
    mixed.update(decoded, targets)
    with pytest.raises(ValueError, match="some without"):
        mixed.compute()


def most_pairs(possible):
    """The size of the largest matching, by trying every assignment."""
    rows, columns = possible.shape
    if rows > columns:
        return most_pairs(possible.T)
    return max((sum(possible[r, c] for r, c in enumerate(chosen)) for chosen in
                itertools.permutations(range(columns), rows)), default=0)  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.booleans())
def test_event_f1_forms_as_many_pairs_as_possible(seed, starts_only):
    r = np.random.default_rng(seed)
    start, start_d = r.uniform(0, 30, int(r.integers(1, 6))), r.uniform(0, 30, int(r.integers(1, 6)))
    bounds, bounds_d = (np.stack((s, s + r.uniform(4, 20, len(s))), axis=1) for s in (start, start_d))
    found = FoundBoxes.of_images([bounds_d], [np.zeros(len(start_d), int)], [np.ones(len(start_d))], axes=1)
    truth = TrueBoxes.of_images([bounds], [np.zeros(len(start), int)], axes=1)
    tolerance = Tolerance(samples=5.0, share=0.4, starts_only=starts_only)
    allowed = np.maximum(5.0, 0.4 * (bounds[:, 1] - bounds[:, 0]))
    near = np.abs(bounds_d[:, None, 0] - bounds[None, :, 0]) <= allowed
    if not starts_only:
        near &= np.abs(bounds_d[:, None, 1] - bounds[None, :, 1]) <= allowed
    pairs = most_pairs(near)
    made = event_f1(found, truth, 2, tolerance)
    assert made["event_recall"] == pairs / len(start) and made["event_precision"] == pairs / len(start_d)
    assert made["event_f1"] == pytest.approx(2 * pairs / (len(start) + len(start_d)))
    assert made["event_f1_by_class"][1] is None


def test_events_within_ignored_ones_do_not_count_and_other_images_and_classes_do_not_help():
    found = FoundBoxes.of_images([[[0, 10], [0, 10.5]], [[0, 10]]], [[0, 1], [0]], [[0.9, 0.8], [0.7]], axes=1)
    truth = TrueBoxes.of_images([[[0, 10]], [[0, 10]]], [[0], [0]], [[False], [True]], axes=1)
    made = event_f1(found, truth, 2, Tolerance())
    assert (made["event_precision"], made["event_recall"]) == (0.5, 1.0)
    with pytest.raises(ValueError, match="not negative"):
        Tolerance(samples=-1)


def test_event_average_precision_of_a_case_that_is_known():
    # overlaps .8, 0 and .4 by falling score, of three events
    found = FoundBoxes.of_images([[[0, 8], [90, 99], [20, 24]]], [[0, 0, 0]], [[0.9, 0.8, 0.7]], axes=1)
    truth = TrueBoxes.of_images([[[0, 10], [20, 30], [40, 50]]], [[0, 0, 0]], axes=1)
    made = event_average_precision(found, truth, 3, (0.3, 0.5, 0.9))
    assert made == pytest.approx([(1 + 2 / 3) / 3, 1 / 3, 0.0])
    assert made[0] == pytest.approx(area_under_curve(np.array([1, 0, 1]), np.ones(3, int), 3))
    flat_scene = scene(1, axes=2)
    with pytest.raises(ValueError, match="events are intervals"):
        event_f1(FoundBoxes.of_images(*flat_scene[0]), TrueBoxes.of_images(*flat_scene[1]), 4, Tolerance())
    nothing = TrueBoxes.of_images([np.zeros((0, 2))], [np.zeros(0, int)], axes=1)
    assert event_average_precision(found, nothing, 1, (0.5,)) == [None]


def test_a_signal_gets_event_figures_beside_the_usual_ones():
    found, truth = scene(11, axes=1, classes=2, crowds=0.0)
    made = measured(found, truth, list(range(12)), 2, 1, tolerance=Tolerance(samples=3)).compute()
    assert "map_small" not in made
    assert made["event_map_30_70"] == pytest.approx(np.mean([made[f"event_map{level}"] for level in range(30, 71, 10)]))
    assert made["event_map30"] >= made["event_map70"]
    assert made["event_tolerance"] == {"samples": 3, "share": 0.25, "starts_only": False}
