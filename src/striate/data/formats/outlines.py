"""Outlines of objects as pixels: polygons filled, COCO's run lengths read and written. Numpy only, array order (y, x).

A pixel belongs to a polygon when its centre does, by the even-odd rule: a ray from the centre to the left crosses the
outline an odd number of times. A centre exactly on an edge belongs to the side below or right of it, so that polygons
that share an edge share no pixel and leave none out. Several polygons of one object are joined.

COCO's own rasteriser (``frPyObjects`` of pycocotools) rounds the corners to fifths of a pixel and follows the outline
on that finer grid, so it gives other pixels along slanted edges, by less than a pixel either way. Measured on random
stars, the worst and mean intersection over union of the two is 0.83 and 0.97 at 12 pixels across, 0.96 and 0.99 at 32,
0.98 and 0.994 at 64, 0.996 and 0.998 at 256.

Run lengths (RLE) count pixels in column order, 0 and 1 in turn and 0 first. ``counts`` is a list of numbers, or text:
from the fourth number on the difference to the number two before, then five bits a character, lowest first, the sixth
bit for "more follows", plus 48 (https://github.com/cocodataset/cocoapi, common/maskApi.c).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_PIXELS = 64_000_000
"""The most pixels that run lengths may claim, unless more are allowed."""
FARTHEST = 1e8
"""Coordinates beyond it, in pixels, are refused: their crossings could not be computed exactly enough."""
_CROSSINGS_AT_ONCE = 1 << 21
_LONGEST_NUMBER = 11  # characters; 55 bits, so that sums of two stay exact


def fill(polygons: Sequence[NDArray[np.float64]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of an image of ``size`` (H, W) whose centre is inside any of the polygons: bool (H, W).

    A polygon is its corners (P, 2) as (y, x) in pixels, pixel i covering [i, i + 1), open or closed, of any form.
    Errors: ``ValueError`` for another shape, and for coordinates that are not finite or beyond :data:`FARTHEST`.
    """
    canvas = np.zeros(size, dtype=bool)
    for polygon in polygons:
        corners = np.asarray(polygon, dtype=np.float64)
        if corners.ndim != 2 or corners.shape[1] != 2:
            raise ValueError(f"a polygon is corners (P, 2), got {corners.shape}")
        if not (np.abs(corners) <= FARTHEST).all():
            raise ValueError(f"a polygon has a coordinate that is not finite or beyond {FARTHEST:g}")
        if len(corners) >= 3:
            _fill_one(corners, canvas)
    return canvas


def _fill_one(corners: NDArray[np.float64], canvas: NDArray[np.bool_]) -> None:
    """Switch on the pixels of one polygon, looking only at the window around it."""
    limit = np.array(canvas.shape)
    low = np.clip(_first_centre(corners.min(axis=0)), 0, limit)
    high = np.clip(_first_centre(corners.max(axis=0)), low, limit)
    (top, left), (height, width) = low.tolist(), (high - low).tolist()
    if not height or not width:
        return
    y, x = corners[:, 0], corners[:, 1]
    next_y, next_x = np.roll(y, -1), np.roll(x, -1)
    start = np.clip(_first_centre(np.minimum(y, next_y)), top, top + height)
    rows = np.clip(_first_centre(np.maximum(y, next_y)), top, top + height) - start
    # every crossing of an edge with a row of centres switches inside and outside from there on to the right
    switched = np.zeros((height, width + 1), dtype=np.uint8)
    edges = np.flatnonzero(rows)
    ends = np.cumsum(rows[edges])
    first = 0
    while first < len(edges):
        done = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + _CROSSINGS_AT_ONCE, side="right")))
        part = edges[first:last]
        count = rows[part]
        edge = np.repeat(part, count)
        within = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
        row = start[edge] + within
        along = (row + 0.5 - y[edge]) / (next_y[edge] - y[edge])
        column = np.clip(_first_centre(x[edge] + along * (next_x[edge] - x[edge])) - left, 0, width)
        places, times = np.unique((row - top) * (width + 1) + column, return_counts=True)
        switched.reshape(-1)[places[times % 2 == 1]] ^= 1
        first = last
    inside = np.bitwise_xor.accumulate(switched, axis=1)[:, :width].astype(bool)
    canvas[top : top + height, left : left + width] |= inside


def _first_centre(position: NDArray[np.float64]) -> NDArray[np.int64]:
    """The first pixel whose centre is at the position or beyond it."""
    return np.ceil(position - 0.5).astype(np.int64)


