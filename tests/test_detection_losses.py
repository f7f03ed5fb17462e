"""Losses of detectors against sums written out by hand, checked gradients, and the promise that parts add up."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.ops.assign import PaddedBoxes, of_objects, responsible
from striate.ops.boxes import bounds_to_cell_values, cell_values_to_bounds, iou
from striate.ops.detection_losses import (
    distribution_focal_loss,
    distribution_mean,
    iou_loss,
    soft_binary_cross_entropy,
    yolo_v1_loss,
    yolo_v1_terms,
)
from striate.ops.losses import binary_cross_entropy

AXES = st.sampled_from([1, 2, 3])


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bounds_of(count, axes, seed):
    low = 10 * rand(count, axes, seed=seed)
    return torch.cat((low, low + 1 + 6 * rand(count, axes, seed=seed + 1)), dim=1)


def add_up(loss, parts):
    """What the loss gives for the parts one after the other."""
    found = [loss(*part) for part in parts]
    return sum(total for total, _ in found), sum(count for _, count in found)


def assert_splits(loss, inputs, cut):
    """Splitting the first dimension of every input changes nothing."""
    total, count = loss(*inputs)
    parts = [[value[part] for value in inputs] for part in (slice(cut), slice(cut, None))]
    split, split_count = add_up(loss, parts)
    torch.testing.assert_close(total, split)
    assert count == pytest.approx(split_count)


@given(AXES, st.sampled_from(["iou", "giou", "diou", "ciou"]), st.integers(0, 100), st.integers(0, 6))
def test_overlap_loss_is_the_sum_of_what_is_missing(axes, kind, seed, cut):
    predicted, wanted, weights = bounds_of(6, axes, seed), bounds_of(6, axes, seed + 7), rand(6, seed=seed)
    total, count = iou_loss(predicted, wanted, weights, kind)
    each = iou(predicted, wanted, kind).tolist()
    assert total.item() == pytest.approx(sum(w * (1 - value) for w, value in zip(weights.tolist(), each, strict=True)))
    assert count == pytest.approx(weights.sum().item())
    assert iou_loss(predicted, wanted, kind=kind)[1] == 6
    assert iou_loss(wanted, wanted, kind=kind)[0].item() == pytest.approx(0)
    assert_splits(lambda p, w, v: iou_loss(p, w, v, kind), (predicted, wanted, weights), cut)


@given(st.integers(2, 9), st.integers(1, 6), st.integers(0, 100), st.integers(0, 4))
def test_distribution_focal_loss_is_the_sum_written_out(bins, sides, seed, cut):
    logits = 4 * rand(4, sides, bins, seed=seed) - 2
    distances = (bins + 1) * rand(4, sides, seed=seed + 1) - 1  # some beyond either end
    distances[0, 0], distances[1, 0] = 1.0, bins - 1.0  # on a bin, and on the last
    weights = rand(4, seed=seed + 2)
    expected = 0.0
    for box in range(4):
        for side in range(sides):
            p = logits[box, side].softmax(0).tolist()
            y = min(max(distances[box, side].item(), 0.0), bins - 1.0)
            i = min(int(y), bins - 2)
            expected -= weights[box].item() / sides * ((i + 1 - y) * math.log(p[i]) + (y - i) * math.log(p[i + 1]))
    total, count = distribution_focal_loss(logits, distances, weights)
    assert total.item() == pytest.approx(expected)
    assert count == pytest.approx(weights.sum().item())
    assert_splits(distribution_focal_loss, (logits, distances, weights), cut)


def test_a_distribution_on_the_two_bins_around_it_means_the_distance():
    logits = torch.full((1, 1, 5), -60.0)
    logits[0, 0, 2], logits[0, 0, 3] = math.log(0.75), math.log(0.25)
    assert distribution_mean(logits).item() == pytest.approx(2.25)
    least = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)  # the entropy of what is wanted: no logits do better
    assert distribution_focal_loss(logits, torch.tensor([[2.25]]))[0].item() == pytest.approx(least)
    assert distribution_mean(logits.half()).dtype == torch.float32


@given(st.sampled_from([0.0, 1.0, 2.0]), st.integers(0, 100), st.booleans(), st.integers(0, 3))
def test_soft_cross_entropy_is_the_sum_written_out(focusing, seed, spread, cut):
    logits, targets = 8 * rand(3, 5, 2, seed=seed) - 4, rand(3, 5, 2, seed=seed + 1)
    weights = rand(3, 5, 1 if spread else 2, seed=seed + 2)
    total, count = soft_binary_cross_entropy(logits, targets, weights, focusing)
    expected = 0.0
    numbers = zip(*(part.flatten().tolist() for part in (logits, targets, weights.expand(3, 5, 2))), strict=True)
    for logit, t, w in numbers:
        s = 1 / (1 + math.exp(-logit))
        expected -= w * abs(t - s) ** focusing * (t * math.log(s) + (1 - t) * math.log(1 - s))
    assert total.item() == pytest.approx(expected)
    assert count == pytest.approx(weights.expand(3, 5, 2).sum().item())
    assert_splits(lambda x, t, w: soft_binary_cross_entropy(x, t, w, focusing), (logits, targets, weights), cut)


def test_soft_cross_entropy_without_weights_is_the_one_of_tags():
    logits, targets = 8 * rand(3, 5) - 4, rand(3, 5, seed=1)
    total, count = soft_binary_cross_entropy(logits, targets)
    torch.testing.assert_close(total, binary_cross_entropy(logits, targets)[0])
    assert count == 15
    left_out = torch.ones(3, 5)
    left_out[1] = 0
    part, part_count = soft_binary_cross_entropy(logits, targets, left_out)
    torch.testing.assert_close(part, soft_binary_cross_entropy(logits[[0, 2]], targets[[0, 2]])[0])
    assert part_count == 10


def cells(axes, seed, images=3, predictors=2):
    """What the cells of a small grid say and what is wanted of them."""
    grid, canvas = {1: (5,), 2: (3, 4), 3: (2, 2, 3)}[axes], {1: (50,), 2: (36, 40), 3: (8, 8, 12)}[axes]
    count, size = math.prod(grid), torch.tensor(canvas, dtype=torch.float64)
    low = rand(images, 4, axes, seed=seed) * size * 0.7
    bounds = torch.cat((low, low + (0.05 + 0.25 * rand(images, 4, axes, seed=seed + 1)) * size), dim=-1)
    present, ignored = rand(images, 4, seed=seed + 2) > 0.3, rand(images, 4, seed=seed + 3) > 0.6
    objects = PaddedBoxes(bounds, (3 * rand(images, 4, seed=seed + 4)).long(), present, ignored)
    values = rand(images, count, predictors, 2 * axes, seed=seed + 5)
    found = responsible(cell_values_to_bounds(values, canvas, grid), objects, canvas, grid)
    wanted = bounds_to_cell_values(of_objects(bounds, found.objects), canvas, grid)
    confidence, probabilities = rand(images, count, predictors, seed=seed + 6), rand(images, count, 3, seed=seed + 7)
    return values, confidence, probabilities, wanted, of_objects(objects.classes, found.objects), found


@settings(max_examples=30)
@given(AXES, st.integers(0, 1000), st.integers(1, 3))
def test_yolo_v1_loss_is_the_sum_of_the_paper(axes, seed, predictors):
    values, confidence, probabilities, wanted, classes, found = cells(axes, seed, predictors=predictors)
    terms = dict.fromkeys(("location", "size", "object", "empty", "classes"), 0.0)
    for b in range(values.shape[0]):
        for c in range(values.shape[1]):
            owner = found.objects[b, c].item()
            for p in range(predictors):
                sure = confidence[b, c, p].item()
                if owner >= 0 and p == found.predictor[b, c]:
                    gaps = [(x - y) ** 2 for x, y in zip(values[b, c, p].tolist(), wanted[b, c].tolist(), strict=True)]
                    terms["location"] += 5 * sum(gaps[:axes])
                    terms["size"] += 5 * sum(gaps[axes:])
                    terms["object"] += (sure - found.ious[b, c].item()) ** 2
                elif not found.neither[b, c]:
                    terms["empty"] += 0.5 * sure**2
            if owner >= 0:
                for k, share in enumerate(probabilities[b, c].tolist()):
                    terms["classes"] += (share - (k == classes[b, c].item())) ** 2
    computed = yolo_v1_terms(values, confidence, probabilities, wanted, classes, found)
    assert {name: value.item() for name, value in computed.items()} == pytest.approx(terms)
    total, count = yolo_v1_loss(values, confidence, probabilities, wanted, classes, found)
    assert total.item() == pytest.approx(sum(terms.values()))
    assert count == values.shape[0]


@pytest.mark.parametrize("cut", [1, 2])
def test_splitting_a_batch_of_cells_changes_nothing(cut):
    *inputs, found = cells(2, 3)
    total, count = yolo_v1_loss(*inputs, found)
    parts = []
    for part in (slice(cut), slice(cut, None)):
        some = type(found)(*(value[part] for value in vars(found).values()))
        parts.append((*(value[part] for value in inputs), some))
    split, split_count = add_up(yolo_v1_loss, parts)
    torch.testing.assert_close(total, split)
    assert count == split_count == 3


def test_perfect_cells_lose_nothing():
    values, confidence, probabilities, wanted, classes, found = cells(2, 4)
    answers = found.responsible(2)
    values = torch.where(answers[..., None], wanted[:, :, None], values)
    confidence = torch.where(answers, found.ious[..., None], 0.0)
    probabilities = torch.nn.functional.one_hot(classes, 3).double()
    assert yolo_v1_loss(values, confidence, probabilities, wanted, classes, found)[0] == 0


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_gradients_are_those_of_small_steps(axes):
    boxes, wanted, weights = bounds_of(5, axes, 20).requires_grad_(), bounds_of(5, axes, 22), rand(5, seed=24)
    for kind in ("iou", "giou", "diou"):
        assert torch.autograd.gradcheck(lambda b, kind=kind: iou_loss(b, wanted, weights, kind)[0], (boxes,))
    logits = (4 * rand(5, 2 * axes, 6) - 2).requires_grad_()
    distances = 6.5 * rand(5, 2 * axes, seed=3) - 0.5
    assert torch.autograd.gradcheck(lambda x: distribution_focal_loss(x, distances, weights)[0], (logits,))
    assert torch.autograd.gradcheck(distribution_mean, (logits,))
    scores, targets = (4 * rand(5, 3) - 2).requires_grad_(), rand(5, 3, seed=5)
    for focusing in (0.0, 2.0):
        assert torch.autograd.gradcheck(
            lambda x, g=focusing: soft_binary_cross_entropy(x, targets, weights[:, None], g)[0], (scores,)
        )
    values, confidence, probabilities, *rest = cells(axes, 6, images=1)
    inputs = tuple(part.requires_grad_() for part in (values, confidence, probabilities))
    assert torch.autograd.gradcheck(lambda v, c, p: yolo_v1_loss(v, c, p, *rest)[0], inputs)


def test_half_precision_is_added_up_in_single():
    half = torch.ones(2000, 2, dtype=torch.float16) * torch.tensor([0, 1], dtype=torch.float16)
    total, _ = iou_loss(half, half + 5)
    assert total.dtype == torch.float32 and total.isfinite()
    assert soft_binary_cross_entropy(half, half)[0].dtype == torch.float32
    assert distribution_focal_loss(half[None], half[:, 0][None])[0].dtype == torch.float32


def test_nothing_to_learn_from_is_a_sum_of_nothing():
    assert iou_loss(torch.zeros(0, 4), torch.zeros(0, 4)) == (0, 0)
    assert distribution_focal_loss(torch.zeros(0, 4, 8), torch.zeros(0, 4)) == (0, 0)
    assert soft_binary_cross_entropy(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, 1)) == (0, 0)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(2, 4\)"):
        iou_loss(torch.zeros(3, 4), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"weights \(3,\)"):
        iou_loss(torch.zeros(3, 4), torch.zeros(3, 4), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="two bins or more"):
        distribution_focal_loss(torch.zeros(3, 4, 1), torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"targets of shape \(3, 1\)"):
        soft_binary_cross_entropy(torch.zeros(3, 4), torch.zeros(3, 1))
    with pytest.raises(ValueError, match=r"0\.5 came"):
        soft_binary_cross_entropy(torch.zeros(3, 4), torch.zeros(3, 4), focusing=0.5)
    values, *rest = cells(1, 0)
    with pytest.raises(ValueError, match=r"\(B, C, P, 2A\)"):
        yolo_v1_loss(values[:, 1:], *rest)
