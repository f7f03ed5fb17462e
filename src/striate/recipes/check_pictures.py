"""Pictures for the page of a check: samples with their labels drawn, and the samples of a finding with its fault."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import InputError
from striate.data.doctor.check_boxes import box_faults
from striate.data.doctor.check_masks import is_background
from striate.data.doctor.diagnosis import Finding
from striate.data.reader import Reader
from striate.report.overlays import Outline, Shown, pictures
from striate.report.records import Figure

MOST_SAMPLES = 24
"""Samples drawn with nothing but a class; of those with boxes or masks, half as many."""
MOST_FAULTS = 4
_LOOKED_AT = 160
_CLOSE = 8.0
"""A box that is wrong is shown with this many times its longer side around it, where it is small in its image."""
_LEAST = 0.35
"""Share of the shorter side of an image that is shown around it at least."""


def sample_pictures(reader: Reader) -> Figure | None:
    """Samples spread over splits and classes, with what they are labelled with; None where none can be read."""
    plain = reader.target == "label"
    items = [
        item for position in _spread(reader, MOST_SAMPLES if plain else MOST_SAMPLES // 2)
        if (item := drawn(reader, position)) is not None
    ]  # fmt: skip
    if not items:
        return None
    many = len(reader.splits) > 1
    caption = (
        "Samples of every split and of as many classes as there is room for."
        if many
        else "Samples, spread over the set."
    )
    across = 4 if plain else 3
    return pictures(items, reader.classes, caption, across=across, clear=_clear(reader))


def finding_pictures(reader: Reader, finding: Finding) -> Figure | None:
    """Up to four samples of a finding, the fault drawn in red or both samples of a pair; None where none can be."""
    items: list[Shown] = []
    shown = 0
    for detail, positions in zip(finding.details, finding.samples, strict=True):
        if not positions or shown == MOST_FAULTS:
            continue
        pair = [drawn(reader, position, plain=len(positions) > 1) for position in positions[:2]]
        found = [one for one in pair if one is not None]
        if len(found) < len(pair):
            continue
        if len(found) == 1:
            found = [_faulty(reader, finding.code, positions[0], found[0], detail)]
        else:
            found[0] = _noted(found[0], detail)
        items += found
        shown += 1
    if not items:
        return None
    paired = len(items) == 2 * shown
    across = 2 if len(items) <= 2 and paired else 4
    names = "" if not paired else "Each pair side by side."
    return pictures(items, reader.classes, names, across=across, clear=_clear(reader))


def _clear(reader: Reader) -> int | None:
    return 0 if reader.target == "mask" and not reader.multi_label and is_background(reader.classes) else None


def drawn(reader: Reader, position: int, *, plain: bool = False) -> Shown | None:
    """A sample with its labels, or, ``plain``, with its class alone; None where it cannot be read."""
    try:
        sample = reader.read(position)
    except InputError:
        return _without_targets(reader, position)
    values = sample.image.numpy()
    title = ", ".join(filter(None, (_split(reader, position), _label(reader, position))))
    title = f"{reader.name(position)} ({title})" if title else reader.name(position)
    target = sample.targets.get(reader.target)
    outlines: tuple[Outline, ...] = ()
    mask = None
    if target is not None and not plain and target.kind == "boxes":
        outlines = _outlines(target)
    elif target is not None and not plain and target.kind == "mask":
        mask = _mask(target, values)
    return Shown(values, title, outlines, mask, several=mask is not None and reader.multi_label)


def _without_targets(reader: Reader, position: int) -> Shown | None:
    try:
        return Shown(np.asarray(reader.image(position)), reader.name(position))
    except InputError:
        return None


def _outlines(target: Any) -> tuple[Outline, ...]:
    bounds, classes = target.bounds().tolist(), target.classes.tolist()
    return tuple(Outline(tuple(box), label) for box, label in zip(bounds, classes, strict=True))


def _mask(target: Any, values: NDArray[Any]) -> NDArray[np.int64] | None:
    numbers = target.values.numpy().astype(np.int64)
    numbers[numbers == target.ignore] = -1
    if numbers.ndim == 3:
        numbers = numbers[numbers.shape[0] // 2]
    return numbers if numbers.shape == values.shape[-2:] else None


def _split(reader: Reader, position: int) -> str:
    if len(reader.splits) < 2:
        return ""
    return next((name for name, positions in reader.splits.items() if position in positions), "")


def _label(reader: Reader, position: int) -> str:
    if reader.multi_label and reader.labels is not None:
        return " + ".join(reader.classes[i] for i in np.flatnonzero(reader.labels[position]).tolist())
    label = reader.label(position)
    return "" if label is None else reader.classes[label]


def _faulty(reader: Reader, code: str, position: int, item: Shown, detail: str) -> Shown:
    """The sample with the faults of this code in red, close enough to be seen."""
    boxes = reader.targets(position).get(reader.target) if item.outlines else None
    if boxes is None or boxes.kind != "boxes":
        return _noted(item, detail)
    target: Any = boxes
    size = reader.size(position)
    bounds, classes = target.annotated().numpy(), target.classes.numpy()
    faults = box_faults(bounds, classes, size, reader.classes, target.marks.numpy())
    wrong = {fault.box: fault.detail for fault in faults if fault.code == code}
    chosen = next((number for number, said in wrong.items() if said == detail), None)
    outlines = tuple(Outline(one.bounds, one.label, number in wrong) for number, one in enumerate(item.outlines))
    focus = None if chosen is None or len(size) != 2 else _focus(outlines[chosen].bounds, item.values.shape[-2:])
    return Shown(item.values, item.title, outlines, item.mask, detail, focus, item.several)


def _focus(bounds: Sequence[float], size: tuple[int, ...]) -> tuple[float, float, float, float] | None:
    """The part of an image that shows a box: reaching out to it where it lies outside, near where it is small."""
    y0, x0, y1, x1 = bounds
    height, width = size
    longer = max(y1 - y0, x1 - x0)
    if not np.isfinite(bounds).all():
        return None
    if min(y0, x0) < 0 or y1 > height or x1 > width:
        far = float(max(height, width))  # a box a mile away must not shrink its image to a dot
        low = [max(-far, min(0.0, edge - 4)) for edge in (y0, x0)]
        high = [min(length + far, max(length, edge + 4)) for length, edge in ((height, y1), (width, x1))]
        return low[0], low[1], high[0], high[1]
    side = max(_CLOSE * longer, _LEAST * min(height, width))
    if side > 0.7 * min(height, width):
        return None
    share = height / width
    tall, wide = (side * share, side) if share < 1 else (side, side / share)
    top = min(max((y0 + y1 - tall) / 2, 0), height - tall)
    left = min(max((x0 + x1 - wide) / 2, 0), width - wide)
    return top, left, top + tall, left + wide


def _noted(item: Shown, note: str) -> Shown:
    return Shown(item.values, item.title, item.outlines, item.mask, note, item.focus, item.several)


def _spread(reader: Reader, most: int) -> list[int]:
    """Positions of samples that show as many classes as possible, from each split in turn."""
    parts = [positions for positions in reader.splits.values() if len(positions)]
    # what a mask shows is only known when its file is read: there just so many are looked at as are drawn
    each = -(-(most if reader.target == "mask" else _LOOKED_AT) // max(len(parts), 1))
    candidates: list[list[int]] = []
    for positions in parts:
        places = np.unique(np.linspace(0, len(positions) - 1, min(each, len(positions))).astype(int))
        candidates.append(positions[places].tolist())
    shows = {position: _classes_of(reader, position) for part in candidates for position in part}
    chosen: list[int] = []
    times: dict[int, int] = {}
    while len(chosen) < most and any(candidates):
        for part in candidates:
            if not part or len(chosen) == most:
                continue
            # the one that shows the class seen least so far; of equals, the one farthest along in a fixed order
            best = min(
                part, key=lambda position: (_rarity(shows[position], times), part.index(position) * 7919 % 10007)
            )
            part.remove(best)
            chosen.append(best)
            for label in shows[best]:
                times[label] = times.get(label, 0) + 1
    part_of = {position: number for number, part in enumerate(parts) for position in part.tolist()}
    return sorted(chosen, key=lambda position: part_of[position])  # within a split the classes take turns, as chosen


def _rarity(labels: frozenset[int], times: dict[int, int]) -> int:
    return min((times.get(label, 0) for label in labels), default=1_000_000)


def _classes_of(reader: Reader, position: int) -> frozenset[int]:
    if reader.labels is not None:
        row = reader.labels[position]
        return frozenset(np.flatnonzero(row).tolist()) if reader.multi_label else frozenset({int(row)})
    if reader.target != "boxes":
        return frozenset()
    try:
        target: Any = reader.targets(position).get(reader.target)
    except InputError:
        return frozenset()
    return frozenset() if target is None else frozenset(target.classes.tolist())
