"""Why is average precision low: every error has one cause, and every cause has what fixing it alone would gain.

In the manner of TIDE (Bolya, Foley, Hays and Hoffman 2020, arXiv 2008.08115, section 2), with a foreground threshold
t_f = .5 and a background threshold t_b = .1 of intersection over union. A detection that is matched to no box of its
class is, by the first of these that fits:

- ``localisation``: of the boxes of its own class it overlaps one by t_b or more, and none by t_f;
- ``class``: it overlaps a box of another class by t_f or more;
- ``duplicate``: it overlaps a box of its own class by t_f or more, which a better detection has found;
- ``background``: it overlaps no box by t_b or more;
- ``both``: what remains: it overlaps a box of another class, by t_b or more but less than t_f.

A box that no detection found, and none of the first two kinds is about, is ``missed``.

The gain of a kind is the AP50 of a data set in which it alone were put right, less the AP50 there is. Put right means:
a wrong class or a wrong place becomes that of the box the detection is about, and of several detections that are then
right about one box the one with the largest score stays; ``both``, ``duplicate`` and ``background`` are taken away; a
missed box is no longer asked for (a class all of whose boxes are missed then counts as 1, which the paper leaves open).
Gains do not add up to 1 - AP50, since mending one kind changes what another is worth. ``false_positive`` takes away all
false positives, ``false_negative`` asks for no box that was not found. Ignored boxes cause no error.
"""

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from striate.ops.average_precision import interpolated, or_none, support_of
from striate.ops.box_matching import Matching, match, overlapping
from striate.ops.box_sets import Flags, Floats, FoundBoxes, Ints, TrueBoxes, known_classes

FOREGROUND = 0.5
BACKGROUND = 0.1
KINDS = ("class", "localisation", "both", "duplicate", "background", "missed")
RIGHT, UNCOUNTED = -1, -2
"""What stands for a true positive, and for a detection that counts neither for nor against, among the kinds."""


