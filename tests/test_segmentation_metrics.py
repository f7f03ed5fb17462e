"""Metrics of segmentation against naive counting, in any number of axes; splitting changes not one bit."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.ops.segmentation_metrics import MultiLabelSegmentation, Segmentation

SIZES = {1: (17,), 2: (5, 6), 3: (3, 4, 2)}


def flat(value):
    return json.dumps(value, allow_nan=False, sort_keys=True)


def case(seed, axes, classes=4, batch=6, missing=True):
    r = np.random.default_rng(seed)
    truth = r.integers(0, classes - missing, (batch, *SIZES[axes]))
    truth[r.uniform(size=truth.shape) < 0.1] = 255
    scores = np.round(r.normal(size=(batch, classes, *SIZES[axes])), 1)  # rounded: ties occur
    return scores, truth


def divided(above, below):
    return None if below == 0 else float(above / below)


def naive(predicted, truth, classes):
    """Per class from boolean masks, over everything at once."""
    counted = truth != 255
    result = {"iou": [], "dice": [], "precision": [], "recall": [], "support": []}
    for number in range(classes):
        said, there = (predicted == number) & counted, truth == number
        both, either = int((said & there).sum()), int((said | there).sum())
        known = there.any()  # a class that is not in the truth has no figures
        result["iou"].append(divided(both, either * known))
        result["dice"].append(divided(2 * both, (said.sum() + there.sum()) * known))
        result["precision"].append(divided(both, said.sum() * known))
        result["recall"].append(divided(both, there.sum()))
        result["support"].append(int(there.sum()))
    present = [number for number in range(classes) if result["support"][number]]
    for name in ("iou", "dice", "recall"):
        result[f"mean_{name}"] = float(np.mean([result[name][number] for number in present]))
    result["pixel_accuracy"] = float((predicted == truth)[counted].mean())
    result["pixels"] = int(counted.sum())
    return result


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3]), st.booleans())
def test_figures_equal_naive_counting(seed, axes, missing):
    scores, truth = case(seed, axes, missing=missing)
    made = Segmentation(4)
    made.update(torch.tensor(scores), torch.tensor(truth))
    result = made.compute()
    matrix = np.array(result.pop("confusion"))
    expected = naive(scores.argmax(axis=1), truth, 4)
    for name, value in expected.items():
        assert result.pop(name) == (pytest.approx(value, abs=1e-15) if isinstance(value, float) else value), name
    assert not result
    predicted, counted = scores.argmax(axis=1), truth != 255
    assert matrix.tolist() == [
        [int(((truth == t) & (predicted == p) & counted).sum()) for p in range(4)] for t in range(4)
    ]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3]), st.lists(st.integers(0, 6), max_size=4), st.booleans())
def test_any_division_gives_exactly_the_same(seed, axes, cuts, several):
    scores, truth = case(seed, axes)
    kind = MultiLabelSegmentation if several else Segmentation
    if several:
        truth = np.where(scores > 2, 255, np.random.default_rng(seed).integers(0, 2, scores.shape))
    whole, merged = kind(4), kind(4)
    whole.update(scores, truth)
    for rows in np.split(np.arange(6)[::-1], sorted(cuts)):
        part = kind(4)
        part.update(torch.tensor(scores[rows]), torch.tensor(truth[rows]))
        merged.merge(part)
    assert flat(merged.compute()) == flat(whole.compute())


def test_class_numbers_serve_as_well_as_scores():
    scores, truth = case(1, 2)
    made, other = Segmentation(4), Segmentation(4)
    made.update(scores, truth)
    other.update(torch.tensor(scores.argmax(axis=1)).to(torch.uint8), torch.tensor(truth).to(torch.uint8))
    assert flat(made.compute()) == flat(other.compute())


def test_a_class_that_is_only_predicted_has_no_part_in_the_mean():
    made = Segmentation(3)
    made.update(np.array([[0, 0, 2, 1]]), np.array([[0, 0, 0, 1]]))
    result = made.compute()
    assert result["iou"] == [2 / 3, 1.0, None] and result["recall"] == [2 / 3, 1.0, None]
    assert result["mean_iou"] == pytest.approx((2 / 3 + 1) / 2)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3]), st.sampled_from([0.3, 0.5]))
def test_several_classes_a_pixel_equal_naive_counting(seed, axes, threshold):
    r = np.random.default_rng(seed)
    scores = r.normal(size=(4, 3, *SIZES[axes]))
    truth = r.integers(0, 2, scores.shape)
    truth[:, 2] = 0
    truth[r.uniform(size=truth.shape) < 0.1] = 255
    made = MultiLabelSegmentation(3, threshold=threshold)
    made.update(torch.tensor(scores), torch.tensor(truth))
    result = made.compute()
    predicted, counted = 1 / (1 + np.exp(-scores)) >= threshold, truth != 255
    for number in range(3):
        said, there = (predicted & counted)[:, number], (truth == 1)[:, number]
        known = there.any()
        assert result["iou"][number] == divided((said & there).sum(), (said | there).sum() * known)
        assert result["dice"][number] == divided(2 * (said & there).sum(), (said.sum() + there.sum()) * known)
        assert result["support"][number] == there.sum()
    assert result["mean_iou"] == pytest.approx(np.mean(result["iou"][:2]))
    assert result["pixel_accuracy"] == pytest.approx((predicted == truth)[counted].mean(), abs=1e-15)
    other = MultiLabelSegmentation(3, threshold=threshold)
    other.update(predicted, truth)
    assert flat(other.compute()) == flat(result)


def test_what_does_not_fit_is_refused():
    scores, truth = case(2, 2)
    made, several = Segmentation(4), MultiLabelSegmentation(4)
    for metric, given_scores, target, message in (
        (made, scores[:, :3], truth, "scores of the shape"),
        (made, scores, truth.astype(float), "integers"),
        (made, np.where(scores > 1, np.nan, scores), truth, "not a number"),
        (made, scores, np.where(truth == 0, 7, truth), "true class numbers from 1 to 7 came with 4"),
        (made, np.full(truth.shape, 5), truth, "predicted class numbers from 5 to 5"),
        (made, np.zeros(3), np.zeros(3, int), "batch first"),
        (several, scores, truth, r"a target \(B, 4, \*S\)"),
        (several, scores, np.full(scores.shape, 3), "true values are 0 or 1"),
        (several, np.full(scores.shape, 3), np.zeros(scores.shape, int), "predictions are 0 or 1"),
    ):
        with pytest.raises(ValueError, match=message):
            metric.update(given_scores, target)
    for metric in (made, several):
        with pytest.raises(ValueError, match="nothing to compute"):
            metric.compute()
        with pytest.raises(ValueError, match="different arguments"):
            metric.merge(type(metric)(3))
    with pytest.raises(ValueError, match="must not be one of the classes"):
        Segmentation(4, ignore=2)
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        MultiLabelSegmentation(4, ignore=1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        MultiLabelSegmentation(4, threshold=1.0)


def test_only_ignored_pixels_leave_nothing_to_compute():
    made = Segmentation(2)
    made.update(np.zeros((1, 2, 5)), np.full((1, 5), 255))
    with pytest.raises(ValueError, match="nothing to compute"):
        made.compute()
