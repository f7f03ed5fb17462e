"""Augment: what is drawn anew for each sample and epoch, and how a batch is moved and changed by it.

Every draw is keyed by (seed, name, epoch, index of the sample), so a sample is augmented the same way whatever batch,
step or process it is in, and switching one kind of draw on or off changes no other. All geometry of a sample is one
map, so that its pixels are interpolated once. Mosaic and mixup take several samples: :mod:`striate.data.mix`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import field_validator, model_validator
from torch import Tensor

from striate.core.errors import InputError
from striate.core.map import Fill, Filter, Map
from striate.core.move import fill_colour, flip_and_shift, move_images
from striate.core.resample import resize
from striate.core.spec import Spec
from striate.core.transform import Numbers, Sizes, per_axis
from striate.data.appearance import IMAGENET_COLOURS, change
from striate.data.draws import (
    Draws,
    Floats,
    Key,
    Looks,
    Range,
    Whole,
    canvas_sizes,
    draw_crops,
    draw_flips,
    draw_linear,
    moved_matrices,
)
from striate.data.moving import move_batch

KEEP_BOXES = 0.1
"""The share of a box that must be on the canvas for it to be learned, where nothing else is said."""


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


class Augment(Spec):
    """Geometry, then appearance, then cutout; each is off by default.

    Geometry, in this order and as one map: crop and resize, flip, shift, then about the middle of the canvas stretch,
    scale, shear and rotate, then translate. ``flip``: axes (the last is -1), each mirrored with probability 1/2.
    ``shift``: at most this many pixels either way, ``translate``: at most this share of the side; every whole offset
    equally likely. ``crop_scale``: the smallest and largest share of the sample's pixels that a crop keeps (None: no
    crop); ``crop_ratio``: the smallest and largest proportion of its sides (last by first, drawn evenly on a
    logarithmic scale; sides are cut to the sample's); ``crop_size``: what it is resized to (None: the sample's own
    size), antialiased with ``filter`` (Szegedy et al. 2015, arXiv 1409.4842). ``scale``: smallest and largest factor,
    above 1 enlarging, evenly on a logarithmic scale; ``stretch``: likewise, a factor for each axis. ``shear`` and
    ``rotate``: at most this many degrees either way, in the plane of the last two axes. Uncovered pixels are ``fill``;
    where a crop is shrunk or moved after, what lies beside it in the sample shows.

    Appearance (equations in :mod:`striate.data.appearance`): ``brightness``, ``contrast``, ``saturation``: a factor
    drawn evenly from 1 - x to 1 + x. ``hue``: at most this many degrees either way. ``pca``: deviation of AlexNet's
    shift of colour, sum_i a_i l_i p_i with a_i ~ N(0, pca) and l_i, p_i the eigenvalues and eigenvectors of the
    colours (Krizhevsky et al. 2012, section 4.1, where it is 0.1), the rows (l, red, green, blue) of ``pca_basis``
    (None: ImageNet's). ``gain``: values times exp(gain z), z ~ N(0, 1), meant for signals. ``blur``: smallest and
    largest deviation of a Gaussian, in pixels. ``noise``: deviation of normal noise, as a share of the range of values.
    ``cutout``: the side of a box that is filled, its centre drawn over all pixels (DeVries and Taylor 2017, arXiv
    1708.04552).

    Mixing: ``mosaic``: the probability that a sample shares its canvas with others (2 for signals, 4 for images, 8
    for volumes; Bochkovskiy et al. 2020, arXiv 2004.10934). ``mixup``: every sample is blended with another, with
    weights w and 1 - w, w ~ Beta(mixup, mixup) (Zhang et al. 2018, arXiv 1710.09412). Labels become tags by weight.

    The canvas: ``canvas_scale``: the smallest and largest factor by which the canvas of a whole batch differs from the
    nominal one, its sides rounded to multiples of ``canvas_multiple`` pixels; each of the sizes that there are is
    equally likely, drawn anew for every step (multi-scale training: Redmon and Farhadi 2017, arXiv 1612.08242, section
    2). It is for networks that take any size. Samples go onto the drawn canvas by the same one map, so that they are
    not resampled twice; numbers of pixels and shares of the side are those of the drawn canvas.

    Boxes of which not more than the share ``keep_boxes`` is left on the canvas are dropped, others cut to it.
    """

    flip: tuple[int, ...] = ()
    shift: Sizes = 0
    fill: Fill = 0.0
    crop_scale: Range | None = None
    crop_ratio: Range = (3 / 4, 4 / 3)
    crop_size: Sizes | None = None
    translate: Numbers = 0.0
    scale: Range | None = None
    stretch: Range | None = None
    shear: float = 0.0
    rotate: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    pca: float = 0.0
    pca_basis: tuple[tuple[float, ...], ...] | None = None
    gain: float = 0.0
    blur: Range | None = None
    noise: float = 0.0
    cutout: Sizes = 0
    mosaic: float = 0.0
    mixup: float = 0.0
    canvas_scale: Range | None = None
    canvas_multiple: Sizes = 32
    keep_boxes: float = KEEP_BOXES
    filter: Filter = "linear"

    @field_validator("shift", "cutout")
    @classmethod
    def _not_negative(cls, value: Sizes) -> Sizes:
        if min(value if isinstance(value, tuple) else (value,), default=0) < 0:
            raise ValueError(f"a number of pixels is at least 0, got {value}")
        return value

    @field_validator("canvas_multiple")
    @classmethod
    def _positive(cls, value: Sizes) -> Sizes:
        if min(value if isinstance(value, tuple) else (value,), default=0) < 1:
            raise ValueError(f"a number of pixels of at least 1 was expected, got {value}")
        return value

    @field_validator("translate", "brightness", "contrast", "saturation", "mosaic", "keep_boxes")
    @classmethod
    def _share(cls, value: Numbers) -> Numbers:
        if not all(0 <= one <= 1 for one in (value if isinstance(value, tuple) else (value,))):
            raise ValueError(f"a number from 0 to 1 was expected, got {value}")
        return value

    @field_validator("pca", "gain", "noise", "mixup")
    @classmethod
    def _deviation(cls, value: float) -> float:
        if not 0 <= value < float("inf"):
            raise ValueError(f"a finite number of at least 0 was expected, got {value}")
        return value

    @model_validator(mode="after")
    def _ranges(self) -> "Augment":
        if self.crop_scale is not None and not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale is a range within (0, 1], got {self.crop_scale}")
        for name in ("crop_ratio", "scale", "stretch", "canvas_scale"):
            factors = getattr(self, name)
            if factors is not None and not 0 < factors[0] <= factors[1] < float("inf"):
                raise ValueError(f"{name} is a range above 0, got {factors}")
        if self.blur is not None and not 0 <= self.blur[0] <= self.blur[1] < float("inf"):
            raise ValueError(f"blur is a range from 0 up, got {self.blur}")
        if self.crop_size is not None and self.crop_scale is None:
            raise ValueError("crop_size needs crop_scale; to only resize, use a Resize in the preprocessing")
        for name, degrees, most in (("rotate", self.rotate, 180), ("hue", self.hue, 180), ("shear", self.shear, 80)):
            if not 0 <= degrees <= most:
                raise ValueError(f"{name} is from 0 to {most} degrees, got {degrees}")
        if self.pca_basis is not None and [len(row) for row in self.pca_basis] != [4, 4, 4]:
            raise ValueError("pca_basis is three rows (eigenvalue, red, green, blue)")
        return self

    @property
    def mixes(self) -> bool:
        """Whether samples share a canvas."""
        return self.mosaic > 0 or self.mixup > 0

    def without_mixing(self) -> "Augment":
        """The same without mosaic and mixup, as for the last epochs of training; all else is drawn alike."""
        return self.replace(mosaic=0.0, mixup=0.0)

    def canvas(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """The size in pixels of what comes out for samples of ``size``."""
        return size if self.crop_size is None else per_axis(self.crop_size, len(size), "augment.crop_size")

    def canvases(self, canvas: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """The sizes in pixels, smallest first, from which a step's canvas is drawn where ``canvas`` is the nominal one:
        that one alone without ``canvas_scale``. Errors: ``InputError`` where ``canvas_scale`` leaves only one."""
        if self.canvas_scale is None:
            return (canvas,)
        multiple = per_axis(self.canvas_multiple, len(canvas), "augment.canvas_multiple")
        found = canvas_sizes(canvas, self.canvas_scale, multiple)
        if len(found) == 1:
            low, high = self.canvas_scale
            said, steps = ("x".join(map(str, one)) for one in (canvas, dict.fromkeys(multiple)))
            cause = f"{low:g} to {high:g} of {said} in multiples of {steps} is always {'x'.join(map(str, found[0]))}"
            raise InputError("augment.canvas_scale", cause, "widen it, or lower canvas_multiple")
        return found

    def half(self, canvas: tuple[int, ...]) -> tuple[int, ...]:
        """About half of each side of ``canvas``, in multiples of ``canvas_multiple``: what a training may begin on.
        Errors: ``InputError`` for a canvas that is too small for it."""
        multiple = per_axis(self.canvas_multiple, len(canvas), "augment.canvas_multiple")
        sides = tuple(step * max(1, round(side / 2 / step)) for side, step in zip(canvas, multiple, strict=True))
        if any(small > 0.7 * side for small, side in zip(sides, canvas, strict=True)):
            said = "x".join(map(str, canvas))
            raise InputError("training.small_until", f"{said} is too small to begin smaller", "leave it out")
        return sides

    def draw(
        self,
        seed: int,
        epoch: int | Whole,
        indices: Whole,
        size: tuple[int, ...] | Whole,
        canvas: tuple[int, ...] | None = None,
    ) -> Draws:
        """The draws for the samples ``indices`` (B,) in ``epoch`` (one for all, or one each).

        ``size`` is the size of all of them, or of each (B, A); then ``canvas`` is the size that they come to.
        Errors: ``InputError`` when a field does not fit the axes.
        """
        key, sizes = Key(seed, epoch, indices), np.asarray(size, dtype=np.int64)
        axes = sizes.shape[-1]
        onto = self.canvas(tuple(sizes.tolist())) if canvas is None else canvas
        none = np.zeros((len(key), axes), dtype=np.int64)
        low, side = none, np.broadcast_to(sizes, none.shape).copy()
        if self.crop_scale is not None:
            low, side = draw_crops(key, side, self.crop_scale, self.crop_ratio)
        reach = np.array(per_axis(self.shift, axes, "augment.shift"))
        steps = self._translations(onto)
        cut = any(per_axis(self.cutout, axes, "augment.cutout"))
        return Draws(
            flips=draw_flips(key, axes, self.flip),
            shifts=key.below("augment.shift", 2 * reach + 1) - reach if reach.any() else none,
            low=low,
            side=side,
            hole=key.below("augment.cutout", np.array(onto)) if cut else none,
            moves=key.below("augment.translate", 2 * steps + 1) - steps if steps.any() else none,
            linear=draw_linear(key, axes, rotate=self.rotate, shear=self.shear, scale=self.scale, stretch=self.stretch),
        )

    def _translations(self, canvas: tuple[int, ...]) -> Whole:
        """The most whole pixels (A,) that a sample is translated by."""
        shares = self.translate if isinstance(self.translate, tuple) else (self.translate,) * len(canvas)
        if len(shares) != len(canvas):
            cause = f"{len(shares)} numbers for {len(canvas)} axes: {shares}"
            raise InputError("augment.translate", cause, "give one number, or one an axis")
        steps: Whole = np.floor(np.array(shares) * np.array(canvas) + 1e-9).astype(np.int64)
        return steps

    def looks(self, seed: int, epoch: int | Whole, indices: Whole) -> Looks:
        """The drawn changes of appearance of the samples ``indices`` (B,)."""
        key = Key(seed, epoch, indices)

        def about_one(name: str, most: float) -> Floats | None:
            return key.between(f"augment.{name}", 1 - most, 1 + most)[:, 0] if most else None

        factor = about_one("brightness", self.brightness)
        if self.gain:
            gains = np.exp(self.gain * key.normal("augment.gain")[:, 0])
            factor = gains if factor is None else factor * gains
        basis = np.array(self.pca_basis or IMAGENET_COLOURS)
        return Looks(
            factor=factor,
            contrast=about_one("contrast", self.contrast),
            saturation=about_one("saturation", self.saturation),
            hue=np.radians(key.between("augment.hue", -self.hue, self.hue)[:, 0]) if self.hue else None,
            colour=(self.pca * key.normal("augment.pca", 3) * basis[:, 0]) @ basis[:, 1:] if self.pca else None,
            sigma=key.between("augment.blur", *self.blur)[:, 0] if self.blur else None,
            noise=self.noise,
            words=key.bits("augment.noise", 2) if self.noise else None,
        )

    def matrices(self, draws: Draws, base: Floats | None, canvas: tuple[int, ...]) -> Floats:
        """The map (B, A+1, A+1) of each sample onto ``canvas``: that of its crop where crops are drawn, else ``base``
        (B, A+1, A+1; None: the whole sample resized to the canvas), then all else that was drawn."""
        if self.crop_scale is None and base is not None:
            return moved_matrices(base, draws, canvas)
        count, axes = draws.side.shape
        scale = np.array(canvas, dtype=np.float64) / draws.side
        first = np.tile(np.eye(axes + 1), (count, 1, 1))
        first[:, range(axes), range(axes)] = scale
        first[:, :-1, -1] = -draws.low * scale
        return moved_matrices(first, draws, canvas)

    def maps(self, draws: Draws, size: tuple[int, ...], canvas: tuple[int, ...] | None = None) -> Maps:
        """The map of each sample from its source of ``size`` pixels onto the canvas (None: the nominal one)."""
        onto = self.canvas(size) if canvas is None else canvas
        return Maps(self.matrices(draws, None, onto), onto, self.fill, self.filter)

    def apply(
        self,
        images: Tensor,
        seed: int,
        epoch: int | Whole,
        indices: Whole,
        stored: str | None = None,
        canvas: tuple[int, ...] | None = None,
    ) -> tuple[Tensor, Maps]:
        """``images`` (B, C, *spatial) of the samples ``indices`` (B,), augmented, and the maps that moved them.

        Returns (B, C, *canvas) of the same numeric type, of the nominal canvas where none is given; nothing is mixed.
        ``stored`` is the type the samples were stored as, where that is another. Errors: ``InputError`` when a field
        does not fit the axes or channels.
        """
        size = tuple(images.shape[2:])
        onto = self.canvas(size) if canvas is None else canvas
        draws = self.draw(seed, epoch, indices, size, onto)
        maps = self.maps(draws, size, onto)
        moved = images
        resized = self.crop_scale is None and onto != size
        whole = draws.linear is not None or resized or (self.crop_scale is not None and self._offset)
        if draws.linear is not None or resized:
            moved = self._interpolated(images, maps)
        elif whole:  # what a moved crop shows beside it are its neighbours, not the fill
            moved = torch.cat([move_images(images[i : i + 1], [one]) for i, one in enumerate(maps)])
        elif self.crop_scale is not None:
            moved = torch.cat([self._crop(images[i : i + 1], draws, i, onto) for i in range(len(images))])
        if not whole and (draws.flips.any() or draws.offsets.any()):
            offsets = draws.flips * np.array(onto) + draws.offsets
            moved = flip_and_shift(moved, draws.flips, offsets, onto, self.fill)
        moved = change(moved, self.looks(seed, epoch, indices), stored)
        return self.cut_out(moved, draws.hole), maps

    @property
    def _offset(self) -> bool:
        """Whether samples are shifted or translated."""
        return bool(np.any(self.shift) or np.any(self.translate))

    def _interpolated(self, images: Tensor, maps: Maps) -> Tensor:
        if self.filter == "linear":
            return move_batch(images, maps.matrices, maps.canvas, self.fill)
        return torch.cat([move_images(images[i : i + 1], [one]) for i, one in enumerate(maps)])

    def _crop(self, image: Tensor, draws: Draws, place: int, canvas: tuple[int, ...]) -> Tensor:
        for axis, (start, side) in enumerate(zip(draws.low[place].tolist(), draws.side[place].tolist(), strict=True)):
            image = image.narrow(2 + axis, start, side)
        return resize(image, canvas, self.filter)

    def cut_out(self, images: Tensor, hole: Whole) -> Tensor:
        """``images`` with the box around each one's ``hole`` (B, A), cut at the canvas, in the fill (zero for
        "edge")."""
        if not np.any(self.cutout):
            return images
        axes = images.ndim - 2
        inside = torch.ones((len(images), *[1] * (axes + 1)), dtype=torch.bool)
        for axis, (n, side) in enumerate(zip(images.shape[2:], per_axis(self.cutout, axes, "cutout"), strict=True)):
            low = hole[:, axis, None] - side // 2
            within = (np.arange(n) >= low) & (np.arange(n) < low + side)
            shape = [len(images), 1, *(n if other == axis else 1 for other in range(axes))]
            inside = inside & torch.from_numpy(within).reshape(shape)
        return torch.where(inside.to(images.device), fill_colour(images, self.fill, axes), images)
