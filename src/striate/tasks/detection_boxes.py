"""What all tasks that find boxes share: selecting answers, measuring them, bringing them back, and the report.

Whatever the network is, it is decoded into ``bounds`` (B, P, 2A), pixels of the canvas, and ``scores`` (B, P, K), from
0 to 1, of P places for K classes, for A = 1 (events in signals), 2 or 3 axes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from striate.core.errors import InputError
from striate.core.map import Map, box_corners
from striate.core.targets import Boxes
from striate.ops.box_sets import FoundBoxes, TrueBoxes
from striate.ops.boxes import areas, clip_bounds
from striate.ops.detection_metrics import DetectionMetrics
from striate.ops.error_analysis import KINDS, RIGHT, UNCOUNTED, error_analysis
from striate.ops.suppression import Soft, batched_nms
from striate.report.overlays import Outline
from striate.report.records import Section
from striate.tasks.detection_report import CAUSES, sections
from striate.tasks.task import DataFacts, Marks, Metrics, Place, Task

MEASURED_FROM = 0.001
"""The smallest score that average precision looks at: its curve goes on where nobody would believe a detection."""
CANDIDATES = 3000
"""Pairs of a place and a class that go into suppression, those of the largest scores, for each sample."""

Share = Annotated[float, Field(ge=0, le=1)]


@final
@dataclass(frozen=True, eq=False)
class Found:
    """What was found in one sample, the highest score first: ``bounds`` (n, 2A) float64 in pixels, ``classes`` int64
    (n,) and ``scores`` (n,) float32, on the CPU."""

    bounds: Tensor
    classes: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.scores)

    def moved(self, by: Map) -> "Found":
        """The smallest boxes around the moved ones, cut to the map's canvas; what lies outside it is left out."""
        axes = by.axes
        numbers = self.bounds.numpy()
        corners = by.points(box_corners(numbers[:, :axes], numbers[:, axes:]))
        moved = np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)
        cut = clip_bounds(torch.from_numpy(moved), by.canvas)
        there = areas(cut) > 0
        return Found(cut[there], self.classes[there], self.scores[there])


def suppressed(
    decoded: Mapping[str, Tensor], *, least: float, overlap: float, most: int, soft: Soft | None = None
) -> list[Found]:
    """The boxes of each sample with a score of ``least`` or more, after suppression within each class.

    Of the places' scores for all classes the :data:`CANDIDATES` largest take part; see
    :func:`striate.ops.suppression.nms` for ``overlap``, ``most`` and ``soft``. Errors: ``ValueError`` for numbers that
    are not finite.
    """
    bounds, scores = decoded["bounds"].detach(), decoded["scores"].detach()
    count, _, classes = scores.shape
    flat = scores.flatten(1)
    best, pairs = flat.topk(min(CANDIDATES, flat.shape[1]), dim=1)
    places, numbers = pairs // classes, pairs % classes
    chosen = bounds.gather(1, places[..., None].expand(-1, -1, bounds.shape[2])).cpu()
    best, numbers = best.cpu(), numbers.cpu()
    kept = batched_nms(chosen, best, numbers, overlap, most, soft=soft, least=least)
    return [
        Found(chosen[image, one.indices].double(), numbers[image, one.indices], one.scores.float())
        for image, one in zip(range(count), kept, strict=True)
    ]


class BoxTask(Task):
    """Base of the tasks that find boxes with ``axes`` axes.

    A prediction is a box with a ``score`` of at least that, ``most`` a sample, and no two of one class whose
    intersection over union is above ``overlap``; with ``soft`` ("linear" or "gaussian") such boxes lose score in place
    of being left out (:func:`striate.ops.suppression.nms`). Precision, recall and the confusion matrix are stated for
    the same boxes; average precision looks at all scores from .001 on. Where it is known where the originals are,
    everything is measured in their pixels.
    """

    target: ClassVar[str] = "boxes"
    headline: ClassVar[str] = "map"
    axes: Literal[1, 2, 3] = 2
    score: Share = 0.25
    overlap: Share = 0.6
    most: Annotated[int, Field(ge=1)] = 300
    soft: Soft | None = None

    @classmethod
    def with_options(cls, options: Mapping[str, Any], facts: DataFacts, **from_data: Any) -> Self:
        """The task with what the data says and what was chosen. Errors: ``InputError`` for an unknown or bad option."""
        known = {"axes": facts.axes, **from_data}
        if said := [name for name in known if name in options]:
            raise InputError(f"task options: {said[0]}", "the data decides it", "leave the option out")
        return cls.from_json({"kind": cls.kind, **options, **known}, "task options")

    def select(self, decoded: Mapping[str, Tensor]) -> list[Found]:
        """The boxes of each sample on the canvas."""
        return suppressed(decoded, least=self.score, overlap=self.overlap, most=self.most, soft=self.soft)

    def metrics(self, classes: Sequence[str]) -> Metrics:
        """The figures of the COCO evaluation, and at this task's ``score`` precision, recall, F1 and confusions."""
        return DetectionFigures(
            DetectionMetrics(len(classes), axes=self.axes, threshold=self.score), self.overlap, self.soft
        )

    def renumber(self, target: Sequence[Boxes], numbers: Tensor, classes: int) -> list[Boxes]:
        """The boxes of each sample with their class numbers looked up."""
        return [Boxes(one.points, numbers.to(one.classes.device)[one.classes], one.marks) for one in target]

    def records(
        self, decoded: Mapping[str, Tensor], classes: Sequence[str], places: Sequence[Place] | None = None
    ) -> list[dict[str, Any]]:
        """``{"boxes": [{"class", "score", "bounds"}, ...]}``, the highest score first; bounds are A lows and A highs in
        pixels, in array order (y0, x0, y1, x1). With ``places`` also ``size``, that of the original in pixels."""
        found = self.select(decoded)
        if places is None:
            return [{"boxes": _plain(one, classes)} for one in found]
        found = [one.moved(place.by.inverse(place.size)) for one, place in zip(found, places, strict=True)]
        pairs = zip(found, places, strict=True)
        return [{"size": list(place.size), "boxes": _plain(one, classes)} for one, place in pairs]

    def answer_marks(self, decoded: Mapping[str, Tensor], classes: Sequence[str]) -> list[Marks]:
        """The boxes of every sample."""
        return [
            Marks(outlines=tuple(map(Outline, map(tuple, one.bounds.tolist()), one.classes.tolist())))
            for one in self.select(decoded)
        ]

    def compared_marks(
        self, decoded: Mapping[str, Tensor], target: Sequence[Boxes], classes: Sequence[str]
    ) -> list[Marks]:
        """Every object as found (where the detection is) or missed, and every wrong detection with what is wrong."""
        return [
            Marks(outlines=compared(one, boxes, classes, self.axes))
            for one, boxes in zip(self.select(decoded), target, strict=True)
        ]

    def sections(self, figures: Mapping[str, Any], classes: Sequence[str]) -> list[Section]:
        """Average precision, curves, figures by class, confusions, causes of error, the worst samples."""
        return sections(figures, classes)


