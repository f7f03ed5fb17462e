"""What augmentation draws for the samples of a batch, as arrays: how each moves, and how its appearance changes.

Every draw is keyed by (seed, name, epoch, index of the sample): see :mod:`striate.core.random`. Nothing here touches
a pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from striate.core import random
from striate.core.errors import InputError

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Draws:
    """How each of B samples moves, per axis: ``flips`` (B, A) bool and ``shifts`` (B, A) int64 on the canvas, the
    crop's ``low`` and ``side`` (B, A) int64 in source pixels, the ``hole`` (B, A) int64: the centre of the cutout,
    ``moves`` (B, A) int64: the translation in canvas pixels, and ``linear`` (B, A, A) float64, applied about the middle
    of the canvas (None: there is none)."""

    flips: NDArray[np.bool_]
    shifts: Whole
    low: Whole
    side: Whole
    hole: Whole
    moves: Whole
    linear: Floats | None

    @property
    def offsets(self) -> Whole:
        """The whole pixels (B, A) that each sample moves on the canvas."""
        return self.shifts + self.moves


@dataclass(frozen=True, eq=False)
class Looks:
    """How the appearance of each of B samples changes; None for what never does.

    ``factor`` (B,) multiplies all values; ``contrast`` and ``saturation`` (B,) are factors too; ``hue`` (B,) in
    radians; ``colour`` (B, 3) is added, as a share of the range of values; ``sigma`` (B,) of the blur in pixels;
    ``noise`` is the noise's deviation as a share of the range, and ``words`` (B, 2) uint64 key its numbers.
    """

    factor: Floats | None = None
    contrast: Floats | None = None
    saturation: Floats | None = None
    hue: Floats | None = None
    colour: Floats | None = None
    sigma: Floats | None = None
    noise: float = 0.0
    words: NDArray[np.uint64] | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing changes."""
        arrays = (self.factor, self.contrast, self.saturation, self.hue, self.colour, self.sigma, self.words)
        return all(one is None for one in arrays)

    def of(self, place: int) -> "Looks":
        """Those of one sample, as a batch of one."""
        here = slice(place, place + 1)
        return Looks(
            factor=None if self.factor is None else self.factor[here],
            contrast=None if self.contrast is None else self.contrast[here],
            saturation=None if self.saturation is None else self.saturation[here],
            hue=None if self.hue is None else self.hue[here],
            colour=None if self.colour is None else self.colour[here],
            sigma=None if self.sigma is None else self.sigma[here],
            noise=self.noise,
            words=None if self.words is None else self.words[here],
        )


@dataclass(frozen=True, eq=False)
class Key:
    """Whose draws they are: the ``seed``, the ``indices`` (B,) of the samples, and their ``epoch`` (one, or (B,))."""

    seed: int
    epoch: int | Whole
    indices: Whole

    def __len__(self) -> int:
        return len(self.indices)

    def uniform(self, name: str, size: int = 1) -> Floats:
        """Numbers in [0, 1): (B, size)."""
        return random.uniform(self.seed, name, self.indices, size, self.epoch)

    def bits(self, name: str, size: int = 1) -> NDArray[np.uint64]:
        """Random words of 64 bits: (B, size)."""
        return random.bits(self.seed, name, self.indices, size, self.epoch)

    def between(self, name: str, low: float, high: float, size: int = 1) -> Floats:
        """Numbers evenly from ``low`` to ``high``: (B, size)."""
        return low + (high - low) * self.uniform(name, size)

    def log_between(self, name: str, low: float, high: float, size: int = 1) -> Floats:
        """Numbers from ``low`` to ``high``, both above 0, evenly on a logarithmic scale: (B, size)."""
        return np.exp(self.between(name, float(np.log(low)), float(np.log(high)), size))

    def normal(self, name: str, size: int = 1) -> Floats:
        """Standard normal numbers: (B, size)."""
        return random.normal(self.seed, name, self.indices, size, self.epoch)

    def below(self, name: str, limits: Whole) -> Whole:
        """Whole numbers in [0, limits), limits (A,) or (B, A): (B, A)."""
        return below(limits, self.uniform(name, limits.shape[-1]))


def below(limits: Whole, numbers: Floats) -> Whole:
    """Whole numbers in [0, limits) from numbers in [0, 1)."""
    return np.floor(numbers * limits).astype(np.int64)


