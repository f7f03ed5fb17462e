"""Memory that a training frees stays with the process, and lies in large pages.

A step of a network for images takes and frees hundreds of megabytes. By default the C library of Linux returns large
pieces to the system as soon as they are free, so that every step gets the same memory anew, page by page, each cleared
first: ten thousand interruptions a step, a tenth of its time.
"""

import ctypes
import sys
from contextlib import suppress
from functools import lru_cache
from typing import Any

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""Names of settings of glibc's ``mallopt`` (malloc.h)."""
LARGEST, LARGEST_BEFORE = 1 << 30, 1 << 25
"""Bytes from which on a piece is still taken from the system by itself; the second is what old versions allow."""
AT_ONCE = 1 << 26
"""Bytes by which the memory grows."""
AHEAD = 3 << 28
"""Bytes of addresses that are taken beforehand, to have large pages: memory only once it is used."""
LARGE_PAGE = 1 << 21
ADVICE_LARGE_PAGES = 14
"""``MADV_HUGEPAGE`` of Linux (mman.h)."""


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Ask for it for the rest of the process; whether that was possible, which it is with glibc on Linux."""
    if sys.platform != "linux":
        return False
    system: Any = ctypes.CDLL(None)
    with suppress(AttributeError):  # another C library
        system.malloc.restype, system.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
        system.free.restype, system.free.argtypes = None, (ctypes.c_void_p,)
        system.sbrk.restype, system.sbrk.argtypes = ctypes.c_void_p, (ctypes.c_ssize_t,)
        system.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        kept = system.mallopt(MMAP_THRESHOLD, LARGEST) or system.mallopt(MMAP_THRESHOLD, LARGEST_BEFORE)
        kept = kept and system.mallopt(TRIM_THRESHOLD, 2**31 - 1) and system.mallopt(TOP_PAD, AT_ONCE)
        taken = system.malloc(AHEAD) if kept else None
        system.free(taken)  # the addresses stay the process's
        end = system.sbrk(0)
        begin = -(-(taken or end) // LARGE_PAGE) * LARGE_PAGE
        if 0 < end - begin <= 2 * AHEAD:  # else it came from elsewhere
            system.madvise(begin, end - begin, ADVICE_LARGE_PAGES)  # a system without large pages says no; no matter
        return bool(kept)
    return False
