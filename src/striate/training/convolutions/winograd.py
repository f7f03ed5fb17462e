"""Convolutions of 3 x 3 and stride 1 with a fraction of the multiplications.

Winograd's method (Lavin and Gray 2016, arXiv:1509.09308) computes tiles of outputs by matrix products of transformed
kernels and inputs: with tiles of 4 x 4 a quarter of the products, of 2 x 2 four ninths. Forward and both gradients are
computed so, the gradients as the exact derivatives of that forward; the results differ from the plain ones by rounding
alone (relative to float64: 2e-6 with tiles of 4 x 4 and 4e-7 with 2 x 2, where the plain ones have 4e-7 to 1e-6).
"""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from striate.training.convolutions.library import Library

LARGE, SMALL = 4, 2
"""Sides of the tiles of outputs that there are."""
MANY_TILES = 64
"""Tiles of all maps of a batch from which on they are large: with fewer, the kernels, whose transforms grow most, weigh
more than the maps."""
APART = 272
"""Floats between transformed matrices whose lengths are multiples of 1024: without, all would land in the same places
of the caches."""


class Buffers:
    """Large pieces of memory that are used again: new ones would have to be cleared page by page."""

    def __init__(self) -> None:
        self.free: dict[int, list[Tensor]] = {}

    def take(self, matrices: int, rows: int, columns: int) -> Tensor:
        """Room for matrices (matrices, rows, columns), not cleared."""
        step = rows * columns + (APART if rows * columns % 1024 == 0 else 0)
        waiting = self.free.get(matrices * step)
        with torch.inference_mode(False):  # those of measuring may be kept for gradients next time
            flat = waiting.pop() if waiting else torch.empty(matrices * step)
        return flat.as_strided((matrices, rows, columns), (step, columns, 1))

    def give(self, *used: Tensor) -> None:
        """Room that nobody reads any more."""
        for one in used:
            flat = one.as_strided((one.shape[0] * one.stride(0),), (1,))
            self.free.setdefault(flat.numel(), []).append(flat)


class WinogradConvolution(torch.autograd.Function):
    """y (N, K, H, W) of x (N, C, H, W) and w (K, C, 3, 3). With U, V and M the transformed kernel, input and output:

    M = V U^T, and for the gradients P of M: dV = P U, dU = P^T V.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, library: Library, buffers: Buffers, learning: bool) -> Tensor:
        functions = library.transforms
        x = x.contiguous(memory_format=torch.channels_last)
        w = w.contiguous(memory_format=torch.channels_last)
        (n, channels, height, width), outputs = x.shape, w.shape[0]
        large = n * -(-height // LARGE) * -(-width // LARGE) >= MANY_TILES
        m = LARGE if large else SMALL
        tiles = -(-height // m), -(-width // m)
        rows, matrices = n * tiles[0] * tiles[1], (m + 2) ** 2
        inside = (ctypes.c_longlong * 6)(n, height, width, channels, *tiles)
        outside = (ctypes.c_longlong * 6)(n, height, width, outputs, *tiles)
        u = buffers.take(matrices, outputs, channels)
        functions[f"kernel_{m}"](w.data_ptr(), u.data_ptr(), outputs, channels, u.stride(0))
        v = buffers.take(matrices, rows, channels)
        functions[f"input_{m}"](x.data_ptr(), v.data_ptr(), inside, v.stride(0))
        made = buffers.take(matrices, rows, outputs)
        library.multiply(v, u.transpose(1, 2), made)
        y = torch.empty((n, outputs, height, width), memory_format=torch.channels_last)
        functions[f"output_{m}"](y.data_ptr(), made.data_ptr(), outside, made.stride(0))
        buffers.give(made)
        if not (learning and any(ctx.needs_input_grad)):
            buffers.give(u, v)
            return y
        ctx.save_for_backward(u, v)  # what reckons the memory of a step sees them
        ctx.m, ctx.sizes, ctx.library, ctx.buffers, ctx.done = m, (inside, outside), library, buffers, False
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        if ctx.done:
            raise RuntimeError("a second backward pass through the same graph: its buffers are used again")
        (u, v), m, buffers = ctx.saved_tensors, ctx.m, ctx.buffers
        functions = ctx.library.transforms
        ctx.done = True
        inside, outside = ctx.sizes
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        (matrices, rows, channels), outputs = v.shape, u.shape[1]
        p = buffers.take(matrices, rows, outputs)
        functions[f"output_back_{m}"](gradient.data_ptr(), p.data_ptr(), outside, p.stride(0))
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dv = buffers.take(matrices, rows, channels)
            ctx.library.multiply(p, u, dv)
            dx = torch.empty((inside[0], channels, inside[1], inside[2]), memory_format=torch.channels_last)
            functions[f"input_back_{m}"](dx.data_ptr(), dv.data_ptr(), inside, dv.stride(0))
            buffers.give(dv)
        if ctx.needs_input_grad[1]:
            du = buffers.take(matrices, outputs, channels)
            ctx.library.multiply(p.transpose(1, 2), v, du)
            dw = torch.empty((outputs, channels, 3, 3), memory_format=torch.channels_last)
            functions[f"kernel_back_{m}"](dw.data_ptr(), du.data_ptr(), outputs, channels, du.stride(0))
            buffers.give(du)
        buffers.give(p, u, v)
        return dx, dw, None, None, None
