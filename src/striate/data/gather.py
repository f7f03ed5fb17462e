"""Batches on one canvas from stored samples of any size: drawn picture by picture, in threads.

Every picture is read (only the rows that its crop needs, where images are raw), moved by its one map, changed in
appearance and cut out, blended where mixup asks for it, and written into its place of the batch.
"""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from striate.core.errors import InputError
from striate.core.map import Fill, Filter, Map
from striate.core.move import move_images
from striate.core.resample import resize
from striate.core.sample import Boxes, Label, Sample, Target
from striate.core.transform import Compose, Transform
from striate.data.appearance import change
from striate.data.augment import KEEP_BOXES, Augment
from striate.data.draws import Draws, Looks, Whole
from striate.data.mix import Plan, as_tags, assembled, blended, demand_mixable, joined, mosaics, partners, settled
from striate.data.shards import Shards

_WORKERS = min(8, os.cpu_count() or 1)
_PIECE = 4
_SIZES = 4096

One = TypeVar("One")
Made = TypeVar("Made")


class Fitted(NamedTuple):
    """The map of the fixed transforms for samples of one size."""

    matrix: NDArray[np.float64]
    fill: Fill
    filter: Filter


class Gathered(NamedTuple):
    """``images`` (B, C, *canvas), ``targets`` by name, uncollated lists or a tensor of labels, and how many boxes were
    dropped."""

    images: Tensor
    targets: dict[str, Any]
    dropped: int


class _Work(NamedTuple):
    """What was drawn for the pictures of a batch: see :class:`Gather`."""

    plan: Plan
    draws: Draws
    matrices: NDArray[np.float64]
    fits: Sequence[Fitted]
    looks: Looks
    targets: dict[str, Sequence[Target]]
    weights: NDArray[np.float64] | None
    quick: bool
    canvas: tuple[int, ...]


