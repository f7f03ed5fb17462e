"""Sliding windows: a network goes over an image larger than its canvas, and what it says is blended without seams.

Windows of the canvas's size stand at even distances and overlap. Each answer is weighed, axis by axis, by a ramp that
rises over the overlap as sin^2 and is nothing near the window's own edge, where the network sees the edge and not the
image; at the edges of the image itself it is 1. The weighed answers are added up and divided by the weights.

Where the network is translation invariant, answers of windows agree wherever both see all that they look at. So with a
``border`` of at least half its receptive field, the result is that of one pass over the whole image, but for rounding.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from striate.core.errors import InputError
from striate.core.sample import Sample
from striate.core.transform import Resize


@dataclass(frozen=True)
class Tiling:
    """How windows lie. ``overlap`` is the least share of a window's side that it has in common with the next.
    ``border`` are the positions at a window's edge that count for nothing, at most just under half of the overlap
    (None: half the network's receptive field where that is less than the overlap, else a quarter of the overlap).
    Windows start at multiples of ``stride`` and at the last one that fits, so that poolings
    fall on the same positions. ``scale`` is a factor by which images are resized first; ``batch`` windows at a time.

    Errors: ``InputError`` for values out of range.
    """

    overlap: float = 0.25
    border: int | None = None
    stride: int = 32
    scale: float = 1.0
    batch: int = 8

    def __post_init__(self) -> None:
        for name, good in (
            ("overlap", 0 <= self.overlap < 1),
            ("border", self.border is None or self.border >= 0),
            ("stride", self.stride >= 1),
            ("scale", 0 < self.scale < math.inf),
            ("batch", self.batch >= 1),
        ):
            if not good:
                raise InputError(f"tiling.{name}", f"{getattr(self, name)} came", "see what it may be in the manual")

    def resize(self, size: tuple[int, ...]) -> Resize:
        """The resize of images of ``size`` pixels."""
        return Resize(size=tuple(max(1, round(n * self.scale)) for n in size))

    def resized(self, sample: Sample) -> Sample:
        """The sample at ``scale``; itself where that is 1."""
        return sample if self.scale == 1.0 else self.resize(sample.size)(sample)


def starts(length: int, window: int, tiling: Tiling) -> list[int]:
    """Where windows begin along an axis of ``length`` positions: from 0 on at even distances, the last at the end."""
    if length <= window:
        return [0]
    step = max(1, math.floor(window * (1 - tiling.overlap)))
    step = max(tiling.stride, step // tiling.stride * tiling.stride) if step >= tiling.stride else step
    if step > window:
        raise InputError("tiling.stride", f"steps of {step} leave gaps between windows of {window}", "lower it")
    return [*range(0, length - window, step), length - window]


def ramp(window: int, before: int, after: int, border: int) -> NDArray[np.float64]:
    """The weights (window,) of a window that has ``before`` and ``after`` positions in common with its neighbours (0 at
    the edge of the image): 0 at the outer ``border`` positions, then rising as sin^2 to 1 over what is left of the
    overlap but for the neighbour's border."""
    weights = np.ones(window)
    for overlap, side in ((before, slice(None)), (after, slice(None, None, -1))):
        if overlap > 0:
            cut = min(border, (overlap - 1) // 2)
            rise = np.sin(np.pi / 2 * (np.arange(overlap - 2 * cut) + 0.5) / (overlap - 2 * cut)) ** 2
            slope = np.concatenate((np.zeros(cut), rise, np.ones(cut)))[:window]
            weights[side][: len(slope)] *= slope
    return weights


def tiled(
    decode: Callable[[Tensor], Mapping[str, Tensor]],
    image: Tensor,
    window: tuple[int, ...],
    tiling: Tiling,
    batch: int,
) -> dict[str, Tensor]:
    """What ``decode`` says of windows (B, C, *window), each output (B, K, *O), blended over ``image`` (C, *S) of any
    size: (1, K, *S) each.

    Where the network answers for the middle of its input alone (O smaller than the window), and where the image is
    smaller than a window, the image is continued by its mirror image. Errors: ``InputError`` for outputs that have no
    value a position.
    """
    size, axes = tuple(image.shape[1:]), len(window)
    seen = _answered(decode, image, window)
    whole = tuple(max(n, m) for n, m in zip(size, seen, strict=True))
    around = zip(size, whole, window, seen, strict=True)
    widths = [((w - m) // 2, to - n + (w - m) - (w - m) // 2) for n, to, w, m in around]
    padded = torch.from_numpy(np.pad(image.numpy(), [(0, 0), *widths], mode="reflect")) if np.any(widths) else image
    along = [starts(n, m, tiling) for n, m in zip(whole, seen, strict=True)]
    factors = [_factors(places, m, tiling) for places, m in zip(along, seen, strict=True)]
    tiles = list(product(*(range(len(places)) for places in along)))
    sums: dict[str, Tensor] = {}
    weight = torch.zeros(whole, dtype=torch.float32)
    for first in range(0, len(tiles), batch):
        part = tiles[first : first + batch]
        corners = [tuple(along[axis][number] for axis, number in enumerate(tile)) for tile in part]
        found = decode(torch.stack([_window(padded, corner, window) for corner in corners]))
        for row, (tile, corner) in enumerate(zip(part, corners, strict=True)):
            share = torch.ones((), dtype=torch.float32)
            for axis, number in enumerate(tile):
                each = torch.from_numpy(factors[axis][number]).float()
                share = share * each.reshape([-1 if other == axis else 1 for other in range(axes)])
            where = tuple(slice(at, at + n) for at, n in zip(corner, seen, strict=True))
            weight[where] += share
            for name, values in found.items():
                total = sums.setdefault(name, torch.zeros((values.shape[1], *whole), dtype=torch.float32))
                total[(slice(None), *where)] += share * values[row]
    inner = tuple(slice(0, n) for n in size)
    return {name: (total / weight)[(slice(None), *inner)][None] for name, total in sums.items()}


def _answered(
    decode: Callable[[Tensor], Mapping[str, Tensor]], image: Tensor, window: tuple[int, ...]
) -> tuple[int, ...]:
    """The positions that are answered for in a window. Errors: ``InputError`` when those are none."""
    for name, values in decode(image.new_zeros((1, image.shape[0], *window))).items():
        size = tuple(values.shape[2:])
        if len(size) != len(window) or any(n > m for n, m in zip(size, window, strict=True)):
            raise InputError("tiling", f"{name} has no value for every position of a window", "predict without it")
        return size
    raise InputError("tiling", "the task gives nothing to blend", "predict without it")


def _window(image: Tensor, corner: tuple[int, ...], window: tuple[int, ...]) -> Tensor:
    for axis, (at, n) in enumerate(zip(corner, window, strict=True), start=1):
        image = image.narrow(axis, at, n)
    return image


def _factors(places: list[int], window: int, tiling: Tiling) -> list[NDArray[np.float64]]:
    """The weights of every window along an axis."""
    found = []
    for number, at in enumerate(places):
        before = places[number - 1] + window - at if number else 0
        after = at + window - places[number + 1] if number + 1 < len(places) else 0
        border = tiling.border if tiling.border is not None else math.floor(window * tiling.overlap) // 4
        found.append(ramp(window, before, after, border))
    return found
