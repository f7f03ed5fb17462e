"""Non-maximum suppression: of boxes that say the same thing, the one with the highest score stays.

For any number of axes, on the processor whatever the device the boxes are on: it is a sequence of decisions, and the
few boxes that survive are wanted there anyway. All arithmetic is in float64, in which float32 boxes are exact, and a
decision compares the correctly rounded quotient I / U with the threshold, so that the answer is that of the naive
double loop bit for bit.

What makes it fast: boxes are taken in the order of their scores in blocks, and a block is compared only with boxes
already *kept* (few, where boxes are many because they crowd around objects) that have the same class and overlap along
the axis that tells most boxes apart.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Soft = Literal["linear", "gaussian"]
_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]

_PART = 128
"""Boxes compared with each other at once."""
_CELLS = 2**15
"""Cells of a table of pairs that stay in the cache while they are worked on."""
_BLOCK = 2048
"""Boxes compared with the kept ones before they are compared with each other, at most."""
_SPARSE = 3
"""How much more it costs to compare one listed pair than one cell of a table."""


class Kept(NamedTuple):
    """``indices`` int64 (n,) of the boxes that stay, the highest score first, and their ``scores`` (n,)."""

    indices: Tensor
    scores: Tensor


@dataclass(frozen=True)
class _Placed:
    """Boxes ready to be compared: ``low``, ``high`` and ``size`` (A, N), ``area`` (N,), ``group`` (N,) classes.

    ``key`` (N,) orders them in space: by class, and in each class by their lows along one ``axis``, the one along which
    the boxes are shortest compared with the space they are spread over. A box can only overlap by more than the
    threshold those whose key is between ``nearest`` and ``furthest`` (N,). Key and reach are rounded, and the reach is
    widened by more than that: they tell what need not be compared, and the comparison itself is exact.
    """

    low: _Floats
    high: _Floats
    size: _Floats
    area: _Floats
    group: _Ints
    threshold: float
    axis: int
    key: _Floats
    nearest: _Floats
    furthest: _Floats

    @classmethod
    def of(cls, bounds: _Floats, group: _Ints, threshold: float) -> "_Placed":
        """Boxes (N, 2A) and classes (N,).

        An I / U above t needs an overlap of t times the longer side along every axis. So a rival's side is not longer
        than the own one, m, over t; its low is not above the own one by more than (1 - t) m, nor below by more than
        (1 - t) of its side.
        """
        axes = bounds.shape[1] // 2
        columns = np.ascontiguousarray(bounds.T)
        low, high = columns[:axes], columns[axes:]
        size = np.maximum(high - low, 0.0)
        area = size[0].copy()
        for length in size[1:]:
            area *= length
        spread = np.maximum(high, low).max(axis=1) - low.min(axis=1)
        axis = int(np.argmax(spread / np.maximum(size.mean(axis=1), np.finfo(np.float64).tiny)))
        side, span = size[axis], float(spread[axis]) or 1.0
        begin = low[axis] - low[axis].min()
        longest = np.minimum(side / max(threshold, 1e-9), side.max())
        slack = 1e-9 * span
        if group.min() != group.max():  # classes further apart than any reach
            group = np.unique(group, return_inverse=True)[1]
            begin = begin + 3.0 * span * group
            slack *= 1.0 + 3.0 * float(group.max())
        nearest, furthest = begin - (1 - threshold) * longest - slack, begin + (1 - threshold) * side + slack
        return cls(low, high, size, area, group, threshold, axis, begin, nearest, furthest)

    def over(self, rows: _Ints, columns: _Ints) -> _Bools:
        """Which boxes of ``rows`` (R,) and ``columns`` (C,) rival: (R, C). An empty box rivals none."""
        ious = self.ious(rows[:, None], columns)
        over: _Bools = (ious > self.threshold) & (self.group[rows, None] == self.group[columns])
        return over

    def ious(self, rows: _Ints, columns: _Ints) -> _Floats:
        """Intersection over union of the boxes at ``rows`` with those at ``columns``, broadcast; NaN if both are empty.

        In the order of operations of the naive loop: bit for bit the same numbers.
        """
        shared: _Floats | None = None
        for low, high in zip(self.low, self.high, strict=True):
            overlap = np.minimum(high[rows], high[columns])
            overlap -= np.maximum(low[rows], low[columns])
            np.maximum(overlap, 0.0, out=overlap)
            if shared is None:
                shared = overlap
            else:
                shared *= overlap
        assert shared is not None
        union = self.area[rows] + self.area[columns]
        union -= shared
        with np.errstate(invalid="ignore"):
            shared /= union
        return shared


def _covered(boxes: _Placed, rows: _Ints, columns: _Ints) -> _Bools:
    """Which of ``rows`` (R,) rival some box of ``columns``: (R,)."""
    covered = np.zeros(len(rows), dtype=np.bool_)
    if not len(rows) or not len(columns):
        return covered
    columns = columns[np.argsort(boxes.key[columns])]
    order = np.argsort(boxes.key[rows])
    ordered, keys = rows[order], boxes.key[columns]
    begins = np.searchsorted(keys, boxes.nearest[ordered], side="left")
    ends = np.searchsorted(keys, boxes.furthest[ordered], side="right")
    step = max(_PART, _CELLS // len(columns))
    for first in range(0, len(rows), step):
        part, begin, end = (values[first : first + step] for values in (ordered, begins, ends))
        pairs, low, high = int((end - begin).sum()), int(begin.min()), int(end.max())
        if pairs * _SPARSE < len(part) * (high - low):
            found = _covered_by_pairs(boxes, part, columns, begin, end)
        else:
            found = np.asarray(boxes.over(part, columns[low:high]).any(axis=1))
        covered[order[first : first + step]] = found
    return covered


def _covered_by_pairs(boxes: _Placed, rows: _Ints, columns: _Ints, begins: _Ints, ends: _Ints) -> _Bools:
    """:func:`_covered`, comparing each row with its own stretch of ``columns`` only."""
    counts = ends - begins
    owner = np.repeat(np.arange(len(rows)), counts)
    place = np.arange(len(owner)) + np.repeat(begins - np.cumsum(counts) + counts, counts)
    for axis in range(len(boxes.low)):
        if axis == boxes.axis:
            continue  # the stretch has seen to it
        low, high, size = boxes.low[axis], boxes.high[axis], boxes.size[axis]
        own, other = rows[owner], columns[place]
        overlap = np.minimum(high[own], high[other]) - np.maximum(low[own], low[other])
        near = overlap > boxes.threshold * (1 - 1e-9) * size[own]
        owner, place = owner[near], place[near]
    own, other = rows[owner], columns[place]
    rival = (boxes.ious(own, other) > boxes.threshold) & (boxes.group[own] == boxes.group[other])
    covered = np.zeros(len(rows), dtype=np.bool_)
    covered[owner[rival]] = True
    return covered


def _greedy(boxes: _Placed, part: _Ints) -> _Ints:
    """The boxes of ``part``, in the order of their scores, that no kept one before them rivals."""
    rows = np.packbits(
        boxes.over(part, part), axis=1, bitorder="little"
    )  # each row as one whole number: bit j is pair (i, j)
    gone, kept = 0, []
    for place, row in enumerate(rows):
        if not gone >> place & 1:
            kept.append(place)
            gone |= int.from_bytes(row.tobytes(), "little")
    return part[kept]


def _sweep(boxes: _Placed, most: int) -> _Ints:
    """Places of the kept boxes, ``most`` at most, of boxes that are in the order of their scores."""
    count = len(boxes.area)
    kept = np.zeros(0, dtype=np.int64)
    first, size = 0, _PART
    while first < count and len(kept) < most:
        block = np.arange(first, min(first + size, count))
        block = block[~_covered(boxes, block, kept)]
        fresh = np.zeros(0, dtype=np.int64)
        for begin in range(0, len(block), _PART):
            part = block[begin : begin + _PART]
            part = part[~_covered(boxes, part, fresh)]
            if len(part):
                fresh = np.concatenate((fresh, _greedy(boxes, part)))
            if len(kept) + len(fresh) >= most:
                break
        kept = np.concatenate((kept, fresh))
        first += size
        size = min(2 * size, _BLOCK)
    return kept[:most]


def _soften(
    boxes: _Placed, scores: _Floats, most: int, soft: Soft, sigma: float, least: float
) -> tuple[_Ints, _Floats]:
    """Places and new scores by soft suppression, the highest new score first."""
    scores = scores.copy()
    kept, new = [], []
    for _ in range(min(most, len(scores))):
        best = int(np.argmax(scores))  # the first of equals
        if scores[best] == -np.inf or scores[best] < least:
            break
        kept.append(best)
        new.append(scores[best])
        scores[best] = -np.inf
        rivals = np.flatnonzero((boxes.group == boxes.group[best]) & (scores > -np.inf))
        ious = np.nan_to_num(boxes.ious(np.array([best]), rivals))
        if soft == "linear":
            scores[rivals] *= np.where(ious > boxes.threshold, 1.0 - ious, 1.0)
        else:
            scores[rivals] *= np.exp(-(ious**2) / sigma)
    return np.array(kept, dtype=np.int64), np.array(new, dtype=np.float64)


def _check(bounds: Tensor, scores: Tensor, classes: Tensor | None, threshold: float, soft: str | None) -> None:
    count = bounds.shape[:1]
    if bounds.ndim != 2 or bounds.shape[1] % 2 or not bounds.shape[1] or scores.shape != count:
        raise ValueError(
            f"bounds (N, 2A) and scores (N,) were expected, {tuple(bounds.shape)} and {tuple(scores.shape)} came"
        )
    if classes is not None and (classes.shape != count or classes.is_floating_point()):
        raise ValueError(
            f"classes are whole numbers of shape {tuple(count)}; {tuple(classes.shape)} of {classes.dtype} came"
        )
    if not 0 <= threshold <= 1:
        raise ValueError(f"the threshold is an intersection over union between 0 and 1, {threshold} came")
    if soft not in (None, "linear", "gaussian"):
        raise ValueError(f"soft suppression is linear or gaussian, {soft!r} came")


def nms(
    bounds: Tensor,
    scores: Tensor,
    classes: Tensor | None = None,
    threshold: float = 0.5,
    most: int = 300,
    *,
    soft: Soft | None = None,
    sigma: float = 0.5,
    least: float = float("-inf"),
) -> Kept:
    """Non-maximum suppression of bounds (N, 2A) with scores (N,): the boxes that stay, on the device they came from.

    In the order of falling score (of equal scores the lower index first), a box stays unless one that stays before it
    has the same class and an intersection over union *above* ``threshold`` with it. Without ``classes`` (N,) all boxes
    rival. Empty boxes overlap nothing and stay. At most ``most`` boxes are given, and none with a score below
    ``least``.

    With ``soft`` (Bodla et al. 2017, arXiv 1704.04503, equations 2 and 3) rivals lose score instead of their place.
    Again and again the box with the highest score is taken (of equals the first), and the others of its class are
    multiplied by

        linear    1 - iou where iou > threshold
        gaussian  exp(-iou^2 / sigma), whatever the threshold

    until ``most`` are taken or the highest score is below ``least``; the scores given back are the new ones. Soft
    suppression multiplies scores: they must not be negative.

    Errors: ``ValueError`` for shapes that do not fit, a threshold outside [0, 1], a ``most`` or ``sigma`` that is not
    positive, bounds that are not finite, scores that are not numbers, or negative scores with ``soft``.
    """
    _check(bounds, scores, classes, threshold, soft)
    if most < 1 or not sigma > 0:
        raise ValueError(f"most ({most}) and sigma ({sigma}) must be positive")
    device = scores.device
    values = scores.detach().to("cpu", torch.float64).numpy()
    places = bounds.detach().to("cpu", torch.float64).numpy()
    if not np.isfinite(places).all() or np.isnan(values).any():
        raise ValueError("some bounds are not finite or some scores are not numbers: the network's outputs broke down")
    order = np.flatnonzero(values >= least)
    if soft is None:  # softened scores change the order again and again, and ties go by the index
        order = order[np.argsort(-values[order], kind="stable")]
    if soft is not None and (values[order] < 0).any():
        raise ValueError("soft suppression multiplies scores, which must not be negative: give probabilities")
    if not len(order):
        return Kept(torch.zeros(0, dtype=torch.int64, device=device), scores[:0])
    group = np.zeros(len(values), np.int64) if classes is None else classes.to("cpu", torch.int64).numpy()
    boxes = _Placed.of(places[order], group[order], threshold)
    if soft is None:
        kept = torch.from_numpy(order[_sweep(boxes, most)]).to(device)
        return Kept(kept, scores[kept])
    chosen, new = _soften(boxes, values[order], most, soft, sigma, least)
    return Kept(torch.from_numpy(order[chosen]).to(device), torch.from_numpy(new).to(device, scores.dtype))


def batched_nms(
    bounds: Tensor,
    scores: Tensor,
    classes: Tensor | None = None,
    threshold: float = 0.5,
    most: int = 300,
    *,
    soft: Soft | None = None,
    sigma: float = 0.5,
    least: float = float("-inf"),
) -> list[Kept]:
    """:func:`nms` for each image of a batch: bounds (B, N, 2A), scores (B, N), classes (B, N) or none.

    ``most`` is for each image; places that hold no box are given a score below ``least``. One transfer from the device
    for the whole batch; the answers are on the device. Errors: as :func:`nms`.
    """
    if bounds.ndim != 3 or scores.shape != bounds.shape[:2] or (classes is not None and classes.shape != scores.shape):
        shapes = tuple(bounds.shape), tuple(scores.shape), None if classes is None else tuple(classes.shape)
        raise ValueError(f"bounds (B, N, 2A), scores (B, N) and classes (B, N) were expected, {shapes} came")
    near, sure = bounds.detach().cpu(), scores.detach().cpu()
    named = [None] * len(near) if classes is None else list(classes.cpu())
    found = [
        nms(*image, threshold, most, soft=soft, sigma=sigma, least=least)
        for image in zip(near, sure, named, strict=True)
    ]
    return [Kept(kept.indices.to(bounds.device), kept.scores.to(scores.device)) for kept in found]
