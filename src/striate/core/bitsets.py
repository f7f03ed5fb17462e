"""Masks of any number of classes a pixel, as one whole number a pixel: a bit set, in which bit c says class c is there.

Whatever moves, stores or joins masks takes their values as they are, so a bit set passes through all of it as a class
number does. The ignore value is the largest number of the type, which is no set of classes, since there is always a bit
more than there are classes. Numpy alone, so that what looks at data needs no torch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import InputError

MOST_CLASSES = 30
"""A bit set of 32 bits has room for so many beside the sign and the ignore value."""


def form_of(classes: int, where: object) -> tuple[type[np.integer], int]:
    """The numeric type of bit sets of so many classes, and their ignore value: uint8 with 255 up to 7 classes, else
    int32 with 2^31 - 1. Errors: ``InputError`` naming ``where`` for more than :data:`MOST_CLASSES`."""
    if classes > MOST_CLASSES:
        cause = f"{classes} classes, and a mask of several classes a pixel holds at most {MOST_CLASSES}"
        raise InputError(where, cause, "leave classes out, or read it with one class a pixel")
    kind: type[np.integer] = np.uint8 if classes <= 7 else np.int32
    return kind, int(np.iinfo(kind).max)


def packed(layers: Sequence[NDArray[np.bool_]] | NDArray[np.bool_], kind: type[np.integer]) -> NDArray[Any]:
    """Layers, bool (K, \\*S), one a class, as bit sets (\\*S) of the type ``kind``."""
    values = np.zeros(np.shape(layers[0]), dtype=kind)
    for number, layer in enumerate(layers):
        values[np.asarray(layer, dtype=bool)] |= kind(1 << number)
    return values


def known(values: NDArray[Any], classes: int) -> NDArray[np.bool_]:
    """Which bit sets (\\*S) are sets of so many classes, bool (\\*S): the ignore value is none."""
    return np.asarray((values >= 0) & (values.astype(np.int64) < 1 << classes))


def unpacked(values: NDArray[Any], classes: int) -> NDArray[np.bool_]:
    """The layers, bool (K, \\*S), of bit sets (\\*S); all False where a value is no set of so many classes."""
    there = known(values, classes)
    numbers = np.where(there, values, 0).astype(np.int64)
    return np.stack([numbers >> number & 1 == 1 for number in range(classes)])


def counts(values: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """How many pixels of bit sets (\\*S) have each class, int64 (K,)."""
    sets, times = np.unique(values, return_counts=True)  # few sets, many pixels
    layers = unpacked(sets, classes)
    return np.asarray((layers * times).sum(axis=1), dtype=np.int64)


def names(value: int, classes: Sequence[str]) -> list[str]:
    """The classes of one bit set by name; none for a value that is no set of them."""
    inside = 0 <= value < 1 << len(classes)
    return [name for number, name in enumerate(classes) if value >> number & 1] if inside else []
