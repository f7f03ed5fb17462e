"""Convolutions of 3 x 3 and stride 1 in float32 on the processor, with a fraction of the multiplications.

Winograd's method (Lavin and Gray 2016, arXiv:1509.09308) computes tiles of outputs by matrix products of transformed
kernels and inputs: with tiles of 4 x 4 a quarter of the products, of 2 x 2 four ninths. Forward and both gradients are
computed so, the gradients as the exact derivatives of that forward; the results differ from the plain ones by rounding
alone (relative to float64: 2e-6 with tiles of 4 x 4 and 4e-7 with 2 x 2, where the plain ones have 4e-7 to 1e-6).

The transforms are C, built once by the system's compiler (:mod:`striate.training.winograd_source`); the products are
torch's. Training alone computes so: measuring, predicting and exporting use the plain convolutions.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from striate.core.errors import InputError
from striate.training.compiled.compiler import compiler, library
from striate.training.winograd_source import source

LARGE, SMALL = 4, 2
"""Sides of the tiles of outputs that there are."""
MANY_TILES = 128
"""Tiles of all maps of a batch from which on they are large: with fewer, the kernels, whose transforms grow most, weigh
more than the maps."""
APART = 272
"""Floats between transformed matrices whose lengths are multiples of 1024: without, all would land in the same places
of the caches."""


def fits(module: nn.Module) -> bool:
    """Whether there are convolutions in a network that would be computed here."""
    return any(
        type(one) is nn.Conv2d
        and one.padding_mode == "zeros"
        and _fits(one.weight, one.stride, one.padding, one.dilation, one.groups)
        for one in module.modules()
    )


def _fits(weight: Tensor, stride: Any, padding: Any, dilation: Any, groups: int) -> bool:
    lanes = _lanes()
    return (
        tuple(weight.shape[2:]) == (3, 3)
        and not any(channels % lanes for channels in weight.shape[:2])
        and (_pair(stride), _pair(padding), _pair(dilation), groups) == ((1, 1), (1, 1), (1, 1), 1)
        and weight.dtype == torch.float32
        and weight.device.type == "cpu"
    )


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, list) else value


@contextmanager
def winograd(module: nn.Module) -> Iterator[None]:
    """Inside, forward passes that are differentiated compute their fitting convolutions so, of inputs (N, C, H, W)
    whose channels are last in memory.

    Buffers are kept as long as the module is. Errors: ``InputError`` without a compiler that can build the transforms.
    """
    kept = _KEPT.get(module)
    if kept is None:
        kept = _KEPT[module] = _Convolutions(_transforms())
    with kept:
        yield


def demand_transforms() -> None:
    """Build the transforms, if that was not done before. Errors: ``InputError`` where they cannot be built."""
    _transforms()


class _Transforms:
    """The functions of the C library, and the channels that they take at once."""

    def __init__(self, built: ctypes.CDLL) -> None:
        p, i = ctypes.c_void_p, ctypes.c_longlong
        self.functions: dict[str, Callable[..., None]] = {}
        for m in (SMALL, LARGE):
            for name in ("input", "output", "output_back", "input_back"):
                self.functions[f"{name}_{m}"] = self._typed(built, f"{name}_{m}", (p, p, p, i))
            for name in ("kernel", "kernel_back"):
                self.functions[f"{name}_{m}"] = self._typed(built, f"{name}_{m}", (p, p, i, i, i))

    @staticmethod
    def _typed(built: ctypes.CDLL, name: str, arguments: tuple[Any, ...]) -> Callable[..., None]:
        function = getattr(built, name)
        function.argtypes, function.restype = arguments, None
        found: Callable[..., None] = function
        return found


@lru_cache(maxsize=1)
def _lanes() -> int:
    try:
        return compiler().target.lanes
    except InputError:
        return 8


@lru_cache(maxsize=1)
def _transforms() -> _Transforms:
    try:
        chosen = compiler()
        # torch is loaded before, so that the library shares its threads
        return _Transforms(library(source(chosen.target.lanes), chosen, extra=("-fopenmp",)))
    except InputError as error:
        fix = "install a C compiler with OpenMP (gcc or clang), or choose float32 channels-last"
        raise InputError("training.precision", f"Winograd's transforms cannot be built: {error.cause}", fix) from None


class _Buffers:
    """Large pieces of memory that are used again: new ones would have to be cleared page by page."""

    def __init__(self) -> None:
        self.free: dict[int, list[Tensor]] = {}

    def take(self, matrices: int, rows: int, columns: int) -> Tensor:
        """Room for matrices (matrices, rows, columns), not cleared."""
        step = rows * columns + (APART if rows * columns % 1024 == 0 else 0)
        waiting = self.free.get(matrices * step)
        flat = waiting.pop() if waiting else torch.empty(matrices * step)
        return flat.as_strided((matrices, rows, columns), (step, columns, 1))

    def give(self, *used: Tensor) -> None:
        """Room that nobody reads any more."""
        for one in used:
            flat = one.as_strided((one.shape[0] * one.stride(0),), (1,))
            self.free.setdefault(flat.numel(), []).append(flat)


class _Convolutions(TorchFunctionMode):
    """Takes over ``torch.conv2d`` where the method fits."""

    def __init__(self, transforms: _Transforms) -> None:
        super().__init__()
        self.transforms, self.buffers = transforms, _Buffers()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv2d and not kwargs and len(args) == 7 and torch.is_grad_enabled():
            images, weight, bias, stride, padding, dilation, groups = args
            if (
                images.dtype == torch.float32
                and images.ndim == 4
                and images.device.type == "cpu"
                and _fits(weight, stride, padding, dilation, groups)
            ):
                found = _Convolution.apply(images, weight, self.transforms.functions, self.buffers)
                return found if bias is None else found + bias[:, None, None]
        return func(*args, **(kwargs or {}))


_KEPT: "WeakKeyDictionary[nn.Module, _Convolutions]" = WeakKeyDictionary()


class _Convolution(torch.autograd.Function):
    """y (N, K, H, W) of x (N, C, H, W) and w (K, C, 3, 3). With U, V and M the transformed kernel, input and output:

    M = V U^T, and for the gradients P of M: dV = P U, dU = P^T V.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, functions: dict[str, Callable[..., None]], buffers: _Buffers) -> Tensor:
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
        torch.bmm(v, u.transpose(1, 2), out=made)
        y = torch.empty((n, outputs, height, width), memory_format=torch.channels_last)
        functions[f"output_{m}"](y.data_ptr(), made.data_ptr(), outside, made.stride(0))
        buffers.give(made)
        ctx.save_for_backward(u, v)  # what reckons the memory of a step sees them
        ctx.m, ctx.sizes, ctx.functions, ctx.buffers, ctx.done = m, (inside, outside), functions, buffers, False
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        if ctx.done:
            raise RuntimeError("a second backward pass through the same graph: its buffers are used again")
        (u, v), m, functions, buffers = ctx.saved_tensors, ctx.m, ctx.functions, ctx.buffers
        ctx.done = True
        inside, outside = ctx.sizes
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        (matrices, rows, channels), outputs = v.shape, u.shape[1]
        p = buffers.take(matrices, rows, outputs)
        functions[f"output_back_{m}"](gradient.data_ptr(), p.data_ptr(), outside, p.stride(0))
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dv = buffers.take(matrices, rows, channels)
            torch.bmm(p, u, out=dv)
            dx = torch.empty((inside[0], channels, inside[1], inside[2]), memory_format=torch.channels_last)
            functions[f"input_back_{m}"](dx.data_ptr(), dv.data_ptr(), inside, dv.stride(0))
            buffers.give(dv)
        if ctx.needs_input_grad[1]:
            du = buffers.take(matrices, outputs, channels)
            torch.bmm(p.transpose(1, 2), v, out=du)
            dw = torch.empty((outputs, channels, 3, 3), memory_format=torch.channels_last)
            functions[f"kernel_back_{m}"](dw.data_ptr(), du.data_ptr(), outputs, channels, du.stride(0))
            buffers.give(du)
        buffers.give(p, u, v)
        return dx, dw, None, None
