"""Figures of a set for its page and its JSON: sizes, lengths and box sizes, in bounded space."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.data.doctor.look import Seen

MOST_SIZES = 1000
QUANTILES = (0, 5, 25, 50, 75, 95, 100)
"""In per cent."""
_STEPS = 2
"""Steps of the histogram of box sizes for each doubling."""


def gathered(seen: Sequence[Seen], classes: Sequence[str]) -> dict[str, Any]:
    """``sizes``: [[size, samples], ...], the frequent first, at most 1000, and ``distinct_sizes``. Of signals
    ``lengths``, of boxes ``box_shorter_side`` and ``box_longer_side``: {quantile: pixels}; ``box_histogram``: ``edges``
    (pixels) and for each class the number of boxes whose square root of area lies between two of them. ``formats``:
    image files by format. ``boxes_per_sample``: quantiles."""
    sizes = Counter(one.size for one in seen if one.size)
    found: dict[str, Any] = {
        "sizes": [[list(size), count] for size, count in sizes.most_common(MOST_SIZES)],
        "distinct_sizes": len(sizes),
    }
    lengths = [size[0] for size in sizes.elements() if len(size) == 1]
    if lengths:
        found["lengths"] = quantiles(np.array(lengths))
    formats = Counter(one.header.format for one in seen if one.header is not None)
    if formats:
        found["formats"] = dict(formats.most_common())
    boxed = [one for one in seen if one.sides is not None and one.classes is not None]
    if boxed:
        found["boxes_per_sample"] = quantiles(np.array([len(one.sides) for one in boxed if one.sides is not None]))
        sides = np.concatenate([one.sides for one in boxed if one.sides is not None])
        labels = np.concatenate([one.classes for one in boxed if one.classes is not None])
        if len(sides):
            found |= _box_sizes(sides.astype(np.float64), labels, classes)
    return found


def quantiles(values: NDArray[Any]) -> dict[str, float]:
    """The quantiles of values (N,) by their per cents."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {}
    return {
        str(share): round(float(value), 3)
        for share, value in zip(QUANTILES, np.percentile(finite, QUANTILES), strict=True)
    }


def _box_sizes(sides: NDArray[np.float64], labels: NDArray[np.int64], classes: Sequence[str]) -> dict[str, Any]:
    side = np.prod(np.maximum(sides, 0), axis=1) ** (1 / sides.shape[1])
    kept = np.isfinite(side)
    side, labels = np.maximum(side[kept], 1.0), labels[kept]
    if not len(side):
        return {}
    last = int(np.floor(np.log2(side.max()) * _STEPS)) + 1
    first = int(np.floor(np.log2(side.min()) * _STEPS))
    edges = 2.0 ** (np.arange(first, last + 1) / _STEPS)
    place = np.clip(np.digitize(side, edges) - 1, 0, len(edges) - 2)
    table = {
        name: [int(count) for count in np.bincount(place[labels == number], minlength=len(edges) - 1)]
        for number, name in enumerate(classes)
    }
    return {
        "box_shorter_side": quantiles(sides.min(axis=1)),
        "box_longer_side": quantiles(sides.max(axis=1)),
        "box_histogram": {"edges": [round(float(edge), 3) for edge in edges], "classes": table},
    }
