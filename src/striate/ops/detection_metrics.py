"""The metric of detection in any number of axes: average precision, curves, confusion, causes of error; mergeable.

Everything that is said at a score threshold (precision, recall and F1 of each class, the confusion matrix, the worst
images) is said at the same one, ``threshold``, and rests on the same matching as average precision at an overlap of .5.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Self, final

import numpy as np

from striate.core.targets import Boxes
from striate.ops.average_precision import (
    COCO_THRESHOLDS,
    LIMITS,
    RECALLS,
    AveragePrecision,
    average_precision,
    or_none,
)
from striate.ops.box_matching import match
from striate.ops.box_sets import Flags, Floats, FoundBoxes, Ints, TrueBoxes, known_classes, rows
from striate.ops.error_analysis import error_analysis, worst_images
from striate.ops.event_metrics import Tolerance, event_f1, event_figures
from striate.ops.metrics import Result, Values, mean_where, only_where, ratios, to_numpy

SCORES: Floats = np.arange(101) / 100
"""The score thresholds of the F1 curves."""
SURE = 0.5
"""The least score of a detection that is held against the annotation (see ``doubtful``)."""
OVERLAP = COCO_THRESHOLDS[0]
"""Where precision, recall, F1, the confusion matrix and the causes of error call a box found."""


@final
class DetectionMetrics:
    """What is measured of a detector for ``classes`` classes of boxes with ``axes`` axes.

    Figures (None: there is no such value). Those of the COCO evaluation: ``map`` (thresholds .5 to .95), ``map50``,
    ``map75``, ``ar1``, ``ar10``, ``ar100``, and for rectangles ``map_small`` to ``ar_large`` (areas in the pixels the
    bounds are in: give those of the original image). With one entry a class, None for one without boxes:
    ``average_precision``, ``average_precision50``, and at the score ``threshold``: ``precision``, ``recall``, ``f1``;
    ``support`` (boxes).
    ``confusion`` (K + 1, K + 1) counts boxes of class t (row) found as p (column); the last row is "nothing there", the
    last column "not found". ``best_threshold`` has the largest mean F1 of the classes that have boxes, ``best_f1``.
    ``curves``: ``recalls`` (101,) with ``precision`` (K, 101) at an overlap of .5, ``scores`` (101,) with ``f1``
    (K, 101) and ``mean_f1`` (101,). ``errors`` as ``ops.error_analysis`` over detections of every score, and in it
    ``at_threshold`` the same ``counts`` and ``counts_by_class`` of those at the score ``threshold``, with ``by_image``
    (rows of an image and its count of each kind). ``doubtful``: detections of a score of .5 or more that contradict the
    annotation. ``worst``: the worst images. For intervals also the event figures of ``ops.event_metrics``.

    ``threshold`` None takes the best one on what was taken in: stated on the same data, it flatters a little. At most
    100 detections of a class in an image count, those of the largest scores (but event figures take all).
    """

    def __init__(
        self, classes: int, *, axes: int = 2, threshold: float | None = None, tolerance: Tolerance | None = None
    ) -> None:
        if classes < 1 or not 1 <= axes <= 3:
            raise ValueError(f"one class at least and 1 to 3 axes were expected, {classes} and {axes} came")
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"the score threshold is between 0 and 1, {threshold} came")
        self.classes, self.axes, self.threshold = classes, axes, threshold
        self.tolerance = Tolerance() if tolerance is None else tolerance
        self.images: list[_Image] = []

    def update(
        self,
        decoded: Mapping[str, Any],
        target: Sequence[Boxes],
        areas: Sequence[Values | None] | None = None,
        index: Values | None = None,
    ) -> None:
        """Keep one batch of B images.

        ``decoded`` has ``bounds``, ``classes`` and ``scores`` (in [0, 1]), each a list of B arrays (n, 2A), (n,), (n,),
        or tensors padded to (B, N, 2A), (B, N), (B, N) with ``count`` (B,) telling how many entries are meant.
        ``areas`` (B of (m,)) are those of the objects' outlines, where known. ``index`` (B,) are the images' positions
        in the data: with them the figures do not depend on how images were divided and in which order they came, even
        when scores are equal. Errors: ``ValueError`` for shapes or numbers that do not fit; nothing is kept then.
        """
        names = ("bounds", "classes", "scores")
        if missing := [name for name in names if name not in decoded]:
            raise ValueError(f"decoded detections have {', '.join(names)}; {', '.join(missing)} did not come")
        count = len(target)
        lengths = {name: len(decoded[name]) for name in names} | ({} if areas is None else {"areas": len(areas)})
        if set(lengths.values()) != {count} and (count or any(lengths.values())):
            raise ValueError(f"{count} targets came with {lengths}")
        meant = [None] * count if "count" not in decoded else to_numpy(decoded["count"]).tolist()
        positions = [None] * count if index is None else to_numpy(index).tolist()
        if len(meant) != count or len(positions) != count:
            raise ValueError(f"{count} targets came with {len(meant)} counts and {len(positions)} positions")
        self.images += [
            self._image(
                positions[place],
                {name: to_numpy(decoded[name][place])[: meant[place]] for name in names},
                target[place],
                None if areas is None else areas[place],
            )
            for place in range(count)
        ]

    def _image(self, position: int | None, found: dict[str, Any], target: Boxes, areas: Values | None) -> "_Image":
        """One image, checked. Errors: ``ValueError``."""
        if len(target.classes) and target.axes != self.axes:
            raise ValueError(f"boxes with {self.axes} axes were expected, with {target.axes} came")
        detections = FoundBoxes.of_images([found["bounds"]], [found["classes"]], [found["scores"]], axes=self.axes)
        bounds = rows(target.bounds(), self.axes) if len(target.classes) else np.zeros((0, 2 * self.axes))
        boxes = TrueBoxes.of_images([bounds], [target.classes], [target.marks], [areas], axes=self.axes)
        known_classes(detections.classes, self.classes)
        known_classes(boxes.classes, self.classes)
        scores = detections.scores
        if len(scores) and (scores.min() < 0 or scores.max() > 1):
            raise ValueError(f"scores are between 0 and 1, from {scores.min()} to {scores.max()} came")
        return _Image(position, detections, boxes)

    def merge(self, other: Self) -> None:
        """Take over the images of ``other``. Errors: ``ValueError`` when it was made with other arguments."""
        mine, theirs = (
            (one.classes, one.axes, one.threshold, one.tolerance) for one in (self, other)
        )  # fmt: skip
        if mine != theirs:
            raise ValueError(f"metrics made with different arguments cannot be merged: {mine} and {theirs}")
        self.images.extend(other.images)

    def sets(self) -> tuple[FoundBoxes, TrueBoxes, list[int]]:
        """All detections, all boxes, and the position in the data of each image number in them.

        Errors: ``ValueError`` when an image came twice, or only some came with their positions.
        """
        positions = [one.position for one in self.images]
        images = self.images
        if any(place is None for place in positions):
            if any(place is not None for place in positions):
                raise ValueError("some images came with their position in the data and some without")
            numbers = list(range(len(images)))
        else:
            images = sorted(images, key=_Image.place)
            numbers = [one.place() for one in images]
            if twice := [a for a, b in pairwise(numbers) if a == b]:
                raise ValueError(f"the image at position {twice[0]} of the data came twice")
        found, truth = [one.found for one in images], [one.truth for one in images]
        detections = FoundBoxes.of_images(
            [one.bounds for one in found], [one.classes for one in found], [one.scores for one in found], axes=self.axes
        )
        boxes = TrueBoxes.of_images(
            [one.bounds for one in truth],
            [one.classes for one in truth],
            [one.ignored for one in truth],
            [one.areas for one in truth],
            axes=self.axes,
        )
        return detections, boxes, numbers

    def compute(self) -> Result:
        """The figures named in the class's description. Errors: ``ValueError`` when nothing has been taken in."""
        if not self.images:
            raise ValueError("there is nothing to compute: no samples have been taken in")
        found, truth, numbers = self.sets()
        made = average_precision(found, truth, self.classes)
        support = made.support[:, 0]
        curves = _f1_curves(found, made)
        known = support > 0
        mean_f1 = curves[known].mean(axis=0) if known.any() else np.zeros(len(SCORES))
        best = _middle_of_best(mean_f1)
        threshold = float(SCORES[best]) if self.threshold is None else self.threshold
        confusion = confusion_matrix(found, truth, made, threshold)
        right = np.diag(confusion)[:-1]
        said, named = confusion[:, :-1].sum(axis=0), confusion[:-1].sum(axis=1)
        stated = error_analysis(found.take(found.scores >= threshold), truth, self.classes, most=LIMITS[-1])
        worst = worst_images(found, truth, made.matching, threshold, LIMITS[-1])
        result: Result = {
            "count": len(numbers),
            **{name: or_none(value) for name, value in made.figures().items()},
            "average_precision": [or_none(value) for value in made.by_class().tolist()],
            "average_precision50": [or_none(value) for value in made.by_class(0).tolist()],
            "support": support.tolist(),
            "threshold": threshold,
            "precision": only_where(known, ratios(right, said)),
            "recall": ratios(right, named),
            "f1": only_where(known, ratios(2 * right, said + named)),
            "confusion": confusion.tolist(),
            "best_threshold": float(SCORES[best]),
            "best_f1": float(mean_f1[best]) if known.any() else None,
            "curves": {
                "overlap": OVERLAP,
                "recalls": RECALLS.tolist(),
                "precision": _where(known, made.precision[0, :, :, 0].T),
                "scores": SCORES.tolist(),
                "f1": _where(known, curves),
                "mean_f1": mean_f1.tolist() if known.any() else None,
            },
            "errors": {
                **error_analysis(found, truth, self.classes, most=LIMITS[-1], matching=made.matching).to_json(),
                "at_threshold": {
                    "counts": stated.counts(),
                    "counts_by_class": stated.counts_by_class(),
                    "by_image": [[numbers[image], *counts] for image, *counts in stated.by_image()],
                },
            },
            "doubtful": [{**one, "image": numbers[one["image"]]} for one in stated.doubtful(max(SURE, threshold))],
            "worst": [{**one, "image": numbers[one["image"]]} for one in worst],
        }
        result["macro_f1"] = mean_where(result["f1"], known)
        if self.axes == 1:
            result |= event_figures(found, truth, self.classes)
            result |= event_f1(found.take(found.scores >= threshold), truth, self.classes, self.tolerance)
            result["event_tolerance"] = {
                "samples": self.tolerance.samples,
                "share": self.tolerance.share,
                "starts_only": self.tolerance.starts_only,
            }
        return result


