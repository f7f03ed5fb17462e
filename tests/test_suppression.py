"""Suppression against the double loop that defines it, bit for bit, and against torchvision where that is installed."""

from math import inf

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.ops import suppression
from striate.ops.suppression import batched_nms, nms


def overlap(one, two):
    axes = len(one) // 2
    shared, first, second = 1.0, 1.0, 1.0
    for a in range(axes):
        shared *= max(0.0, min(one[axes + a], two[axes + a]) - max(one[a], two[a]))
        first *= max(0.0, one[axes + a] - one[a])
        second *= max(0.0, two[axes + a] - two[a])
    union = first + second - shared
    return shared / union if union > 0 else 0.0


def naive(bounds, scores, classes, threshold, most, least=-inf):
    """Every box against every kept one, in plain Python."""
    bounds, scores = bounds.double().tolist(), scores.double().tolist()
    classes = [0] * len(scores) if classes is None else classes.tolist()
    kept = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        rivals = (j for j in kept if classes[i] == classes[j])
        if scores[i] >= least and not any(overlap(bounds[i], bounds[j]) > threshold for j in rivals):
            kept.append(i)
    return kept[:most]


def naive_soft(bounds, scores, classes, threshold, most, soft, sigma, least):
    """The list of the paper, in plain Python."""
    bounds, scores, left, kept = bounds.tolist(), scores.tolist(), list(range(len(scores))), []
    while left and len(kept) < most:
        best = min(left, key=lambda i: (-scores[i], i))
        if scores[best] < least:
            break
        left.remove(best)
        kept.append(best)
        for i in left:
            if classes[i] == classes[best]:
                ratio = overlap(bounds[i], bounds[best])
                if soft == "gaussian":
                    scores[i] *= np.exp(-(ratio**2) / sigma)
                elif ratio > threshold:
                    scores[i] *= 1 - ratio
    return kept, [scores[i] for i in kept]


def crowd(count, axes, objects, seed, classes=1, jitter=0.1, dtype=torch.float32):
    """Boxes as a detector gives them: many around each of a few objects."""
    draw = np.random.default_rng(seed)
    middles, sizes = draw.uniform(0, 300, (objects, axes)), np.exp(draw.uniform(2.5, 5, (objects, axes)))
    which = draw.integers(objects, size=count)
    middle = middles[which] + draw.normal(size=(count, axes)) * sizes[which] * jitter
    size = sizes[which] * np.exp(draw.normal(size=(count, axes)) * jitter)
    bounds = torch.from_numpy(np.concatenate((middle - size / 2, middle + size / 2), axis=1)).to(dtype)
    scores = torch.from_numpy(draw.beta(1, 3, count)).to(dtype)
    return bounds, scores, torch.from_numpy(draw.integers(classes, size=objects)[which])


@st.composite
def small_cases(draw):
    """Few places, few scores and few classes, so that ties, touching, equal and empty boxes are common."""
    axes, count, dense = draw(st.sampled_from([1, 2, 3])), draw(st.integers(0, 40)), draw(st.integers(2, 9))
    side = st.tuples(st.integers(0, dense), st.integers(0, dense)).map(sorted)
    shape = {"min_size": count, "max_size": count}
    sides = draw(st.lists(st.lists(side, min_size=axes, max_size=axes), **shape))
    bounds = torch.tensor([[s[0] for s in box] + [s[1] for s in box] for box in sides], dtype=torch.float32)
    scores = torch.tensor(draw(st.lists(st.sampled_from([0.1, 0.5, 0.9]), **shape)))
    classes = torch.tensor(draw(st.lists(st.integers(-1, 2), **shape)), dtype=torch.int64)
    return bounds.reshape(count, 2 * axes), scores, classes if draw(st.booleans()) else None


@given(small_cases(), st.sampled_from([0.0, 0.2, 1 / 3, 0.5, 0.75, 1.0]), st.sampled_from([1, 3, 300]))
def test_the_kept_boxes_are_those_of_the_double_loop(case, threshold, most):
    kept = nms(*case, threshold, most)
    assert kept.indices.tolist() == naive(*case, threshold, most)
    assert torch.equal(kept.scores, case[1][kept.indices])


