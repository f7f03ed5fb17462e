"""Several samples on one canvas: which ones, where, and what becomes of their targets.

The others are drawn from the loader's own samples by the counter of the sample they join, so that a batch stays a pure
function of (shards, seed, step) and does not depend on the number of processes.

A mosaic divides the canvas at a drawn point into 2^A parts, one a sample. Every sample is augmented onto a whole canvas
of its own, shrunk by one drawn factor, and laid into its part so that its inner corner lies at the point; what it does
not reach is its fill. Boxes are cut to their part, as what hangs over is hidden by the neighbours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from striate.core.errors import InputError
from striate.core.map import Map
from striate.core.resample import from_floating, to_floating
from striate.core.sample import Boxes, Keypoints, Label, Mask, Target
from striate.data.draws import Floats, Key, Whole

SMALLEST = 0.5
"""The smallest factor by which a mosaic shrinks its samples; the largest is 1."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What n pictures are made of: P parts, those of picture i at ``starts[i]`` to ``starts[i + 1] - 1``, its own
    sample first.

    ``rows`` and ``epochs`` (P,) int64 say which sample a part shows and as drawn when, ``low`` and ``high`` (P, A)
    int64 which pixels of the canvas it has, and ``place`` (P, A+1, A+1) how a whole canvas is laid onto those.
    """

    starts: Whole
    rows: Whole
    epochs: Whole
    low: Whole
    high: Whole
    place: Floats

    def parts(self, picture: int) -> range:
        """The parts of a picture."""
        return range(int(self.starts[picture]), int(self.starts[picture + 1]))


def partners(seed: int, alpha: float, indices: Whole, epochs: Whole, count: int) -> tuple[Whole, Floats]:
    """With what the samples ``indices`` (B,) are blended: a row (B,) below ``count``, and the weight (B,) that each
    keeps, drawn from Beta(alpha, alpha)."""
    key = Key(seed, epochs, indices)
    rows = key.below("augment.mixup", np.array([count]))[:, 0]
    words = key.bits("augment.mixup.weight", 2)
    weights = [np.random.Generator(np.random.Philox(key=one)).beta(alpha, alpha) for one in words]
    return rows, np.array(weights)


def mosaics(seed: int, probability: float, rows: Whole, indices: Whole, epochs: Whole, canvas: tuple[int, ...]) -> Plan:
    """The parts of the pictures of samples ``rows`` (B,) among the loader's ``indices`` (n,)."""
    axes = len(canvas)
    most, size = 2**axes, np.array(canvas, dtype=np.int64)
    key = Key(seed, epochs, indices[rows])
    drawn = key.uniform("augment.mosaic", axes + 3)
    many = (drawn[:, 0] < probability) & (size.min() > 1)
    starts = np.concatenate(([0], np.cumsum(np.where(many, most, 1))))
    others = key.below("augment.mosaic.rows", np.full(most - 1, len(indices)))
    centre = np.clip(np.rint(size * (0.25 + drawn[:, 2 : 2 + axes] / 2)).astype(np.int64), 1, np.maximum(size - 1, 1))
    factor = np.exp(np.log(SMALLEST) * (1 - drawn[:, -1]))
    own = np.floor(drawn[:, 1] * most).astype(np.int64)  # which part shows the sample itself

    total = int(starts[-1])
    part_rows, low, high = (
        np.empty(total, dtype=np.int64),
        np.zeros((total, axes), dtype=np.int64),
        np.tile(size, (total, 1)),
    )
    place = np.tile(np.eye(axes + 1), (total, 1, 1))
    part_rows[starts[:-1]] = rows
    upper = (np.arange(most)[:, None] >> np.arange(axes)) & 1  # (2^A, A): on which side of the point
    for picture in np.flatnonzero(many):
        here, middle = slice(starts[picture], starts[picture + 1]), centre[picture]
        part_rows[starts[picture] + 1 : starts[picture + 1]] = others[picture]
        side = upper[(np.arange(most) + own[picture]) % most] == 1
        low[here], high[here] = np.where(side, middle, 0), np.where(side, size, middle)
        shrunk = np.maximum(np.rint(size * factor[picture]), 1)
        place[here, range(axes), range(axes)] = shrunk / size
        place[here, :-1, -1] = np.where(side, 0, middle - shrunk)
    return Plan(starts, part_rows, np.repeat(epochs, np.diff(starts)), low, high, place)


