"""Figures of event detection in signals, where a box is an interval (start, end).

Average precision at thresholds of temporal intersection over union, with the area under the whole precision-recall
curve, as ActivityNet and THUMOS define it (Caba Heilbron et al. 2015; Idrees et al. 2017, arXiv 1604.06182), and F1
of events found to within a tolerance (Mesaros, Heittola and Virtanen 2016, "Metrics for polyphonic sound event
detection").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from striate.ops.average_precision import area_under_curve, ranking, support_of
from striate.ops.box_matching import match
from striate.ops.box_sets import Flags, FoundBoxes, Ints, TrueBoxes, known_classes
from striate.ops.metrics import ratios

LOOSE: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7)
"""The thresholds of THUMOS."""
STRICT: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""The thresholds of ActivityNet."""


def event_average_precision(
    found: FoundBoxes, truth: TrueBoxes, classes: int, thresholds: Sequence[float]
) -> list[float | None]:
    """The mean over the classes that have events of average precision, at each threshold; None without any events.

    All detections count, however many. Errors: ``ValueError`` for class numbers outside 0..classes-1, or boxes that
    are not intervals.
    """
    _intervals(found, truth)
    known_classes(found.classes, classes)
    known_classes(truth.classes, classes)
    matching = match(found, truth, thresholds)
    order, support = ranking(found, classes), support_of(truth, classes)[:, 0]
    right, counted = matching.table(matching.right), matching.table(matching.counted)
    known = np.flatnonzero(support).tolist()
    if not known:
        return [None] * len(thresholds)
    return [
        float(
            np.mean([area_under_curve(right[order.of(k), t], counted[order.of(k), t], int(support[k])) for k in known])
        )
        for t in range(len(thresholds))
    ]


def event_figures(found: FoundBoxes, truth: TrueBoxes, classes: int) -> dict[str, float | None]:
    """``event_map30`` to ``event_map70``, ``event_map_30_70`` and ``event_map_50_95``, named for their thresholds."""
    loose = event_average_precision(found, truth, classes, LOOSE)
    strict = event_average_precision(found, truth, classes, STRICT)
    named = {f"event_map{round(100 * level)}": value for level, value in zip(LOOSE, loose, strict=True)}
    return {**named, "event_map_30_70": _mean(loose), "event_map_50_95": _mean(strict)}


@final
@dataclass(frozen=True)
class Tolerance:
    """How far an end may be from the true one: ``samples``, or ``share`` of the true length if that is more.

    ``starts_only``: only where an event starts is compared.
    """

    samples: float = 0.0
    share: float = 0.25
    starts_only: bool = False

    def __post_init__(self) -> None:
        if self.samples < 0 or self.share < 0:
            raise ValueError(f"a tolerance is not negative, {self.samples} samples and a share of {self.share} came")


def event_f1(found: FoundBoxes, truth: TrueBoxes, classes: int, tolerance: Tolerance) -> dict[str, Any]:
    """F1, precision and recall of events found to within the tolerance, over all classes together and for each.

    A detection can be right about one event of its class, and an event found by one detection: as many pairs as
    possible are formed (a maximum matching), so that neither order nor scores matter; give the detections above the
    threshold. A detection left over that is within the tolerance of an ignored event does not count.
    ``{"event_f1", "event_precision", "event_recall", "event_f1_by_class"}``, None where there is no such value.
    """
    _intervals(found, truth)
    known_classes(found.classes, classes)
    known_classes(truth.classes, classes)
    right, tries = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    support = support_of(truth, classes)[:, 0]
    theirs: dict[tuple[int, int], list[int]] = {}
    for place, key in enumerate(zip(truth.images.tolist(), truth.classes.tolist(), strict=True)):
        theirs.setdefault(key, []).append(place)
    mine: dict[tuple[int, int], list[int]] = {}
    for place, key in enumerate(zip(found.images.tolist(), found.classes.tolist(), strict=True)):
        mine.setdefault(key, []).append(place)
    for (image, number), places in mine.items():
        there = np.array(theirs.get((image, number), []), dtype=np.int64)
        near = _near(found, np.array(places), truth, there, tolerance)
        marks = truth.ignored[there]
        partners = _most_pairs(near[:, ~marks])
        paired = partners >= 0
        right[number] += int(paired.sum())
        tries[number] += int((paired | ~near[:, marks].any(axis=1)).sum())
    hits, seen, total = int(right.sum()), int(tries.sum()), int(support.sum())
    return {
        "event_f1": 2 * hits / (seen + total) if seen + total else None,
        "event_precision": hits / seen if seen else None,
        "event_recall": hits / total if total else None,
        "event_f1_by_class": ratios(2 * right, tries + support),
    }


def _near(found: FoundBoxes, mine: Ints, truth: TrueBoxes, theirs: Ints, tolerance: Tolerance) -> Flags:
    """Whether each detection is within the tolerance of each event, (n, m)."""
    bounds = truth.bounds[theirs]
    allowed = np.maximum(tolerance.samples, tolerance.share * (bounds[:, 1] - bounds[:, 0]))
    away = np.abs(found.bounds[mine][:, None] - bounds[None])
    worst = away[..., 0] if tolerance.starts_only else away.max(axis=2, initial=0)
    near: Flags = worst <= allowed
    return near


def _most_pairs(possible: Flags) -> Ints:
    """The partner (n,) of each row in a largest matching of rows and columns (n, m), or -1: by augmenting paths."""
    owner = np.full(possible.shape[1], -1, dtype=np.int64)
    for row in range(len(possible)):
        # breadth first from the row, over columns that are taken, to one that is free; then exchange along the way
        came: dict[int, tuple[int, int | None]] = {}
        waiting: list[tuple[int, int | None]] = [(row, None)]
        for current, through in waiting:
            columns = np.flatnonzero(possible[current])
            column = next((free for free in columns.tolist() if owner[free] < 0), None)
            if column is not None:
                came[column] = (current, through)
                step: int | None = column
                while step is not None:
                    taker, earlier = came[step]
                    owner[step] = taker
                    step = earlier
                break
            for taken in columns.tolist():
                if taken not in came:
                    came[taken] = (current, through)
                    waiting.append((int(owner[taken]), taken))
    partners = np.full(len(possible), -1, dtype=np.int64)
    partners[owner[owner >= 0]] = np.flatnonzero(owner >= 0)
    return partners


def _intervals(found: FoundBoxes, truth: TrueBoxes) -> None:
    if found.bounds.shape[1] != 2 or truth.bounds.shape[1] != 2:
        raise ValueError(
            f"events are intervals (n, 2), {found.bounds.shape} detections and {truth.bounds.shape} boxes came"
        )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
