"""From the sizes of the samples to the working size: what preparing stores, and what brings the stored to the network.

Two fixed transforms, both part of the preprocessing in the model file. ``store`` shrinks a sample once, before it is
written to shards, and never enlarges it, but for small images and volumes, which are stored as the network sees them.
``fit`` brings what is stored onto the canvas that the network sees; in training a drawn crop may stand in its place, so
photos are stored with a margin.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from striate.core.errors import InputError
from striate.core.transform import CenterCrop, Compose, Crop, Letterbox, Resize
from striate.data.reader import Reader

SMALL_SIDE = 64
"""Images of one size up to this many pixels a side are taken as they are."""
WORKING_SIDE = 128
"""Shorter side to which other labelled images are brought when no size is given."""
OBJECT_SIDE = 320
"""Longer side to which images with boxes or masks are brought when no size is given."""
MARGIN = 8 / 7
"""Photos are stored this much larger than the network sees them (256 for 224, as is usual), to crop from."""
MULTIPLE = 32
"""The sides of a canvas for boxes and masks are multiples of this: the stride of the deepest usual feature map."""
LOOKED_AT = 64
"""Images whose sizes are looked at; of signals all are."""
GREY = 114.0
"""What shows beside a letterboxed 8-bit image: about the mean of photos."""

Size = int | tuple[int, ...] | None


@dataclass(frozen=True)
class Geometry:
    """``store`` before the shards, ``fit`` after them (no steps where everything stored has the canvas's size);
    ``decode_at_least`` is the shorter side that JPEGs may be decoded to without loss for it (0: whole)."""

    store: Compose
    fit: Compose
    decode_at_least: int = 0


def working_geometry(reader: Reader, size: Size) -> Geometry:
    """The geometry for a data set.

    Signals keep their scale: shorter ones are filled with zeros at the end up to the longest (or to ``size``), longer
    ones cut. Labelled images and volumes are resized by their shorter side, antialiased, and their middle is taken;
    small ones of one size stay as they are. Images with boxes or masks are fitted as a whole: ``size`` (one number)
    is then their longer side, and the canvas the smallest of multiples of 32 on which all that were looked at fit.
    """
    count = len(reader)
    sizes = _sizes(reader, np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(int)).tolist())
    axes = len(next(iter(sizes)))
    if axes == 1:
        sizes |= _sizes(reader, range(count))
        length = max(sizes) if size is None else (size,) if isinstance(size, int) else size
        return Geometry(Compose() if sizes == {length} else Compose(steps=(Crop(start=0, size=length),)), Compose())
    if reader.target != "label" or not reader.options.labelled:
        return _whole(sizes, size, reader)
    return _middle(sizes, size)


def _middle(sizes: set[tuple[int, ...]], size: Size) -> Geometry:
    axes = len(next(iter(sizes)))
    largest = tuple(max(one[axis] for one in sizes) for axis in range(axes))
    same = len(sizes) == 1 and max(largest) <= SMALL_SIDE
    wanted = size if size is not None else largest if same else min(WORKING_SIDE, max(largest))
    box = (wanted,) * axes if isinstance(wanted, int) else wanted
    if max(box) <= SMALL_SIDE or axes == 3:  # little is stored twice, and what has one size is trained on faster
        return Geometry(Compose(steps=(Resize(size=box, keep="short"), CenterCrop(size=box))), Compose())
    # no more margin than the images have: enlarging one to cut it off again would only blur it
    spare = min(min(n / to for n, to in zip(one, box, strict=True)) for one in sizes)
    larger = tuple(math.ceil(to * min(MARGIN, max(1.0, spare))) for to in box)
    shortest = min(min(one) for one in sizes)
    return Geometry(
        Compose(steps=(Resize(size=larger, keep="short", enlarge=False),)),
        Compose(steps=(Resize(size=larger, keep="short"), CenterCrop(size=box))),
        2 * max(larger) if shortest >= 4 * max(larger) else 0,
    )


def _whole(sizes: set[tuple[int, ...]], size: Size, reader: Reader) -> Geometry:
    axes = len(next(iter(sizes)))
    longest = max(max(one) for one in sizes)
    if isinstance(size, tuple):
        box = canvas = size
    else:
        side = size or min(OBJECT_SIDE, longest)
        box = (side,) * axes
        fitted = [Resize(size=box, keep="long").map(one).canvas for one in sizes]
        canvas = tuple(
            math.ceil(max(one[axis] for one in fitted) / MULTIPLE) * MULTIPLE if axes == 2 else side
            for axis in range(axes)
        )
    store = Compose(steps=(Resize(size=box, keep="long", enlarge=False),))
    fill = GREY if reader.image_dtype == "uint8" else 0.0
    fit = Compose(steps=(Resize(size=box, keep="long"), Letterbox(size=canvas, fill=fill, enlarge=False)))
    largest = max(box)
    return Geometry(store, fit, 2 * largest if min(min(one) for one in sizes) >= 4 * largest else 0)


def _sizes(reader: Reader, places: Iterable[int]) -> set[tuple[int, ...]]:
    """The sizes of those samples whose size can be found; preparing lists the others."""
    found, reason, tried = set(), "", 0
    for place in places:
        tried += 1
        try:
            found.add(reader.size(place))
        except InputError as error:
            reason = reason or f"{reader.name(place)}: {error.cause}"
    if not found:
        cause = f"none of the {tried} samples looked at can be read (first: {reason})"
        raise InputError(reader.path, cause, "correct or replace the files")
    return found