def blended(one: Tensor, other: Tensor, weights: Floats) -> Tensor:
    """weights one + (1 - weights) other, sample by sample: both (B, C, *spatial), ``weights`` (B,); the type is
    kept."""
    share = torch.from_numpy(weights).to(one.device, torch.float32).reshape(-1, *[1] * (one.ndim - 1))
    first, second = to_floating(one), to_floating(other)
    return from_floating(second + share.to(first.dtype) * (first - second), one.dtype)


def demand_mixable(kinds: Sequence[str], mosaic: float, mixup: float) -> None:
    """Errors: ``InputError`` for kinds of targets that cannot be mixed."""
    known = (Label.kind, Boxes.kind, Mask.kind, Keypoints.kind)
    for kind in kinds:
        if mixup and kind == Mask.kind:
            raise InputError("augment.mixup", "masks have no meaningful mean", "use mosaic, or leave mixup out")
        if (mosaic or mixup) and kind not in known:
            name = "mosaic" if mosaic else "mixup"
            raise InputError(f"augment.{name}", f"targets of the kind {kind!r} cannot be mixed", "leave it out")


def settled(target: Target, by: Map, keep: float) -> tuple[Target, int]:
    """A target moved onto the map's canvas, boxes cut to it; and how many boxes were dropped."""
    moved = target.move(by)
    return moved.clip(by.canvas, keep) if isinstance(moved, Boxes) else (moved, 0)


def assembled(parts: Sequence[Target], low: Whole, high: Whole, canvas: tuple[int, ...]) -> Target:
    """One target for a mosaic, from those of its parts, each settled on the pixels ``low`` to ``high`` (k, A).

    Tags are the mean of the parts' by area, as the pixels are.
    """
    first, offsets = parts[0], torch.from_numpy(low.astype(np.float64))
    if isinstance(first, Boxes):
        boxes = [one for one in parts if isinstance(one, Boxes)]
        points = [one.points + at for one, at in zip(boxes, offsets, strict=True)]
        return Boxes(
            torch.cat(points), torch.cat([one.classes for one in boxes]), torch.cat([one.marks for one in boxes])
        )
    if isinstance(first, Keypoints):
        sets = [one for one in parts if isinstance(one, Keypoints)]
        seen = [one.shown(tuple(size)) for one, size in zip(sets, (high - low).tolist(), strict=True)]
        points = [one.points + at for one, at in zip(sets, offsets, strict=True)]
        return Keypoints(torch.cat(points), torch.cat(seen), first.pairs)
    if isinstance(first, Mask):
        values = torch.empty(canvas, dtype=first.values.dtype)
        for one, start, stop in zip(parts, low.tolist(), high.tolist(), strict=True):
            assert isinstance(one, Mask)
            values[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = one.values
        return Mask(values, first.ignore)
    return mixed_labels(parts, ((high - low).prod(axis=1) / math.prod(canvas)).tolist())


def mixed_labels(labels: Sequence[Target], weights: Sequence[float]) -> Label:
    """The weighted mean of tags."""
    total = sum(one.arrays()["tags"].float() * weight for one, weight in zip(labels, weights, strict=True))
    return Label(tags=torch.as_tensor(total))


def joined(one: Target, other: Target, weight: float) -> Target:
    """The target of two blended pictures: tags by weight, boxes and keypoints of both."""
    if isinstance(one, Label):
        return mixed_labels((one, other), (weight, 1 - weight))
    return type(one).joined((one, other), ())


def as_tags(values: Tensor, classes: int) -> Tensor:
    """Labels (B,) int64 or tags (B, K) as float32 (B, K)."""
    return values if values.ndim == 2 else torch.nn.functional.one_hot(values, classes).float()
