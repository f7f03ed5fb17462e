"""Interpolation of pixels: antialiased resizing, weighing along one axis, sampling a grid. 1, 2 or 3 axes.

The filters are the triangle (``linear``) and Keys' cubic convolution with a = -1/2 (``cubic``; Keys 1981, doi
10.1109/TASSP.1981.1163711), widened by the factor of shrinking and normalised over the pixels that exist, as in
Pillow and in torch's antialiased interpolation. Without the widening, one-pixel stripes shrink to noise.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from striate.core.errors import InputError
from striate.core.map import Filter

_MODES = {"linear": "bilinear", "cubic": "bicubic"}
_SUPPORT = {"linear": 1.0, "cubic": 2.0}


def to_floating(images: Tensor) -> Tensor:
    """A floating-point copy wide enough for every value: float32, or float64 for float64 and 32-bit integers up."""
    if images.dtype in (torch.float32, torch.float64):
        return images
    wide = not images.is_floating_point() and images.dtype.itemsize > 2
    return images.to(torch.float64 if wide else torch.float32)


def from_floating(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Back to ``dtype``: integers are rounded to nearest and clamped to their range."""
    if dtype.is_floating_point:
        return values.to(dtype)
    limits = torch.iinfo(dtype)
    return values.round().clamp(limits.min, limits.max).to(dtype)


def resize(images: Tensor, size: tuple[int, ...], kind: Filter) -> Tensor:
    """``images`` (B, C, *spatial) with ``size`` pixels, antialiased where they shrink; the numeric type is kept.

    uint8 on the processor is resized in integers (within one level of the exact value), as Pillow does.
    """
    if tuple(images.shape[2:]) == size:
        return images
    mode, axes = _MODES[kind], len(size)
    if 1 in size:  # torch 2.14 gives wrong values (float) or fails (uint8) when the last side becomes one pixel
        scales = [to / n for n, to in zip(images.shape[2:], size, strict=True)]
        return from_floating(resample_axes(to_floating(images), scales, [0.0] * axes, size, kind)[0], images.dtype)
    if not (images.dtype == torch.uint8 and axes < 3 and images.device.type == "cpu"):
        dtype, images = images.dtype, to_floating(images)
    else:
        dtype = torch.uint8
        if images.stride(1) != 1:  # neither channels last nor packed is the slow case of torch's integer resize
            images = images.contiguous()
        elif len(images) == 1 and axes == 2:  # whatever its batch stride says; torch sees interleaved pixels by that
            stride = images.stride()
            images = images.as_strided(images.shape, (stride[2] * images.shape[2], *stride[1:]))
    if axes == 1:
        out = functional.interpolate(images[:, :, None], (1, size[0]), mode=mode, antialias=True)[:, :, 0]
    elif axes == 2:
        out = functional.interpolate(images, size, mode=mode, antialias=True)
    else:
        count, channels, depth, height, width = images.shape
        planes = images.reshape(count, channels * depth, height, width)
        planes = functional.interpolate(planes, size[1:], mode=mode, antialias=True)
        columns = planes.reshape(count, channels, depth, size[1] * size[2])
        columns = functional.interpolate(columns, (size[0], size[1] * size[2]), mode=mode, antialias=True)
        out = columns.reshape(count, channels, *size)
    return out if out.dtype == dtype else from_floating(out, dtype)


def resample_axes(
    images: Tensor, scales: list[float], offsets: list[float], canvas: tuple[int, ...], kind: Filter
) -> tuple[Tensor, list[Tensor]]:
    """Floating ``images`` (B, C, *spatial) with canvas = scale * source + offset on each axis (scales above 0).

    Returns the images (B, C, *canvas) and for each axis bool (canvas,): whether the pixel's centre is on the source.
    Pixels whose centre is off the source continue its edge.
    """
    inside = []
    for axis, (scale, offset, to) in enumerate(zip(scales, offsets, canvas, strict=True)):
        n, width = images.shape[2 + axis], max(1.0, 1.0 / scale)
        centre = (np.arange(to) + 0.5 - offset) / scale
        inside.append(torch.from_numpy((centre > -1e-9) & (centre < n + 1e-9)))
        centre = centre.clip(0, n)
        reach = _SUPPORT[kind] * width
        first = np.floor(centre - reach + 0.5).astype(np.int64)
        index = first[:, None] + np.arange(int(np.ceil(2 * reach)) + 1)
        weight = _weigh((index + 0.5 - centre[:, None]) / width, kind) * ((index >= 0) & (index < n))
        weight = weight / weight.sum(axis=1, keepdims=True)
        taps = torch.from_numpy(index.clip(0, n - 1)).to(images.device)
        weights = torch.from_numpy(weight).to(images)
        shape = [to if other == axis else 1 for other in range(len(canvas))]
        total = torch.zeros((), dtype=images.dtype, device=images.device)
        for tap in range(index.shape[1]):
            total = total + images.index_select(2 + axis, taps[:, tap]) * weights[:, tap].reshape(shape)
        images = total
    return images, inside


def _weigh(distance: NDArray[np.float64], kind: Filter) -> NDArray[np.float64]:
    """The filter's value at distances in (widened) source pixels."""
    x = np.abs(distance)
    if kind == "linear":
        return np.maximum(0.0, 1.0 - x)
    near, far = (1.5 * x - 2.5) * x * x + 1.0, ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def sample_grid(images: Tensor, where: NDArray[np.float64], kind: Filter, edge: bool) -> Tensor:
    """Floating ``images`` (B, C, *spatial) read at the points ``where`` (*canvas, A): (B, C, *canvas).

    Outside the source: its edge, or zero. torch's cubic here has a = -3/4 (sharper than the -1/2 of resizing). Errors:
    ``InputError`` for the cubic filter in three axes, which torch lacks.
    """
    if kind == "cubic" and images.ndim == 5:
        raise InputError("filter", "cubic came for the rotation or shear of a volume", "use the linear filter there")
    size = np.array(images.shape[2:])
    unit = (2.0 * where / size - 1.0)[..., ::-1]  # torch wants x first, from -1 to 1 over the edges
    grid = torch.from_numpy(unit.copy()).to(images)[None].expand(len(images), *unit.shape)
    padding = "border" if edge else "zeros"
    return functional.grid_sample(images, grid, _MODES[kind], padding_mode=padding, align_corners=False)
