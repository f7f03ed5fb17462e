"""Boxes: overlaps against counted pixels and exact fractions, finite gradients, point grids against the geometry."""

from fractions import Fraction
from itertools import product
from math import atan, pi, prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from striate.core.geometry import Field, Window, same_padding
from striate.ops import boxes
from striate.ops.boxes import iou, pairwise_intersections, pairwise_ious

AXES = st.sampled_from([1, 2, 3])
KINDS = ("iou", "giou", "diou", "ciou")


def whole_boxes(axes, most=5, size=6):
    """A list of boxes of whole pixels, empty ones among them, as lists of 2A numbers."""
    corner = st.lists(st.tuples(st.integers(0, size), st.integers(0, size)), min_size=axes, max_size=axes)
    box = corner.map(lambda sides: [min(side) for side in sides] + [max(side) for side in sides])
    return st.lists(box, min_size=1, max_size=most)


def random_bounds(count, axes, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, axes, generator=generator, dtype=dtype) * 10
    return torch.cat((low, low + 0.5 + 6 * torch.rand(count, axes, generator=generator, dtype=dtype)), dim=1)


def pixels(box):
    axes = len(box) // 2
    return set(product(*(range(box[a], box[axes + a]) for a in range(axes))))


@given(AXES.flatmap(lambda axes: st.tuples(whole_boxes(axes), whole_boxes(axes))))
def test_areas_and_overlaps_are_counts_of_pixels(two):
    first, second = two
    a, b = torch.tensor(first, dtype=torch.float64), torch.tensor(second, dtype=torch.float64)
    assert boxes.areas(a).tolist() == [len(pixels(box)) for box in first]
    shared, ious = pairwise_intersections(a, b), pairwise_ious(a, b)
    for i, j in product(range(len(first)), range(len(second))):
        both, either = pixels(first[i]) & pixels(second[j]), pixels(first[i]) | pixels(second[j])
        assert shared[i, j] == len(both)
        assert ious[i, j] == (len(both) / len(either) if either else 0)
        assert iou(a[i], b[j]).item() == pytest.approx(ious[i, j].item(), abs=1e-12)


@pytest.mark.parametrize("axes", [1, 2, 3, 4])
def test_a_batch_of_pairs_is_pair_by_pair(axes):
    first, second = (random_bounds(12, axes, seed).reshape(2, 6, 2 * axes) for seed in (0, 1))
    together = pairwise_ious(first, second)
    assert together.shape == (2, 6, 6)
    for image in range(2):
        assert torch.equal(together[image], pairwise_ious(first[image], second[image]))
    torch.testing.assert_close(together, iou(first[:, :, None], second[:, None]))
    assert torch.equal(pairwise_ious(first[0], first[0]).diagonal(), torch.ones(6, dtype=torch.float64))


def by_the_papers(one, two, kind):
    """Overlaps of two boxes of fractions, as the papers write them."""
    axes = len(one) // 2
    lows, highs = (list(zip(one, two, strict=True))[part] for part in (slice(axes), slice(axes, None)))
    shared = prod(max(Fraction(0), min(h) - max(low)) for low, h in zip(lows, highs, strict=True))
    union = sum(prod(box[axes + a] - box[a] for a in range(axes)) for box in (one, two)) - shared
    outer = [max(h) - min(low) for low, h in zip(lows, highs, strict=True)]
    overlap = Fraction(shared, 1) / union
    if kind == "iou":
        return float(overlap)
    if kind == "giou":
        return float(overlap - (prod(outer) - union) / prod(outer))
    middles = [[(box[a] + box[axes + a]) / 2 for a in range(axes)] for box in (one, two)]
    distance = sum((a - b) ** 2 for a, b in zip(*middles, strict=True))
    result = float(overlap - distance / sum(side**2 for side in outer))
    if kind == "ciou" and axes == 2:
        angles = [atan((box[3] - box[1]) / (box[2] - box[0])) for box in (one, two)]
        v = 4 / pi**2 * (angles[0] - angles[1]) ** 2
        result -= v * v / (1 - float(overlap) + v) if v else 0
    return result


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_what_its_paper_writes(kind, axes):
    first, second = random_bounds(30, axes, 2), random_bounds(30, axes, 3)
    for one, two, value in zip(first.tolist(), second.tolist(), iou(first, second, kind).tolist(), strict=True):
        expected = by_the_papers([Fraction(x) for x in one], [Fraction(x) for x in two], kind)
        assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("kind", ["iou", "giou", "diou"])
def test_gradients_of_overlaps_are_those_of_small_steps(kind, axes):
    first, second = (random_bounds(8, axes, seed).requires_grad_() for seed in (4, 5))
    assert torch.autograd.gradcheck(lambda a, b: iou(a, b, kind), (first, second))


