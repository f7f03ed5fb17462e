"""Assignment against loops over images, objects and points that follow the papers step by step."""

from itertools import product
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.core.targets import Boxes
from striate.ops.assign import PaddedBoxes, inside, of_objects, pad_boxes, responsible, task_aligned
from striate.ops.boxes import pairwise_ious, point_grid

CANVAS = {1: (32,), 2: (16, 24), 3: (8, 8, 12)}
STRIDE = {1: (4,), 2: (4, 4), 3: (4, 4, 4)}


def iou(one, two):
    return pairwise_ious(one[None], two[None])[0, 0]


def scene(axes, images, most, seed, ignoring=True):
    """Padded objects of whole numbers, so that equal ones, shared cells and points on edges occur."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high, *shape):
        return torch.randint(low, high, shape, generator=generator)

    size = torch.tensor(CANVAS[axes])
    low = torch.stack([draw(0, int(n), images, most) for n in size], dim=-1)
    high = torch.minimum(low + draw(0, 11, images, most, axes), size)
    present, ignored = draw(0, 5, images, most) > 0, draw(0, 4, images, most) == 0
    bounds = torch.cat((low, high), dim=-1).double()
    return PaddedBoxes(bounds, draw(0, 3, images, most), present, ignored & ignoring)


def guesses(axes, images, count, seed):
    """Scores (B, P, 3) and bounds (B, P, 2A); some are whole numbers so that alignments tie."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 5, (images, count, 3), generator=generator).double() / 4
    points = point_grid(CANVAS[axes], STRIDE[axes], dtype=torch.float64)
    reach = torch.randint(0, 9, (images, count, 2 * axes), generator=generator).double()
    bounds = torch.cat((points - reach[..., :axes], points + reach[..., axes:]), dim=-1)
    return scores, bounds, points


def aligned_by_loops(scores, predicted, points, objects, alpha, beta, top, reach):
    axes = points.shape[1]
    answers = []
    for image in range(len(scores)):
        within, claims, t, u = {}, {}, {}, {}
        for o, p in product(range(objects.bounds.shape[1]), range(len(points))):
            low, high = objects.bounds[image, o, :axes].tolist(), objects.bounds[image, o, axes:].tolist()
            point = points[p].tolist()
            within[o, p] = all(lo <= x < hi for lo, x, hi in zip(low, point, high, strict=True))
            if reach is not None:
                off = [(lo + hi) / 2 - x for lo, x, hi in zip(low, point, high, strict=True)]
                within[o, p] |= all(-r <= d < r for d, r in zip(off, reach[p].tolist(), strict=True))
            within[o, p] &= bool(objects.present[image, o])
            u[o, p] = iou(objects.bounds[image, o], predicted[image, p]).item()
            t[o, p] = scores[image, p, objects.classes[image, o]].item() ** alpha * u[o, p] ** beta
        for o in range(objects.bounds.shape[1]):
            if objects.present[image, o] and not objects.ignored[image, o]:
                candidates = sorted((p for p in range(len(points)) if within[o, p]), key=lambda p: (-t[o, p], p))
                claims[o] = candidates[:top]
        owners = []
        for p in range(len(points)):
            rivals = sorted((o for o in claims if p in claims[o]), key=lambda o: (-u[o, p], o))
            owners.append(rivals[0] if rivals else -1)
        for p, owner in enumerate(owners):
            mine = [q for q in range(len(points)) if owners[q] == owner]
            best = max(t[owner, q] for q in mine) if owner >= 0 else 0
            target = t[owner, p] / best * max(u[owner, q] for q in mine) if best else 0.0
            skipped = any(within[o, p] and objects.ignored[image, o] for o in range(objects.bounds.shape[1]))
            answers.append((owner, target, bool(skipped and owner < 0)))
    return answers