class _Image:
    """What is kept of one image: its position in the data, its detections and its boxes."""

    def __init__(self, position: int | None, found: FoundBoxes, truth: TrueBoxes) -> None:
        self.position, self.found, self.truth = position, found, truth

    def place(self) -> int:
        """The position, which is known."""
        assert self.position is not None
        return self.position


def confusion_matrix(found: FoundBoxes, truth: TrueBoxes, made: AveragePrecision, threshold: float) -> Ints:
    """Boxes by class (rows) and what they were found as (columns), (K + 1, K + 1), at a score threshold.

    ``made`` has .5 as its first threshold of overlap. First the matches of average precision, within each class: so
    the diagonal divided by the sums of columns and rows is precision and recall. Then what is left over, detections and
    boxes, is matched in the same way whatever the class; the rest is put down to the last row ("nothing there") and the
    last column ("not found"). Ignored boxes, and detections matched to them, are left out.
    """
    matching, count = made.matching, len(made.support)
    said = (found.scores >= threshold) & (matching.rank < made.limits[-1]) & matching.first(matching.counted)
    right = said & matching.first(matching.right)
    matrix = np.zeros((count + 1, count + 1), dtype=np.int64)
    np.add.at(matrix, (found.classes[right], found.classes[right]), 1)
    left = ~truth.ignored
    left[matching.partner[right]] = False
    wrong, lost = found.take(said & ~right), truth.take(left)
    mixed = match(wrong.of_one_class(), lost.of_one_class(), (made.thresholds[0],)).partner
    paired = mixed >= 0
    np.add.at(matrix, (lost.classes[mixed[paired]], wrong.classes[paired]), 1)
    matrix[count, :count] += np.bincount(wrong.classes[~paired], minlength=count)
    unseen = np.ones(len(lost), dtype=bool)
    unseen[mixed[paired]] = False
    matrix[:count, count] += np.bincount(lost.classes[unseen], minlength=count)
    return matrix