def test_gradient_of_ciou_takes_its_weight_as_given():
    first, second = (random_bounds(8, 2, seed) for seed in (6, 7))
    with torch.no_grad():
        angle = [torch.atan2(b[:, 3] - b[:, 1], b[:, 2] - b[:, 0]) for b in (first, second)]
        v = 4 / pi**2 * (angle[0] - angle[1]).square()
        weight = v / (1 - iou(first, second) + v)

    def written_out(a):
        mine = torch.atan((a[:, 3] - a[:, 1]) / (a[:, 2] - a[:, 0]))
        return iou(a, second, "diou") - weight * 4 / pi**2 * (mine - angle[1]).square()

    ours, theirs = (first.clone().requires_grad_() for _ in range(2))
    iou(ours, second, "ciou").sum().backward()
    written_out(theirs).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


SIDES = [0.0, 1.0, -1.0, 1e-30, -1e-30, 1e-12, 3.0, 1e10, -1e10, 1e25, -1e25, 7e37]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_values_and_gradients_are_finite_for_any_boxes(kind, dtype, data):
    axes = data.draw(AXES)
    sides = st.lists(st.sampled_from(SIDES), min_size=2 * axes, max_size=2 * axes)
    pairs = data.draw(st.lists(st.tuples(sides, sides), min_size=1, max_size=20))
    first, second = (torch.tensor(part, dtype=dtype).requires_grad_() for part in zip(*pairs, strict=True))
    value = iou(first, second, kind)
    value.sum().backward()
    assert value.isfinite().all()
    assert first.grad is not None and first.grad.isfinite().all()
    assert second.grad is not None and second.grad.isfinite().all()
    assert (value <= 1 + 1e-6).all() and (value >= {"iou": 0, "ciou": -2}.get(kind, -1) - 1e-6).all()


@pytest.mark.parametrize("kind", KINDS[1:])
def test_boxes_apart_are_drawn_together(kind):
    predicted = torch.tensor([0.0, 0.0, 1.0, 1.0], requires_grad=True)
    iou(predicted, torch.tensor([5.0, 5.0, 7.0, 7.0]), kind).backward()
    assert predicted.grad is not None and (predicted.grad[2:] > 0).all()


def test_equal_boxes_overlap_fully_and_empty_ones_not_at_all():
    box, point = torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([3.0, 3.0, 3.0, 3.0])
    for kind in KINDS:
        assert iou(box, box, kind) == 1
        assert iou(point, point, kind) == 0
    assert pairwise_ious(point[None], point[None]) == 0


def test_half_precision_is_widened_and_whole_numbers_are_exact():
    bounds = torch.tensor([[1000, 1000, 1003, 1003]])
    assert pairwise_ious(bounds, bounds).dtype == torch.float64
    assert boxes.areas(bounds.to(torch.bfloat16)).dtype == iou(bounds.half(), bounds.half()).dtype == torch.float32


@given(AXES, st.integers(0, 1000))
def test_the_forms_of_a_box_lead_back(axes, seed):
    bounds = random_bounds(7, axes, seed)
    torch.testing.assert_close(boxes.centres_to_bounds(boxes.bounds_to_centres(bounds)), bounds)
    points = torch.randn(7, axes, dtype=torch.float64) * 5
    distances = boxes.bounds_to_distances(points, bounds)
    torch.testing.assert_close(boxes.distances_to_bounds(points, distances), bounds)
    inside = ((points > bounds[:, :axes]) & (points < bounds[:, axes:])).all(dim=1)
    assert torch.equal((distances > 0).all(dim=1), inside)


def test_a_box_as_centre_and_size_and_as_distances():
    box = torch.tensor([2.0, 4.0, 6.0, 10.0])
    assert boxes.bounds_to_centres(box).tolist() == [4, 7, 4, 6]
    assert boxes.bounds_to_distances(torch.tensor([3.0, 9.0]), box).tolist() == [1, 5, 3, 1]


def test_clipping_cuts_to_the_canvas_and_empties_what_is_outside():
    bounds = torch.tensor([[-2.0, 1.0, 3.0, 9.0], [5.0, 8.0, 9.0, 12.0]])
    clipped = boxes.clip_bounds(bounds, (4, 6))
    assert clipped.tolist() == [[0, 1, 3, 6], [4, 6, 4, 6]]
    assert boxes.areas(clipped).tolist() == [15, 0]


