"""data/mix: who is mixed with whom, where, and what becomes of the targets."""

import numpy as np
import pytest
import torch

from striate.core.errors import InputError
from striate.core.map import Map
from striate.core.sample import Boxes, Keypoints, Label, Mask
from striate.data.mix import (
    assembled,
    blended,
    demand_mixable,
    joined,
    mixed_labels,
    mosaics,
    partners,
    settled,
)

INDICES = np.arange(100, 160)


def plan(canvas, probability=1.0, count=20, seed=0):
    rows, epochs = np.arange(count), np.zeros(count, dtype=np.int64)
    return mosaics(seed, probability, rows, INDICES, epochs, canvas)


@pytest.mark.parametrize("canvas", [(31,), (20, 33), (9, 10, 12)])
def test_the_parts_of_a_mosaic_tile_the_canvas(canvas):
    found = plan(canvas)
    for picture in range(20):
        parts = found.parts(picture)
        assert len(parts) == 2 ** len(canvas)
        covered = np.zeros(canvas, dtype=int)
        for part in parts:
            covered[tuple(slice(a, b) for a, b in zip(found.low[part], found.high[part], strict=True))] += 1
        assert (covered == 1).all()
        assert found.rows[parts.start] == picture


def test_samples_meet_at_the_inner_corner_of_their_part():
    canvas = (20, 33)
    found = plan(canvas)
    for picture in range(20):
        middle = np.unique(np.concatenate([found.high[part] for part in found.parts(picture)]), axis=0)
        factors = set()
        for part in found.parts(picture):
            size = tuple((found.high[part] - found.low[part]).tolist())
            by = Map(found.place[part], size)
            ends = by.points(np.array([[0, 0], canvas], dtype=float))
            for axis in range(2):
                inner = ends[0, axis] if found.low[part, axis] else ends[1, axis] - size[axis]
                assert abs(inner) < 1e-9
            factors.add(round(float(by.matrix[0, 0]), 9))
        assert len(factors) == 1
        assert 0.45 <= factors.pop() <= 1
        assert len(middle) >= 1


def test_without_mosaic_every_picture_is_its_sample():
    found = plan((20, 30), 0.0)
    assert np.array_equal(found.rows, np.arange(20))
    assert (found.place == np.eye(3)).all()
    assert (found.high == (20, 30)).all()


def test_mosaics_happen_as_often_as_asked_with_anybody():
    found = mosaics(0, 0.3, np.arange(60).repeat(50), INDICES, np.tile(np.arange(50), 60), (8, 8))
    many = np.diff(found.starts) == 4
    assert abs(many.mean() - 0.3) < 0.03
    others = np.delete(found.rows, found.starts[:-1])
    assert np.bincount(others, minlength=60).min() > 0
    assert found.rows.max() < 60


def test_partners_depend_on_sample_and_epoch_alone():
    rows, weights = partners(1, 0.4, INDICES, np.zeros(60, dtype=np.int64), 60)
    some = np.array([5, 17, 2])
    again = partners(1, 0.4, INDICES[some], np.zeros(3, dtype=np.int64), 60)
    assert np.array_equal(rows[some], again[0])
    assert np.array_equal(weights[some], again[1])
    later = partners(1, 0.4, INDICES, np.ones(60, dtype=np.int64), 60)
    assert not np.array_equal(rows, later[0])


def test_weights_follow_beta():
    _, weights = partners(0, 0.4, np.arange(20_000), np.zeros(20_000, dtype=np.int64), 9)
    assert abs(weights.mean() - 0.5) < 0.01
    assert abs(weights.var() - 1 / (4 * (2 * 0.4 + 1))) < 0.004  # of Beta(a, a)


def test_blended_is_the_weighted_mean_rounded_once():
    one, other = torch.full((2, 1, 3), 200, dtype=torch.uint8), torch.full((2, 1, 3), 101, dtype=torch.uint8)
    assert blended(one, other, np.array([1.0, 0.25]))[:, 0, 0].tolist() == [200, 126]
    assert torch.equal(blended(one.float(), one.float(), np.array([0.3, 0.7])), one.float())


def test_mixed_tags_still_add_up_to_one():
    first, second = Label(index=1).as_tags(4), Label(index=3).as_tags(4)
    tags = mixed_labels((first, second), (0.3, 0.7)).tags
    assert torch.allclose(tags, torch.tensor([0, 0.3, 0, 0.7]))
    assert float(joined(first, second, 0.3).tags.sum()) == pytest.approx(1.0)


def test_boxes_of_both_are_kept():
    one = Boxes.from_bounds(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([1]))
    other = Boxes.from_bounds(torch.tensor([[2.0, 2, 6, 8]]), torch.tensor([2]), torch.tensor([True]))
    both = joined(one, other, 0.5)
    assert both.bounds().tolist() == [[0, 0, 4, 4], [2, 2, 6, 8]]
    assert both.classes.tolist() == [1, 2]
    assert both.marks.tolist() == [False, True]


def test_a_box_that_mostly_left_is_dropped_and_counted():
    boxes = Boxes.from_bounds(torch.tensor([[0.0, 0, 4, 4], [8.0, 8, 28, 28]]), torch.tensor([0, 1]))
    kept, lost = settled(boxes, Map.identity((10, 10)), 0.1)
    assert lost == 1
    assert kept.bounds().tolist() == [[0, 0, 4, 4]]
    kept, lost = settled(boxes, Map.identity((10, 10)), 0.0)
    assert lost == 0
    assert kept.bounds()[1].tolist() == [8, 8, 10, 10]


def test_targets_of_the_parts_come_to_their_places():
    low, high = np.array([[0, 0], [0, 6]]), np.array([[4, 6], [4, 10]])
    boxes = [Boxes.from_bounds(torch.tensor([[1.0, 1, 3, 3]]), torch.tensor([k])) for k in range(2)]
    assert assembled(boxes, low, high, (4, 10)).bounds().tolist() == [[1, 1, 3, 3], [1, 7, 3, 9]]
    masks = [Mask(torch.full((4, 6), 1)), Mask(torch.full((4, 4), 2))]
    assert assembled(masks, low, high, (4, 10)).values[0].tolist() == [1] * 6 + [2] * 4
    labels = [Label(index=k).as_tags(3) for k in range(2)]
    assert torch.allclose(assembled(labels, low, high, (4, 10)).tags, torch.tensor([0.6, 0.4, 0]))
    points = [Keypoints(torch.tensor([[[1.0, 1], [1, 9]]]), torch.tensor([[True, True]])) for _ in range(2)]
    found = assembled(points, low, high, (4, 10))
    assert found.points[1].tolist() == [[1, 7], [1, 15]]
    assert found.visible.tolist() == [[True, False], [True, False]]


@pytest.mark.parametrize(
    ("kinds", "mosaic", "mixup", "message"),
    [
        (["mask"], 0.0, 0.2, "augment.mixup: masks have no meaningful mean; use mosaic, or leave mixup out"),
        (["outline"], 0.5, 0.0, "augment.mosaic: targets of the kind 'outline' cannot be mixed; leave it out"),
    ],
)
def test_what_cannot_be_mixed_is_refused(kinds, mosaic, mixup, message):
    with pytest.raises(InputError) as caught:
        demand_mixable(kinds, mosaic, mixup)
    assert str(caught.value) == message
    demand_mixable(["label", "boxes", "keypoints"], 1.0, 1.0)