@pytest.mark.parametrize("sparse", [0, 10**9], ids=["by pairs", "by tables"])
def test_neither_blocks_nor_what_is_left_out_changes_the_answer(sparse, monkeypatch):
    """Blocks of a few boxes, so that small cases go through everything that makes large ones fast."""
    for name, value in (("_SPARSE", sparse), ("_PART", 4), ("_BLOCK", 8), ("_CELLS", 1)):
        monkeypatch.setattr(suppression, name, value)

    @given(small_cases(), st.sampled_from([0.0, 1 / 3, 0.5, 0.9]), st.sampled_from([5, 300]))
    def same(case, threshold, most):
        assert nms(*case, threshold, most).indices.tolist() == naive(*case, threshold, most)

    same()
    for seed in range(20):
        bounds, scores, named = crowd(60, 1 + seed % 3, 1 + 2 * seed, seed, 1 + seed % 4, 0.2, torch.float64)
        for threshold in (0.0, 0.1, 0.5, 0.7, 0.9):
            kept = nms(bounds, scores, named, threshold)
            assert kept.indices.tolist() == naive(bounds, scores, named, threshold, 300)


@settings(max_examples=20)
@given(
    st.sampled_from([1, 2, 3]),
    st.sampled_from([1, 3, 20, 400]),
    st.sampled_from([1, 5]),
    st.floats(0.0, 0.95),
    st.sampled_from([20, 10_000]),
    st.integers(0, 1000),
)
def test_crowds_larger_than_a_block_are_those_of_the_double_loop(axes, objects, classes, threshold, most, seed):
    bounds, scores, named = crowd(450, axes, objects, seed, classes, jitter=0.05 + 0.3 * (seed % 3))
    for group in (named, None):
        assert nms(bounds, scores, group, threshold, most).indices.tolist() == naive(
            bounds, scores, group, threshold, most
        )


@pytest.mark.parametrize("scale", [1e-6, 1e9])
@pytest.mark.parametrize("shift", [0.0, -1e7])
def test_neither_scale_nor_place_of_the_boxes_matters(scale, shift):
    bounds, scores, named = crowd(600, 2, 30, 1, 4, 0.3, torch.float64)
    bounds = bounds * scale + shift * scale
    assert nms(bounds, scores, named, 0.5).indices.tolist() == naive(bounds, scores, named, 0.5, 300)


def test_suppression_is_that_of_torchvision():
    ours = pytest.importorskip("torchvision.ops")
    for objects, jitter, threshold in ((20, 0.1, 0.5), (200, 0.3, 0.7), (1000, 0.3, 0.3)):
        bounds, scores, named = crowd(5000, 2, objects, 2, 7, jitter, torch.float64)
        kept = nms(bounds, scores, named, threshold, most=5000).indices
        parts = [torch.where(named == k)[0] for k in range(7)]
        theirs = torch.cat([part[ours.nms(bounds[part], scores[part], threshold)] for part in parts])
        assert torch.equal(kept.sort().values, theirs.sort().values)


def test_an_overlap_at_the_threshold_does_not_suppress():
    bounds = torch.tensor([[0.0, 10.0], [0.0, 3.0]])  # 3 / 10, which is the number that 0.3 is
    scores = torch.tensor([0.9, 0.8])
    assert nms(bounds, scores, threshold=0.3).indices.tolist() == [0, 1]
    assert nms(bounds, scores, threshold=0.29999).indices.tolist() == [0]


def test_equal_scores_keep_the_lower_index():
    bounds = torch.tensor([[0.0, 9.0], [1.0, 10.0], [0.0, 10.0]])
    assert nms(bounds, torch.tensor([0.5, 0.5, 0.5])).indices.tolist() == [0]
    assert nms(bounds, torch.tensor([0.5, 0.6, 0.6])).indices.tolist() == [1]


def test_only_boxes_of_one_class_rival():
    bounds = torch.tensor([[0.0, 0.0, 9.0, 9.0]]).repeat(4, 1)
    scores = torch.tensor([0.1, 0.2, 0.3, 0.4])
    assert nms(bounds, scores, torch.tensor([0, 10**12, 0, -5])).indices.tolist() == [3, 2, 1]
    assert nms(bounds, scores).indices.tolist() == [3]


