"""Room for what a step computes with: floats in a row, in as few pages of memory as there can be."""

import math
import mmap
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 64
"""Bytes that the longest vectors want their addresses to be a multiple of."""
LARGE_PAGE = 1 << 21
"""Bytes of the larger pages that x86 and ARM have beside those of 4 KiB."""


def room(sizes: Sequence[int]) -> list[NDArray[np.float32]]:
    """Arrays of so many zeros each, one after the other in memory, at addresses that vectors can be loaded from.

    Where the system has large pages and lends them, the arrays are in those. Kilobytes that are read together then lie
    together, in the processor's caches and in its table of addresses; of small pages, chance decides whether they get
    in each other's way (measured: wide layers gain a tenth, and differ less from one run to the next).
    """
    begins = [0]
    for size in sizes:
        begins.append(begins[-1] + math.ceil(4 * size / ALIGNMENT) * ALIGNMENT)
    bytes_ = _bytes(max(begins[-1], ALIGNMENT))
    return [bytes_[at : at + 4 * size].view(np.float32) for at, size in zip(begins, sizes, strict=False)]


def _bytes(size: int) -> NDArray[np.uint8]:
    advice: int | None = getattr(mmap, "MADV_HUGEPAGE", None)
    align = ALIGNMENT if advice is None else LARGE_PAGE
    size = math.ceil(size / align) * align
    held: Any = np.zeros(size + align, np.uint8)
    if advice is not None:
        held = mmap.mmap(-1, size + align, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(OSError):  # a system that has none of them to lend
            held.madvise(advice)
    found: NDArray[np.uint8] = np.frombuffer(held, np.uint8)
    begin = -found.ctypes.data % align
    return found[begin : begin + size]
