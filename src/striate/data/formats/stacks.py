"""TIFF stacks read whole, by tifffile (the extra ``volumes``): the only place that imports it.

Only a file's own pages are read: what OME and other metadata say of further files is not followed. All pages must be
grey, of one size and one type. The voxels (pages times pixels) are held against the cap before any page is decoded.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from striate.core.disk import open_file
from striate.core.errors import InputError
from striate.data.collection import Array

Depth = Literal[8, 16, 32]


@dataclass(frozen=True)
class StackHeader:
    """What the header of a stack says: its size (D, H, W) and the type of its values as NumPy names it."""

    size: tuple[int, int, int]
    dtype: str

    @property
    def depth(self) -> Depth:
        """In how many bits its values fit as they are kept: 8 (uint8, and 1-bit as 0 and 255), 16 (uint16), or 32
        (float32, for all else)."""
        return {"bool": 8, "uint8": 8, "uint16": 16}.get(self.dtype, 32)  # type: ignore[return-value]


def demand_tifffile(where: object) -> Any:
    """The module tifffile. Errors: ``InputError`` when it is not installed."""
    try:
        import tifffile
    except ImportError:
        raise InputError(
            where, "TIFF volumes need the package tifffile", "install it: pip install striate[volumes]"
        ) from None
    return tifffile


def read_header(path: Path, maximum_voxels: int) -> StackHeader:
    """Size and type of a stack, no page decoded. Errors: ``InputError`` as :func:`read_stack`."""
    with _opened(path) as pages:
        return _header(pages, path, maximum_voxels)


def read_stack(path: Path, maximum_voxels: int) -> NDArray[Any]:
    """The values of a stack as stored, (D, H, W).

    Errors: ``InputError`` for a file that is missing, damaged, no TIFF, compressed in a way that cannot be read here,
    in colour, with pages that differ, or of more voxels than allowed.
    """
    with _opened(path) as pages:
        header = _header(pages, path, maximum_voxels)
        values = np.empty(header.size, dtype=header.dtype)
        for place, page in enumerate(pages):
            if page.shape != header.size[1:] or str(page.dtype) != header.dtype:
                raise InputError(
                    path,
                    f"page {place + 1} is {_shape(page.shape)} {page.dtype}, the first {_shape(header.size[1:])} "
                    f"{header.dtype}",
                    "save pages of one size and type",
                )
            values[place] = page.asarray(maxworkers=1)
        return values


def in_depth(values: NDArray[Any], depth: Depth, path: Path) -> Array:
    """The values as (1, D, H, W) of uint8, uint16 or float32. 8 to 16 bits multiplies by 257, 16 to 8 divides and
    rounds; floats are the stored numbers. Errors: ``InputError`` for numbers that would have to be cut."""
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * np.uint8(255)
    if depth == 32:
        with np.errstate(over="ignore"):
            return values.astype(np.float32)[None]
    if values.dtype not in (np.uint8, np.uint16):
        raise InputError(
            path, f"it holds {values.dtype} in a set of {depth}-bit numbers", "convert it, or keep it apart"
        )
    if values.dtype.itemsize * 8 == depth:
        return values[None]
    if depth == 16:
        return (values.astype(np.uint16) * np.uint16(257))[None]
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)[None]


class Stacks:
    """Stacks as samples, decoded when asked for: (1, D, H, W) of one type for the whole set."""

    def __init__(self, files: Sequence[Path], depth: Depth, maximum_voxels: int) -> None:
        self.files = files
        self.depth: Depth = depth
        self._maximum = maximum_voxels
        self._sizes: dict[int, tuple[int, ...]] = {}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: int) -> Array:
        path = self.files[position]
        return in_depth(read_stack(path, self._maximum), self.depth, path)

    def size(self, position: int) -> tuple[int, ...]:
        """Depth, height and width of a stack by its header. Errors: ``InputError``."""
        if position not in self._sizes:
            self._sizes[position] = read_header(self.files[position], self._maximum).size
        return self._sizes[position]

    @property
    def form(self) -> str:
        """What all are brought to, in words."""
        return "read as float32" if self.depth == 32 else f"read as {self.depth}-bit grey"


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The pages of a TIFF file. Whatever tifffile raises on hostile bytes leaves as an ``InputError``."""
    tifffile = demand_tifffile(path)
    with open_file(path) as (file, _):
        try:
            with tifffile.TiffFile(file, name=str(path)) as opened:
                yield opened.pages
        except InputError:
            raise
        except MemoryError:
            raise InputError(path, "there is not enough memory to decode it", "make the volume smaller") from None
        except Exception as error:  # decoders raise nearly anything on damaged bytes
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            if "imagecodecs" in reason:
                raise InputError(
                    path, f"its compression cannot be read here ({reason})", "save it uncompressed or with deflate"
                ) from None
            raise InputError(path, f"the stack is damaged ({reason})", "replace or remove the file") from None


def _header(pages: Any, path: Path, maximum_voxels: int) -> StackHeader:
    first, count = pages[0], len(pages)
    if first.samplesperpixel != 1 or len(first.shape) != 2:
        raise InputError(
            path, f"its pages are {_shape(first.shape)} with {first.samplesperpixel} channels", "save one grey channel"
        )
    height, width = first.shape
    voxels = count * height * width
    if voxels > maximum_voxels:
        raise InputError(
            path,
            f"{count} pages of {width} x {height} are {voxels:,} voxels, more than the {maximum_voxels:,} allowed",
            f"make it smaller, or allow more with maximum_pixels = {voxels}",
        )
    if not voxels or first.dtype is None or np.dtype(first.dtype).kind not in "buif":
        raise InputError(path, f"its values are {first.dtype}, not whole numbers or floats", "convert it")
    return StackHeader((count, int(height), int(width)), str(first.dtype))


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(str(one) for one in reversed(shape))
