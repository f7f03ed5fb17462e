"""A batch of samples of one size, each under a map of its own that interpolates, all at once.

For small samples the calls cost more than the arithmetic, so that moving 128 digits one by one takes 30 times as long
as here. What is computed is what :mod:`striate.core.move` computes, with the linear filter: axis-aligned maps weigh
source pixels axis by axis, others sample a grid after an antialiased resize along the axes that they shrink. Sums are
in a fixed order, so that a sample comes out alike in any batch.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from striate.core.map import Fill
from striate.core.move import canvas_centres, fill_colour
from striate.core.resample import from_floating, resize, to_floating
from striate.data.draws import Floats


def move_batch(images: Tensor, matrices: Floats, canvas: tuple[int, ...], fill: Fill) -> Tensor:
    """``images`` (B, C, *spatial) under their ``matrices`` (B, A+1, A+1): (B, C, *canvas) of the same numeric type."""
    linear = matrices[:, :-1, :-1]
    off = linear * (1 - np.eye(len(canvas)))
    if not off.any():
        return _aligned(images, matrices, canvas, fill)
    return _on_grids(images, matrices, canvas, fill)


def _aligned(images: Tensor, matrices: Floats, canvas: tuple[int, ...], fill: Fill) -> Tensor:
    values, colour = to_floating(images), fill_colour(images, fill, len(canvas))
    present = torch.ones([1] * images.ndim, dtype=torch.bool, device=images.device)
    for axis, to in enumerate(canvas):
        index, weight, inside = _taps(matrices[:, axis, axis], matrices[:, axis, -1], values.shape[2 + axis], to)
        shape = [len(images), 1, *(to if other == axis else 1 for other in range(len(canvas)))]
        wide = [*values.shape]
        wide[2 + axis] = to
        total = values.new_zeros(wide)
        for tap in range(index.shape[2]):
            chosen = torch.from_numpy(index[:, :, tap]).to(images.device).reshape(shape).expand(wide)
            share = torch.from_numpy(weight[:, :, tap]).to(values).reshape(shape)
            total.add_(values.gather(2 + axis, chosen).mul_(share))
        values = total
        present = present & torch.from_numpy(inside).to(images.device).reshape(shape)
    out = from_floating(values, images.dtype)
    return out if fill == "edge" else torch.where(present, out, colour)


def _taps(scale: Floats, offset: Floats, n: int, to: int) -> tuple[NDArray[np.int64], Floats, NDArray[np.bool_]]:
    """For every canvas pixel of an axis the source pixels (B, to, taps) it is made of, their weights, and bool (B, to):
    whether its centre is on the source."""
    mirrored, steps = scale[:, None] < 0, np.abs(scale)[:, None]
    start = offset[:, None] - np.where(mirrored, steps * n, 0.0)  # as if the source had been flipped before
    centre = (np.arange(to) + 0.5 - start) / steps
    inside = (centre > -1e-9) & (centre < n + 1e-9)
    centre, width = centre.clip(0, n), np.maximum(1.0, 1.0 / steps)
    index = np.floor(centre - width + 0.5).astype(np.int64)[:, :, None] + np.arange(int(np.ceil(2 * width.max())) + 1)
    weight = np.maximum(0.0, 1.0 - np.abs((index + 0.5 - centre[:, :, None]) / width[:, :, None]))
    weight = weight * ((index >= 0) & (index < n))
    total = np.zeros_like(centre)
    for tap in range(weight.shape[2]):
        total = total + weight[:, :, tap]
    index = index.clip(0, n - 1)
    return np.where(mirrored[:, :, None], n - 1 - index, index), weight / total[:, :, None], inside


def _on_grids(images: Tensor, matrices: Floats, canvas: tuple[int, ...], fill: Fill) -> Tensor:
    size = np.array(images.shape[2:])
    strides = np.linalg.norm(matrices[:, :-1, :-1], axis=1)  # canvas pixels a source pixel spans, for each source axis
    smaller = np.maximum(1, np.rint(size * np.minimum(1.0, strides))).astype(np.int64)
    colour = fill_colour(images, fill, len(canvas)).to(to_floating(images).dtype)
    out = images.new_empty((*images.shape[:2], *canvas))
    centres = np.moveaxis(canvas_centres(canvas), -1, 0)
    for shrunk in np.unique(smaller, axis=0):
        places = np.flatnonzero((smaller == shrunk).all(axis=1))
        chosen = torch.from_numpy(places).to(images.device)
        small = resize(to_floating(images.index_select(0, chosen)), tuple(shrunk.tolist()), "linear")
        grow = np.diag([*(size / shrunk), 1.0])
        back: Floats = np.linalg.inv(matrices[places] @ grow).astype(np.float64)
        unit = [  # torch wants the last axis first, from -1 to 1 over the edges
            2 * _read(back[:, axis], centres) / shrunk[axis] - 1 for axis in reversed(range(len(size)))
        ]
        grid = torch.from_numpy(np.stack(unit, axis=-1)).to(small)
        if fill == "edge":
            moved = functional.grid_sample(small, grid, "bilinear", padding_mode="border", align_corners=False)
        else:
            own = colour if len(colour) == 1 else colour.index_select(0, chosen)
            moved = functional.grid_sample(small - own, grid, "bilinear", align_corners=False) + own
        out[chosen] = from_floating(moved, images.dtype)
    return out


def _read(row: Floats, centres: Floats) -> Floats:
    """One coordinate (B, *canvas) of the source under a row (B, A+1) of inverse maps, at ``centres`` (A, *canvas)."""
    spread = (-1, *[1] * (centres.ndim - 1))
    total = np.broadcast_to(row[:, -1].reshape(spread), (len(row), *centres.shape[1:]))
    for axis, centre in enumerate(centres):
        total = total + row[:, axis].reshape(spread) * centre
    return total
