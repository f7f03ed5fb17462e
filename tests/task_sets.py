"""What the contract of tasks (test_task_contract.py) has to know of each task: ONE ENTRY of :data:`SETS` a task.

The samples are those of ``striate.data.formats.scenes``: objects of three kinds, of one level each, in 1, 2 or 3 axes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from striate.architectures.backbone import Architecture, architecture
from striate.core.sample import Boxes, Label, Mask, Target
from striate.core.spec import kinds
from striate.data.formats.scenes import GROUND, KINDS, LAYERS, LEVELS, Scenes, scenes
from striate.tasks.task import DataFacts, Task

CANVAS = {1: (128,), 2: (64, 64), 3: (32, 32, 32)}
CLASSIFIER = architecture("detector_nano", {"widths": (8, 16, 16, 24), "depths": (0, 1, 0)})
PYRAMID = architecture("detector_nano", {"widths": (8, 16, 16, 24, 32), "depths": (0, 1, 1, 0)})
DENSE = architecture("detector_nano", {"widths": (8, 8, 16, 16), "depths": (0, 1, 0)})
VOID = 255


@dataclass(frozen=True)
class TaskSet:
    """A task's synthetic set, and how its answers are made and checked. To add a task, say:

    ``facts``: fields of DataFacts beside classes, counts, axes and canvas. ``truth``: the targets of scenes, one each.
    ``perfect``: raw outputs (task, collated target, canvas) whose decoding is that target. ``says``: whether a record
    says what is true: (record, target, size, slack in original pixels, the region of the original that was seen, as
    bounds). ``command``: options of ``striate train scenes-2d`` that choose the task. ``network`` and ``options``:
    small ones. ``steps`` of AdamW at ``rate`` lead to a headline figure of ``bar``. ``drawn``: arguments of ``scenes``.
    """

    facts: dict[str, Any]
    truth: Callable[[Scenes], list[Target]]
    perfect: Callable[[Any, Any, tuple[int, ...]], Any]
    says: Callable[[dict[str, Any], Any, tuple[int, ...], float, np.ndarray[Any, Any]], bool]
    command: dict[str, Any]
    network: Architecture
    options: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = KINDS
    drawn: dict[str, Any] = field(default_factory=dict)
    axes: tuple[int, ...] = (1, 2, 3)
    steps: int = 100
    rate: float = 0.01
    bar: float = 0.9
    any_size: bool = True


def task_set(kind: str) -> TaskSet:
    """The entry of a task. Errors: ``AssertionError`` that says what to add."""
    assert kind in SETS, (
        f"the task {kind!r} ({kinds(Task)[kind].__module__ if kind in kinds(Task) else 'not found'}) has no synthetic "
        f"set: add one entry {kind!r}: TaskSet(...) to SETS in tests/task_sets.py, whose fields TaskSet describes"
    )
    return SETS[kind]


def made(kind: str, axes: int, canvas: tuple[int, ...] | None = None) -> tuple[Task, TaskSet]:
    """A task for scenes of so many axes on a canvas, with small options."""
    own = task_set(kind)
    facts = DataFacts(
        classes=own.classes, counts=(9,) * len(own.classes), axes=axes, canvas=canvas or CANVAS[axes], **own.facts
    )
    task = kinds(Task)[kind].for_data(facts, own.options)
    assert task is not None, f"{kind} does not take {facts}: correct `facts` of its entry in tests/task_sets.py"
    return task, own


def drawn(own: TaskSet, axes: int, count: int, **more: Any) -> tuple[Tensor, list[Target]]:
    """Images (count, 1, *S) and the truth of each."""
    found = scenes(count, more.pop("size", CANVAS[axes]), **{**own.drawn, **more})
    return torch.from_numpy(found.images), own.truth(found)


def collated(targets: list[Target]) -> Any:
    return type(targets[0]).collate(targets)


def look(images: Tensor, canvas: tuple[int, ...]) -> Scenes:
    """What is in noiseless scenes (B, 1, *canvas) of one object: read off the pixels, edges at half the level."""
    bounds, classes = [], []
    values = images[:, 0].numpy()
    levels = np.array((0.0, *LEVELS))
    masks = np.abs(values[..., None] - levels).argmin(axis=-1).astype(np.uint8)
    for one in values:
        level = one.flat[np.abs(one).argmax()]
        inside = np.argwhere(np.abs(one) > abs(level) / 2)
        there = abs(level) > 0.5
        box = np.concatenate((inside.min(axis=0), inside.max(axis=0) + 1)) if there else np.zeros(2 * len(canvas))
        bounds.append(box[None].astype(np.int64)[: int(there)])
        classes.append(np.abs(np.array(LEVELS) - level).argmin()[None][: int(there)])
    return Scenes(values[:, None], bounds, classes, masks)


def _labels(found: Scenes) -> list[Target]:
    return [Label(index=int(one[0])) if len(one) else Label(index=0) for one in found.classes]


def _tags(found: Scenes) -> list[Target]:
    return [Label(tags=torch.from_numpy(np.isin(np.arange(len(KINDS)), one)).float()) for one in found.classes]


def _boxes(found: Scenes) -> list[Target]:
    rows = zip(found.bounds, found.classes, strict=True)
    return [Boxes.from_bounds(torch.from_numpy(b.astype(np.float64)), torch.from_numpy(k)) for b, k in rows]


def _masks(found: Scenes) -> list[Target]:
    return [Mask(torch.from_numpy(one), VOID) for one in found.masks]


def _layers(found: Scenes) -> list[Target]:
    return [Mask(torch.from_numpy(np.array(LAYERS, dtype=np.uint8)[one]), VOID) for one in found.masks]


def _bits(task: Any, target: Tensor, canvas: tuple[int, ...]) -> Tensor:
    return torch.stack([40.0 * (target >> number & 1) - 20 for number in range(len(KINDS))], dim=1)


def _says_layers(
    record: dict[str, Any], truth: Mask, size: tuple[int, ...], slack: float, seen: np.ndarray[Any, Any]
) -> bool:
    sets = sum(np.where(record["masks"][name] == 1, 1 << number, 0) for number, name in enumerate(KINDS))
    return _says_mask({"mask": sets}, truth, size, slack, seen)


def _one_hot(task: Any, target: Tensor, canvas: tuple[int, ...]) -> Tensor:
    classes = len(KINDS) + (target.ndim > 1)
    known = torch.where(target == VOID, 0, target)
    return 40.0 * functional.one_hot(known.long(), classes).movedim(-1, 1).float()


def perfect_maps(task: Any, target: list[Boxes], canvas: tuple[int, ...], classes: int = len(KINDS)) -> Any:
    """Outputs of the pyramid's head that say exactly these boxes: the inverse of decoding, cell by cell."""
    raw = {}
    for stride in task.strides:
        cells = [ceil(n / stride) for n in canvas]
        raw[f"classes{stride}"] = torch.full((len(target), classes, *cells), -12.0)
        raw[f"boxes{stride}"] = torch.full((len(target), 2 * task.axes * task.bins, *cells), -40.0)
    for image, boxes in enumerate(target):
        for bounds, number in zip(boxes.bounds(), boxes.classes.tolist(), strict=True):
            low, high = bounds.split(task.axes)
            for stride in task.strides:
                cell = ((low + high) / 2 / stride).floor().long().tolist()
                point = (torch.tensor(cell) + 0.5) * stride
                distances = torch.cat((point - low, high - point)) / stride
                named = raw[f"classes{stride}"][(image, slice(None), *cell)]
                if 0 <= distances.min() and distances.max() <= task.bins - 1 and named.max() < 0:
                    break
            else:
                raise AssertionError(f"no cell can say {bounds}")
            named[number] = 12.0
            sides = raw[f"boxes{stride}"][(image, slice(None), *cell)].reshape(2 * task.axes, task.bins)
            below = distances.floor().clamp(max=task.bins - 2).long()
            for side, (place, distance) in enumerate(zip(below.tolist(), distances.tolist(), strict=True)):
                sides[side, place] = torch.log(torch.tensor(1 - (distance - place) + 1e-12))
                sides[side, place + 1] = torch.log(torch.tensor(distance - place + 1e-12))
    return {"": raw[f"boxes{task.strides[-1]}"], **raw}


