"""Detectors learn: tiny sets of rectangles, of events in signals and of cuboids are overfitted from scratch."""

import pytest
import torch

from striate.architectures.backbone import architecture
from striate.core.targets import Boxes
from striate.tasks.detection import Detection
from striate.tasks.detection_yolo_v1 import YoloV1
from striate.tasks.task import DataFacts

CLASSES = ("bright", "dark")
CANVAS = {1: (192,), 2: (64, 64), 3: (32, 32, 32)}


def painted(axes, count, seed=0):
    """Noise with one or two boxes of 12 to 20 pixels that are brighter or darker than it, and the boxes; the last
    image is empty."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor(CANVAS[axes])
    images, targets = 0.3 * torch.randn(count, 1, *CANVAS[axes], generator=generator), []
    for place in range(count):
        bounds, classes = [], []
        for number in range(0 if place == count - 1 else 1 + place % 2):
            half = size[0] // 2  # one in each half along the first axis, so that they never overlap
            sides = torch.randint(12, 16 if axes == 3 else 21, (axes,), generator=generator)
            low = (torch.rand(axes, generator=generator) * (torch.cat((half[None], size[1:])) - sides)).clamp(0).long()
            low[0] += number * half
            high = torch.minimum(low + sides, size)
            kind = (place // 2 + number) % 2
            images[place, 0][tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))] += (
                2 - 4 * kind
            )
            bounds.append(torch.cat((low, high)).double())
            classes.append(kind)
        stacked = torch.stack(bounds) if bounds else torch.zeros(0, 2 * axes)
        targets.append(Boxes.from_bounds(stacked, torch.tensor(classes, dtype=torch.int64)))
    return images, targets


def trained(task, axes, count=12, steps=100, rate=0.01):
    """The headline figure on the set the task was trained on, and the loss at the end."""
    torch.manual_seed(0)
    images, targets = painted(axes, count)
    backbone = architecture("detector_nano", {"widths": (8, 16, 16, 24, 32), "depths": (0, 1, 1, 0)})
    module = task.network(backbone, len(CLASSES)).build((1, *CANVAS[axes]))
    optimiser = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for _ in range(steps):
        total, number = task.loss(module(images), targets)
        optimiser.zero_grad()
        (total / number).backward()
        optimiser.step()
        schedule.step()
    module.eval()
    metrics = task.metrics(CLASSES)
    with torch.inference_mode():
        metrics.update(task.decode(module(images)), targets)
    return metrics.compute()


def made(kind, axes, **options):
    facts = DataFacts(target="boxes", classes=CLASSES, counts=(1, 1), axes=axes, canvas=CANVAS[axes])
    task = kind.for_data(facts, options)
    assert task is not None
    return task


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_detection_overfits_rectangles_events_and_cuboids(axes):
    task = made(Detection, axes, channels=24, depth=1, strides=[8, 16])
    figures = trained(task, axes, count=6 if axes == 3 else 12)
    assert figures["map"] > 0.9 and figures["macro_f1"] > 0.95


@pytest.mark.parametrize("axes", [1, 2])
def test_the_first_yolo_overfits_rectangles_and_events(axes):
    task = made(YoloV1, axes, channels=48, depth=1, grid=8)
    assert trained(task, axes, steps=300)["map"] > 0.9
