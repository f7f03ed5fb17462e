"""Transform: the fixed, recorded ways to move a sample or change its appearance.

A transform is a Spec, so preprocessing is stored in the model file and cannot differ between training, evaluation,
prediction and export. Its ``map(size)`` is geometry alone; calling it moves the image and every target together.
Random ones are drawn in :mod:`striate.data.augment`. Axes may be counted from the end, so that one transform
(``Flip(axes=(-1,))``) serves signals, images and volumes; a single number applies to every axis.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from striate.core.errors import InputError
from striate.core.map import AxisMap, Fill, Filter, Map
from striate.core.move import move_images
from striate.core.sample import Sample
from striate.core.spec import Spec

Sizes = int | tuple[int, ...]
Numbers = float | tuple[float, ...]


def per_axis(value: Sizes, axes: int, where: str) -> tuple[int, ...]:
    """One whole number for each axis. Errors: ``InputError`` when ``value`` lists another number of axes."""
    given = value if isinstance(value, tuple) else (value,) * axes
    if len(given) != axes:
        raise InputError(where, f"{len(given)} numbers for {axes} axes: {given}", "give one number, or one an axis")
    return given


def _axis(axis: int, axes: int, where: str) -> int:
    if not -axes <= axis < axes:
        raise InputError(where, f"axis {axis} of a sample with {axes} axes", f"name an axis from {-axes} to {axes - 1}")
    return axis % axes


@lru_cache(maxsize=256)
def _map_of(transform: "Transform", size: tuple[int, ...]) -> Map:
    """The transform's map, kept because the samples of a set mostly have one size."""
    return transform.map(size)


class Transform(Spec):
    """Base of the fixed transforms. A subclass says how coordinates move, or what happens to values, or both."""

    @abstractmethod
    def map(self, size: tuple[int, ...]) -> Map:
        """The map of a sample of ``size`` pixels onto this transform's canvas."""

    def output_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """The size in pixels of what comes out for a sample of ``size``."""
        return self.map(size).canvas

    def images(self, images: Tensor) -> Tensor:
        """A batch of images (B, C, *spatial), all of one size, moved and changed alike."""
        by = self.map(tuple(images.shape[2:]))
        return images if by.leaves(tuple(images.shape[2:])) else move_images(images, [by])

    def __call__(self, sample: Sample) -> Sample:
        """The sample with its image and every target moved."""
        by = _map_of(self, sample.size)
        if by.leaves(sample.size) and type(self).images is Transform.images:
            return sample
        targets = {name: one.move(by) for name, one in sample.targets.items()}
        return replace(sample, image=self.images(sample.image[None])[0], targets=targets)

    def invert(self, sample: Sample, size: tuple[int, ...]) -> Sample:
        """Move a sample (an image, or predicted targets) on the canvas back onto a source that had ``size`` pixels.

        Exact for pixels under flips, quarter turns and whole shifts as far as they stayed on the canvas, and for
        points and boxes under every map. Appearance is not undone.
        """
        return sample.move(self.map(size).inverse(size))