def canvas_sizes(size: tuple[int, ...], scale: Range, multiple: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The canvases that factors within ``scale`` make of ``size`` (A,), smallest first: one factor for all axes, every
    side then rounded to the nearest of its ``multiple`` (A,), at least one of it."""
    sides = np.array(size) / np.array(multiple)
    turns = [(np.arange(1, np.ceil(scale[1] * side) + 1) + 0.5) / side for side in sides]  # where rounding changes
    inner = np.concatenate(turns)
    ends = np.unique([scale[0], *inner[(inner > scale[0]) & (inner < scale[1])], scale[1]])
    factors = (ends[:-1] + ends[1:]) / 2 if len(ends) > 1 else ends
    steps = np.maximum(np.rint(factors[:, None] * sides), 1).astype(np.int64) * np.array(multiple)
    return tuple(dict.fromkeys(map(tuple, steps.tolist())))


def draw_canvas(seed: int, step: int, sizes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The canvas of a step, each of ``sizes`` equally likely: a pure function of (seed, step)."""
    return sizes[int(random.integers(seed, "augment.canvas", step, 0, len(sizes))[0])]


def draw_flips(key: Key, axes: int, wanted: tuple[int, ...]) -> NDArray[np.bool_]:
    """(B, A): the wanted axes mirrored with probability 1/2. Errors: ``InputError`` for an axis that is not there."""
    wrong = [axis for axis in wanted if not -axes <= axis < axes]
    if wrong:
        raise InputError("augment.flip", f"axis {wrong[0]} of samples with {axes} axes", "name one they have")
    flips = np.zeros((len(key), axes), dtype=np.bool_)
    if wanted:
        listed = [axis % axes for axis in wanted]
        flips[:, listed] = (key.uniform("augment.flip", axes) < 0.5)[:, listed]
    return flips


def draw_crops(key: Key, sizes: Whole, scale: Range, ratio: Range) -> tuple[Whole, Whole]:
    """``low`` and ``side`` (B, A) of crops of samples of ``sizes`` (B, A).

    The geometric mean of the sides gives the share of the pixels, neighbouring axes differ by the drawn ratios.
    """
    axes = sizes.shape[1]
    numbers = key.uniform("augment.crop", 2 * axes)
    least, most = scale
    mean = (sizes.prod(axis=1, keepdims=True) * (least + (most - least) * numbers[:, :1])) ** (1 / axes)
    small, large = np.log(ratio) / 2
    slant = np.pad(small + (large - small) * numbers[:, 1:axes], ((0, 0), (1, 1)))
    sides = mean * np.exp(slant[:, :-1] - slant[:, 1:])
    side = np.clip(np.rint(sides).astype(np.int64), 1, sizes)
    return below(sizes - side + 1, numbers[:, axes:]), side


def draw_linear(
    key: Key, axes: int, *, rotate: float, shear: float, scale: Range | None, stretch: Range | None
) -> Floats | None:
    """(B, A, A): rotation @ shear @ stretch and scale, or None where none of them is wanted.

    ``rotate`` and ``shear`` in degrees either way, in the plane of the last two axes and with the signs of
    :class:`striate.core.transform.Affine`.
    Errors: ``InputError`` for the rotation or shear of signals.
    """
    if not (rotate or shear or scale or stretch):
        return None
    if axes < 2 and (rotate or shear):
        name = "rotate" if rotate else "shear"
        raise InputError(f"augment.{name}", "signals have one axis, it takes two", "leave it out; stretch them instead")
    linear = np.tile(np.eye(axes), (len(key), 1, 1))
    if stretch:
        linear = linear * key.log_between("augment.stretch", *stretch, axes)[:, None, :]
    if scale:
        linear = linear * key.log_between("augment.scale", *scale)[:, :, None]
    if shear:
        slope = np.tan(np.radians(key.between("augment.shear", -shear, shear)))
        linear[:, -2] += slope * linear[:, -1]
    if rotate:
        angle = np.radians(key.between("augment.rotate", -rotate, rotate))
        turned, straight = linear[:, -2].copy(), linear[:, -1].copy()
        linear[:, -2] = np.cos(angle) * turned - np.sin(angle) * straight
        linear[:, -1] = np.sin(angle) * turned + np.cos(angle) * straight
    return linear


def moved_matrices(base: Floats, draws: Draws, canvas: tuple[int, ...]) -> Floats:
    """The maps (B, A+1, A+1) that first do ``base`` (B, A+1, A+1), a map onto ``canvas``, then what was drawn."""
    matrices, middle = base.copy(), np.array(canvas, dtype=np.float64) / 2
    rows, offset = matrices[:, :-1, :-1], matrices[:, :-1, -1]
    np.copyto(rows, np.where(draws.flips[:, :, None], -rows, rows))
    np.copyto(offset, np.where(draws.flips, 2 * middle - offset, offset) + draws.shifts)
    if draws.linear is not None:
        matrices[:, :-1, :-1] = draws.linear @ rows
        matrices[:, :-1, -1] = (draws.linear @ (offset - middle)[:, :, None])[:, :, 0] + middle
    matrices[:, :-1, -1] += draws.moves
    return matrices
