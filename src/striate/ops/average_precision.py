"""Average precision and recall of detections, as the COCO evaluation defines them (Lin et al. 2014, arXiv 1405.0312).

Detections of a class, over all images, by falling score, give precision and recall after each; precision is made never
to rise with recall by taking the largest precision at that recall or a larger one,

    AP = 1/101 sum over r in {0, .01, ..., 1} of max over r' >= r of precision(r')

and is averaged over thresholds of intersection over union, then over the classes that have boxes. Figures agree with
pycocotools; its -1 for what does not exist is kept in the arrays. Works for intervals, rectangles and cuboids; ranges
of sizes, which are areas in pixels of the image as annotated, exist for rectangles only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from striate.ops.box_matching import EVERYTHING, Matching, Range, match
from striate.ops.box_sets import Floats, FoundBoxes, Ints, TrueBoxes, known_classes

COCO_THRESHOLDS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""Intersection over union .5, .55, ..., .95."""
RECALLS: Floats = np.linspace(0.0, 1.0, 101)
AREAS: dict[str, Range] = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""COCO's ranges of areas in square pixels, both ends included."""
LIMITS = (1, 10, 100)
"""How many detections of a class in an image are looked at."""

Table = npt.NDArray[np.uint8]


@final
@dataclass(frozen=True, eq=False)
class Ranking:
    """Detections in order of class, then falling score: ``order`` (n',) into the n, ``starts`` (K + 1,) by class."""

    order: Ints
    starts: Ints

    def of(self, number: int) -> Ints:
        """The detections of a class, the best first."""
        return self.order[self.starts[number] : self.starts[number + 1]]


def ranking(found: FoundBoxes, classes: int, chosen: npt.NDArray[np.bool_] | None = None) -> Ranking:
    """Rank the (chosen) detections of each class; of equal scores the earlier image, then the earlier entry, leads."""
    places = np.arange(len(found)) if chosen is None else np.flatnonzero(chosen)
    places = places[np.argsort(found.images[places], kind="stable")]
    order = places[np.lexsort((-found.scores[places], found.classes[places]))]
    return Ranking(order, np.searchsorted(found.classes[order], np.arange(classes + 1)))


@final
@dataclass(frozen=True, eq=False)
class AveragePrecision:
    """Precision and recall at T thresholds, for K classes, R ranges of sizes and M limits of detections.

    ``precision`` (T, 101, K, R) at the recalls 0, .01, ..., 1 with the last limit, ``recall`` (T, K, R, M), both -1
    where a class has no box in the range; ``support`` (K, R) boxes.
    """

    precision: Floats
    recall: Floats
    support: Ints
    thresholds: tuple[float, ...]
    ranges: tuple[str, ...]
    limits: tuple[int, ...]
    matching: Matching
    order: Ranking

    def figures(self) -> dict[str, float]:
        """The figures of the COCO evaluation by name, -1 where there is no such value.

        ``map``, ``map50``, ``map75``, ``map_small``, ``map_medium``, ``map_large``, ``ar1``, ``ar10``, ``ar100``,
        ``ar_small``, ``ar_medium``, ``ar_large``: those of the thresholds, ranges and limits that were asked for.
        """
        result = {"map": _mean(self.precision[..., 0])}
        for level in (0.5, 0.75):
            near = np.isclose(self.thresholds, level, rtol=0, atol=1e-9)
            if near.any():
                result[f"map{round(100 * level)}"] = _mean(self.precision[near, :, :, 0])
        for place, name in enumerate(self.ranges[1:], start=1):
            result[f"map_{name}"] = _mean(self.precision[..., place])
        for place, limit in enumerate(self.limits):
            result[f"ar{limit}"] = _mean(self.recall[:, :, 0, place])
        for place, name in enumerate(self.ranges[1:], start=1):
            result[f"ar_{name}"] = _mean(self.recall[:, :, place, -1])
        return result

    def by_class(self, threshold: int | None = None) -> Floats:
        """Average precision (K,) over all sizes, at one threshold (its place) or the mean of all; -1 without boxes."""
        chosen = self.precision[..., 0] if threshold is None else self.precision[threshold : threshold + 1, ..., 0]
        return np.asarray(chosen.mean(axis=(0, 1)))