class Resize(Transform):
    """To a size in pixels. Shrinking is antialiased with the recorded ``filter``.

    ``keep``: "stretch" to exactly ``size``; "short" keeps the proportions and covers the box of ``size`` (a single
    number: the shorter side becomes that); "long" keeps them and fits into it. The other sides are rounded down, as
    torchvision does. With ``enlarge`` false, nothing becomes larger.
    """

    size: Sizes
    keep: Literal["stretch", "short", "long"] = "stretch"
    filter: Filter = "linear"
    enlarge: bool = True

    @field_validator("size")
    @classmethod
    def _positive(cls, size: Sizes) -> Sizes:
        if min(size if isinstance(size, tuple) else (size,), default=0) < 1:
            raise ValueError(f"a size is at least 1 pixel, got {size}")
        return size

    def map(self, size: tuple[int, ...]) -> Map:
        """A scaling about the origin."""
        to = self._sizes(size)
        rows = tuple(AxisMap(axis, m / n, 0.0) for axis, (n, m) in enumerate(zip(size, to, strict=True)))
        return Map.aligned(rows, to, 0.0, self.filter)

    def _sizes(self, size: tuple[int, ...]) -> tuple[int, ...]:
        box = per_axis(self.size, len(size), "resize.size")
        if self.keep == "stretch":
            return box if self.enlarge else tuple(min(n, m) for n, m in zip(size, box, strict=True))
        choose = max if self.keep == "short" else min
        lead = choose(range(len(size)), key=lambda axis: box[axis] / size[axis])
        if not self.enlarge and box[lead] >= size[lead]:
            return size
        return tuple(max(1, n * box[lead] // size[lead]) for n in size)


class Letterbox(Transform):
    """Fit into ``size`` with the proportions kept, centred, the rest filled."""

    size: Sizes
    fill: Fill = 0.0
    filter: Filter = "linear"
    enlarge: bool = True

    def map(self, size: tuple[int, ...]) -> Map:
        """Scale, then shift by a whole number of pixels."""
        fit = Resize(size=self.size, keep="long", filter=self.filter, enlarge=self.enlarge).map(size)
        canvas = per_axis(self.size, len(size), "letterbox.size")
        rows = tuple(
            AxisMap(axis, m / n, float((to - m) // 2))
            for axis, (n, m, to) in enumerate(zip(size, fit.canvas, canvas, strict=True))
        )
        return Map.aligned(rows, canvas, self.fill, self.filter)


def _shifted(offsets: Sequence[float], canvas: tuple[int, ...], fill: Fill) -> Map:
    return Map.aligned(tuple(AxisMap(axis, 1.0, float(at)) for axis, at in enumerate(offsets)), canvas, fill)


class Crop(Transform):
    """The part of ``size`` pixels from position ``start``; what lies outside the source is filled."""

    start: Sizes
    size: Sizes
    fill: Fill = 0.0

    def map(self, size: tuple[int, ...]) -> Map:
        """A whole shift."""
        start = per_axis(self.start, len(size), "crop.start")
        return _shifted([-at for at in start], per_axis(self.size, len(size), "crop.size"), self.fill)


class CenterCrop(Transform):
    """The middle ``size`` pixels; smaller samples are centred and filled.

    Half pixels round to even, as in torchvision, so that published figures are reproduced.
    """

    size: Sizes
    fill: Fill = 0.0

    def map(self, size: tuple[int, ...]) -> Map:
        """A whole shift."""
        canvas = per_axis(self.size, len(size), "center_crop.size")
        offsets = [-round((n - to) / 2) if n >= to else (to - n) // 2 for n, to in zip(size, canvas, strict=True)]
        return _shifted(offsets, canvas, self.fill)


class Pad(Transform):
    """``before`` and ``after`` pixels of fill around every axis."""

    before: Sizes = 0
    after: Sizes = 0
    fill: Fill = 0.0

    def map(self, size: tuple[int, ...]) -> Map:
        """A whole shift onto a larger canvas."""
        before = per_axis(self.before, len(size), "pad.before")
        after = per_axis(self.after, len(size), "pad.after")
        canvas = tuple(n + low + high for n, low, high in zip(size, before, after, strict=True))
        if min(canvas) < 1:
            raise InputError("pad", f"{canvas} pixels remain of {size}", "cut off less")
        return _shifted(before, canvas, self.fill)


class Flip(Transform):
    """Mirror the axes; the last one (left and right) by default."""

    axes: tuple[int, ...] = (-1,)

    def map(self, size: tuple[int, ...]) -> Map:
        """canvas = size - source on the flipped axes."""
        flipped = {_axis(axis, len(size), "flip.axes") for axis in self.axes}
        rows = (AxisMap(a, -1.0, float(n)) if a in flipped else AxisMap(a, 1.0, 0.0) for a, n in enumerate(size))
        return Map.aligned(tuple(rows), size)


class QuarterTurn(Transform):
    """``times`` turns by 90 degrees from the first towards the second axis of ``plane``, like ``numpy.rot90``."""

    times: int = 1
    plane: tuple[int, int] = (-2, -1)

    def map(self, size: tuple[int, ...]) -> Map:
        """A transposition and a flip for each turn."""
        first, second = (_axis(axis, len(size), "quarter_turn.plane") for axis in self.plane)
        if first == second:
            raise InputError("quarter_turn.plane", f"{self.plane} is one axis", "name two axes (a signal has no turns)")
        total = Map.identity(size)
        for _ in range(self.times % 4):
            before = total.canvas
            rows = [AxisMap(axis, 1.0, 0.0) for axis in range(len(size))]
            rows[first], rows[second] = AxisMap(second, -1.0, float(before[second])), AxisMap(first, 1.0, 0.0)
            canvas = tuple(before[row.axis] for row in rows)
            total = Map.aligned(tuple(rows), canvas) @ total
        return total


class Shift(Transform):
    """Move by ``offset`` pixels on the same canvas; whole offsets change no value."""

    offset: Numbers
    fill: Fill = 0.0
    filter: Filter = "linear"

    def map(self, size: tuple[int, ...]) -> Map:
        """canvas = source + offset."""
        offsets = _numbers(self.offset, len(size), "shift.offset")
        return Map(_shifted(offsets, size, self.fill).matrix, size, self.fill, self.filter)


class Affine(Transform):
    """Scale, shear and rotate about the centre, then shift, on the same canvas.

    ``degrees`` turns from the first towards the second axis of ``plane`` (for an image and the default plane that is
    from down towards right: anticlockwise as displayed), ``shear`` slants the second axis along the first by that
    angle in degrees, ``scale`` above 1 enlarges, ``offset`` is in pixels. A signal has no plane: there both angles
    must be zero.
    """

    degrees: float = 0.0
    shear: float = Field(default=0.0, gt=-90.0, lt=90.0)
    scale: Numbers = 1.0
    offset: Numbers = 0.0
    plane: tuple[int, int] = (-2, -1)
    fill: Fill = 0.0
    filter: Filter = "linear"

    def map(self, size: tuple[int, ...]) -> Map:
        """canvas - centre = R S diag(scale) (source - centre) + offset."""
        axes, linear = len(size), np.diag(_numbers(self.scale, len(size), "affine.scale"))
        if (np.diag(linear) <= 0).any():
            raise InputError("affine.scale", f"a scale of {self.scale}", "give scales above 0 (mirror with flip)")
        if self.degrees or self.shear:
            first, second = (_axis(axis, axes, "affine.plane") for axis in self.plane)
            if first == second:
                raise InputError("affine.plane", f"{self.plane} is one axis", "name two axes to rotate or shear in")
            slant, turn, angle = np.eye(axes), np.eye(axes), math.radians(self.degrees)
            slant[first, second] = math.tan(math.radians(self.shear))
            turn[first, first] = turn[second, second] = math.cos(angle)
            turn[second, first], turn[first, second] = math.sin(angle), -math.sin(angle)
            linear = turn @ slant @ linear
            linear[np.abs(linear) < 1e-14] = 0.0  # so that quarter turns stay axis-aligned
        centre = np.array(size) / 2
        matrix = np.eye(axes + 1)
        matrix[:-1, :-1] = linear
        matrix[:-1, -1] = centre - linear @ centre + _numbers(self.offset, axes, "affine.offset")
        return Map(matrix, size, self.fill, self.filter)


def _numbers(value: Numbers, axes: int, where: str) -> tuple[float, ...]:
    given = tuple(map(float, value)) if isinstance(value, tuple) else (float(value),) * axes
    if len(given) != axes:
        raise InputError(where, f"{len(given)} numbers for {axes} axes: {given}", "give one number, or one an axis")
    return given


class Normalise(Transform):
    """Values become (value * scale - mean) / std, float32; ``mean`` and ``std`` are one number or one a channel.

    For ImageNet's published figures ``scale`` is 1 / 255 with 8-bit images. Targets stay.
    """

    mean: Numbers = 0.0
    std: Numbers = 1.0
    scale: float = 1.0

    @field_validator("std")
    @classmethod
    def _positive(cls, std: Numbers) -> Numbers:
        if min(std if isinstance(std, tuple) else (std,), default=0.0) <= 0:
            raise ValueError(f"a standard deviation is above 0, got {std}")
        return std

    def map(self, size: tuple[int, ...]) -> Map:
        """Nothing moves."""
        return Map.identity(size)

    def images(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) of any numeric type as float32. Errors: ``InputError`` for another number of channels."""
        shape = (-1, *[1] * (images.ndim - 2))
        mean = torch.tensor(self.mean, dtype=torch.float64).reshape(shape)
        std = torch.tensor(self.std, dtype=torch.float64).reshape(shape)
        for name, values in (("mean", mean), ("std", std)):
            if len(values) not in (1, images.shape[1]):
                cause = f"{len(values)} numbers for {images.shape[1]} channels"
                raise InputError(f"normalise.{name}", cause, "give one number, or one for each channel")
        slope, start = (self.scale / std).float().to(images.device), (-mean / std).float().to(images.device)
        # two passes, the second in place: a broadcasting addcmul takes five times as long on the CPU
        return torch.mul(images.float(), slope).add_(start)


class Compose(Transform):
    """Transforms one after the other."""

    steps: tuple[Transform, ...] = ()

    def map(self, size: tuple[int, ...]) -> Map:
        """The steps' maps as one: exact for points; see :meth:`Map.__matmul__` for what it means for pixels."""
        total = Map.identity(size)
        for step in self.steps:
            total = step.map(total.canvas) @ total
        return total

    def images(self, images: Tensor) -> Tensor:
        """Every step's change of the batch, in turn."""
        for step in self.steps:
            images = step.images(images)
        return images

    def __call__(self, sample: Sample) -> Sample:
        """Every step's move of the sample, in turn."""
        for step in self.steps:
            sample = step(sample)
        return sample
