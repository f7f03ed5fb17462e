"""One label file of the YOLO form: a line an object, ``class x y w h`` or ``class x1 y1 x2 y2 x3 y3 ...``.

All coordinates are shares of the image's width and height; x and y of a box are its centre.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from striate.core.disk import open_file
from striate.core.errors import InputError
from striate.data.formats.pairing import text_of

MAXIMUM_BYTES = 64 << 20
"""The largest label file that is read."""
GRID = 2.0**-32
"""Pixels are rounded to multiples of it."""
_FARTHEST = 1e6  # a share beyond it is no coordinate


@dataclass
class Lines:
    """The objects of a file: for each its class id, the number of its line, and its shape, float64: a box (4,) of
    centre x, centre y, width, height, or a polygon (n, 2) of x, y. ``faults``: (line, what is wrong) of the others."""

    ids: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    shapes: list[NDArray[np.float64]] = field(default_factory=list)
    faults: list[tuple[int, str]] = field(default_factory=list)


def read_lines(path: Path, keypoints: int = 0) -> Lines:
    """Read a label file. ``keypoints``: how many numbers of keypoints follow a box where they do; they are passed over.
    Errors: ``InputError`` when the file cannot be read or is no text."""
    lines = Lines()
    for number, text in enumerate(text_of(path, MAXIMUM_BYTES).splitlines(), 1):
        words = text.split()
        if not words:
            continue
        try:
            values = _numbers(words)
            if keypoints and len(values) == 5 + keypoints:
                values = values[:5]
            shape = _shape(values)
        except ValueError as error:
            lines.faults.append((number, str(error)))
            continue
        lines.ids.append(int(values[0]))
        lines.numbers.append(number)
        lines.shapes.append(shape)
    return lines


def _numbers(words: list[str]) -> list[float]:
    values: list[float] = []
    for word in words:
        try:
            value = float(word)
        except ValueError:
            raise ValueError(f"{word[:40]!r} is not a number") from None
        if not math.isfinite(value) or "_" in word:
            raise ValueError(f"{word[:40]!r} is not a number that is read")
        if values and abs(value) > _FARTHEST:
            raise ValueError(f"{word[:40]!r} is no share of an image")
        values.append(value)
    if values[0] % 1 or abs(values[0]) > 2**53:
        raise ValueError(f"the class id {words[0][:40]!r} is not a whole number")
    return values


def _shape(values: list[float]) -> NDArray[np.float64]:
    if len(values) == 5:
        return np.array(values[1:])
    if len(values) >= 7 and len(values) % 2:
        return np.array(values[1:]).reshape(-1, 2)
    raise ValueError(f"{len(values)} numbers, where a box has 5 and a polygon an odd number from 7 on")


def looks_like_labels(path: Path) -> bool | None:
    """Whether the first lines of a file are those of labels: right counts, most in [0, 1]. None: it is empty."""
    try:
        with open_file(path) as (file, _):
            first = file.read(4096) or b""
    except InputError:
        return False
    lines = first.split(b"\n")
    lines = lines[:-1] if len(first) == 4096 and len(lines) > 1 else lines
    rows = [line.split() for line in lines if line.strip()]
    if not rows:
        return None
    inside, count = 0, 0
    for row in rows:
        try:
            values = _numbers([word.decode("ascii") for word in row])
        except ValueError:
            return False
        if values[0] < 0 or len(values) < 5:
            return False
        count += len(values) - 1
        inside += sum(0 <= value <= 1 for value in values[1:])
    return 2 * inside > count


def bounds_of(shapes: list[NDArray[np.float64]], size: tuple[int, int]) -> NDArray[np.float64]:
    """Boxes in pixels, float64 (N, 4) of y0, x0, y1, x1, of shapes as :class:`Lines` has them, in an image of ``size``
    (height, width). A polygon gives the box around it.

    Rounded to the nearest :data:`GRID`: shares in full precision of edges that lie on it, whole pixels above all, give
    these edges back to the last bit, which plain arithmetic does for about half of them.
    """
    height, width = size
    bounds = np.zeros((len(shapes), 4))
    for row, shape in enumerate(shapes):
        if shape.ndim == 2:
            bounds[row] = [*shape.min(axis=0)[::-1], *shape.max(axis=0)[::-1]]
        else:
            x, y, across, down = shape.tolist()
            bounds[row] = y - down / 2, x - across / 2, y + down / 2, x + across / 2
    pixels = bounds * np.array([height, width, height, width], dtype=np.float64)
    return np.asarray(np.rint(pixels / GRID) * GRID)


def centred(low: float, high: float, extent: int) -> tuple[float, float]:
    """The centre and length, as shares of ``extent`` pixels, of the interval from ``low`` to ``high``."""
    return (low + high) / 2 / extent, (high - low) / extent