def area(polygons: Sequence[NDArray[np.float64]]) -> float:
    """The area of polygons in pixels, each by the shoelace formula; overlaps count twice, crossings cancel out."""
    total = 0.0
    for polygon in polygons:
        y, x = polygon[:, 0] - polygon[0, 0], polygon[:, 1] - polygon[0, 1]
        total += abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
    return total


def decode_rle(counts: Any, size: Any, most: int = MOST_PIXELS) -> NDArray[np.bool_]:
    """The pixels that run lengths describe: bool (H, W). ``counts`` is a list of numbers, text, or ASCII bytes.

    Errors: ``ValueError`` with a one-line reason when ``size`` is not [H, W], has more than ``most`` pixels (nothing is
    allocated then), or the counts are none or do not add up to it.
    """
    height, width = demand_size(size, most)
    runs = _runs(counts)
    if len(runs) and (int(runs.min()) < 0 or int(runs.max()) > height * width):
        raise ValueError("the run lengths have a number below 0 or beyond the image")
    if int(runs.sum()) != height * width:
        raise ValueError(f"the run lengths add up to {int(runs.sum()):,}, not to {height} x {width} pixels")
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(pixels.reshape(width, height).T)


def rle_area(counts: Any) -> int:
    """How many pixels run lengths switch on, without making a mask. Errors: ``ValueError`` for what are no counts."""
    return int(_runs(counts)[1::2].sum())


def encode_rle(mask: NDArray[np.bool_], compressed: bool = True) -> dict[str, Any]:
    """The run lengths of a mask (H, W): ``size`` [H, W], and ``counts`` as text, or as a list of numbers."""
    pixels = np.asarray(mask, dtype=bool).T.reshape(-1)
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff(np.concatenate(([0], changes, [len(pixels)])))
    if len(pixels) and pixels[0]:
        runs = np.concatenate(([0], runs))
    listed = [int(run) for run in runs]
    return {"size": [int(side) for side in mask.shape], "counts": _text(listed) if compressed else listed}


def demand_size(size: Any, most: int = MOST_PIXELS) -> tuple[int, int]:
    """``size`` as (H, W). Errors: ``ValueError`` unless it is two whole numbers over 0 of at most ``most`` pixels."""
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(type(n) is int and n > 0 for n in size):
        raise ValueError(f"the size of the run lengths is {str(size)[:60]}, not [height, width]")
    if size[0] * size[1] > most:
        raise ValueError(f"the run lengths claim {size[0]} x {size[1]} pixels, more than the {most:,} allowed")
    return size[0], size[1]


def _runs(counts: Any) -> NDArray[np.int64]:
    """The run lengths as numbers, int64 (R,)."""
    if isinstance(counts, str):
        try:
            counts = counts.encode("ascii")
        except UnicodeEncodeError:
            raise ValueError("the run lengths are text with characters that are not ASCII") from None
    if isinstance(counts, bytes):
        return _runs_of_text(counts)
    if not isinstance(counts, list) or not all(type(run) is int and 0 <= run < 1 << 40 for run in counts):
        raise ValueError("the run lengths are neither text nor a list of whole numbers from 0 on")
    return np.array(counts, dtype=np.int64)


def _runs_of_text(text: bytes) -> NDArray[np.int64]:
    units = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - 48
    if not len(units):
        return units
    if units.min() < 0 or units.max() > 63:
        raise ValueError("the run lengths are text with characters that have no meaning in it")
    last = np.flatnonzero((units & 32) == 0)
    if not len(last) or last[-1] != len(units) - 1:
        raise ValueError("the run lengths end in the middle of a number")
    begin = np.concatenate(([0], last[:-1] + 1))
    lengths = last - begin + 1
    if int(lengths.max()) > _LONGEST_NUMBER:
        raise ValueError("the run lengths have a number that is too long")
    place = np.arange(len(units)) - np.repeat(begin, lengths)
    numbers = np.add.reduceat((units & 31) << (5 * place), begin)
    negative = (units[last] & 16) != 0
    numbers[negative] -= np.int64(1) << (5 * lengths[negative])
    # each kind of run, 0 and 1, is a chain of differences of its own; the very first number stands alone
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def _text(runs: list[int]) -> str:
    letters = []
    for place, run in enumerate(runs):
        rest = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            unit = rest & 31
            rest >>= 5
            more = rest != (-1 if unit & 16 else 0)
            letters.append(chr((unit | 32 if more else unit) + 48))
    return "".join(letters)