def average_precision(
    found: FoundBoxes,
    truth: TrueBoxes,
    classes: int,
    thresholds: Sequence[float] = COCO_THRESHOLDS,
    ranges: dict[str, Range] | None = None,
    limits: Sequence[int] = LIMITS,
) -> AveragePrecision:
    """Score the detections of a data set against its boxes.

    ``ranges`` are those of COCO for rectangles, and everything for intervals and cuboids, unless given; the first is
    that of the main figures. ``limits`` rise. Errors: ``ValueError`` for class numbers outside 0..classes-1.
    """
    known_classes(found.classes, classes)
    known_classes(truth.classes, classes)
    if not limits or list(limits) != sorted(set(limits)) or limits[0] < 1:
        raise ValueError(f"limits of detections rise from 1 up, {list(limits)} came")
    if ranges is None:
        ranges = AREAS if found.bounds.shape[1] == 4 else {"all": EVERYTHING}
    matching = match(found, truth, thresholds, tuple(ranges.values()), limits[-1])
    order = ranking(found, classes, matching.rank < limits[-1])
    count, sizes = len(thresholds), len(ranges)
    support = support_of(truth, classes, tuple(ranges.values()))
    precision = -np.ones((count, len(RECALLS), classes, sizes))
    recall = -np.ones((count, classes, sizes, len(limits)))
    right, counted = matching.table(matching.right), matching.table(matching.counted)
    for number in range(classes):
        if not support[number].any():
            continue
        chosen = order.of(number)
        hits, tries = right[chosen], counted[chosen]
        positives = np.repeat(support[number], count)
        known = support[number] > 0
        curve = interpolated(hits, tries, positives).reshape(sizes, count, -1)
        precision[:, :, number, known] = np.moveaxis(curve[known], 0, -1)
        rank = matching.rank[chosen]
        for place, limit in enumerate(limits):
            shares = hits[rank < limit].sum(axis=0, dtype=np.int64) / np.maximum(positives, 1)
            recall[:, number, known, place] = shares.reshape(sizes, count)[known].T
    return AveragePrecision(
        precision, recall, support, tuple(thresholds), tuple(ranges), tuple(limits), matching, order
    )


def support_of(truth: TrueBoxes, classes: int, ranges: Sequence[Range] = (EVERYTHING,)) -> Ints:
    """How many boxes that are not ignored each class has in each range of sizes, (K, R)."""
    counts = [
        np.bincount(truth.classes[~truth.ignored & (truth.areas >= low) & (truth.areas <= high)], minlength=classes)
        for low, high in ranges
    ]
    return np.stack(counts, axis=1).astype(np.int64)


def interpolated(hits: Table, tries: Table, positives: Ints) -> Floats:
    """Precision (C, 101) at the recalls 0, .01, ..., 1 for C cases of n detections by falling score.

    ``hits`` and ``tries`` (n, C): whether a detection is a true positive, and whether it counts; ``positives`` (C,)
    boxes to be found. A recall that is never reached has the precision 0, as has a case without boxes.
    """
    found = np.ascontiguousarray(hits.T).cumsum(axis=1, dtype=np.float64)
    seen = np.ascontiguousarray(tries.T).cumsum(axis=1, dtype=np.float64)
    envelope = found / (seen + np.spacing(1))
    envelope = np.maximum.accumulate(envelope[:, ::-1], axis=1)[:, ::-1]
    count = found.shape[1]
    result = np.zeros((len(positives), len(RECALLS)))
    for case, total in enumerate(positives.tolist()):
        if not total:
            continue
        # the first detection at which the recall is reached; comparing shares, as the definition does
        places = np.searchsorted(found[case] / total, RECALLS, side="left")
        reached = places < count
        result[case, reached] = envelope[case, places[reached]]
    return result


def area_under_curve(hits: Table, tries: Table, positives: int) -> float:
    """The whole area under the non-rising precision-recall curve of n detections (n,) by falling score.

    AP = sum over true positives of (largest precision at their recall or more) / positives, as event detection has it
    (ActivityNet, Caba Heilbron et al. 2015). Errors: ``ValueError`` without positives.
    """
    if positives < 1:
        raise ValueError("there is no average precision without boxes to be found")
    found, seen = hits.cumsum(dtype=np.int64), tries.cumsum(dtype=np.int64)
    envelope = np.maximum.accumulate((found / np.maximum(seen, 1))[::-1])[::-1]
    return float(envelope[hits.astype(bool)].sum() / positives)


def or_none(value: float) -> float | None:
    """None where the COCO evaluation says -1: there is no such value."""
    return None if value < 0 else float(value)


def coco_figures(
    bounds: Sequence[Any],
    classes: Sequence[Any],
    scores: Sequence[Any],
    true_bounds: Sequence[Any],
    true_classes: Sequence[Any],
    ignored: Sequence[Any] | None = None,
    areas: Sequence[Any] | None = None,
    *,
    count: int,
    axes: int = 2,
) -> dict[str, float]:
    """The COCO figures from one array an image: detections, then boxes; ``count`` classes. See ``AveragePrecision``.

    Bounds are (n, 2A): y0, x0, y1, x1. Errors: ``ValueError`` for other shapes, or class numbers that are too large.
    """
    if len(bounds) != len(true_bounds):
        raise ValueError(f"detections of {len(bounds)} images came with boxes of {len(true_bounds)}")
    found = FoundBoxes.of_images(bounds, classes, scores, axes=axes)
    truth = TrueBoxes.of_images(true_bounds, true_classes, ignored, areas, axes=axes)
    return average_precision(found, truth, count).figures()


def _mean(values: Floats) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0
