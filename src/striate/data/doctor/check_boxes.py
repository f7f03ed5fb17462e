"""What can be wrong with the boxes of one sample, or with the intervals of one signal, as they were annotated."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TINY = 4.0
"""Pixels: an object whose shorter side is under this is hardly there."""
TOLERANCE = 0.5
"""Pixels by which a box may leave its image: rounding of coordinates that are stored as shares of the size."""
WHOLE = 0.995
"""Share of each side of an image from which on a box covers the whole of it."""
_SAME = 1e-6


class BoxFault(NamedTuple):
    """A fault of one box: its code, the number of the box in the sample, and what exactly."""

    code: str
    box: int
    detail: str


def box_faults(
    bounds: NDArray[np.float64],
    classes: NDArray[np.int64],
    size: tuple[int, ...],
    names: Sequence[str] = (),
    ignored: NDArray[np.bool_] | None = None,
) -> list[BoxFault]:
    """The faults of boxes (N, 2A) as annotated (lows, then highs) with their classes (N,), on a canvas of ``size``.

    Of a box that is inverted, empty, outside or beyond the canvas only that is said. An ignored box (a crowd) may be
    tiny, whole or twice there.
    """
    axes, limit = len(size), np.array(size, dtype=np.float64)
    low, high = bounds[:, :axes], bounds[:, axes:]
    left, right = np.minimum(low, high), np.maximum(low, high)
    passed = np.zeros(len(bounds), dtype=bool) if ignored is None else ignored
    beyond = "event-outside" if axes == 1 else "box-beyond"
    tests = (
        ("box-empty", ~np.isfinite(bounds).all(axis=1) | (low == high).any(axis=1)),
        ("box-inverted", (high < low).any(axis=1)),
        ("event-outside" if axes == 1 else "box-outside", ((right <= 0) | (left >= limit)).any(axis=1)),
        (beyond, ((left < -TOLERANCE) | (right > limit + TOLERANCE)).any(axis=1)),
        ("box-tiny", ((high - low) < TINY).any(axis=1) & ~passed & (axes > 1)),
        ("box-whole-image", ((right - left) >= WHOLE * limit).all(axis=1) & ~passed & (axes > 1)),
    )
    faults, said = [], np.zeros(len(bounds), dtype=bool)
    for code, wrong in tests:
        for number in np.flatnonzero(wrong & ~said).tolist():
            faults.append(BoxFault(code, number, described(bounds[number], classes[number], number, size, names)))
        said |= wrong
    return faults + _repeated(bounds, classes, size, names, passed)


def _repeated(
    bounds: NDArray[np.float64],
    classes: NDArray[np.int64],
    size: tuple[int, ...],
    names: Sequence[str],
    passed: NDArray[np.bool_],
) -> list[BoxFault]:
    """Boxes that lie exactly where an earlier one does, of the same class or of another."""
    faults: list[BoxFault] = []
    order = np.lexsort(bounds.T[::-1]) if len(bounds) else np.zeros(0, dtype=np.int64)
    first = -1
    for number in order.tolist():
        if passed[number] or not np.isfinite(bounds[number]).all():
            continue
        if first >= 0 and np.abs(bounds[number] - bounds[first]).max() <= _SAME:
            same = classes[number] == classes[first]
            words = described(bounds[number], classes[number], number, size, names)
            other = "" if same else f" as {_called(int(classes[first]), names)}"
            code = "box-duplicate" if same else "box-two-classes"
            faults.append(BoxFault(code, number, f"{words}, also box {first + 1}{other}"))
        else:
            first = number
    return faults


def described(
    bounds: NDArray[np.float64], label: int, number: int, size: tuple[int, ...], names: Sequence[str] = ()
) -> str:
    """A box in words: its number counted from 1, class, coordinates, and the size of what it lies in."""
    axes = len(size)
    letters = {1: ("",), 2: ("y ", "x "), 3: ("z ", "y ", "x ")}[axes]
    sides = [f"{letter}{bounds[i]:.6g} to {bounds[axes + i]:.6g}" for i, letter in enumerate(letters)]
    whole = f"{size[0]} long" if axes == 1 else " x ".join(str(side) for side in reversed(size))
    kind = "event" if axes == 1 else "box"
    return f"{kind} {number + 1}, {_called(int(label), names)}: {', '.join(reversed(sides))} of {whole}"


def _called(label: int, names: Sequence[str]) -> str:
    return names[label] if 0 <= label < len(names) else f"class {label}"
