"""Gradients of convolutions of any kernel, stride, padding and dilation, as products of rows that lie anywhere.

With the channels last in memory, the channels of a pixel are a row of a matrix, and a convolution is a sum of products
over the taps of its kernel, each of other rows of the input; where a tap looks beyond the edge there is no row. So are
its gradients. Which row is which is a table (:func:`geometry`), the same for every batch of a shape. Only the order of
sums differs from torch's, whose forward pass is as fast and is kept.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from striate.training.convolutions.library import Library

Ints = NDArray[np.int32]
Pair = tuple[int, int]
LARGEST_TABLE = 1 << 22
"""Entries of a table up to which a convolution is computed here."""


@dataclass(frozen=True, eq=False)
class Sums:
    """Row ``to[i]`` of the result adds up, over the taps ``which[t]``, the rows ``at[t, i]``, none where negative."""

    to: Ints
    which: Ints
    at: Ints


@dataclass(frozen=True, eq=False)
class Geometry:
    """What a convolution reads: ``forward[t, i]`` is the row of its input (of N H W) that row i of its output
    (of N H' W') reads through tap t, negative for none; ``backward`` says what the gradient of the input adds up, for
    each class of pixels that the same taps read."""

    forward: Ints
    backward: tuple[Sums, ...]


@lru_cache(maxsize=64)
def geometry(images: int, size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Geometry:
    """The tables for so many images of a size. An output o reads through tap t the input s o - p + d t of each axis."""
    outputs = output_size(size, kernel, stride, padding, dilation)
    reads = [_read(*one) for one in zip(size, outputs, kernel, stride, padding, dilation, strict=True)]
    backward = []
    read_by = [_read_by(*one) for one in zip(size, outputs, kernel, stride, padding, dilation, strict=True)]
    for rows in range(stride[0]):
        for columns in range(stride[1]):
            pixels = np.arange(rows, size[0], stride[0]), np.arange(columns, size[1], stride[1])
            if not len(pixels[0]) or not len(pixels[1]):
                continue
            parts = read_by[0][:, pixels[0]], read_by[1][:, pixels[1]]
            taps = [np.flatnonzero((part >= 0).any(axis=1)) for part in parts]
            which = (taps[0][:, None] * kernel[1] + taps[1]).ravel().astype(np.int32)
            inside = _plane(images, outputs, parts[0][taps[0]], parts[1][taps[1]])
            to = _plane(images, size, pixels[0][None], pixels[1][None])[0]
            backward.append(Sums(to, which, inside))
    return Geometry(_plane(images, size, *reads), tuple(backward))


def output_size(size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    """floor((n + 2p - d(k - 1) - 1) / s) + 1 of both axes."""
    all_ = zip(size, kernel, stride, padding, dilation, strict=True)
    height, width = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in all_)
    return height, width


def _read(n: int, outputs: int, k: int, s: int, p: int, d: int) -> NDArray[np.int64]:
    """What each output reads of one axis through each tap, (k, outputs), -1 beyond the edges."""
    found = s * np.arange(outputs) - p + d * np.arange(k)[:, None]
    return np.where((found >= 0) & (found < n), found, -1)


def _read_by(n: int, outputs: int, k: int, s: int, p: int, d: int) -> NDArray[np.int64]:
    """The output that reads each position of one axis through each tap, (k, n), -1 where none does."""
    found = np.arange(n) + p - d * np.arange(k)[:, None]
    return np.where((found % s == 0) & (found >= 0) & (found < s * outputs), found // s, -1)


def _plane(images: int, size: Pair, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Ints:
    """Rows (taps, positions) and columns of both axes together: pixels of all images, (taps, images positions)."""
    y, x = rows[:, None, None, :, None], columns[None, :, None, None, :]
    image = np.arange(images)[:, None, None] * (size[0] * size[1])
    found = np.where((y >= 0) & (x >= 0), image + y * size[1] + x, -1)
    shape = rows.shape[0] * columns.shape[0], images * rows.shape[1] * columns.shape[1]
    return np.ascontiguousarray(found.reshape(shape).astype(np.int32))


class GatheredConvolution(torch.autograd.Function):
    """y (N, K, H', W') of x (N, C, H, W) and w (K, C, kh, kw), without bias."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, steps: tuple[Pair, Pair, Pair], library: Library) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        w = w.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, w)
        ctx.steps, ctx.library = steps, library
        return torch.conv2d(x, w, None, *steps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (x, w), library = ctx.saved_tensors, ctx.library
        found = geometry(len(x), (x.shape[2], x.shape[3]), (w.shape[2], w.shape[3]), *ctx.steps)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        channels, taps = w.shape[1], w.shape[2] * w.shape[3]
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = torch.empty_like(x)
            for part in found.backward:
                library.gather(gradient, w, dx, part.to, part.which, part.at, (taps * channels, channels))
        if ctx.needs_input_grad[1]:
            dw = torch.empty_like(w)
            library.gather_terms(gradient, x, dw, found.forward)
        return dx, dw, None, None
