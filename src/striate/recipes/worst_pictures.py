"""Pictures of the samples that come off worst, and of those where a sure answer contradicts the labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.map import box_corners
from striate.inference.measured import Measured
from striate.recipes.findings import Concern, notes
from striate.recipes.run_pictures import drawn, marked, short_name, stored_values, target_marks
from striate.report.outlines import FAULT, Outline
from striate.report.overlays import Shown, pictures, rgb
from striate.report.records import Figure
from striate.tasks.task import Marks, Place

_CLOSE = 5.0
"""A doubtful box is shown with this many times its longer side around it."""
_LEAST = 0.4
"""Share of the shorter side of an image that is shown around it at least."""


def worst_pictures(measured: Measured, figures: Mapping[str, Any], found: Sequence[Concern]) -> Figure | None:
    """The samples under ``worst``, each with what was found, missed and wrong, or its labels, the answer and where they
    differ; None where there are none or the task draws nothing."""
    task, classes, shards = measured.predictor.task, measured.predictor.classes, measured.shards
    worst = figures.get("worst", [])
    items: list[Shown] = []
    together = True
    for one, (batch, _) in zip(worst, measured.few([one["image"] for one in worst]), strict=True):
        decoded, target = measured.predictor.decode(batch.images), measured.target(batch)
        values = stored_values(batch, shards, measured.predictor.normalise)[0]
        name, note = short_name(shards, one["image"]), notes(found, one["image"])
        if compared := task.compared_marks(decoded, target, classes):
            outlines = compared[0].outlines if values.ndim < 4 else ()
            items.append(Shown(values, name, outlines, note=note))
        elif answer := task.answer_marks(decoded, classes):
            together = False
            truth = target_marks(target, classes, 1, shards.multi_label)[0]
            items += _beside(values, truth, answer[0], f"{name}: {100 * one['value']:.1f} %", note, len(classes))
    if not items:
        return None
    if together:
        caption = "The samples that come off worst, the worst first. A wrong answer has its score and what is wrong."
        return drawn(items, classes, caption, across=2)
    headline = task.headline.replace("_", " ")
    caption = f"The samples of the lowest {headline}: the sample, its labels, the answer, and in red where they differ."
    return drawn(items, classes, caption, across=4)


def doubtful_pictures(measured: Measured, figures: Mapping[str, Any]) -> Figure | None:
    """The answers under ``doubtful``, close, among the labels of their samples; None where there are none, and for
    volumes."""
    classes, shards = measured.predictor.classes, measured.shards
    doubtful = figures.get("doubtful", [])
    if not doubtful:
        return None
    items = []
    for one, (batch, places) in zip(doubtful, measured.few([one["image"] for one in doubtful]), strict=True):
        values = stored_values(batch, shards, measured.predictor.normalise)[0]
        if values.ndim == 4:
            return None
        bounds = _on_canvas(one["bounds"], places[0])
        truth = target_marks(measured.target(batch), classes, 1)[0]
        said = f"{classes[one['class']]} {100 * one['score']:.0f} %"
        labelled = "nothing is labelled" if one["annotated"] is None else f"labelled {classes[one['annotated']]}"
        asked = Outline(bounds, one["class"], mark="doubtful", text=said)
        focus = _focus(bounds, (values.shape[1], values.shape[2])) if values.ndim == 3 else None
        note = f"{said}, {labelled}"
        items.append(Shown(values, short_name(shards, one["image"]), (*truth.outlines, asked), note=note, focus=focus))
    if not items:
        return None
    return pictures(items, classes, "The labels in the colours of their classes.", across=2 if values.ndim == 2 else 4)


def _beside(values: NDArray[Any], truth: Marks, answer: Marks, title: str, note: str, classes: int) -> list[Shown]:
    """A sample alone, with its labels, with the answer, and with where they differ."""
    plain = Shown(values, title, note=note)
    void = 1 << classes if truth.several else classes  # numbers from there on are no class
    beside = _difference(values, truth, answer, void)
    return [plain, marked(values, truth, "labels"), marked(values, answer, "answer"), beside]


def _difference(values: NDArray[Any], truth: Marks, answer: Marks, limit: int) -> Shown:
    """Where a mask differs from the answer: in red over the greyed image, or as bands behind a signal. What is void in
    the labels, or not answered for, does not differ."""
    if truth.mask is None or answer.mask is None:
        return Shown(values, "")
    mine, theirs = truth.mask.astype(np.int64), answer.mask.astype(np.int64)
    # a network of valid windows answers for the middle
    low = [(n - m) // 2 for n, m in zip(mine.shape, theirs.shape, strict=True)]
    mine = mine[tuple(slice(at, at + m) for at, m in zip(low, theirs.shape, strict=True))]
    void = (mine < 0) | (mine >= limit)
    wrong = (mine != theirs) & ~void
    share = f"differs in {100 * wrong.sum() / max(int((~void).sum()), 1):.1f} %"
    if wrong.ndim == 1:
        edges = np.flatnonzero(np.diff(np.concatenate(([False], wrong, [False])))) + low[0]
        bands = tuple(Outline((float(a), float(b)), 0, mark="wrong") for a, b in edges.reshape(-1, 2).tolist())
        return Shown(values, share, bands)
    wrong = wrong[wrong.shape[0] // 2] if wrong.ndim == 3 else wrong
    picture = rgb(values).astype(np.float64).mean(axis=2, keepdims=True).repeat(3, axis=2) * 0.6 + 80
    red = [int(FAULT[at : at + 2], 16) for at in (1, 3, 5)]
    here = np.zeros(picture.shape[:2], dtype=bool)
    here[tuple(slice(at, at + m) for at, m in zip(low[-2:], wrong.shape, strict=True))] = wrong
    picture[here] = 0.2 * picture[here] + 0.8 * np.array(red)
    return Shown(np.rint(picture).clip(0, 255).astype(np.uint8).transpose(2, 0, 1), share)


def _on_canvas(bounds: Sequence[float], place: Place) -> tuple[float, ...]:
    """Bounds in pixels of the original, on the canvas."""
    axes = len(bounds) // 2
    low, high = np.array(bounds[:axes]), np.array(bounds[axes:])
    corners = place.by.points(box_corners(low[None], high[None]))[0]
    return (*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist())


def _focus(bounds: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """A square part of an image around a box, as far as the image reaches."""
    y0, x0, y1, x1 = bounds
    side = min(max(_CLOSE * max(y1 - y0, x1 - x0), _LEAST * min(size)), min(size))
    top = min(max((y0 + y1 - side) / 2, 0.0), size[0] - side)
    left = min(max((x0 + x1 - side) / 2, 0.0), size[1] - side)
    return top, left, top + side, left + side