def perfect_grid(task: Any, target: list[Boxes], canvas: tuple[int, ...], classes: int = len(KINDS)) -> Tensor:
    """Outputs of the first YOLO's cells that say exactly these boxes."""
    raw = torch.zeros(len(target), task.outputs(classes), *task.cells)
    width = 2 * task.axes + 1
    for image, boxes in enumerate(target):
        for bounds, number in zip(boxes.bounds(), boxes.classes.tolist(), strict=True):
            low, high = bounds.split(task.axes)
            at = (low + high) / 2 * torch.tensor(task.cells) / torch.tensor(canvas)
            here = raw[(image, slice(None), *at.floor().long().tolist())]
            here[:width] = torch.cat((at - at.floor(), ((high - low) / torch.tensor(canvas)).sqrt(), torch.ones(1)))
            here[task.boxes * width + number] = 1.0
    return raw


def _says_boxes(
    record: dict[str, Any], truth: Boxes, size: tuple[int, ...], slack: float, seen: np.ndarray[Any, Any]
) -> bool:
    axes = len(size)
    wanted = truth.bounds().numpy()
    cut = np.clip(wanted.reshape(-1, 2, axes), seen[:axes], seen[axes:])
    sure = ((cut[:, 1] - cut[:, 0]) > 2 * slack).all(axis=1)
    possible = ((cut[:, 1] - cut[:, 0]) > 0).all(axis=1)
    if not sure.sum() <= len(record["boxes"]) <= possible.sum():
        return False
    for one in record["boxes"]:
        off = np.abs(np.array(one["bounds"]) - cut.reshape(-1, 2 * axes)).max(axis=1)
        if off.min() > slack or one["class"] != KINDS[int(truth.classes[int(off.argmin())])]:
            return False
    return True


