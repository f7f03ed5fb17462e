"""How large the objects of a data set are at the working size, and which of them a grid of cells could not hold."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from striate.core.bitsets import unpacked
from striate.core.errors import InputError
from striate.core.sample import Boxes, Mask
from striate.core.transform import Compose
from striate.data.reader import Reader
from striate.recipes.geometry import Geometry

TINY = 4.0
"""Objects with a side under so many pixels are hardly seen by a network whose first layers halve the image."""
MASKS_LOOKED_AT = 200
"""Masks that are decoded to find the sizes of regions; of boxes all are looked at."""
PYRAMID = {8: (0.0, 64.0), 16: (64.0, 128.0), 32: (128.0, np.inf)}
"""Stride of a head -> longer sides of the objects it answers for, in pixels. The ranges are those of FCOS (Tian et al.
2019, arXiv 1904.01355, section 3.2: 0, 64, 128, ...), of which the last is open here."""


@dataclass(frozen=True)
class Objects:
    """The objects of a data set on the network's canvas, n of them in A axes.

    ``centres`` and ``sides`` (n, A) float64 in pixels of the canvas, ``samples`` (n,) int64: which sample each is in,
    ``canvas``: its size. ``regions`` says that they are regions of masks (all pixels of one class in one image, the
    side being the square root of the area) and not boxes. ``looked_at`` is the number of samples.
    """

    centres: NDArray[np.float64]
    sides: NDArray[np.float64]
    samples: NDArray[np.int64]
    canvas: tuple[int, ...]
    regions: bool
    looked_at: int

    def __len__(self) -> int:
        return len(self.sides)

    def lost(self, cells: tuple[int, ...], which: NDArray[np.bool_] | None = None) -> int:
        """How many of the objects share a cell with another whose centre it holds too, counting one a cell as kept.

        ``cells`` is the number of cells of each axis; ``which`` (n,) bool chooses objects.
        """
        chosen = np.ones(len(self), dtype=bool) if which is None else which
        limits = np.array(cells)
        cell = np.floor(self.centres[chosen] / np.array(self.canvas) * limits).astype(np.int64).clip(0, limits - 1)
        return int(chosen.sum()) - len(np.unique(np.column_stack((self.samples[chosen], cell)), axis=0))

    @property
    def longer(self) -> NDArray[np.float64]:
        """The longer side of each object in pixels of the canvas (n,)."""
        return np.asarray(self.sides.max(axis=1, initial=0.0))

    @property
    def tiny(self) -> int:
        """How many have a side under :data:`TINY` pixels on the canvas."""
        return int((self.sides < TINY).any(axis=1).sum())


def objects(reader: Reader, geometry: Geometry) -> Objects | None:
    """The objects of a reader's samples as the geometry brings them to the network, or None for a target without any.

    Boxes without area or wholly beside their image are left out: the doctor lists them. Errors: ``InputError`` when no
    sample can be looked at.
    """
    if reader.target not in ("boxes", "mask") or not reader.options.labelled:
        return None
    places = np.arange(len(reader))
    if reader.target == "mask":
        places = np.unique(np.linspace(0, len(reader) - 1, min(MASKS_LOOKED_AT, len(reader))).astype(int))
    whole = Compose(steps=(*geometry.store.steps, *geometry.fit.steps))
    centres, sides, samples = [], [], []
    canvas: tuple[int, ...] | None = None
    for place in places.tolist():
        try:
            size, target = reader.size(place), reader.targets(place)[reader.target]
        except InputError:
            continue  # the doctor lists it
        by = whole.map(size)
        canvas = by.canvas
        if isinstance(target, Boxes):
            sound, _ = target.clip(size)
            bounds = sound.move(by).bounds().numpy()
            low, high = bounds[:, : len(size)], bounds[:, len(size) :]
        elif isinstance(target, Mask):
            low, high = _regions(target.move(by), len(reader.classes) if reader.multi_label else 0)
        else:
            continue
        centres.append((low + high) / 2)
        sides.append(high - low)
        samples.append(np.full(len(low), place))
    if canvas is None:
        raise InputError(reader.path, "no sample could be looked at", "run striate check on it")
    return Objects(
        np.concatenate(centres),
        np.concatenate(sides),
        np.concatenate(samples),
        canvas,
        reader.target == "mask",
        len(places),
    )


def _regions(mask: Mask, layers: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each class in a mask (class 0 left out where it is one of several) a cube of its area about its centre.
    ``layers`` is the number of classes where values are bit sets, else 0."""
    values = mask.values.numpy()
    if layers:
        regions = [layer for layer in unpacked(values, layers) if layer.any()]
    else:
        regions = [values == value for value in np.unique(values).tolist() if value not in (mask.ignore, 0)]
    low, high = np.zeros((len(regions), values.ndim)), np.zeros((len(regions), values.ndim))
    for row, region in enumerate(regions):
        where = np.argwhere(region)
        side = len(where) ** (1 / values.ndim)
        low[row], high[row] = where.mean(axis=0) + 0.5 - side / 2, where.mean(axis=0) + 0.5 + side / 2
    return low, high
