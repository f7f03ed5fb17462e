"""How pixels are moved under a :class:`~striate.core.map.Map`, in 1, 2 or 3 axes.

The cheapest way that is right is taken, by the kind of map alone (never by what else is in the batch):

- pixels that only change place are sliced, flipped and transposed, never computed with;
- axis-aligned scaling of a whole number of pixels to a whole number of pixels is torch's antialiased resize;
- any other axis-aligned map weighs source pixels axis by axis with the same filters (:mod:`striate.core.resample`);
- rotations and shears sample a grid, after an antialiased resize along the source axes that they shrink.

Values outside the source are ``Map.fill``. The numeric type is kept: integers are computed with in floating point,
rounded to nearest and clamped to their range. A result may share memory with the images: treat both as read-only.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from striate.core.errors import InputError
from striate.core.map import AxisMap, Fill, Map
from striate.core.resample import from_floating, resample_axes, resize, sample_grid, to_floating


def move_images(images: Tensor, maps: Sequence[Map]) -> Tensor:
    """``images`` (B, C, *spatial) on their maps' canvas: (B, C, *canvas) of the same numeric type.

    ``maps`` holds one map a sample, or a single one for all. Errors: ``ValueError`` when the counts, axes or canvases
    do not fit; ``InputError`` for a fill with the wrong number of channels.
    """
    axes = images.ndim - 2
    if len(maps) not in (1, len(images)) or any(one.axes != axes or one.canvas != maps[0].canvas for one in maps):
        found = sorted({one.canvas for one in maps})
        raise ValueError(f"{len(images)} images of {axes} axes need one map, or one each onto one canvas; got {found}")
    if len(maps) == 1:
        return _move(images, maps[0])
    rows = [one.aligned_axes() if one.exact and one.fill == maps[0].fill else None for one in maps]
    straight = [row for row in rows if row is not None and all(one.axis == axis for axis, one in enumerate(row))]
    if len(straight) < len(maps):
        return torch.cat([_move(images[i : i + 1], one) for i, one in enumerate(maps)])
    flips = np.array([[one.scale < 0 for one in row] for row in straight])
    offsets = np.array([[one.offset for one in row] for row in straight]).astype(np.int64)
    return flip_and_shift(images, flips, offsets, maps[0].canvas, maps[0].fill)


def flip_and_shift(
    images: Tensor, flips: NDArray[np.bool_], offsets: NDArray[np.int64], canvas: tuple[int, ...], fill: Fill = 0.0
) -> Tensor:
    """Move every image of a batch by its own flips and whole shifts, all at once.

    ``images`` (B, C, *spatial), ``flips`` (B, A), ``offsets`` (B, A); axis a of sample b follows
    canvas = -source + offset where flipped, else source + offset, in edge coordinates. Returns (B, C, *canvas).

    Every canvas row is one contiguous run of a source row that was padded with the fill (or of its mirror image), so
    that the batch is a single gather of rows.
    """
    count, channels, *size = images.shape
    width, height = size[-1], math.prod(size[:-1])
    starts = np.where(flips[:, -1], width - offsets[:, -1], -offsets[:, -1]).clip(-canvas[-1], width)
    spare = max(0, -int(starts.min(initial=0)), int(starts.max(initial=0)) + canvas[-1] - width)
    mirrored = bool(flips[:, -1].any())

    padded = images.new_empty((1 + mirrored, count, channels, height + 1, width + 2 * spare))
    source = images.reshape(count, channels, height, width)
    if fill != "edge":
        padded.copy_(fill_colour(images, fill, 2))
    for half, rows in zip(padded[:, :, :, :height], (source, source.flip(-1) if mirrored else source), strict=False):
        half[..., spare : spare + width] = rows
        if fill == "edge" and spare:
            half[..., :spare], half[..., spare + width :] = rows[..., :1], rows[..., -1:]

    row = np.zeros((count, 1), dtype=np.int64)
    outside = np.zeros((count, 1), dtype=np.bool_)
    for axis, n in enumerate(size[:-1]):
        position, offset = np.arange(canvas[axis]), offsets[:, axis, None]
        index = np.where(flips[:, axis, None], offset - 1 - position, position - offset)  # (B, canvas of this axis)
        inside = index.clip(0, n - 1)
        row = (row[:, :, None] * n + inside[:, None, :]).reshape(count, -1)
        outside = (outside[:, :, None] | (index != inside)[:, None, :]).reshape(count, -1)
    if fill != "edge":
        row[outside] = height  # the row that holds nothing but the fill
    plane = np.arange(count)[:, None] * channels + np.arange(channels)  # (B, C): which image, which channel
    plane += flips[:, -1:] * (count * channels)
    first = (plane[:, :, None] * (height + 1) + row[:, None, :]) * padded.shape[-1] + (starts + spare)[:, None, None]
    runs = padded.view(-1).unfold(0, canvas[-1], 1)  # every run of a canvas width, as a view
    chosen = torch.from_numpy(first.reshape(-1)).to(images.device)
    return runs.index_select(0, chosen).reshape(count, channels, *canvas)


def nearest(values: Tensor, by: Map, nothing: int) -> Tensor:
    """``values`` (*spatial) of any type on the map's canvas, each pixel the value its centre falls into.

    ``nothing`` where the centre is outside the source. No value is computed with, so labels of any size stay exact.
    """
    rows = by.aligned_axes()
    if rows is not None:
        out = values.permute([row.axis for row in rows])
        present = torch.ones((1,) * by.axes, dtype=torch.bool)
        for axis, (row, n) in enumerate(zip(rows, by.canvas, strict=True)):
            found = np.floor((np.arange(n) + 0.5 - row.offset) / row.scale + 1e-9).astype(np.int64)
            limit = out.shape[axis]
            out = out.index_select(axis, torch.from_numpy(found.clip(0, limit - 1)).to(values.device))
            inside = torch.from_numpy((found >= 0) & (found < limit))
            present = present & inside.reshape([-1 if other == axis else 1 for other in range(by.axes)])
    else:
        found = np.floor(by.inverse(tuple(values.shape)).points(canvas_centres(by.canvas)) + 1e-9).astype(np.int64)
        limits = np.array(values.shape)
        present = torch.from_numpy(((found >= 0) & (found < limits)).all(axis=-1))
        flat = np.ravel_multi_index(tuple(np.moveaxis(found.clip(0, limits - 1), -1, 0)), tuple(values.shape))
        out = values.flatten().index_select(0, torch.from_numpy(flat.ravel()).to(values.device)).reshape(by.canvas)
    return torch.where(present.to(values.device), out, torch.tensor(nothing, dtype=values.dtype, device=values.device))


def covered(size: tuple[int, ...], by: Map) -> Tensor:
    """bool (*canvas): which canvas pixels a source of ``size`` pixels lands on."""
    return nearest(torch.ones(size, dtype=torch.bool), by, 0)


def canvas_centres(canvas: tuple[int, ...]) -> NDArray[np.float64]:
    """The centres (*canvas, A) float64 of the pixels of a canvas."""
    return np.stack(np.meshgrid(*[np.arange(n) + 0.5 for n in canvas], indexing="ij"), axis=-1)


def fill_colour(images: Tensor, fill: Fill, axes: int) -> Tensor:
    """The fill in the images' type, shaped to broadcast to (B, C, *axes); zero for "edge"."""
    count, channels = images.shape[:2]
    if fill == "mean":
        numbers = to_floating(images).flatten(2).mean(dim=2).reshape(count, channels, *[1] * axes)
    elif isinstance(fill, str):
        numbers = torch.zeros([1] * (axes + 2), device=images.device)
    else:
        given = fill if isinstance(fill, tuple) else (fill,)
        if len(given) not in (1, channels):
            raise InputError("fill", f"{len(given)} numbers for {channels} channels", "give one number, or one each")
        numbers = torch.tensor(given, dtype=torch.float64, device=images.device).reshape(1, -1, *[1] * axes)
    return from_floating(numbers, images.dtype)