@settings(max_examples=40)
@given(
    st.sampled_from([1, 2, 3]),
    st.integers(0, 6),
    st.integers(0, 10_000),
    st.sampled_from([(1.0, 6.0), (0.5, 6.0), (1.0, 1.0), (0.0, 0.0)]),
    st.sampled_from([1, 3, 13, 1000]),
    st.booleans(),
)
def test_task_alignment_is_the_paper_step_by_step(axes, most, seed, powers, top, reaching):
    objects = scene(axes, 2, most, seed)
    count = prod(n // s for n, s in zip(CANVAS[axes], STRIDE[axes], strict=True))
    scores, predicted, points = guesses(axes, 2, count, seed)
    reach = torch.full_like(points, 2.0) if reaching else None
    found = task_aligned(scores, predicted, points, objects, alpha=powers[0], beta=powers[1], top=top, reach=reach)
    expected = aligned_by_loops(scores, predicted, points, objects, *powers, top, reach)
    assert found.objects.flatten().tolist() == [owner for owner, _, _ in expected]
    assert found.targets.flatten().tolist() == pytest.approx([target for _, target, _ in expected], abs=1e-9)
    assert found.neither.flatten().tolist() == [skipped for _, _, skipped in expected]


def test_the_best_aligned_point_is_to_be_as_sure_as_it_overlaps():
    points = point_grid((16,), (4,))  # 2, 6, 10, 14
    objects = PaddedBoxes(
        torch.tensor([[[0.0, 8.0]]]), torch.tensor([[1]]), torch.ones(1, 1).bool(), torch.zeros(1, 1).bool()
    )
    predicted = torch.tensor([[[0.0, 8.0], [0.0, 4.0], [0.0, 8.0], [8.0, 16.0]]])
    scores = torch.full((1, 4, 2), 0.5)
    found = task_aligned(scores, predicted, points, objects)
    assert found.objects.tolist() == [[0, 0, -1, -1]]  # the third overlaps fully but looks from outside
    assert found.targets.tolist() == [[1.0, 0.5**6, 0.0, 0.0]]
    assert found.class_targets(objects.classes, 2)[0].tolist() == [[0, 1], [0, 0.5**6], [0, 0], [0, 0]]
    assert found.positive.sum() == 2


def test_points_in_an_ignored_box_count_neither_way_unless_they_answer_for_another():
    points = point_grid((16,), (4,))
    bounds = torch.tensor([[[0.0, 8.0], [4.0, 16.0]]])
    ignored = torch.tensor([[False, True]])
    objects = PaddedBoxes(bounds, torch.zeros(1, 2).long(), torch.ones(1, 2).bool(), ignored)
    predicted = bounds[:, [0, 0, 1, 1]]
    found = task_aligned(torch.ones(1, 4, 1), predicted, points, objects)
    assert found.objects.tolist() == [[0, 0, -1, -1]]
    assert found.neither.tolist() == [[False, False, True, True]]


def test_a_box_between_the_points_has_a_point_with_reach_only():
    points = point_grid((16, 16), (8, 8))
    tiny = torch.tensor([[[5.0, 9.0, 7.0, 10.0]]])
    assert not inside(points, tiny).any()
    assert inside(points, tiny, torch.full_like(points, 4.0)).tolist() == [[[False, True, False, False]]]
    # half a stride of reach: every middle has exactly one point, also on the border of two cells
    middles = torch.tensor([[[y, x, y, x] for y in (0.0, 4.0, 8.0, 15.9) for x in (1.0, 8.0)]])
    assert inside(points, middles, torch.full_like(points, 4.0)).sum(dim=2).tolist() == [[1] * 8]


def cells_by_loops(predicted, objects, canvas, grid):
    axes, answers = len(grid), []
    for image in range(len(predicted)):
        owners = {}
        for o, bounds in enumerate(objects.bounds[image].tolist()):
            middle = [(bounds[a] + bounds[axes + a]) / 2 for a in range(axes)]
            place = tuple(int(m // (n / g)) for m, n, g in zip(middle, canvas, grid, strict=True))
            on = all(0 <= m < n for m, n in zip(middle, canvas, strict=True))
            if on and objects.present[image, o] and not objects.ignored[image, o]:
                owners.setdefault(place, o)
        for cell, place in enumerate(product(*map(range, grid))):
            middle = [(p + 0.5) * n / g for p, n, g in zip(place, canvas, grid, strict=True)]
            if place in owners:
                own = objects.bounds[image, owners[place]]
                rank = [
                    (-iou(box, own).item(), (box - own).square().sum().item(), number)
                    for number, box in enumerate(predicted[image, cell])
                ]
                answers.append((owners[place], min(rank)[2], -min(rank)[0], False))
                continue
            spared = any(
                bool(objects.present[image, o] and objects.ignored[image, o])
                and all(box[a] <= middle[a] < box[axes + a] for a in range(axes))
                for o, box in enumerate(objects.bounds[image].tolist())
            )
            answers.append((-1, 0, 0.0, spared))
    return answers


@settings(max_examples=60)
@given(st.sampled_from([1, 2, 3]), st.integers(0, 6), st.integers(1, 3), st.integers(0, 10_000))
def test_responsibility_is_the_paper_cell_by_cell(axes, most, predictors, seed):
    objects = scene(axes, 2, most, seed)
    grid = tuple(n // 4 for n in CANVAS[axes])
    generator = torch.Generator().manual_seed(seed)
    low = torch.randint(0, 12, (2, prod(grid), predictors, axes), generator=generator)
    size = torch.randint(0, 9, low.shape, generator=generator)
    predicted = torch.cat((low, low + size), dim=-1).double()
    found = responsible(predicted, objects, CANVAS[axes], grid)
    expected = cells_by_loops(predicted, objects, CANVAS[axes], grid)
    assert found.objects.flatten().tolist() == [answer[0] for answer in expected]
    assert found.predictor.flatten().tolist() == [answer[1] for answer in expected]
    assert found.ious.flatten().tolist() == pytest.approx([answer[2] for answer in expected])
    assert found.neither.flatten().tolist() == [answer[3] for answer in expected]
    chosen = found.responsible(predictors)
    assert torch.equal(chosen.sum(dim=2), (found.objects >= 0).long())


def test_a_centre_on_the_far_edge_or_outside_is_nobodys():
    bounds = torch.tensor([[[16.0, 16.0], [-4.0, 2.0], [15.0, 16.9]]])
    objects = PaddedBoxes(bounds, torch.zeros(1, 3).long(), torch.ones(1, 3).bool(), torch.zeros(1, 3).bool())
    found = responsible(torch.zeros(1, 4, 1, 2), objects, (16,), (4,))
    assert found.objects.tolist() == [[-1, -1, -1, 2]]


@pytest.mark.parametrize("most", [0, 3])
def test_a_batch_and_its_padding_change_no_image(most):
    objects = scene(2, 3, most, 5)
    scores, predicted, points = guesses(2, 3, 24, 5)
    wide = PaddedBoxes(
        *(
            torch.cat((part, part.new_ones(3, 2, *part.shape[2:]) * (part.dtype != torch.bool)), dim=1).to(part.dtype)
            for part in (objects.bounds, objects.classes, objects.present, objects.ignored)
        )
    )
    grid = (4, 6)
    whole, cells = (
        task_aligned(scores, predicted, points, wide),
        responsible(predicted[:, :, None], wide, (16, 24), grid),
    )
    for image in range(3):
        part = slice(image, image + 1)
        alone = PaddedBoxes(*(p[part] for p in (objects.bounds, objects.classes, objects.present, objects.ignored)))
        single = task_aligned(scores[part], predicted[part], points, alone)
        cell = responsible(predicted[part, :, None], alone, (16, 24), grid)
        for one, many in ((single, whole), (cell, cells)):
            assert all(torch.equal(value, getattr(many, name)[part]) for name, value in vars(one).items())


def test_no_gradient_passes_through_an_assignment():
    objects = scene(2, 1, 3, 1)
    scores, predicted, points = guesses(2, 1, 24, 1)
    found = task_aligned(scores.requires_grad_(), predicted.requires_grad_(), points, objects)
    assert not found.targets.requires_grad
    assert not responsible(predicted[:, :, None], objects, (16, 24), (4, 6)).ious.requires_grad


def test_responsibility_stays_on_its_device_and_never_waits_for_it():
    objects = scene(2, 2, 3, 1).to("meta")  # a device without numbers: reading one or mixing devices is an error
    cells = responsible(torch.zeros(2, 24, 2, 4, device="meta"), objects, (16, 24), (4, 6))
    assert cells.neither.is_meta and cells.responsible(2).is_meta


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator")
def test_assignment_on_an_accelerator_is_that_without_one():
    objects, (scores, predicted, points) = scene(2, 2, 5, 1), guesses(2, 2, 24, 1)
    here = task_aligned(scores, predicted, points, objects, reach=torch.ones_like(points))
    there = task_aligned(
        *(p.cuda() for p in (scores, predicted, points)), objects.to("cuda"), reach=torch.ones_like(points).cuda()
    )
    for name, value in vars(here).items():
        torch.testing.assert_close(value, getattr(there, name).cpu())


def test_boxes_are_padded_with_places_that_hold_none():
    first = Boxes.from_bounds(torch.tensor([[1.0, 2.0], [3.0, 9.0]]), torch.tensor([4, 5]), torch.tensor([False, True]))
    none = Boxes.from_bounds(torch.zeros(0, 2), torch.zeros(0))
    padded = pad_boxes([first, none])
    assert padded.bounds.tolist() == [[[1, 2], [3, 9]], [[0, 0], [0, 0]]]
    assert padded.classes.tolist() == [[4, 5], [0, 0]]
    assert padded.present.tolist() == [[True, True], [False, False]]
    assert padded.learned.tolist() == [[True, False], [False, False]]
    assert padded.to("cpu").ignored.tolist() == padded.ignored.tolist()
    assert pad_boxes([none]).bounds.shape == (1, 0, 2)
    values = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])
    assert of_objects(values, torch.tensor([[1, -1, 0], [-1, -1, 1]])).tolist() == [[[2], [0], [1]], [[0], [0], [4]]]


def test_what_does_not_fit_is_named():
    objects = scene(2, 1, 3, 1)
    scores, predicted, points = guesses(2, 1, 24, 1)
    with pytest.raises(ValueError, match=r"scores \(B, P, K\)"):
        task_aligned(scores[:, 1:], predicted, points, objects)
    with pytest.raises(ValueError, match="top is 0"):
        task_aligned(scores, predicted, points, objects, top=0)
    with pytest.raises(ValueError, match="24 cells"):
        responsible(predicted[:, 1:, None], objects, (16, 24), (4, 6))
    with pytest.raises(ValueError, match=r"points \(P, 2\)"):
        inside(points[:, :1], objects.bounds)
    with pytest.raises(ValueError, match="three tensors"):
        PaddedBoxes(objects.bounds, objects.classes[:, 1:], objects.present, objects.ignored)
    with pytest.raises(ValueError, match="one number of axes"):
        pad_boxes([])
