"""What can be wrong with the mask of one sample."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from striate.core import bitsets
from striate.data.paths import shortened

_BACKGROUND = {"background", "unlabelled", "unlabeled", "bg", "none", "other", "nothing", "0"}


def mask_faults(
    values: NDArray[np.integer],
    ignore: int,
    classes: Sequence[str],
    size: tuple[int, ...],
    unknown: Iterable[int] = (),
    several: bool = False,
) -> list[tuple[str, str]]:
    """(code, detail) of the faults of a mask (*S) of class numbers, or of bit sets (``several`` classes a pixel), for
    a sample of ``size``.

    ``ignore`` is the value of void; ``unknown`` are the values in the file that are no class, where the reader has
    already replaced them by void.
    """
    faults = []
    if tuple(values.shape) != tuple(size):
        came, wanted = (" x ".join(map(str, reversed(shape))) for shape in (values.shape, size))
        faults.append(("mask-size", f"the mask is {came}, the image {wanted}"))
    present, limit = np.unique(values), 1 << len(classes) if several else len(classes)
    strange = sorted({int(value) for value in present if not 0 <= value < limit and value != ignore})
    strange = sorted({*strange, *(int(value) for value in unknown)})
    if strange:
        faults.append(("mask-values", f"{_counted('value', len(strange))} {shortened(strange)}"))
    known = present[present != ignore]
    if not len(known) and not strange:
        faults.append(("mask-void", "every pixel is void"))
    elif known.tolist() == [0] and not strange and several:
        faults.append(("mask-background", "no pixel has any class"))
    elif known.tolist() == [0] and not strange and is_background(classes):
        faults.append(("mask-background", f"every pixel is {classes[0]}"))
    return faults


def is_background(classes: Sequence[str]) -> bool:
    """Whether the first class is what is left between objects, by its name."""
    return bool(classes) and classes[0].strip().casefold() in _BACKGROUND


def pixel_counts(values: NDArray[np.integer], classes: int, several: bool = False) -> NDArray[np.int64]:
    """How many pixels of a mask of class numbers, or of bit sets, are of each class, (classes,)."""
    if several:
        return bitsets.counts(values, classes)
    known = values[(values >= 0) & (values < classes)]
    return np.bincount(known.astype(np.int64).reshape(-1), minlength=classes)


def _counted(word: str, count: int) -> str:
    return word if count == 1 else f"{count} {word}s:"
