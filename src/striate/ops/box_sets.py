"""The boxes of a whole data set as flat arrays: what was found, and what is there, ready to be matched and scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
import numpy.typing as npt

from striate.ops.metrics import Values, to_numpy

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@final
@dataclass(frozen=True, eq=False)
class FoundBoxes:
    """n detections: ``bounds`` (n, 2A) float64 in pixels, ``classes`` (n,), ``scores`` (n,), ``images`` (n,) from 0.

    Among equal scores the earlier image, then the earlier entry, counts as the better one.
    """

    bounds: Floats
    classes: Ints
    scores: Floats
    images: Ints

    @classmethod
    def of_images(
        cls, bounds: Sequence[Values], classes: Sequence[Values], scores: Sequence[Values], *, axes: int = 2
    ) -> Self:
        """From one entry an image: bounds (n, 2A), classes (n,), scores (n,). Errors: ``ValueError`` as ``checked``."""
        _same_length(bounds=bounds, classes=classes, scores=scores)
        made = cls(
            _joined([rows(one, axes) for one in bounds], np.float64, (0, 2 * axes)),
            _joined([to_numpy(one) for one in classes], np.int64),
            _joined([to_numpy(one) for one in scores], np.float64),
            _image_numbers([len(to_numpy(one)) for one in scores]),
        )
        made.checked()
        return made

    def checked(self) -> None:
        """Errors: ``ValueError`` for arrays of different lengths, or numbers that are not finite."""
        _same_length(bounds=self.bounds, classes=self.classes, scores=self.scores, images=self.images)
        _finite(bounds=self.bounds, scores=self.scores)

    def take(self, which: Flags | Ints) -> "FoundBoxes":
        """Some of the detections."""
        return FoundBoxes(self.bounds[which], self.classes[which], self.scores[which], self.images[which])

    def of_one_class(self) -> "FoundBoxes":
        """The same detections with every class 0."""
        return FoundBoxes(self.bounds, np.zeros_like(self.classes), self.scores, self.images)

    def __len__(self) -> int:
        return len(self.scores)


@final
@dataclass(frozen=True, eq=False)
class TrueBoxes:
    """m annotated boxes: ``bounds`` (m, 2A) float64 in pixels, ``classes`` (m,), ``ignored`` (m,), ``images`` (m,).

    ``areas`` (m,) decide which range of sizes a box belongs to; they are the boxes' own unless given (COCO takes those
    of the objects' outlines).
    """

    bounds: Floats
    classes: Ints
    ignored: Flags
    images: Ints
    areas: Floats

    @classmethod
    def of_images(
        cls,
        bounds: Sequence[Values],
        classes: Sequence[Values],
        ignored: Sequence[Values] | None = None,
        areas: Sequence[Values | None] | None = None,
        *,
        axes: int = 2,
    ) -> Self:
        """From one entry an image: bounds (m, 2A), classes (m,), and, if known, ignored (m,) and areas (m,).

        Errors: ``ValueError`` as ``checked``.
        """
        _same_length(bounds=bounds, classes=classes)
        counts = [len(to_numpy(one)) for one in classes]
        flat = _joined([rows(one, axes) for one in bounds], np.float64, (0, 2 * axes))
        marks = [np.zeros(count, dtype=bool) for count in counts] if ignored is None else ignored
        sizes = content(flat)
        if areas is not None:
            _same_length(bounds=bounds, areas=areas)
            own = np.split(sizes, np.cumsum(counts)[:-1])
            given = [mine if one is None else to_numpy(one) for mine, one in zip(own, areas, strict=True)]
            sizes = _joined(given, np.float64)
        made = cls(
            flat,
            _joined([to_numpy(one) for one in classes], np.int64),
            _joined([to_numpy(one) for one in marks], np.bool_),
            _image_numbers(counts),
            sizes,
        )
        made.checked()
        return made

    def checked(self) -> None:
        """Errors: ``ValueError`` for arrays of different lengths, or numbers that are not finite."""
        lengths = {"bounds": self.bounds, "classes": self.classes, "ignored": self.ignored, "areas": self.areas}
        _same_length(**lengths, images=self.images)
        _finite(bounds=self.bounds, areas=self.areas)

    def take(self, which: Flags | Ints) -> "TrueBoxes":
        """Some of the boxes."""
        return TrueBoxes(
            self.bounds[which], self.classes[which], self.ignored[which], self.images[which], self.areas[which]
        )

    def of_one_class(self) -> "TrueBoxes":
        """The same boxes with every class 0."""
        return TrueBoxes(self.bounds, np.zeros_like(self.classes), self.ignored, self.images, self.areas)

    def __len__(self) -> int:
        return len(self.classes)


def content(bounds: Floats) -> Floats:
    """Length, area or volume (n,) of boxes (n, 2A)."""
    axes = bounds.shape[1] // 2
    product: Floats = (bounds[:, axes:] - bounds[:, :axes]).prod(axis=1)
    return product


def known_classes(classes: Ints, count: int) -> None:
    """Errors: ``ValueError`` for a class number outside 0..count-1."""
    if len(classes) and (classes.min() < 0 or classes.max() >= count):
        raise ValueError(f"class numbers from {classes.min()} to {classes.max()} came with {count} classes")


def rows(values: Values, axes: int) -> Floats:
    """Bounds as float64 (n, 2A), where nothing at all may come in any shape. Errors: ``ValueError`` otherwise."""
    array = to_numpy(values).astype(np.float64, copy=False)
    if array.size == 0:
        return array.reshape(0, 2 * axes)
    if array.ndim != 2 or array.shape[1] != 2 * axes:
        raise ValueError(f"bounds (n, {2 * axes}) of boxes with {axes} axes were expected, {array.shape} came")
    return array


def _joined(parts: Sequence[npt.NDArray[np.generic]], dtype: type, empty: tuple[int, ...] = (0,)) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(empty, dtype), *(one.astype(dtype, copy=False) for one in parts)])


def _image_numbers(counts: Sequence[int]) -> Ints:
    return np.repeat(np.arange(len(counts), dtype=np.int64), np.asarray(counts, dtype=np.int64))


def _same_length(**arrays: Sequence[Values | None] | npt.NDArray[np.generic]) -> None:
    lengths = {name: len(one) for name, one in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"as many of each were expected, there are {lengths}")


def _finite(**arrays: Floats) -> None:
    for name, one in arrays.items():
        if not np.isfinite(one).all():
            raise ValueError(f"{int((~np.isfinite(one)).sum())} numbers of the {name} are not finite")
