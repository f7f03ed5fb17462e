"""Augment: random flips, shifts, resized crops and cutout, drawn for each sample and moved a batch at a time.

Every draw is keyed by (seed, name, epoch, index of the sample), so a sample is augmented the same way whatever batch,
step or process it is in, and switching one kind of draw on or off changes no other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import field_validator, model_validator
from torch import Tensor

from striate.core import random
from striate.core.errors import InputError
from striate.core.map import Fill, Filter, Map
from striate.core.move import fill_colour, flip_and_shift
from striate.core.resample import resize
from striate.core.spec import Spec
from striate.core.transform import Sizes, per_axis


@dataclass(frozen=True, eq=False)
class Maps(Sequence[Map]):
    """The maps of a batch: ``matrices`` (B, A+1, A+1) onto one canvas. A :class:`Map` is made when one is asked for."""

    matrices: NDArray[np.float64]
    canvas: tuple[int, ...]
    fill: Fill
    filter: Filter

    def __len__(self) -> int:
        return len(self.matrices)

    @overload
    def __getitem__(self, index: int) -> Map: ...
    @overload
    def __getitem__(self, index: slice) -> "Maps": ...
    def __getitem__(self, index: int | slice) -> "Map | Maps":
        if isinstance(index, slice):
            return Maps(self.matrices[index], self.canvas, self.fill, self.filter)
        return Map(self.matrices[index], self.canvas, self.fill, self.filter)


@dataclass(frozen=True, eq=False)
class Draws:
    """What was drawn for each sample of a batch, per axis: ``flips`` (B, A) bool and ``shifts`` (B, A) int64 on the
    canvas, the crop's ``low`` and ``side`` (B, A) int64 in source pixels, and the ``hole`` (B, A) int64: the centre of
    the cutout."""

    flips: NDArray[np.bool_]
    shifts: NDArray[np.int64]
    low: NDArray[np.int64]
    side: NDArray[np.int64]
    hole: NDArray[np.int64]


class Augment(Spec):
    """First crop and resize, then flip, then shift, then cut out.

    ``flip``: axes (the last is -1), each mirrored with probability 1/2. ``shift``: at most this many pixels either way,
    every whole offset equally likely, uncovered pixels filled with ``fill``. ``crop_scale``: the smallest and largest
    share of the sample's pixels that a crop keeps (None: no crop); ``crop_ratio``: the smallest and largest proportion
    of its sides (last by first, drawn evenly on a logarithmic scale; sides are cut to the sample's); ``crop_size``:
    what it is resized to (None: the sample's own size), antialiased with ``filter`` (Szegedy et al. 2015, arXiv
    1409.4842). ``cutout``: the side of a box that is filled, its centre drawn over all pixels (DeVries and Taylor
    2017, arXiv 1708.04552; 0: none). Labels are unchanged by all of it.
    """

    flip: tuple[int, ...] = ()
    shift: Sizes = 0
    fill: Fill = 0.0
    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    crop_size: Sizes | None = None
    cutout: Sizes = 0
    filter: Filter = "linear"

    @field_validator("shift", "cutout")
    @classmethod
    def _not_negative(cls, value: Sizes) -> Sizes:
        if min(value if isinstance(value, tuple) else (value,), default=0) < 0:
            raise ValueError(f"a number of pixels is at least 0, got {value}")
        return value

    @model_validator(mode="after")
    def _ranges(self) -> "Augment":
        if self.crop_scale is not None and not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale is a range within (0, 1], got {self.crop_scale}")
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ValueError(f"crop_ratio is a range above 0, got {self.crop_ratio}")
        if self.crop_size is not None and self.crop_scale is None:
            raise ValueError("crop_size needs crop_scale; to only resize, use a Resize in the preprocessing")
        return self

    def canvas(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """The size in pixels of what comes out for samples of ``size``."""
        return size if self.crop_size is None else per_axis(self.crop_size, len(size), "augment.crop_size")

    def draw(
        self, seed: int, epoch: int | NDArray[np.int64], indices: NDArray[np.int64], size: tuple[int, ...]
    ) -> Draws:
        """The draws for the samples ``indices`` (B,) of ``size`` pixels in ``epoch`` (one for all, or one each)."""
        axes, count, canvas = len(size), len(indices), self.canvas(size)
        flips, shifts = np.zeros((count, axes), dtype=np.bool_), np.zeros((count, axes), dtype=np.int64)
        hole = np.zeros((count, axes), dtype=np.int64)
        low, side = np.zeros((count, axes), dtype=np.int64), np.tile(np.array(size, dtype=np.int64), (count, 1))
        if self.flip:
            wrong = [axis for axis in self.flip if not -axes <= axis < axes]
            if wrong:
                raise InputError("augment.flip", f"axis {wrong[0]} of samples with {axes} axes", "name one they have")
            listed = [axis % axes for axis in self.flip]
            flips[:, listed] = (random.uniform(seed, "augment.flip", indices, axes, epoch) < 0.5)[:, listed]
        reach = np.array(per_axis(self.shift, axes, "augment.shift"))
        if reach.any():
            shifts = _below(2 * reach + 1, random.uniform(seed, "augment.shift", indices, axes, epoch)) - reach
        if self.crop_scale is not None:
            numbers = random.uniform(seed, "augment.crop", indices, 2 * axes, epoch)
            side = self._sides(numbers[:, :axes], size)
            low = _below(np.array(size) - side + 1, numbers[:, axes:])
        if any(per_axis(self.cutout, axes, "augment.cutout")):
            hole = _below(np.array(canvas), random.uniform(seed, "augment.cutout", indices, axes, epoch))
        return Draws(flips, shifts, low, side, hole)

    def _sides(self, numbers: NDArray[np.float64], size: tuple[int, ...]) -> NDArray[np.int64]:
        """Sides (B, A) of crops: the geometric mean gives the share, neighbouring axes differ by the drawn ratios."""
        assert self.crop_scale is not None
        least, most = self.crop_scale
        mean = (math.prod(size) * (least + (most - least) * numbers[:, :1])) ** (1 / len(size))
        small, large = (math.log(ratio) / 2 for ratio in self.crop_ratio)
        slant = np.pad(small + (large - small) * numbers[:, 1:], ((0, 0), (1, 1)))
        sides = mean * np.exp(slant[:, :-1] - slant[:, 1:])
        return np.clip(np.rint(sides).astype(np.int64), 1, np.array(size))

    def maps(self, draws: Draws, size: tuple[int, ...]) -> Maps:
        """The map of each sample from its source onto the canvas."""
        canvas = np.array(self.canvas(size), dtype=np.float64)
        count, axes = draws.flips.shape
        scale = canvas / draws.side
        offset = -draws.low * scale
        scale, offset = np.where(draws.flips, -scale, scale), np.where(draws.flips, canvas - offset, offset)
        matrices = np.tile(np.eye(axes + 1), (count, 1, 1))
        matrices[:, range(axes), range(axes)] = scale
        matrices[:, :-1, -1] = offset + draws.shifts
        return Maps(matrices, self.canvas(size), self.fill, self.filter)

    def apply(
        self, images: Tensor, seed: int, epoch: int | NDArray[np.int64], indices: NDArray[np.int64]
    ) -> tuple[Tensor, Maps]:
        """``images`` (B, C, *spatial) of the samples ``indices`` (B,), augmented, and the maps that moved them.

        Returns (B, C, *canvas) of the same numeric type. Errors: ``InputError`` when a field does not fit the axes.
        """
        size = tuple(images.shape[2:])
        canvas = self.canvas(size)
        draws = self.draw(seed, epoch, indices, size)
        moved = images
        if self.crop_scale is not None:
            boxes = zip(draws.low.tolist(), (draws.low + draws.side).tolist(), strict=True)
            moved = torch.cat([self._crop(images[i : i + 1], low, high) for i, (low, high) in enumerate(boxes)])
        if draws.flips.any() or draws.shifts.any():
            offsets = draws.flips * np.array(canvas) + draws.shifts
            moved = flip_and_shift(moved, draws.flips, offsets, canvas, self.fill)
        if np.any(self.cutout):
            moved = self._cut_out(moved, draws.hole)
        return moved, self.maps(draws, size)

    def _crop(self, image: Tensor, low: Sequence[int], high: Sequence[int]) -> Tensor:
        size = tuple(image.shape[2:])
        for axis, (start, stop) in enumerate(zip(low, high, strict=True)):
            image = image.narrow(2 + axis, start, stop - start)
        return resize(image, self.canvas(size), self.filter)

    def _cut_out(self, images: Tensor, hole: NDArray[np.int64]) -> Tensor:
        """The box around each sample's ``hole``, cut at the canvas, in the fill (zero for "edge")."""
        axes = images.ndim - 2
        inside = torch.ones((len(images), *[1] * (axes + 1)), dtype=torch.bool)
        for axis, (n, side) in enumerate(zip(images.shape[2:], per_axis(self.cutout, axes, "cutout"), strict=True)):
            low = hole[:, axis, None] - side // 2
            within = (np.arange(n) >= low) & (np.arange(n) < low + side)
            shape = [len(images), 1, *(n if other == axis else 1 for other in range(axes))]
            inside = inside & torch.from_numpy(within).reshape(shape)
        return torch.where(inside.to(images.device), fill_colour(images, self.fill, axes), images)


def _below(limits: NDArray[np.int64], numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole numbers in [0, limits) from numbers in [0, 1)."""
    return np.floor(numbers * limits).astype(np.int64)
