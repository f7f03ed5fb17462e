"""NPY files from strangers: judged by their header, before anything is allocated for what it claims."""

import os
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from striate.core.disk import open_file
from striate.core.errors import InputError
from striate.data.collection import Array


def read_npy(path: Path) -> Array:
    """The array in an NPY file. Errors: ``InputError`` as :func:`read_array`, and when it cannot be opened."""
    with open_file(path) as (file, size):
        return read_array(file, size, path)


def read_array(file: Any, size: int, where: object) -> Array:
    """An array from an open NPY file of ``size`` bytes.

    Errors: ``InputError`` for a damaged header, Python objects, a claim larger than the file, a file that ends early.
    """
    stream = cast(IO[bytes], file)
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"NPY version {version[0]}.{version[1]}")
        reading = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reading(stream)
    except Exception as error:  # the header is a Python literal from a stranger: numpy may raise nearly anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(where, f"the header is not that of an array ({reason})", "save it again") from None
    if dtype.hasobject:
        raise InputError(
            where,
            "it holds Python objects, which are not read because they can run code",
            "save plain numbers (or fixed-length text) with numpy",
        )
    count = 1
    for length in shape:
        count *= length  # Python integers: a false claim must not overflow into a plausible one
    if min(shape, default=1) < 0 or count * dtype.itemsize > size:
        raise InputError(
            where,
            f"it claims the shape {shape} of {dtype}, {count * dtype.itemsize:,} bytes, but has {size:,}",
            "save it again",
        )
    demand_memory(count * dtype.itemsize, where)
    array = np.empty(count, dtype)
    view = memoryview(array.view(np.uint8).data if count and dtype.itemsize else b"")
    filled = 0
    while filled < len(view):
        got = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not got:
            raise InputError(where, f"it ends after {filled:,} of {len(view):,} bytes", "copy or save it again")
        filled += got
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def demand_memory(size: int, where: object) -> None:
    """Errors: ``InputError`` when so many bytes are more than the machine's memory."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > whole:
        raise InputError(where, f"the array needs {size:,} bytes, and this machine has {whole:,}", "split the file")