@given(
    AXES.flatmap(lambda axes: st.lists(st.tuples(st.integers(1, 20), st.integers(1, 5)), min_size=axes, max_size=axes))
)
def test_points_lie_where_the_geometry_puts_the_windows_of_a_network(settings):
    canvas, strides = zip(*settings, strict=True)
    windows = [
        Window(kernel=2 * s + 1, stride=s, before=b, after=a) for s in strides for b, a in [same_padding(2 * s + 1)]
    ]
    fields = [Field().through(window) for window in windows]
    counts = [window.output_size(n) for window, n in zip(windows, canvas, strict=True)]
    points = boxes.point_grid(canvas, strides, [float(field.start) for field in fields])
    assert len(points) == prod(counts)
    for point, place in zip(points.tolist(), product(*map(range, counts)), strict=True):
        assert point == [float(f.start + u * f.jump) + 0.5 for f, u in zip(fields, place, strict=True)]
    # the cells of a patch layer (kernel = stride) are what the default stands for
    patches = [Field().through(Window(kernel=s, stride=s)).start for s in strides]
    assert torch.equal(
        boxes.point_grid(canvas, strides), boxes.point_grid(canvas, strides, [float(p) for p in patches])
    )


def test_points_are_in_the_order_of_the_flattened_feature_map():
    points = boxes.point_grid((32, 48), (16, 8))
    rows = torch.arange(2)[:, None].expand(2, 6).flatten()
    assert torch.equal(points[:, 0], (rows + 0.5) * 16)
    assert points[:3, 1].tolist() == [4, 12, 20]
    both, steps = boxes.point_grids((32, 48), [(16, 8), (32, 16)])
    assert torch.equal(both[:12], points) and torch.equal(both[12:], boxes.point_grid((32, 48), (32, 16)))
    assert steps[0].tolist() == [16, 8] and steps[-1].tolist() == [32, 16] and len(steps) == len(both) == 15


@pytest.mark.parametrize("grid", [(7,), (3, 4), (2, 3, 2)])
def test_values_of_a_cell_lead_to_bounds_and_back(grid):
    axes = len(grid)
    canvas = tuple(10 * n + 3 for n in grid)
    values = torch.rand(2, prod(grid), 3, 2 * axes, dtype=torch.float64)
    bounds = boxes.cell_values_to_bounds(values, canvas, grid)
    for predictor in range(3):
        back = boxes.bounds_to_cell_values(bounds[:, :, predictor], canvas, grid)
        torch.testing.assert_close(back, values[:, :, predictor])
    for cell, place in enumerate(product(*map(range, grid))):
        for axis in range(axes):
            offset, root = values[1, cell, 2, axis].item(), values[1, cell, 2, axes + axis].item()
            middle, half = (place[axis] + offset) * canvas[axis] / grid[axis], root**2 * canvas[axis] / 2
            assert bounds[1, cell, 2, axis].item() == pytest.approx(middle - half)
            assert bounds[1, cell, 2, axes + axis].item() == pytest.approx(middle + half)


def test_boxes_stay_on_their_device_and_never_wait_for_it():
    bounds = torch.zeros(12, 4, device="meta")  # a device without numbers: reading one or mixing devices is an error
    assert iou(bounds, bounds, "ciou").is_meta and pairwise_ious(bounds, bounds).is_meta
    assert boxes.clip_bounds(bounds, (3, 4)).is_meta and boxes.bounds_to_cell_values(bounds, (3, 4), (3, 4)).is_meta
    assert boxes.point_grids((3, 4), [(1, 1)], device="meta")[1].is_meta
    assert boxes.cell_values_to_bounds(bounds[:, None], (3, 4), (3, 4)).is_meta


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"\(\.\.\., 2A\).*\(4, 3\)"):
        boxes.areas(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="of 1 and of 2 axes"):
        pairwise_ious(torch.zeros(1, 2), torch.zeros(1, 4))
    with pytest.raises(ValueError, match="'siou' came"):
        iou(torch.zeros(4), torch.zeros(4), "siou")
    with pytest.raises(ValueError, match="canvas of 1"):
        boxes.clip_bounds(torch.zeros(1, 4), (3,))
    with pytest.raises(ValueError, match="different axes"):
        boxes.point_grid((3, 4), (1,))
    with pytest.raises(ValueError, match="1 or more"):
        boxes.point_grid((3, 4), (1, 0))
    with pytest.raises(ValueError, match="no strides"):
        boxes.point_grids((3, 4), [])
    with pytest.raises(ValueError, match=r"points \(\.\.\., 2\)"):
        boxes.bounds_to_distances(torch.zeros(5, 1), torch.zeros(5, 4))
    with pytest.raises(ValueError, match="the 12 cells"):
        boxes.cell_values_to_bounds(torch.zeros(1, 11, 2, 4), (30, 40), (3, 4))