def test_empty_boxes_stay():
    bounds = torch.tensor([[5.0, 5.0], [5.0, 5.0], [7.0, 3.0], [0.0, 10.0]])
    assert nms(bounds, torch.tensor([0.9, 0.8, 0.7, 0.6]), threshold=0.0).indices.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("soft", [None, "linear", "gaussian"])
def test_no_boxes_keep_none(soft):
    for bounds, least in ((torch.zeros(0, 4), -inf), (torch.ones(3, 4), 0.5)):
        kept = nms(bounds, torch.zeros(len(bounds)), soft=soft, least=least)
        assert kept.indices.shape == kept.scores.shape == (0,) and kept.indices.dtype == torch.int64


@given(small_cases(), st.sampled_from(["linear", "gaussian"]), st.sampled_from([3, 300]), st.sampled_from([0.0, 0.2]))
def test_soft_suppression_is_the_list_of_the_paper(case, soft, most, least):
    bounds, _, classes = case
    scores = torch.rand(len(bounds), generator=torch.Generator().manual_seed(len(bounds)), dtype=torch.float64)
    kept = nms(bounds, scores, classes, 0.3, most, soft=soft, sigma=0.4, least=least)
    named = torch.zeros(len(bounds), dtype=torch.int64) if classes is None else classes
    indices, new = naive_soft(bounds.double(), scores, named, 0.3, most, soft, 0.4, least)
    assert kept.indices.tolist() == indices
    assert kept.scores.tolist() == pytest.approx(new, rel=1e-12)


def test_soft_suppression_lowers_what_hard_suppression_drops():
    bounds = torch.tensor([[0.0, 10.0], [0.0, 8.0], [20.0, 30.0]])
    scores = torch.tensor([0.9, 0.8, 0.5])
    linear = nms(bounds, scores, soft="linear")
    assert linear.indices.tolist() == [0, 2, 1]
    torch.testing.assert_close(linear.scores, torch.tensor([0.9, 0.5, 0.16]))
    torch.testing.assert_close(
        nms(bounds, scores, soft="gaussian").scores[-1], torch.tensor(0.8 * np.exp(-0.64 / 0.5), dtype=torch.float32)
    )
    assert nms(bounds, scores, soft="linear", least=0.2).indices.tolist() == [0, 2]


@pytest.mark.parametrize("soft", [None, "linear"])
def test_a_batch_is_image_by_image(soft):
    images = [crowd(200, 2, 10, seed, 3) for seed in range(3)]
    bounds, scores, named = (torch.stack(parts) for parts in zip(*images, strict=True))
    scores[1, 50:] = -1  # places without a box
    found = batched_nms(bounds, scores, named, 0.5, 20, soft=soft, least=0.0)
    for image, kept in enumerate(found):
        alone = nms(bounds[image], scores[image], named[image], 0.5, 20, soft=soft, least=0.0)
        assert torch.equal(kept.indices, alone.indices) and torch.equal(kept.scores, alone.scores)
    assert found[1].indices.max() < 50
    assert len(batched_nms(bounds, scores)) == 3


def test_what_cannot_be_suppressed_is_named():
    bounds, scores = torch.zeros(3, 4), torch.zeros(3)
    with pytest.raises(ValueError, match=r"bounds \(N, 2A\).*\(3, 4\) and \(2,\)"):
        nms(bounds, scores[:2])
    with pytest.raises(ValueError, match="whole numbers"):
        nms(bounds, scores, scores)
    with pytest.raises(ValueError, match=r"between 0 and 1, 1\.5"):
        nms(bounds, scores, threshold=1.5)
    with pytest.raises(ValueError, match="'hard' came"):
        nms(bounds, scores, soft="hard")
    with pytest.raises(ValueError, match="must be positive"):
        nms(bounds, scores, most=0)
    with pytest.raises(ValueError, match="broke down"):
        nms(bounds, scores * float("nan"))
    with pytest.raises(ValueError, match="broke down"):
        nms(bounds / 0, scores)
    with pytest.raises(ValueError, match="must not be negative"):
        nms(bounds, scores - 1, soft="linear")
    with pytest.raises(ValueError, match=r"\(B, N, 2A\)"):
        batched_nms(bounds, scores)
