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
from striate.data.augment import Augment
from striate.data.reader import Reader
from striate.layers.layer import Layer, Shape
from striate.layers.norm_act import Permutation
from striate.tasks.task import Task

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


def drawn_canvases(
    augment: Augment | None, small_until: float, network: Layer, task: Task, input_shape: Shape, classes: int
) -> list[str]:
    """What is said of the canvases that batches are drawn on; nothing where all have the nominal one of
    ``input_shape``. ``small_until`` is the share of the training on :meth:`~striate.data.augment.Augment.half` of it.

    Errors: ``InputError`` naming why, where the network or the task takes that size alone.
    """
    nominal, said = tuple(input_shape[1:]), list[str]()
    if augment is None:
        return said
    if augment.canvas_scale is not None:
        sizes = augment.canvases(nominal)
        _demand_fit("augment.canvas_scale", network, task, input_shape, sizes, classes)
        small, large = _x(sizes[0]), _x(sizes[-1])
        said.append(
            f"canvas: drawn anew for every step, {len(sizes)} sizes, {small} to {large}; measured at {_x(nominal)}"
        )
    if small_until:
        half = augment.half(nominal)
        _demand_fit("training.small_until", network, task, input_shape, [half], classes)
        said.append(f"canvas: {_x(half)} for the first {100 * small_until:g}% of the steps, then {_x(nominal)}")
    return said


def small_fits(augment: Augment, network: Layer, task: Task, input_shape: Shape, classes: int) -> bool:
    """Whether training may begin on :meth:`~striate.data.augment.Augment.half` of the canvas of ``input_shape``."""
    try:
        drawn_canvases(augment.replace(canvas_scale=None), 0.5, network, task, input_shape, classes)
    except InputError:
        return False
    return True


def _demand_fit(
    where: str, network: Layer, task: Task, input_shape: Shape, sizes: Iterable[tuple[int, ...]], classes: int
) -> None:
    for size in sizes:
        if (cause := _misfit(network, task, input_shape, size, classes)) is not None:
            alone = f"the network takes {_x(input_shape[1:])} alone: {cause}"
            raise InputError(where, alone, "leave it out, or choose a network that takes any size")


def _misfit(network: Layer, task: Task, input_shape: Shape, size: tuple[int, ...], classes: int) -> str | None:
    """Why a network built for ``input_shape`` (C, *S) cannot take the canvas ``size``, or None where it can."""
    other = (input_shape[0], *size)
    try:
        network.output_shape(other)
        task.demand_outputs(network, other, classes, "")
        there = {leaf.name: leaf.parameters for leaf in network.leaves(other)}
    except InputError as error:
        return f"{_x(size)} does not fit ({error.cause})"
    for leaf in network.leaves(input_shape):
        name, own = leaf.name or leaf.layer.kind, leaf.parameters
        if (needed := there.get(leaf.name, own)) != own:
            return f"{name} has {own:,} weights, at {_x(size)} it would have {needed:,}"
        if isinstance(leaf.layer, Permutation):
            return f"{name} shuffles exactly that many values"
    return None


def _x(size: Iterable[int]) -> str:
    return "x".join(map(str, size))


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