def _f1_curves(found: FoundBoxes, made: AveragePrecision) -> Floats:
    """F1 = 2 TP / (detections + boxes) of each class at the thresholds ``SCORES`` and an overlap of .5, (K, 101)."""
    matching = made.matching
    right, counted = matching.first(matching.right), matching.first(matching.counted)
    curves = np.zeros((len(made.support), len(SCORES)))
    for number, total in enumerate(made.support[:, 0].tolist()):
        chosen = made.order.of(number)
        hits = np.concatenate(([0], np.cumsum(right[chosen])))
        tries = np.concatenate(([0], np.cumsum(counted[chosen])))
        at = np.searchsorted(-found.scores[chosen], -SCORES, side="right")
        curves[number] = 2 * hits[at] / np.maximum(tries[at] + total, 1)
    return curves


def _where(known: Flags, curves: Floats) -> list[list[float] | None]:
    """The curves (K, n) of the classes that have boxes, None for the others."""
    return [row if has else None for row, has in zip(curves.tolist(), known.tolist(), strict=True)]


def _middle_of_best(values: Floats) -> int:
    """The middle of the first run of largest values: the threshold that is farthest from where F1 falls."""
    best = values >= values.max() - 1e-12
    first = int(best.argmax())
    after = np.flatnonzero(~best[first:])
    length = int(after[0]) if len(after) else len(values) - first
    return first + (length - 1) // 2
