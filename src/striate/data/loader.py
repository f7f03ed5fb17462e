"""Batches as a pure function of (shards, seed, step): no state, no worker processes, nothing to resume.

The stream of samples is one random order of the set after the other (epoch e has the order ``random.permutation`` gives
for (seed, e)), cut into batches: batch k holds the stream's places k B to (k + 1) B - 1, so every sample comes exactly
once an epoch and batches may reach from one epoch into the next. With several processes each takes every ``world``-th
row of the same batch. Augmentation is keyed by (seed, epoch, sample), also where it mixes samples.

Samples of one shape are gathered and augmented a batch at a time, from memory where they fit. Samples of several
shapes, and mosaics, are drawn onto the canvas picture by picture (:mod:`striate.data.gather`).
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from striate.core.errors import InputError
from striate.core.random import bits
from striate.core.sample import Batch, Boxes, Target
from striate.core.transform import Compose, Transform
from striate.data.augment import KEEP_BOXES, Augment
from striate.data.draws import draw_canvas
from striate.data.gather import Gather, in_threads
from striate.data.mix import as_tags, blended, demand_mixable, joined, partners
from striate.data.shards import Shards

RESIDENT_BYTES = 2 * 1024**3
"""Images up to this size, in the form in which they are kept, stay in memory (on the device)."""
_KEPT_BLOCKS = 3
_BLOCK = 16_384
_CHUNK = 1024


class Loader:
    """The batches of some samples of prepared data.

    ``indices`` are positions in ``shards``; *rows* are positions in ``indices``. ``batch`` is the size of a batch over
    all processes. ``fit`` are the fixed transforms that bring a stored sample to the canvas (None: samples have one
    shape): :meth:`sequential` gives what they give, :meth:`batch` augments on their canvas, or where crops are drawn,
    takes those from the stored sample. ``augment`` changes the samples of :meth:`batch` alone; ``normalise`` is applied
    to both, last. From step ``mixed_steps`` on nothing is mixed (None: always); the steps before
    ``small_steps`` are drawn on half the canvas (:meth:`Augment.half`). Boxes of :meth:`batch` are cut to the
    canvas, and those of which too little is left are dropped; :meth:`sequential` keeps them all.

    Attributes: ``shape`` (C, *spatial) of what ``sequential`` gives; ``canvases``, the sizes that a :meth:`batch` may
    have, of which each step draws one where the augmentation has a ``canvas_scale``; ``dropped``, the number of boxes
    that batches made so far (one is made ahead) have lost; ``images`` (n, C, *spatial) and ``targets`` where they are
    resident, else None: float32 and normalised already when nothing is augmented (``normalised``), as stored otherwise
    (uint16 becomes float32, which is exact). Errors: ``InputError`` for no samples, samples of several shapes without
    ``fit``, an uneven batch, or an augmentation that does not suit the samples.
    """

    def __init__(
        self,
        shards: Shards,
        indices: NDArray[np.integer],
        batch: int,
        seed: int,
        augment: Augment | None = None,
        normalise: Transform | None = None,
        device: torch.device | str = "cpu",
        *,
        fit: Compose | None = None,
        mixed_steps: int | None = None,
        small_steps: int = 0,
        rank: int = 0,
        world: int = 1,
        resident_bytes: int = RESIDENT_BYTES,
    ) -> None:
        if not len(indices):
            raise InputError(shards.folder, "there are no samples to load", "give a split with samples")
        if batch < 1 or batch % world:
            raise InputError(
                "batch",
                f"{batch} samples cannot be divided evenly over {world} processes",
                f"give a multiple of {world}",
            )
        self.shards = shards
        self.indices = np.asarray(indices, dtype=np.int64)
        self.batch_size = batch
        self.seed = seed
        self.augment = augment
        self.normalise = normalise
        self.device = torch.device(device)
        self.rank = rank
        self.world = world
        self.dropped = 0
        self.images: Tensor | None = None
        self.targets: dict[str, Tensor | list[Target]] | None = None
        self.normalised = False
        self._orders: OrderedDict[int, Tensor] = OrderedDict()
        self._epochs_kept = max(1, _BLOCK // len(indices))
        self._index = torch.from_numpy(self.indices)
        self._ahead: tuple[int, Future[Batch]] | None = None
        self._reader: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._mixed_steps = mixed_steps
        self._pictures, self._quiet = self._pictured(fit, augment), None
        if self._pictures is not None and augment is not None:
            self._quiet = self._pictured(fit, augment.without_mixing()) or Gather(
                shards, self.indices, seed, augment.without_mixing(), None
            )
        if self._pictures is None:
            self.shape = shards.demand_one_shape()
            self._load(resident_bytes)
        else:
            axes = shards.sample_shape if fit is None or shards.sample_shape is None else None
            self.shape = axes or (shards.schema.channels, *self._pictures.canvas)
        nominal = self.shape[1:] if augment is None else augment.canvas(self.shape[1:])
        self.canvases = (nominal,) if augment is None else augment.canvases(nominal)
        self._small = augment.half(nominal) if augment is not None and small_steps else None
        self._small_steps = small_steps

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def steps_per_epoch(self) -> float:
        """How many batches an epoch has."""
        return len(self) / self.batch_size

    def order(self, first_step: int, count: int) -> NDArray[np.int64]:
        """The rows of ``count`` batches from ``first_step`` on, over all processes: int64 (count, batch)."""
        rows = self._rows(first_step * self.batch_size, count * self.batch_size) if count else self._index[:0]
        return rows.numpy().reshape(count, self.batch_size).copy()

    def epochs(self, first_step: int, count: int) -> NDArray[np.int64]:
        """The epoch that each row of :meth:`order` belongs to: int64 (count, batch)."""
        places = np.arange(first_step * self.batch_size, (first_step + count) * self.batch_size)
        return (places // len(self)).reshape(count, self.batch_size)

    def batch(self, step: int) -> Batch:
        """This process's part of batch ``step`` on the device: (batch / world, C, *spatial) float32, or as stored
        without ``normalise``. A pure function of (shards, seed, step)."""
        if self.images is not None:
            return self._made(step)
        return self._read_ahead(step)

    def sequential(self, batch: int | None = None) -> Iterator[Batch]:
        """Every sample once, in order, not augmented; the last batch may be smaller. Not divided over processes."""
        size = batch or self.batch_size
        for start in range(0, len(self), size):
            rows = torch.arange(start, min(start + size, len(self)))
            images, targets = self._fitted(rows) if self._pictures else self._gather(rows)
            targets = {name: _collated(one) for name, one in targets.items()}
            yield Batch(self._finished(images), targets, self._index[start : start + size])

    def _pictured(self, fit: Compose | None, augment: Augment | None) -> Gather | None:
        """What draws samples one at a time, where they cannot be moved a batch at a time."""
        shards = self.shards
        size = (shards.sample_shape or ())[1:]
        if augment is not None:
            demand_mixable([kind for kind, _ in shards.schema.targets.values()], augment.mosaic, augment.mixup)
        if size and (fit is None or fit.map(size).leaves(size)):
            return (
                None
                if augment is None or not augment.mosaic
                else Gather(shards, self.indices, self.seed, augment, None)
            )
        if fit is None:
            shards.demand_one_shape()
        return Gather(shards, self.indices, self.seed, augment, fit)

    def _load(self, budget: int) -> None:
        """Bring images into memory where they fit, normalised at once when nothing comes before it."""
        stored = self.shards.image_bytes(self.indices)
        wide = stored // np.dtype(self.shards.dtype).itemsize * 4
        normal = self.augment is None and self.normalise is not None and wide <= budget
        kept = wide if normal or self.shards.dtype == "uint16" else stored
        if kept > budget:
            return
        whole = _tensor(self.shards.images(self.indices))
        if normal and self.normalise is not None:
            whole = torch.cat([self.normalise.images(part) for part in whole.split(_CHUNK)])
        self.images = whole.to(self.device)
        self.normalised = normal
        targets = self.shards.targets(self.indices)
        self.targets = {name: one.to(self.device) if isinstance(one, Tensor) else one for name, one in targets.items()}

    def _rows(self, first: int, count: int) -> Tensor:
        """Rows of the stream's places ``first`` to ``first + count - 1``: int64 (count,)."""
        span = self._epochs_kept * len(self)
        parts = []
        while count > 0:
            block, offset = divmod(first, span)
            part = self._orders_of(block)[offset : offset + count]
            parts.append(part)
            first, count = first + len(part), count - len(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _orders_of(self, block: int) -> Tensor:
        """The orders of some consecutive epochs end to end. Small ones are drawn many at a time, and the last few
        blocks are kept: drawing each order by itself would cost more than the arithmetic of a small network."""
        with self._lock:
            found = self._orders.get(block)
            if found is None:
                epochs = np.arange(block * self._epochs_kept, (block + 1) * self._epochs_kept)
                words = bits(self.seed, "order", epochs, len(self))  # row by row what random.permutation sorts
                found = torch.from_numpy(np.argsort(words, axis=1, kind="stable").reshape(-1))
                self._orders[block] = found
                while len(self._orders) > _KEPT_BLOCKS:
                    self._orders.popitem(last=False)
            return found

    def _made(self, step: int) -> Batch:
        rows = self._rows(step * self.batch_size, self.batch_size)[self.rank :: self.world]
        index = self._index.index_select(0, rows)
        epochs = self.epochs(step, 1)[0, self.rank :: self.world]
        canvas = self._canvas(step)
        mixed = self._mixed_steps is None or step < self._mixed_steps
        pictures = self._pictures if mixed else self._quiet or self._pictures
        if pictures is not None:
            here = self.device.type == "cpu" and self.normalise is not None
            found = pictures.batch(rows.numpy(), epochs, self._finished if here else None, canvas)
            images, targets = found.images.to(self.device), found.targets
            images = images if here else self._finished(images)
            self._count(found.dropped)
        else:
            images, targets = self._augmented(rows, epochs, canvas) if mixed else self._moved(rows, epochs, canvas)
            images = self._finished(images)
        done = Batch(images, {name: _collated(one) for name, one in targets.items()}, index)
        return done if self.device.type == "cpu" else done.to(self.device)

    def _canvas(self, step: int) -> tuple[int, ...] | None:
        """The canvas of a step's batch; None: the nominal one."""
        if self._small is not None and step < self._small_steps:
            return self._small
        return draw_canvas(self.seed, step, self.canvases) if len(self.canvases) > 1 else None

    def _augmented(
        self, rows: Tensor, epochs: NDArray[np.int64], canvas: tuple[int, ...] | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Samples of one shape, a batch at a time."""
        augment = self.augment
        if augment is None or not augment.mixup:
            return self._moved(rows, epochs, canvas)
        others, weights = partners(self.seed, augment.mixup, self.indices[rows.numpy()], epochs, len(self))
        one, other = (self._moved(each, epochs, canvas) for each in (rows, torch.from_numpy(others)))
        targets: dict[str, Any] = {}
        for name, values in one[1].items():
            if isinstance(values, Tensor):
                first, second = (as_tags(each[1][name], len(self.shards.classes)) for each in (one, other))
                targets[name] = blended(first, second, weights)
            else:
                pairs = zip(values, other[1][name], weights.tolist(), strict=True)
                targets[name] = [joined(first, second, weight) for first, second, weight in pairs]
        return blended(one[0], other[0], weights), targets

    def _moved(
        self, rows: Tensor, epochs: NDArray[np.int64], canvas: tuple[int, ...] | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Samples of one shape under their own augmentation on the canvas (None: the nominal one), boxes cut to it."""
        images, targets = self._gather(rows)
        keep, moved = KEEP_BOXES, targets
        if self.augment is not None:
            keep, index = self.augment.keep_boxes, self.indices[rows.numpy()]
            images, maps = self.augment.apply(images, self.seed, epochs, index, self.shards.dtype, canvas)
            moved = {
                name: one if isinstance(one, Tensor) else [each.move(by) for each, by in zip(one, maps, strict=True)]
                for name, one in targets.items()
            }
        size = tuple(images.shape[2:])
        for name, found in moved.items():
            if not isinstance(found, Tensor) and found and isinstance(found[0], Boxes):
                cut = [boxes.clip(size, keep) for boxes in found]
                moved[name] = [boxes for boxes, _ in cut]
                self._count(sum(lost for _, lost in cut))
        return images, moved

    def _fitted(self, rows: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Samples under the fixed transforms alone, on the device."""
        assert self._pictures is not None
        samples = in_threads(self._pictures.fitted, rows.tolist())
        images = torch.stack([_wide(one.image) for one in samples]).to(self.device)
        return images, {name: [one.targets[name] for one in samples] for name in samples[0].targets}

    def _count(self, dropped: int) -> None:
        if dropped:
            with self._lock:
                self.dropped += dropped

    def _gather(self, rows: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Images and targets of some rows, on the device: labels as tensors, other kinds as lists."""
        if self.images is None or self.targets is None:
            chosen = self.indices[rows.numpy()]
            images = _tensor(self.shards.images(chosen)).to(self.device)
            targets = self.shards.targets(chosen)
            return images, {
                name: one.to(self.device) if isinstance(one, Tensor) else one for name, one in targets.items()
            }
        at = rows.to(self.device)
        found = {
            name: one.index_select(0, at) if isinstance(one, Tensor) else [one[row] for row in rows.tolist()]
            for name, one in self.targets.items()
        }
        return self.images.index_select(0, at), found

    def _finished(self, images: Tensor) -> Tensor:
        return images if self.normalise is None or self.normalised else self.normalise.images(images)

    def _read_ahead(self, step: int) -> Batch:
        """A batch from the disk, while a thread reads the next one: both are functions of their number alone."""
        if self._reader is None:
            self._reader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        ahead, self._ahead = self._ahead, None
        batch = ahead[1].result() if ahead is not None and ahead[0] == step else self._made(step)
        self._ahead = (step + 1, self._reader.submit(self._made, step + 1))
        return batch


def _tensor(images: NDArray[Any]) -> Tensor:
    """Images as a tensor torch can compute with: it has next to nothing for uint16, and float32 holds it exactly."""
    return torch.from_numpy(images.astype(np.float32) if images.dtype == np.uint16 else images)


def _wide(image: Tensor) -> Tensor:
    return image.float() if image.dtype == torch.uint16 else image


def _collated(targets: Tensor | list[Target]) -> Any:
    return targets if isinstance(targets, Tensor) else type(targets[0]).collate(targets)
