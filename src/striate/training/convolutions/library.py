"""The C library of the convolutions: built once by the system's compiler, called with tensors."""

import ctypes
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from striate.core.errors import InputError
from striate.training.compiled.compiler import compiler
from striate.training.compiled.compiler import library as built_library
from striate.training.compiled.pieces import vectors
from striate.training.convolutions import winograd_source

Function = Callable[..., None]


class Library:
    """The functions of the C library. Tensors are float32 on the processor, and their channels are last in memory."""

    def __init__(self, built: ctypes.CDLL) -> None:
        p, i = ctypes.c_void_p, ctypes.c_longlong
        self.transforms: dict[str, Function] = {}
        for m in winograd_source.INPUT:
            for name in ("input", "output", "output_back", "input_back"):
                self.transforms[f"{name}_{m}"] = _typed(built, f"{name}_{m}", p, p, p, i)
            for name in ("kernel", "kernel_back"):
                self.transforms[f"{name}_{m}"] = _typed(built, f"{name}_{m}", p, p, i, i, i)
        self._products = _typed(built, "products", p, p, p, p, i)
        self._gathered = _typed(built, "gathered", *[p] * 8, i)
        self._gathered_terms = _typed(built, "gathered_terms", *[p] * 6, i)
        self._nothing = torch.zeros(0)

    def multiply(self, a: Tensor, b: Tensor, out: Tensor) -> None:
        """Matrix products, as ``torch.bmm(a, b, out=out)``; of a's and of b's strides within a matrix, one is 1."""
        (matrices, rows, terms), columns = a.shape, b.shape[2]
        strides = (*a.stride()[1:], *b.stride()[1:], a.stride(0), b.stride(0), out.stride(0))
        size = _sizes(matrices, rows, terms, columns, *strides)
        self._products(a.data_ptr(), b.data_ptr(), out.data_ptr(), size, torch.get_num_threads())

    def gather(
        self,
        a: Tensor,
        b: Tensor,
        c: Tensor,
        to: NDArray[np.int32],
        which: NDArray[np.int32],
        at: NDArray[np.int32],
        strides: tuple[int, int],
    ) -> None:
        """Into the rows ``to`` of c, sums over the taps t of the rows ``at[t]`` of a (negative: none) times matrix
        ``which[t]`` of b, which has these strides of terms and matrices. Rows are pixels of (N, C, H, W)."""
        terms, columns = a.shape[1], c.shape[1]
        size = _sizes(len(to), len(which), terms, columns, *strides)
        tables = (at.ctypes.data, which.ctypes.data, to.ctypes.data)
        places = (a.data_ptr(), b.data_ptr(), c.data_ptr(), *tables, self._zeros(terms))
        self._gathered(*places, size, torch.get_num_threads())

    def gather_terms(self, a: Tensor, b: Tensor, c: Tensor, at: NDArray[np.int32]) -> None:
        """Into c (K, C, kh, kw), for each tap t, a^T times the rows ``at[t]`` of b: a and b are maps of K and of C
        channels, and rows are their pixels."""
        (taps, terms), columns = at.shape, b.shape[1]
        size = _sizes(a.shape[1], taps, terms, columns, taps * columns)
        places = (a.data_ptr(), b.data_ptr(), c.data_ptr(), at.ctypes.data, self._zeros(columns))
        self._gathered_terms(*places, size, torch.get_num_threads())

    def _zeros(self, count: int) -> int:
        """Where so many zeros are."""
        if len(self._nothing) < count:
            self._nothing = torch.zeros(count)
        return self._nothing.data_ptr()


def _typed(built: ctypes.CDLL, name: str, *arguments: Any) -> Function:
    function = getattr(built, name)
    function.argtypes, function.restype = arguments, None
    found: Function = function
    return found


def _sizes(*numbers: int) -> Any:
    return (ctypes.c_longlong * len(numbers))(*numbers)


@lru_cache(maxsize=1)
def lanes() -> int:
    """Floats in a vector, of which the numbers of channels have to be multiples."""
    try:
        return compiler().target.lanes
    except InputError:
        return 8


def source(lanes: int) -> str:
    """The C text of the library, for vectors of so many floats."""
    products = Path(__file__).with_name("products.c").read_text("ascii")
    return "".join((vectors(lanes, 4), products, winograd_source.source()))


@lru_cache(maxsize=1)
def the_library() -> Library:
    """The library, built if that was not done before. Errors: ``InputError`` where it cannot be built."""
    try:
        chosen = compiler()
        # torch is loaded before, so that the library shares its threads
        return Library(built_library(source(chosen.target.lanes), chosen, extra=("-fopenmp",)))
    except InputError as error:
        fix = "install a C compiler with OpenMP (gcc or clang), or choose float32 channels-last"
        raise InputError("training.precision", f"Winograd's transforms cannot be built: {error.cause}", fix) from None