def _says_mask(
    record: dict[str, Any], truth: Mask, size: tuple[int, ...], slack: float, seen: np.ndarray[Any, Any]
) -> bool:
    """Exactly the original size, and right but within ``slack`` of an object's edge, or where nothing was seen."""
    if record["mask"].shape != size:
        return False
    values, axes = truth.values.numpy(), len(size)
    wrong = np.argwhere(record["mask"] != values) + 0.5
    wrong = wrong[((wrong > seen[:axes]) & (wrong < seen[axes:])).all(axis=1)]
    inside = np.argwhere(values > 0)
    if not len(inside):
        return not len(wrong)
    edges = np.stack((inside.min(axis=0), inside.max(axis=0) + 1))
    return bool((np.abs(wrong[:, None] - edges).min(axis=(1, 2)) <= slack).all())


SETS: dict[str, TaskSet] = {
    "classification": TaskSet(
        facts={"target": "label"},
        truth=_labels,
        perfect=_one_hot,
        says=lambda record, truth, size, slack, seen: record["class"] == KINDS[truth.index],
        command={"target": "label"},
        network=CLASSIFIER,
        drawn={"mixed": False, "least": 1},
        bar=0.99,
    ),
    "multi_label_classification": TaskSet(
        facts={"target": "label", "multi_label": True},
        truth=_tags,
        perfect=lambda task, target, canvas: 40.0 * target - 20,
        says=lambda record, truth, size, slack, seen: record["tags"] == [KINDS[n] for n in truth.tags.nonzero()[:, 0]],
        command={"target": "label", "multi_label": True},
        network=CLASSIFIER,
        drawn={"least": 1},
        bar=0.99,
    ),
    "segmentation": TaskSet(
        facts={"target": "mask", "ignore": VOID},
        truth=_masks,
        perfect=_one_hot,
        says=_says_mask,
        command={"target": "mask"},
        network=DENSE,
        steps=60,
        rate=0.03,
        classes=(GROUND, *KINDS),
    ),
    "multi_label_segmentation": TaskSet(
        facts={"target": "mask", "multi_label": True, "ignore": VOID},
        truth=_layers,
        perfect=_bits,
        says=_says_layers,
        command={"target": "mask", "multi_label": True},
        network=DENSE,
        steps=60,
        rate=0.03,
    ),
    "detection": TaskSet(
        facts={"target": "boxes"},
        truth=_boxes,
        perfect=perfect_maps,
        says=_says_boxes,
        command={"target": "boxes"},
        network=PYRAMID,
        options={"channels": 24, "strides": [4, 8, 16]},
    ),
    "yolo_v1": TaskSet(
        facts={"target": "boxes"},
        truth=_boxes,
        perfect=perfect_grid,
        says=_says_boxes,
        command={"target": "boxes"},
        network=PYRAMID,
        options={"channels": 48, "depth": 1, "grid": 8},
        steps=300,
        any_size=False,
    ),
}