def _move(images: Tensor, by: Map) -> Tensor:
    """All images (B, C, *spatial) under one map."""
    rows = by.aligned_axes()
    if rows is None:
        return _move_on_grid(images, by)
    out = images.permute(0, 1, *(2 + row.axis for row in rows))
    back = [2 + axis for axis, row in enumerate(rows) if row.scale < 0]
    rows = tuple(
        AxisMap(row.axis, abs(row.scale), row.offset + min(row.scale, 0.0) * n)
        for row, n in zip(rows, out.shape[2:], strict=True)
    )
    spans = [span(row, n, to) for row, n, to in zip(rows, out.shape[2:], by.canvas, strict=True)]
    out = out.flip(back) if back else out
    whole = [one for one in spans if one is not None]
    if len(whole) < len(spans):
        scales, offsets = [row.scale for row in rows], [row.offset for row in rows]
        moved, present = resample_axes(to_floating(out), scales, offsets, by.canvas, by.filter)
        out = from_floating(moved, images.dtype)
        if by.fill == "edge":
            return out
        colour = fill_colour(images, by.fill, by.axes)
        for axis, one in enumerate(present):
            if not one.all():
                shown = one.reshape([-1 if other == axis else 1 for other in range(by.axes)]).to(out.device)
                out = torch.where(shown, out, colour)
        return out
    out = _part(out, [(low, high) for low, high, _, _ in whole])
    out = resize(out, tuple(to for _, _, to, _ in whole), by.filter)
    return _place(images, out, [at for _, _, _, at in whole], by)