class Gather:
    """Draws batches of the samples ``indices`` of shards onto one canvas.

    ``fit`` are the fixed transforms that bring a stored sample to the canvas (None: the stored samples have one size);
    where ``augment`` crops, the crop is taken from the stored sample instead. Attributes: ``canvas``.
    Errors: ``InputError`` where ``fit`` gives several sizes or changes values, or the augmentation does not fit.
    """

    def __init__(self, shards: Shards, indices: Whole, seed: int, augment: Augment | None, fit: Compose | None) -> None:
        self.shards, self.indices, self.seed, self.augment, self.fit = shards, indices, seed, augment, fit
        self.sizes = np.asarray(shards.rows[indices][:, shards.schema.image_columns][:, 1:], dtype=np.int64)
        kinds = [kind for kind, _ in shards.schema.targets.values()]
        if augment is not None:
            demand_mixable(kinds, augment.mosaic, augment.mixup)
        self.tagged = augment is not None and augment.mixes
        self._fitted = lru_cache(maxsize=_SIZES)(self._fit_size)
        self.canvas = self._one_canvas()

    def _one_canvas(self) -> tuple[int, ...]:
        size = tuple(self.sizes[0].tolist())
        if self.fit is None:
            return size if self.augment is None else self.augment.canvas(size)
        for step in self.fit.steps:
            if type(step).images not in (Transform.images, Compose.images):
                raise InputError("fit", f"a {step.kind} changes values", "leave it to what normalises the batch")
        found = {self.fit.output_size(tuple(one)): one for one in np.unique(self.sizes, axis=0).tolist()}
        if len(found) > 1:
            first, second = list(found.items())[:2]
            cause = f"samples of {_x(first[1])} and {_x(second[1])} come out as {_x(first[0])} and {_x(second[0])}"
            raise InputError("fit", cause, "end it with a letterbox or crop to one size")
        (canvas,) = found
        asked = canvas if self.augment is None else self.augment.canvas(canvas)
        if asked != canvas:
            raise InputError("augment.crop_size", f"{_x(asked)} where the input is {_x(canvas)}", "leave it out")
        return canvas

    def fitted(self, row: int) -> Sample:
        """The sample of a row (a position in ``indices``) as predicting sees it before its values are scaled."""
        sample = self.shards.read(int(self.indices[row]))
        return sample if self.fit is None else self.fit(sample)

    def batch(
        self,
        rows: Whole,
        epochs: Whole,
        finish: Callable[[Tensor], Tensor] | None = None,
        canvas: tuple[int, ...] | None = None,
    ) -> Gathered:
        """The samples of ``rows`` (B,) as drawn in ``epochs`` (B,), where they are augmented on another ``canvas`` than
        :attr:`canvas` if it is given; ``finish`` is done to the images at the end."""
        onto = self.canvas if canvas is None or self.augment is None else canvas
        pictures = self._plain(rows) if self.augment is None else self._drawn(self.augment, rows, epochs, onto)
        count, kept = len(rows), self.shards.dtype == "uint8"
        shape = (count, self.shards.schema.channels, *onto)
        stored = torch.uint8 if kept else torch.float32
        # numpy asks for large pages, which spares a page fault for every 4 KiB of a large batch
        out = _empty(shape, torch.float32 if finish is not None else stored)
        targets: list[dict[str, Target]] = [{}] * count
        dropped = [0] * count

        def piece(start: int) -> None:
            stop = min(start + _PIECE, count)
            part = out[start:stop] if finish is None else torch.empty((stop - start, *shape[1:]), dtype=stored)
            for place in range(start, stop):
                targets[place], dropped[place] = pictures(place, part[place - start])
            if finish is not None:
                out[start:stop] = finish(part)

        in_threads(piece, range(0, count, _PIECE))
        names = targets[0]
        found: dict[str, Any] = {name: [one[name] for one in targets] for name in names}
        if self.shards.labels is not None and "label" in self.shards.schema.targets and "label" not in found:
            found["label"] = self.shards.targets(self.indices[rows])["label"]
        return Gathered(out, found, sum(dropped))

    def _targets(self, positions: Whole) -> dict[str, Sequence[Target]]:
        """Every target of the samples as a list; labels only where they are mixed (the others are read at once)."""
        found: dict[str, Sequence[Target]] = {}
        if set(self.shards.schema.targets) == {"label"} and self.shards.labels is not None and not self.tagged:
            return found
        for name, values in self.shards.targets(positions).items():
            if not isinstance(values, Tensor):
                found[name] = values
            elif self.tagged:
                found[name] = [Label(tags=tags) for tags in as_tags(values, len(self.shards.classes))]
        return found

    def _plain(self, rows: Whole) -> Callable[[int, Tensor], tuple[dict[str, Target], int]]:
        """Pictures without augmentation: the fixed transforms alone, boxes cut to the canvas."""

        def picture(place: int, out: Tensor) -> tuple[dict[str, Target], int]:
            sample = self.fitted(int(rows[place]))
            out.copy_(sample.image)
            targets: dict[str, Target] = {}
            lost = 0
            for name, one in sample.targets.items():
                if isinstance(one, Boxes):
                    one, dropped = one.clip(self.canvas, KEEP_BOXES)
                    lost += dropped
                if not isinstance(one, Label):
                    targets[name] = one
            return targets, lost

        return picture

    def _drawn(
        self, augment: Augment, rows: Whole, epochs: Whole, canvas: tuple[int, ...]
    ) -> Callable[[int, Tensor], tuple[dict[str, Target], int]]:
        count, weights = len(rows), None
        if augment.mixup:
            others, weights = partners(self.seed, augment.mixup, self.indices[rows], epochs, len(self.indices))
            rows, epochs = np.concatenate((rows, others)), np.concatenate((epochs, epochs))
        plan = mosaics(self.seed, augment.mosaic, rows, self.indices, epochs, canvas)
        index, sizes = self.indices[plan.rows], self.sizes[plan.rows]
        draws = augment.draw(self.seed, plan.epochs, index, sizes, canvas)
        quick = augment.crop_scale is not None and draws.linear is None and not draws.offsets.any()
        fits = [] if augment.crop_scale is not None else [self._fitted(tuple(size)) for size in sizes.tolist()]
        base = None
        if fits:  # the fit is onto the nominal canvas, which the drawn one shows larger or smaller
            base = np.diag([*(np.array(canvas) / self.canvas), 1.0]) @ np.stack([one.matrix for one in fits])
        matrices = plan.place @ augment.matrices(draws, base, canvas)
        looks = augment.looks(self.seed, epochs, self.indices[rows])
        work = _Work(plan, draws, matrices, fits, looks, self._targets(index), weights, quick, canvas)

        def picture(place: int, out: Tensor) -> tuple[dict[str, Target], int]:
            targets, lost = self._picture(augment, work, place, out)
            if weights is not None:
                other = torch.empty_like(out)
                more, also = self._picture(augment, work, count + place, other)
                weight = float(weights[place])
                out.copy_(blended(out[None], other[None], weights[place : place + 1])[0])
                targets = {name: joined(one, more[name], weight) for name, one in targets.items()}
                lost += also
            return targets, lost

        return picture

    def _picture(self, augment: Augment, work: _Work, number: int, out: Tensor) -> tuple[dict[str, Target], int]:
        """Draw one picture on ``out`` (C, *canvas), and settle its targets there."""
        parts, plan = work.plan.parts(number), work.plan
        settling: list[dict[str, Target]] = []
        lost = 0
        for part in parts:
            low, high = plan.low[part].tolist(), plan.high[part].tolist()
            whole = len(parts) == 1
            region = out if whole else out[:, *(slice(a, b) for a, b in zip(low, high, strict=True))]
            by = None
            if not (work.quick and whole) or work.targets:
                sub = tuple(b - a for a, b in zip(low, high, strict=True))
                fitted = work.fits[part] if work.fits else Fitted(work.matrices[part], augment.fill, augment.filter)
                by = Map(work.matrices[part], sub, fitted.fill, fitted.filter)
            if work.quick and whole:
                self._cropped(augment, work, part, region)
            elif by is not None:
                image = _tensor(self.shards.image(int(self.indices[plan.rows[part]])))
                region.copy_(move_images(image[None], [by])[0])
            if by is not None:
                done = {name: settled(one[part], by, augment.keep_boxes) for name, one in work.targets.items()}
                settling.append({name: one for name, (one, _) in done.items()})
                lost += sum(dropped for _, dropped in done.values())
        images = change(out[None], work.looks.of(number), self.shards.dtype)
        images = augment.cut_out(images, work.draws.hole[parts.start : parts.start + 1])
        if images.data_ptr() != out.data_ptr():
            out.copy_(images[0])
        if len(settling) <= 1:
            return (settling[0] if settling else {}), lost
        here = slice(parts.start, parts.stop)
        return {
            name: assembled([one[name] for one in settling], plan.low[here], plan.high[here], work.canvas)
            for name in work.targets
        }, lost

    def _cropped(self, augment: Augment, work: _Work, part: int, out: Tensor) -> None:
        """The quick way of the commonest case, a resized crop and flips: only the crop is read."""
        low, side = work.draws.low[part], work.draws.side[part]
        position = int(self.indices[work.plan.rows[part]])
        image = _tensor(self.shards.region(position, low.tolist(), (low + side).tolist()))[None]
        image = resize(image, work.canvas, augment.filter)[0]
        flipped = (np.flatnonzero(work.draws.flips[part]) + 1).tolist()
        out.copy_(image.flip(flipped) if flipped else image)

    def _fit_size(self, size: tuple[int, ...]) -> Fitted:
        """The fixed transforms' map, in whose fill everything uncovered is shown where it leaves a margin itself."""
        assert self.augment is not None
        by = Map.identity(size) if self.fit is None else self.fit.map(size)
        fill = self.augment.fill if by.covered_by(size) else by.fill
        return Fitted(by.matrix, fill, self.augment.filter if by.exact else by.filter)


def _tensor(image: NDArray[Any]) -> Tensor:
    """As :mod:`torch` can compute with it: float32 holds uint16 exactly."""
    if image.dtype == np.uint16:
        return torch.from_numpy(image.astype(np.float32))
    return torch.from_numpy(image if image.flags.writeable else image.copy())


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.empty(shape, dtype=str(dtype).removeprefix("torch.")))


def in_threads(act: Callable[[One], Made], over: Iterable[One]) -> list[Made]:
    """``act`` done to all, in the pool's threads, in order."""
    return list(_pool().map(act, over))


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads that each compute alone: torch's own threads inside each would only be in each other's way."""
    before, ready = torch.get_num_threads(), threading.Barrier(_WORKERS + 1)

    def begin() -> None:
        torch.get_num_threads()  # a thread's first question sets its number to the default, so ask before
        torch.set_num_threads(1)
        ready.wait()

    pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="pictures", initializer=begin)
    for _ in range(_WORKERS):
        pool.submit(int)
    ready.wait()
    torch.set_num_threads(before)  # also the default for threads to come, which those above have changed
    return pool


def _x(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
