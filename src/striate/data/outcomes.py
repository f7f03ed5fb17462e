"""What becomes of samples that are prepared: a record and a row each, or why one is skipped.

A small image takes longer to be handled than to be decoded, where it becomes a sample with a tensor, a label and a
record of its own. So the samples of a set with labels alone stay arrays: those of one size in a chunk are stacked,
moved and stored together. All else goes one by one (:mod:`striate.data.ready`); the records are the same.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from striate.core.errors import InputError
from striate.core.transform import Transform
from striate.data.reader import Reader
from striate.data.ready import SMALL, Prepared, ready
from striate.data.record import Schema

_Alike = tuple[tuple[int, ...], tuple[int, ...], np.dtype[Any]]
"""What images have in common that are moved together: order of axes in memory, shape in that order, type."""
_SPACE = 4 << 20
"""Bytes of the memory in which a thread collects small images."""
_of_thread = threading.local()


@dataclass(frozen=True, slots=True)
class Outcome:
    """One sample prepared: its record and row, or why it is skipped; and what is to be known of it."""

    record: tuple[bytes, ...] = ()
    row: list[int] = field(default_factory=list)
    reason: str | None = None
    notes: tuple[str, ...] = ()


def outcomes(
    reader: Reader,
    preprocessing: Transform,
    schema: Schema,
    positions: Sequence[int],
    known: Mapping[int, Prepared],
) -> list[Outcome]:
    """The outcome of every sample at these positions; those in ``known`` were prepared before."""
    found: dict[int, Outcome] = {}
    missing = [position for position in positions if position not in known]
    if reader.plain:
        found = _together(reader, preprocessing, schema, missing)
        missing = [position for position in missing if position not in found]
    made = {**known, **dict(zip(missing, ready(reader, preprocessing, missing), strict=True))}
    return [found.get(position) or _alone(reader, schema, position, made[position]) for position in positions]


def _alone(reader: Reader, schema: Schema, position: int, made: Prepared | InputError) -> Outcome:
    if isinstance(made, InputError):
        return Outcome(reason=made.cause, notes=_noted(reader, position))
    sample, notes = made
    try:
        record, row = schema.encode(sample)
    except InputError as error:
        return Outcome(reason=error.cause, notes=_noted(reader, position))
    return Outcome(record, row, notes=_noted(reader, position) + notes)


def _noted(reader: Reader, position: int) -> tuple[str, ...]:
    note = reader.note(position)
    return () if note is None else (note,)


def _together(reader: Reader, preprocessing: Transform, schema: Schema, positions: Sequence[int]) -> dict[int, Outcome]:
    """The outcomes of samples with labels alone. Left out are those that were read and cannot be stored: what is wrong
    with them is found one by one. A large image is finished before the next is read."""
    bench = _Bench(reader, preprocessing, schema)
    for position in positions:
        try:
            image, original = reader.pixels(position)
        except InputError as error:
            bench.found[position] = Outcome(reason=error.cause, notes=_noted(reader, position))
            continue
        if 0 in image.shape or not 2 <= image.ndim <= 4 or (image.dtype.kind == "f" and not np.isfinite(image).all()):
            continue
        if image.nbytes > SMALL:
            order = _order(image)
            bench.store(order, np.ascontiguousarray(image.transpose(order))[None], [position], [original])
        else:
            bench.put(position, image, original)
    bench.clear()
    return bench.found


@final
class _Bench:
    """Small images side by side until they are moved and stored, those of one size and order in memory together.

    Every thread uses its memory again and again: fresh memory takes nearly as long to get as an image to decode.
    """

    def __init__(self, reader: Reader, preprocessing: Transform, schema: Schema) -> None:
        self.found: dict[int, Outcome] = {}
        self._reader, self._preprocessing, self._schema = reader, preprocessing, schema
        if not hasattr(_of_thread, "space"):
            _of_thread.space = np.empty(_SPACE, dtype=np.uint8)
        self._space: NDArray[np.uint8] = _of_thread.space
        self._end = 0
        self._groups: dict[_Alike, list[tuple[int, int, tuple[int, ...]]]] = {}

    def put(self, position: int, image: NDArray[Any], original: tuple[int, ...]) -> None:
        """Keep a copy of an image (C, *spatial), which was annotated in the size ``original``."""
        start = -(-self._end // image.itemsize) * image.itemsize
        if start + image.nbytes > len(self._space):
            self.clear()
            start = 0
        self._end = start + image.nbytes
        order = _order(image)
        values = image.transpose(order)
        np.copyto(self._space[start : self._end].view(image.dtype).reshape(values.shape), values)
        self._groups.setdefault((order, values.shape, image.dtype), []).append((position, start, original))

    def clear(self) -> None:
        """Store all that lies here."""
        for (order, shape, dtype), group in self._groups.items():
            positions, starts, originals = zip(*group, strict=True)
            size = math.prod(shape) * dtype.itemsize
            if starts[-1] - starts[0] == size * (len(starts) - 1):  # nothing lies between them
                stack = self._space[starts[0] : starts[-1] + size].view(dtype).reshape(-1, *shape)
            else:
                stack = np.stack([self._space[at : at + size].view(dtype).reshape(shape) for at in starts])
            self.store(order, stack, positions, originals)
        self._groups.clear()
        self._end = 0

    def store(
        self,
        order: tuple[int, ...],
        stack: NDArray[Any],
        positions: Sequence[int],
        originals: Sequence[tuple[int, ...]],
    ) -> None:
        """Move and store images of one size, (n, ...) with the axes of each in this order, unless any does not fit."""
        images = torch.from_numpy(stack)
        try:
            moved = self._preprocessing.images(images if order[0] == 0 else images.movedim(-1, 1)).numpy()
        except InputError:
            return
        stored = self._schema.encode_labelled(moved, self._reader.label_values(positions), originals)
        for position, (record, row) in zip(positions, stored or (), strict=stored is not None):
            self.found[position] = Outcome(record, row, notes=_noted(self._reader, position))


def _order(image: NDArray[Any]) -> tuple[int, ...]:
    """The axes of an image (C, *spatial) in the order in memory that it is moved in: as they are, or channels last
    where they lie so, as interleaved pixels are resized fastest."""
    last = (*range(1, image.ndim), 0)
    packed = image.flags.c_contiguous or not image.transpose(last).flags.c_contiguous
    return tuple(range(image.ndim)) if packed else last
