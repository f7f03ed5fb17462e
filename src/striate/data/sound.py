"""What is made of faulty annotations before a sample is prepared: dropped, cut at the edge, or the sample is refused.

Readers keep what was annotated, so that the doctor can show it; here it is made fit to learn from, and every change is
counted in a note. Two opposite corners say the same box in either order, so swapped ones are exchanged; nothing else is
repaired.
"""

from dataclasses import replace

import torch

from striate.core.errors import InputError
from striate.core.sample import Boxes, Keypoints, Mask, Sample, Target

ROUNDING = 0.01
"""Pixels by which a box may reach beyond its image without a note: coordinates are written with so many digits."""


def sound(sample: Sample) -> tuple[Sample, tuple[str, ...]]:
    """The sample with sound targets, and what was changed, a note each ("1 of 12 boxes dropped: empty").

    Boxes with a high below its low (swapped corners) get them exchanged; those with coordinates that are not finite,
    without extent along an axis (empty) or wholly outside the image are dropped, the others cut at its edges. Keypoints
    that are not finite count as not visible. The sample must not have been turned or mirrored yet: boxes are judged as
    they were annotated. Errors: ``InputError`` for a mask of another size than its image.
    """
    if sample.targets.keys() <= {"label"}:
        return sample, ()
    notes: list[str] = []
    targets: dict[str, Target] = {}
    for name, target in sample.targets.items():
        if isinstance(target, Boxes):
            target, found = _boxes(target, sample.size)
            notes += found
        elif isinstance(target, Keypoints):
            target, found = _keypoints(target)
            notes += found
        elif isinstance(target, Mask):
            _demand_size(target, sample)
        targets[name] = target
    changed = any(targets[name] is not target for name, target in sample.targets.items())
    return (replace(sample, targets=targets) if changed else sample), tuple(notes)


def _boxes(boxes: Boxes, size: tuple[int, ...]) -> tuple[Boxes, list[str]]:
    count = len(boxes.classes)
    if not count:
        return boxes, []
    bounds = boxes.annotated()
    first, second = bounds[:, : boxes.axes], bounds[:, boxes.axes :]
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    swapped = (first > second).any(dim=1)
    limit = torch.tensor(size, dtype=torch.float64)
    faults = (
        ("not finite", ~bounds.isfinite().all(dim=1)),
        ("empty", (low == high).any(dim=1)),
        ("outside the image", ((high <= 0) | (low >= limit)).any(dim=1)),
    )
    kept, notes = torch.ones(count, dtype=torch.bool), list[str]()
    if swapped.any():
        notes.append(f"{int(swapped.sum())} of {_counted(count)}: swapped corners exchanged")
        boxes = Boxes.from_bounds(torch.cat((low, high), dim=1), boxes.classes, boxes.marks)
    for why, wrong in faults:
        number = int((kept & wrong).sum())
        if number:
            notes.append(f"{number} of {_counted(count)} dropped: {why}")
            kept &= ~wrong
    beyond = kept & ((low < 0) | (high > limit)).any(dim=1)
    if beyond.any():
        far = kept & ((low < -ROUNDING) | (high > limit + ROUNDING)).any(dim=1)
        if far.any():
            notes.append(f"{int(far.sum())} of {_counted(count)} cut at the edge of the image")
        inside = torch.cat((low.clamp(min=0.0), torch.minimum(high, limit)), dim=1)
        return Boxes.from_bounds(inside[kept], boxes.classes[kept], boxes.marks[kept]), notes
    return (boxes if bool(kept.all()) else boxes.take(kept)), notes


def _counted(count: int) -> str:
    return "1 box" if count == 1 else f"{count} boxes"


def _keypoints(keypoints: Keypoints) -> tuple[Keypoints, list[str]]:
    wrong = ~keypoints.points.isfinite().all(dim=-1)
    if not wrong.any():
        return keypoints, []
    lost = int((wrong & keypoints.visible).sum())
    points = keypoints.points.masked_fill(wrong[..., None], 0.0)
    notes = [f"{lost} of {wrong.numel()} keypoints dropped: not finite"] if lost else []
    return replace(keypoints, points=points, visible=keypoints.visible & ~wrong), notes


def _demand_size(mask: Mask, sample: Sample) -> None:
    size = tuple(mask.values.shape)
    if size != sample.size:
        shown = ["x".join(map(str, one)) for one in (size, sample.size)]
        raise InputError(sample.name, f"a mask of {shown[0]} for an image of {shown[1]}", "export it at that size")