@final
@dataclass(frozen=True, eq=False)
class Errors:
    """What is wrong with n detections of m boxes.

    ``kind`` (n,): the place of each detection's error in ``KINDS``, or ``RIGHT``, or ``UNCOUNTED``; ``about`` (n,): the
    box that is found, or would be if the class or the place were right, or is found twice, or -1; ``missed`` (m,).
    """

    kind: Ints
    about: Ints
    missed: Flags
    found: FoundBoxes
    truth: TrueBoxes
    classes: int

    def counts(self) -> dict[str, int]:
        """How often each kind of error occurs."""
        return {name: int(self._of(place).sum()) for place, name in enumerate(KINDS[:-1])} | {
            "missed": int(self.missed.sum())
        }

    def counts_by_class(self) -> dict[str, list[int]]:
        """How often each kind occurs, by class: of the detection, or of the missed box."""
        result = {
            name: np.bincount(self.found.classes[self._of(place)], minlength=self.classes).tolist()
            for place, name in enumerate(KINDS[:-1])
        }
        return result | {"missed": np.bincount(self.truth.classes[self.missed], minlength=self.classes).tolist()}

    def gains(self) -> dict[str, float | None]:
        """By how much AP50 would be larger if one kind of error alone were put right; None without boxes."""
        before = self._average_precision(self._given())
        if before is None:
            return dict.fromkeys((*KINDS, "false_positive", "false_negative"), None)
        changed = {
            "class": self._corrected(0),
            "localisation": self._corrected(1),
            "both": self._without(self._of(2)),
            "duplicate": self._without(self._of(3)),
            "background": self._without(self._of(4)),
            "missed": self._given(self.missed),
            "false_positive": self._without(self.kind >= 0),
            "false_negative": self._given(self._not_found()),
        }
        after = {name: self._average_precision(one) for name, one in changed.items()}
        return {name: None if value is None else value - before for name, value in after.items()}

    def average_precision(self) -> float | None:
        """AP50 as it is; None without boxes."""
        return self._average_precision(self._given())

    def by_image(self) -> list[list[int]]:
        """For each image with errors its number, and how often each of ``KINDS`` occurs there."""
        images = int(max(self.found.images.max(initial=-1), self.truth.images.max(initial=-1))) + 1
        table = np.zeros((images, len(KINDS)), dtype=np.int64)
        wrong = self.kind >= 0
        np.add.at(table, (self.found.images[wrong], self.kind[wrong]), 1)
        table[:, -1] += np.bincount(self.truth.images[self.missed], minlength=images)
        return [[image, *table[image].tolist()] for image in np.flatnonzero(table.any(axis=1)).tolist()]

    def doubtful(self, least: float, most: int = 12, each: int = 3) -> list[dict[str, Any]]:
        """The detections of the largest scores, ``least`` or more, that contradict the annotation outright: where
        nothing is annotated (``background``: a missing label?) or something else is (``class``: a wrong one?).

        ``{"image", "kind", "score", "class", "bounds", "annotated"}`` each, at most ``most`` and ``each`` of one image,
        the largest score first; ``annotated`` is the class of the box it is on, None for none. Which side is wrong the
        figures cannot tell.
        """
        asked = np.isin(self.kind, (KINDS.index("background"), KINDS.index("class"))) & (self.found.scores >= least)
        places = np.flatnonzero(asked)
        places = places[np.argsort(-self.found.scores[places], kind="stable")]
        images = self.found.images[places]
        few = np.array([int((images[:at] == image).sum()) < each for at, image in enumerate(images)], dtype=bool)
        places = places[few][:most]
        return [
            {
                "image": int(self.found.images[at]),
                "kind": KINDS[self.kind[at]],
                "score": float(self.found.scores[at]),
                "class": int(self.found.classes[at]),
                "bounds": self.found.bounds[at].tolist(),
                "annotated": int(self.truth.classes[self.about[at]]) if self.about[at] >= 0 else None,
            }
            for at in places.tolist()
        ]

    def to_json(self) -> dict[str, Any]:
        """Counts and gains as plain numbers, with the thresholds they are stated for."""
        return {
            "foreground": FOREGROUND,
            "background": BACKGROUND,
            "map50": self.average_precision(),
            "counts": self.counts(),
            "counts_by_class": self.counts_by_class(),
            "gains": self.gains(),
        }

    def _of(self, place: int) -> Flags:
        chosen: Flags = self.kind == place
        return chosen

    def _not_found(self) -> Flags:
        there = ~self.truth.ignored
        there[self.about[self.kind == RIGHT]] = False
        return there

    def _given(self, unasked: Flags | None = None) -> "_Outcome":
        """The outcome as it is, but for boxes that are not asked for."""
        return _Outcome(self.found.classes, self.kind == RIGHT, self.kind != UNCOUNTED, unasked)

    def _without(self, gone: Flags) -> "_Outcome":
        return _Outcome(self.found.classes, self.kind == RIGHT, (self.kind != UNCOUNTED) & ~gone)

    def _corrected(self, place: int) -> "_Outcome":
        """Detections of a kind become right about their box; the largest score about a box stays, the others go."""
        mended = self._of(place)
        claims = np.flatnonzero(mended | (self.kind == RIGHT))
        # of equal scores one that was right already stays right
        claims = claims[np.lexsort((mended[claims], -self.found.scores[claims], self.about[claims]))]
        first = np.append(True, np.diff(self.about[claims]) != 0)[: len(claims)]
        right = np.zeros(len(self.kind), dtype=bool)
        right[claims[first]] = True
        counted = self.kind != UNCOUNTED
        counted[claims[~first]] = False
        classes = self.found.classes.copy()
        classes[mended] = self.truth.classes[self.about[mended]]
        return _Outcome(classes, right, counted)

    def _average_precision(self, outcome: "_Outcome") -> float | None:
        """The mean of AP50 over the classes that have boxes."""
        support = support_of(self.truth, self.classes)[:, 0]
        asked = support
        if outcome.unasked is not None:
            asked = support - np.bincount(self.truth.classes[outcome.unasked], minlength=self.classes)
        if not support.any():
            return None
        places = np.flatnonzero(outcome.counted)
        places = places[np.argsort(self.found.images[places], kind="stable")]
        places = places[np.lexsort((-self.found.scores[places], outcome.classes[places]))]
        starts = np.searchsorted(outcome.classes[places], np.arange(self.classes + 1))
        values = []
        for number in np.flatnonzero(support).tolist():
            if not asked[number]:
                values.append(1.0)
                continue
            hits = outcome.right[places[starts[number] : starts[number + 1]]].astype(np.uint8)[:, None]
            values.append(float(interpolated(hits, np.ones_like(hits), asked[number : number + 1]).mean()))
        return or_none(float(np.mean(values)))


@dataclass(frozen=True, eq=False)
class _Outcome:
    """A class for each detection, whether it is right, whether it counts; boxes that are not asked for."""

    classes: Ints
    right: Flags
    counted: Flags
    unasked: Flags | None = None


