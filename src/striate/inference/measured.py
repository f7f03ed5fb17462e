"""Measuring: a predictor's decoded outputs against the targets of prepared data, batch by batch, by the task's figures.

What is measured in pixels is measured in those of the originals, as they were annotated: every batch goes to the task
with where on the canvas its originals are. The samples that come off worst are named.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from striate.core.map import AxisMap, Map
from striate.core.sample import Batch
from striate.core.transform import Compose, Resize
from striate.data.loader import Loader
from striate.data.shards import Shards
from striate.inference.predictor import Predictor, at_once
from striate.tasks.task import Place

WORST = 20
"""How many of the samples that come off worst are named."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A split of prepared data, as the model is measured on it: ``loader`` gives its samples, brought to the canvas by
    ``fit`` (None: stored at its size); ``renumber`` maps the data's class numbers to the model's (None: the same)."""

    predictor: Predictor
    loader: Loader
    split: str
    fit: Compose | None = None
    renumber: Tensor | None = None

    @property
    def shards(self) -> Shards:
        """The prepared data."""
        return self.loader.shards

    def figures(self, batch: int = 2048) -> dict[str, Any]:
        """The task's figures, and where it names none itself, the samples of the lowest headline under ``worst``."""
        most = at_once(batch, self.predictor.input_shape)
        return measure(self.predictor, self.loader.sequential(most), self)

    def few(self, positions: Sequence[int] | NDArray[np.integer]) -> Iterable[tuple[Batch, list[Place]]]:
        """Samples by their positions in the data, one at a time in this order, with where the originals are."""
        rows = np.asarray(positions, dtype=np.int64)
        if not len(rows):
            return
        loader = Loader(self.shards, rows, 1, 0, None, self.loader.normalise, fit=self.fit)
        for one in loader.sequential(1):
            yield one, self.places(one.index.numpy())

    def places(self, positions: NDArray[np.integer]) -> list[Place]:
        """Where on the canvas the originals of samples are, by their positions in the data."""
        return places(self.shards, positions, self.fit)

    def target(self, batch: Batch) -> Any:
        """The batch's collated target in the model's numbers of classes."""
        task = self.predictor.task
        target = batch.targets[task.target]
        return target if self.renumber is None else task.renumber(target, self.renumber, len(self.predictor.classes))


def measure(predictor: Predictor, batches: Iterable[Batch], split: Measured | None = None) -> dict[str, Any]:
    """The task's figures over batches of prepared inputs. ``split`` says what the batches are of: with it classes are
    renumbered, pixels are those of the originals, and the worst samples have their names."""
    task = predictor.task
    metrics = task.metrics(predictor.classes)
    lowest = Lowest(predictor)
    for batch in batches:
        target = batch.targets[task.target] if split is None else split.target(batch)
        decoded = predictor.decode(batch.images)
        metrics.update(decoded, target, batch.index, None if split is None else split.places(batch.index.numpy()))
        if task.blended:
            lowest.update(decoded, target, batch.index.tolist())
    figures = metrics.compute()
    if task.blended:
        figures["worst"] = lowest.compute()
    return figures if split is None else named(figures, split.shards.names)


def named(figures: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The figures with the name of each sample beside its position, ``image``, in ``worst`` and ``doubtful``."""
    listed: dict[str, Any] = {
        key: [{**one, "name": names[one["image"]]} for one in figures[key]]
        for key in ("worst", "doubtful")
        if key in figures
    }
    return {**figures, **listed}


class Lowest:
    """The headline figure of every sample by itself, for tasks that answer for every position; kept of the lowest."""

    def __init__(self, predictor: Predictor) -> None:
        self.task, self.classes = predictor.task, predictor.classes
        self.values: list[tuple[float, int]] = []

    def update(self, decoded: dict[str, Tensor], target: Tensor, index: Sequence[int]) -> None:
        """Take in one batch; a sample without a figure (all of it void) is left out."""
        for row, position in enumerate(index):
            metrics = self.task.metrics(self.classes)
            metrics.update({name: one[row : row + 1] for name, one in decoded.items()}, target[row : row + 1])
            value = metrics.compute()[self.task.headline]
            if value is not None:
                self.values.append((float(value), int(position)))

    def compute(self) -> list[dict[str, Any]]:
        """``{"image", "value"}`` of at most :data:`WORST`, the lowest first; perfect ones are left out."""
        return [{"image": position, "value": value} for value, position in sorted(self.values)[:WORST] if value < 1]


def places(shards: Shards, positions: NDArray[np.integer], fit: Compose | None) -> list[Place]:
    """Where on the canvas of ``fit`` the originals of stored samples are.

    Samples that were only resized before they were stored are taken by the sizes before and after, so that it does not
    matter whether they were decoded at a part of their size; else the stored preprocessing says it.
    """
    store = Compose.from_json(shards.preprocessing, str(shards.folder))
    resized = all(isinstance(step, Resize) for step in store.steps)
    known: dict[tuple[tuple[int, ...], tuple[int, ...]], Place] = {}
    sizes = shards.rows[positions][:, shards.schema.image_columns][:, 1:].tolist()
    found = []
    for original, stored in zip(map(tuple, shards.originals[positions].tolist()), map(tuple, sizes), strict=True):
        if (original, stored) not in known:
            if resized:
                axes = enumerate(zip(original, stored, strict=True))
                by = Map.aligned(tuple(AxisMap(axis, m / n, 0.0) for axis, (n, m) in axes), stored)
            else:
                by = store.map(original)
            known[original, stored] = Place(original, by if fit is None else fit.map(stored) @ by)
        found.append(known[original, stored])
    return found