def span(row: AxisMap, n: int, canvas: int) -> tuple[int, int, int, int] | None:
    """A scaling of one axis in whole pixels: source [low, high) becomes ``to`` pixels at canvas position ``at``.

    ``None`` when there is none. A part of the source that exactly fills the canvas is preferred to the whole source
    resized and then cut.
    """
    scale, offset = row.scale, row.offset
    if scale == 1.0 and float(offset).is_integer():
        return 0, n, n, int(offset)
    low, high = -offset / scale, (canvas - offset) / scale
    if _whole(low) and _whole(high) and round(low) >= 0 and round(high) <= n:
        return round(low), round(high), canvas, 0
    if _whole(scale * n) and _whole(offset) and 0 < round(scale * n) <= 16 * (canvas + n):
        return 0, n, round(scale * n), round(offset)
    return None


def _whole(number: float) -> bool:
    return abs(number - round(number)) < 1e-7


def _place(source: Tensor, content: Tensor, at: list[int], by: Map) -> Tensor:
    """``content`` (B, C, *sizes) put onto the canvas at the position ``at`` of each axis."""
    sizes = tuple(content.shape[2:])
    if by.fill == "edge":
        for axis, (to, n, low) in enumerate(zip(by.canvas, sizes, at, strict=True)):
            if (to, low) != (n, 0):
                index = (torch.arange(to, device=content.device) - low).clamp(0, n - 1)
                content = content.index_select(2 + axis, index)
        return content.contiguous()
    inner = [(max(0, -low), max(0, min(n, to - low))) for to, n, low in zip(by.canvas, sizes, at, strict=True)]
    content = _part(content, inner)
    if tuple(content.shape[2:]) == by.canvas:
        packed = content.ndim == 4 and content.is_contiguous(memory_format=torch.channels_last)
        return content if packed else content.contiguous()  # interleaved pixels stay so: torch is fastest on them
    out = fill_colour(source, by.fill, by.axes).expand(*content.shape[:2], *by.canvas).contiguous()
    if content.numel():
        starts = [max(0, low) for low in at]
        _part(out, [(low, low + n) for low, n in zip(starts, content.shape[2:], strict=True)]).copy_(content)
    return out


def _part(images: Tensor, ranges: Sequence[tuple[int, int]]) -> Tensor:
    """The positions from low up to high of every spatial axis, as a view; empty where high is not above low."""
    for axis, (low, high) in enumerate(ranges):
        low = min(low, images.shape[2 + axis])
        images = images.narrow(2 + axis, low, max(0, high - low))
    return images


def _move_on_grid(images: Tensor, by: Map) -> Tensor:
    size = tuple(images.shape[2:])
    strides = np.linalg.norm(by.matrix[:-1, :-1], axis=0)  # canvas pixels a source pixel spans, for each source axis
    smaller = tuple(max(1, round(n * min(1.0, s))) for n, s in zip(size, strides, strict=True))
    small = resize(to_floating(images), smaller, by.filter)
    grow = np.diag([*(n / m for n, m in zip(size, smaller, strict=True)), 1.0])
    where = Map(by.matrix @ grow, by.canvas).inverse(smaller).points(canvas_centres(by.canvas))
    if by.fill == "edge":
        return from_floating(sample_grid(small, where, by.filter, edge=True), images.dtype)
    colour = fill_colour(images, by.fill, by.axes).to(small.dtype)
    return from_floating(sample_grid(small - colour, where, by.filter, edge=False) + colour, images.dtype)