def error_analysis(
    found: FoundBoxes, truth: TrueBoxes, classes: int, *, most: int | None = 100, matching: Matching | None = None
) -> Errors:
    """Find the cause of every error. ``most`` detections of a class in an image count, as for average precision.

    ``matching`` is one already made, whose first threshold is t_f, over everything, with the same ``most``. Errors:
    ``ValueError`` for class numbers outside 0..classes-1.
    """
    known_classes(found.classes, classes)
    known_classes(truth.classes, classes)
    made = match(found, truth, (FOREGROUND,), most=most) if matching is None else matching
    right = made.first(made.right)
    uncounted = ~made.first(made.counted)
    if most is not None:
        uncounted |= made.rank >= most
    kind = np.where(right, RIGHT, UNCOUNTED)
    about = np.where(right, made.partner, -1)
    wrong = np.flatnonzero(~right & ~uncounted)

    own, own_box, other, other_box = _nearest(found.take(wrong), truth)
    duplicate = own >= FOREGROUND
    localisation = (own >= BACKGROUND) & ~duplicate
    confused = (other >= FOREGROUND) & ~localisation
    rest = np.where(np.maximum(own, other) < BACKGROUND, KINDS.index("background"), KINDS.index("both"))
    rest = np.where(duplicate, KINDS.index("duplicate"), rest)
    rest = np.where(confused, KINDS.index("class"), rest)
    kind[wrong] = np.where(localisation, KINDS.index("localisation"), rest)
    about[wrong] = np.where(confused, other_box, np.where(localisation | duplicate, own_box, -1))

    missed = ~truth.ignored
    missed[about[(about >= 0) & (kind != KINDS.index("duplicate"))]] = False
    return Errors(kind.astype(np.int64), about.astype(np.int64), missed, found, truth, classes)


def _nearest(found: FoundBoxes, truth: TrueBoxes) -> tuple[Floats, Ints, Floats, Ints]:
    """For each detection the largest overlap of t_b or more with a box of its class, and of another (0: none), and
    which box that is (-1: none); ignored boxes are left out."""
    there = np.flatnonzero(~truth.ignored)
    there = there[np.argsort(truth.images[there], kind="stable")]
    order = np.argsort(found.images, kind="stable")
    seen, boxes = found.take(order), truth.take(there)
    left, right, overlap = overlapping(seen, boxes, BACKGROUND, seen.images, boxes.images)
    same = seen.classes[left] == boxes.classes[right]
    result: list[Floats | Ints] = []
    for chosen in (same, ~same):
        rising = np.flatnonzero(chosen)
        rising = rising[np.argsort(overlap[rising], kind="stable")]
        most, which = np.zeros(len(found)), np.full(len(found), -1, dtype=np.int64)
        # the last of several values assigned to one place stays: the largest overlap
        most[order[left[rising]]] = overlap[rising]
        which[order[left[rising]]] = there[right[rising]]
        result += [most, which]
    own, own_box, other, other_box = result
    return own.astype(np.float64), own_box.astype(np.int64), other.astype(np.float64), other_box.astype(np.int64)


def worst_images(
    found: FoundBoxes, truth: TrueBoxes, matching: Matching, threshold: float, most: int | None = 100, count: int = 20
) -> list[dict[str, Any]]:
    """The images with the heaviest errors at a score threshold, the worst first; those without errors are left out.

    The weight is the number of missed boxes plus the sum of the false positives' scores, at the matching's first
    threshold of overlap. ``{"image", "weight", "missed", "false_positives"}`` each; of equal weights the earlier first.
    """
    said = found.scores >= threshold
    if most is not None:
        said &= matching.rank < most
    right = said & matching.first(matching.right)
    false = said & matching.first(matching.counted) & ~right
    missed = ~truth.ignored
    missed[matching.partner[right]] = False
    images = int(max(found.images.max(initial=-1), truth.images.max(initial=-1))) + 1
    lost = np.bincount(truth.images[missed], minlength=images)
    many = np.bincount(found.images[false], minlength=images)
    weight = lost + np.bincount(found.images[false], weights=found.scores[false], minlength=images)
    order = np.argsort(-weight, kind="stable")
    chosen = [place for place in order[:count].tolist() if lost[place] or many[place]]
    return [
        {
            "image": place,
            "weight": float(weight[place]),
            "missed": int(lost[place]),
            "false_positives": int(many[place]),
        }
        for place in chosen
    ]
