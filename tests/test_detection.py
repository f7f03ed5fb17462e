"""The two tasks that find boxes: decoding against its inverse, ignored boxes, original pixels."""

import json
from math import ceil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.architectures.backbone import architecture
from striate.core.errors import InputError
from striate.core.sample import Sample
from striate.core.targets import Boxes
from striate.core.transform import CenterCrop, Compose, Flip, Letterbox, Resize
from striate.ops.assign import Assignment
from striate.report.html import render
from striate.report.records import Report
from striate.tasks.detection import Detection, shares, strides_for
from striate.tasks.detection_boxes import Found
from striate.tasks.detection_yolo_v1 import YoloV1
from striate.tasks.task import DataFacts, Place, Task, task_for
from task_sets import perfect_grid, perfect_maps

CLASSES = ("ant", "bee", "cat")
CANVAS = {1: (250,), 2: (64, 90), 3: (32, 32, 40)}
KINDS = (Detection, YoloV1)


def facts(axes, canvas=None):
    return DataFacts(target="boxes", classes=CLASSES, counts=(5, 3, 2), axes=axes, canvas=canvas or CANVAS[axes])


def made(kind, axes, **options):
    task = kind.for_data(facts(axes), options)
    assert task is not None
    return task


def targets(axes, images=4, seed=0, canvas=None, **marks):
    """Boxes of 9 to 16 pixels that hardly overlap, from none to three an image; the first image has none."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor(canvas or CANVAS[axes])
    found = []
    for image in range(images):
        slots = torch.cartesian_prod(*(torch.arange(0, int(n) - 15, 16) for n in size)).reshape(-1, axes)
        chosen = slots[torch.randperm(len(slots), generator=generator)[: image % 4]].double()
        low = chosen + 3 * torch.rand(len(chosen), axes, generator=generator).double()
        high = torch.minimum(low + 9 + 4 * torch.rand(len(chosen), axes, generator=generator).double(), size)
        classes = torch.randint(0, len(CLASSES), (len(chosen),), generator=generator)
        found.append(Boxes.from_bounds(torch.cat((low, high), dim=1), classes, **marks))
    return found


def random_outputs(task, images, seed=0, canvas=None):
    generator = torch.Generator().manual_seed(seed)
    axes, size = task.axes, canvas or CANVAS[task.axes]
    if isinstance(task, YoloV1):
        return torch.rand(images, task.outputs(len(CLASSES)), *task.cells, generator=generator)
    raw = {}
    for stride in task.strides:
        cells = [ceil(n / stride) for n in size]
        raw[f"classes{stride}"] = torch.randn(images, len(CLASSES), *cells, generator=generator) - 2
        raw[f"boxes{stride}"] = torch.randn(images, 2 * axes * task.bins, *cells, generator=generator)
    return {"": raw[f"boxes{task.strides[-1]}"], **raw}


def perfect_outputs(task, given, canvas=None):
    """Outputs that say exactly the boxes."""
    size = canvas or CANVAS[task.axes]
    return perfect_grid(task, given, size) if isinstance(task, YoloV1) else perfect_maps(task, given, size)


def part_of(raw, rows):
    return {name: tensor[rows] for name, tensor in raw.items()} if isinstance(raw, dict) else raw[rows]


def measured(task, raw, given, index=None):
    metrics = task.metrics(CLASSES)
    metrics.update(task.decode(raw), given, index)
    return metrics.compute()


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
class TestBothTasks:
    """What holds for both, in any number of axes."""

    def test_perfect_outputs_come_back_as_the_boxes_and_score_1(self, kind, axes):
        task, given = made(kind, axes), targets(axes, images=8)
        raw = perfect_outputs(task, given)
        for found, boxes in zip(task.select(task.decode(raw)), given, strict=True):
            order = [int((found.bounds - one).abs().sum(dim=1).argmin()) for one in boxes.bounds()]
            assert sorted(order) == list(range(len(boxes.classes))) == list(range(len(found)))
            torch.testing.assert_close(found.bounds[order], boxes.bounds(), atol=1e-3, rtol=0)
            assert torch.equal(found.classes[order], boxes.classes) and found.bounds.dtype == torch.float64
        figures = measured(task, raw, given)
        assert figures[task.headline] == pytest.approx(1.0) and figures["macro_f1"] == pytest.approx(1.0)
        assert figures["threshold"] == task.score

    def test_wrong_classes_do_not_score(self, kind, axes):
        task, given = made(kind, axes), targets(axes, images=8)
        turned = task.renumber(given, torch.tensor([1, 2, 0]), len(CLASSES))
        assert measured(task, perfect_outputs(task, turned), given)[task.headline] < 0.05

    def test_images_without_boxes_have_a_finite_loss_and_gradient(self, kind, axes):
        task, given = made(kind, axes), [one.take(torch.arange(0)) for one in targets(axes)]
        raw = random_outputs(task, len(given))
        used = [one.requires_grad_() for one in (raw.values() if isinstance(raw, dict) else [raw])]
        total, count = task.loss(raw, given)
        (total / count).backward()
        assert count == len(given) and bool(total.isfinite())
        assert all(one.grad is None or bool(one.grad.isfinite().all()) for one in used)
        assert measured(task, raw if isinstance(raw, dict) else raw.detach(), given)[task.headline] is None

    def test_the_loss_is_smaller_for_what_is_right(self, kind, axes):
        task, given = made(kind, axes), targets(axes, images=8)
        right, wrong = perfect_outputs(task, given), perfect_outputs(task, targets(axes, images=8, seed=5))
        assert task.loss(right, given)[0] < task.loss(wrong, given)[0]

    def test_ignored_boxes_are_neither_learned_nor_held_against_a_detection(self, kind, axes):
        task = made(kind, axes)
        canvas = torch.tensor(CANVAS[axes], dtype=torch.float64) + 32  # cells at the end may look from beyond it
        crowd = Boxes.from_bounds(torch.cat((0 * canvas, canvas))[None], torch.tensor([1]), torch.tensor([True]))
        raw = random_outputs(task, 1)
        used = [one.requires_grad_() for one in (raw.values() if isinstance(raw, dict) else [raw])]
        total, _ = task.loss(raw, [crowd])
        total.backward()
        assert float(total.detach()) == 0
        assert all(one.grad is None or float(one.grad.abs().max()) == 0 for one in used)
        (seen,) = task.renumber(targets(axes)[3:], torch.tensor([1, 1, 1]), len(CLASSES))
        true = seen.take(torch.tensor([0]))  # the crowd hides two of the three
        both = Boxes(
            torch.cat((true.points, crowd.points)),
            torch.cat((true.classes, crowd.classes)),
            torch.tensor([False, True]),
        )
        raw = perfect_outputs(task, [seen])
        assert measured(task, raw, [true])["precision"][1] == pytest.approx(1 / 3)
        figures = measured(task, raw, [both])
        assert figures["precision"][1] == figures["recall"][1] == 1 and figures["support"] == [0, 1, 0]
        assert task.loss(raw, [both])[0] < task.loss(raw, [true])[0]

    def test_original_coordinates_come_back(self, kind, axes):
        task, size = made(kind, axes), tuple(2 * n + 7 for n in CANVAS[axes])
        given = [Boxes.from_bounds(2 * one.bounds() + 1, one.classes) for one in targets(axes, images=4, seed=2)]
        for steps in (
            (Letterbox(size=CANVAS[axes]),),
            (Resize(size=CANVAS[axes]),),
            (Flip(), Resize(size=CANVAS[axes])),
        ):
            fit = Compose(steps=steps)
            moved = [one.move(fit.map(size)) for one in given]
            decoded = task.decode(perfect_outputs(task, moved))
            places = [Place(size, fit.map(size))] * len(given)
            records = task.records(decoded, CLASSES, places)
            assert json.loads(json.dumps(records)) == records
            for record, boxes in zip(records, given, strict=True):
                expected = sorted(zip((CLASSES[n] for n in boxes.classes), boxes.bounds().tolist(), strict=True))
                found = sorted((one["class"], one["bounds"]) for one in record["boxes"])
                assert [name for name, _ in found] == [name for name, _ in expected]
                for (_, one), (_, other) in zip(found, expected, strict=True):
                    assert one == pytest.approx(other, abs=0.01)
                assert all(task.score <= one["score"] <= 1 for one in record["boxes"])

    def test_without_places_records_stay_on_the_canvas(self, kind, axes):
        task, given = made(kind, axes), targets(axes)
        records = task.records(task.decode(perfect_outputs(task, given)), CLASSES)
        assert [len(one["boxes"]) for one in records] == [0, 1, 2, 3]
        assert records[1]["boxes"][0]["bounds"] == pytest.approx(given[1].bounds()[0].tolist(), abs=1e-3)

    def test_decoding_has_a_fixed_shape_on_the_canvas(self, kind, axes):
        task = made(kind, axes)
        decoded = task.decode(random_outputs(task, 5))
        places = decoded["bounds"].shape[1]
        assert decoded["bounds"].shape == (5, places, 2 * axes)
        assert decoded["scores"].shape == (5, places, len(CLASSES))
        low, high = decoded["bounds"].split(axes, dim=2)
        room = 0 if kind is YoloV1 else task.strides[0]
        assert low.min() >= 0 and bool((low <= high).all())
        assert bool((high <= torch.tensor(CANVAS[axes]) + room).all())
        assert 0 <= decoded["scores"].min() and decoded["scores"].max() <= 1

    def test_a_network_gives_what_the_task_reads(self, kind, axes):
        task = made(kind, axes, channels=8, depth=1)
        network = task.network(architecture("detector_nano", {"widths": (4, 4, 6, 8, 8), "depths": (0, 0, 0, 0)}), 3)
        shape = (2, *CANVAS[axes])
        task.demand_outputs(network, shape, 3, "model")
        with pytest.raises(InputError, match=r"model: .*classes"):
            task.demand_outputs(network, shape, 4, "model")
        raw = network.build(shape)(torch.randn(2, *shape))
        total, count = task.loss(raw, targets(axes)[2:])
        (total / count).backward()
        assert bool(total.isfinite()) and count >= 2
        assert task.decode(raw)["scores"].shape[::2] == (2, 3)

    def test_figures_of_parts_merge(self, kind, axes):
        task, given = made(kind, axes, score=0.1), targets(axes, images=8)
        raw = perfect_outputs(task, given)
        first, second = task.metrics(CLASSES), task.metrics(CLASSES)
        for metrics, rows in ((second, [0, 5]), (first, [1, 7, 2]), (second, [3, 4, 6])):
            metrics.update(task.decode(part_of(raw, rows)), [given[row] for row in rows], rows)
        first.merge(second)
        assert json.dumps(first.compute()) == json.dumps(measured(task, raw, given, range(8)))

    def test_the_report_shows_the_figures(self, kind, axes):
        task, given = made(kind, axes, score=0.01), targets(axes, images=8)
        for shown in (given, [one.take(torch.arange(0)) for one in given]):
            figures = measured(task, perfect_outputs(task, targets(axes, images=8, seed=1)), shown)
            page = render(Report("report", "", tuple(task.sections(figures, CLASSES))))
            assert "nan" not in page.lower().replace("<nan", "")
            assert ("There are no boxes" in page) == (figures["map"] is None)
        assert json.loads(json.dumps(figures, allow_nan=False)) == figures

    def test_it_comes_back_from_json_and_refuses_unknown_options(self, kind, axes):
        task = made(kind, axes, score=0.5, channels=16)
        assert Task.from_json(json.loads(json.dumps(task.to_json()))) == task
        assert (task.score, task.channels, task.axes) == (0.5, 16, axes)
        with pytest.raises(InputError, match="no_such_option"):
            kind.for_data(facts(axes), {"no_such_option": 1})
        with pytest.raises(InputError, match="task options: axes: the data decides it"):
            kind.for_data(facts(axes), {"axes": 2})
        assert kind.for_data(DataFacts(target="mask", classes=CLASSES, counts=(1, 1, 1), axes=axes), {}) is None


def test_detection_is_the_default_and_the_first_yolo_is_taken_by_name():
    assert task_for(facts(2), "yolo_v1") == YoloV1.for_data(facts(2), {})
    assert task_for(facts(2)) == Detection.for_data(facts(2), {})


def test_the_first_yolo_has_the_numbers_of_the_paper():
    task = YoloV1.for_data(facts(2, (448, 448)), {})
    assert task is not None
    assert (task.cells, task.boxes, task.coordinate_weight, task.empty_weight) == ((7, 7), 2, 5.0, 0.5)
    assert task.outputs(20) == 30


def test_a_first_yolo_cell_finds_one_object_of_two():
    task = made(YoloV1, 2)
    bounds = torch.tensor([[10.0, 12.0, 17.0, 22.0], [10.0, 13.0, 17.0, 23.0]])
    given = [Boxes.from_bounds(bounds, torch.tensor([0, 1]))]
    assert measured(task, perfect_outputs(task, [given[0].take(torch.tensor([0]))]), given)["ar100"] == 0.5


def test_a_first_yolo_needs_a_canvas_of_its_axes():
    assert YoloV1.for_data(DataFacts(target="boxes", classes=CLASSES, counts=(1, 1, 1)), {}) is None
    with pytest.raises(InputError, match="grid"):
        YoloV1.for_data(facts(2), {"grid": [7, 7, 7]})
    task = made(YoloV1, 2, channels=8)
    network = task.network(architecture("detector_nano"), 3)
    with pytest.raises(InputError, match="canvas"):
        task.demand_outputs(network, (3, 96, 96), 3, "model")


def test_strides_grow_until_both_ends_of_the_canvas_can_be_told():
    assert strides_for(None) == strides_for((320, 256)) == (8, 16, 32)
    assert strides_for((960,)) == (8, 16, 32) and strides_for((961,)) == (8, 16, 32, 64)
    assert strides_for((6000,)) == (8, 16, 32, 64, 128, 256)
    assert Detection.for_data(facts(1, (2000,)), {"strides": [4, 8]}).strides == (4, 8)


def test_the_best_point_of_every_object_counts_in_full():
    objects = torch.tensor([[0, 0, -1, 1, 1, 2], [-1, 0, -1, -1, -1, -1]])
    targets = torch.tensor([[0.1, 0.2, 0.0, 0.8, 0.2, 0.0], [0.0, 0.5, 0.0, 0.0, 0.0, 0.0]])
    made = shares(Assignment(objects, targets, torch.zeros(2, 6, dtype=torch.bool)), 3)
    expected = torch.tensor([[0.5, 1.0, 0.0, 1.0, 0.25, 1.0], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(made, expected)


def test_the_count_is_the_weight_of_the_boxes_and_one_an_image():
    task, given = made(Detection, 2), targets(2, images=4)
    _, count = task.loss(perfect_outputs(task, given), given)
    assert count == pytest.approx(4 + 6, abs=1e-3)  # one cell says each of the six boxes, no other overlaps


def test_one_cell_by_hand():
    task = Detection(strides=(8,), bins=4)
    sides = torch.full((4, 4), -50.0)
    sides[0, 1], sides[1, 0], sides[2, 3], sides[3, 2] = 50.0, 50.0, 50.0, 50.0  # in strides: up, left, down, right
    boxes = torch.zeros(1, 16, 2, 3)
    boxes[0, :, 1, 2] = sides.reshape(-1)
    decoded = task.decode({"classes8": torch.zeros(1, 1, 2, 3), "boxes8": boxes})
    # the cell (1, 2) looks from (12, 20); 12 + 24 is beyond the last cell, which ends at 16, and 20 + 16 at 24
    assert decoded["bounds"][0, 5].tolist() == pytest.approx([4.0, 20.0, 16.0, 24.0])
    assert decoded["scores"].unique().tolist() == [0.5]


def test_suppression_is_within_each_class_and_by_the_options():
    bounds = torch.tensor([[[0.0, 0, 10, 10], [0, 1, 10, 11], [0, 0, 10, 5], [20, 20, 30, 30]]])
    scores = torch.tensor([[[0.9, 0.2], [0.8, 0.7], [0.6, 0.0], [0.3, 0.24]]])
    decoded = {"bounds": bounds, "scores": scores}

    def said(**options):
        (found,) = Detection(**options).select(decoded)
        return [(n, round(s, 2)) for n, s in zip(found.classes.tolist(), found.scores.tolist(), strict=True)]

    assert said() == [(0, 0.9), (1, 0.7), (0, 0.6), (0, 0.3)]
    assert said(overlap=0.9) == [(0, 0.9), (0, 0.8), (1, 0.7), (0, 0.6), (0, 0.3)]
    assert said(overlap=0.4, score=0.5) == [(0, 0.9), (1, 0.7)]
    assert said(most=2) == [(0, 0.9), (1, 0.7)]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3]), st.booleans())
def test_found_boxes_moved_there_and_back_are_the_same(seed, axes, crop):
    (boxes,) = targets(axes, images=4, seed=seed)[3:]
    found = Found(boxes.bounds(), boxes.classes, torch.linspace(1, 0.5, 3))
    size = tuple(n + 5 for n in CANVAS[axes])
    by = (CenterCrop(size=tuple(n + 40 for n in size)) if crop else Letterbox(size=CANVAS[axes])).map(size)
    there = found.moved(by)
    sample = Sample(torch.zeros(1, *size), {"boxes": boxes}).move(by)
    torch.testing.assert_close(there.bounds, sample.targets["boxes"].bounds())
    torch.testing.assert_close(there.moved(by.inverse(size)).bounds, found.bounds)


def test_what_lies_beside_the_original_is_left_out_and_the_rest_cut():
    by = Letterbox(size=(64, 64)).map((32, 64))  # 16 rows of fill above and below
    bounds = torch.tensor([[0.0, 0.0, 10.0, 10.0], [10.0, 5.0, 30.0, 25.0], [20.0, 20.0, 40.0, 40.0]]).double()
    found = Found(bounds, torch.tensor([0, 1, 2]), torch.tensor([0.9, 0.8, 0.7])).moved(by.inverse((32, 64)))
    assert found.classes.tolist() == [1, 2] and found.scores.tolist() == pytest.approx([0.8, 0.7])
    assert found.bounds.tolist() == [[0.0, 5.0, 14.0, 25.0], [4.0, 20.0, 24.0, 40.0]]


def test_outputs_that_are_not_numbers_are_said_to_be():
    task = made(Detection, 2)
    raw = random_outputs(task, 1)
    raw["boxes8"][0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="the network's outputs broke down"):
        task.select(task.decode(raw))


def test_many_classes_are_drawn_and_measured():
    names = tuple(f"class {number}" for number in range(40))
    task = Detection()
    raw = {
        f"{part}{stride}": torch.randn(2, count, 64 // stride, 64 // stride)
        for stride in task.strides
        for part, count in (("classes", 40), ("boxes", 64))
    }
    metrics = task.metrics(names)
    metrics.update(task.decode(raw), targets(2, images=4, canvas=(64, 64))[2:])
    assert render(Report("report", "", tuple(task.sections(metrics.compute(), names))))