def _plain(found: Found, classes: Sequence[str]) -> list[dict[str, Any]]:
    rows = zip(found.bounds.tolist(), found.classes.tolist(), found.scores.tolist(), strict=True)
    return [{"class": classes[number], "score": score, "bounds": bounds} for bounds, number, score in rows]


def compared(found: Found, boxes: Boxes, classes: Sequence[str], axes: int) -> tuple[Outline, ...]:
    """The detections and objects of one sample held against one another at an overlap of .5: those that were found, the
    objects that were not (whether another class or another place was said of them or nothing), wrong detections."""
    detections = FoundBoxes.of_images([found.bounds], [found.classes], [found.scores], axes=axes)
    bounds = boxes.bounds() if len(boxes.classes) else np.zeros((0, 2 * axes))
    truth = TrueBoxes.of_images([bounds], [boxes.classes], [boxes.marks], axes=axes)
    errors = error_analysis(detections, truth, len(classes))
    lost = ~truth.ignored
    lost[errors.about[errors.kind == RIGHT]] = False
    outlines = [
        Outline(tuple(truth.bounds[at].tolist()), number := int(truth.classes[at]), mark="missed", text=classes[number])
        for at in np.flatnonzero(lost).tolist()
    ]
    for at, kind in enumerate(errors.kind.tolist()):
        if kind == UNCOUNTED:
            continue
        number, where = int(detections.classes[at]), tuple(detections.bounds[at].tolist())
        said = f"{classes[number]} {100 * detections.scores[at]:.0f} %"
        words = said if kind == RIGHT else f"{said}: {CAUSES[KINDS[kind]][0]}"
        outlines.append(Outline(where, number, mark="found" if kind == RIGHT else "wrong", text=words))
    return tuple(outlines)


@final
class DetectionFigures:
    """:class:`DetectionMetrics` of decoded outputs, after suppression at ``overlap``."""

    def __init__(self, metrics: DetectionMetrics, overlap: float, soft: Soft | None = None) -> None:
        self.measured = metrics
        self.soft = soft
        self.overlap = overlap

    def update(
        self,
        decoded: Mapping[str, Tensor],
        target: Sequence[Boxes],
        index: Tensor | Sequence[int] | None = None,
        places: Sequence[Place] | None = None,
    ) -> None:
        """Take in one batch; ``index`` (B,) are the samples' positions in the data, where known: the worst samples are
        then named by them. With ``places`` boxes are brought back to the originals, as predictions are, and matched
        and measured there: areas are those of original pixels."""
        found = suppressed(decoded, least=MEASURED_FROM, overlap=self.overlap, most=CANDIDATES, soft=self.soft)
        if places is not None:
            back = [place.by.inverse(place.size) for place in places]
            found = [one.moved(by) for one, by in zip(found, back, strict=True)]
            target = [one.move(by) for one, by in zip(target, back, strict=True)]
        boxes = {name: [getattr(one, name) for one in found] for name in ("bounds", "classes", "scores")}
        self.measured.update(boxes, target, index=None if index is None else torch.as_tensor(index))

    def merge(self, other: "DetectionFigures") -> None:
        """Take in what another has seen."""
        self.measured.merge(other.measured)

    def compute(self) -> dict[str, Any]:
        """The figures by name: see :class:`DetectionMetrics`. Without any boxes in the data ``map`` is None."""
        return self.measured.compute()
