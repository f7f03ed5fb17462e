"""Evaluation: a model against labelled data, brought to it by the model's own preprocessing."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from striate.core.errors import InputError
from striate.core.transform import Compose, Resize, Transform
from striate.data.cache import prepared
from striate.data.collection import ALL, ReaderOptions
from striate.data.loader import Loader
from striate.data.reader import Reader, open_data
from striate.inference.held import held_out
from striate.inference.measured import Measured
from striate.inference.predictor import Predictor, load
from striate.inference.tiling import Tiling
from striate.inference.windows import measure_windows
from striate.report.records import Cell, Table, counted
from striate.tasks.task import DataFacts, Task

PREFERRED_SPLITS = ("test", "val", "all", "train")
"""The split that is measured when none is named: the first of these that the data has."""


@dataclass(frozen=True)
class Evaluation:
    """Figures of a model on a data set, by their plain names. ``split`` is what was measured, of ``samples`` samples.
    ``measured`` gives the samples themselves, for pictures; None where the model went over them window by window."""

    figures: dict[str, Any]
    classes: tuple[str, ...]
    model: str
    data: str
    split: str
    task: str
    samples: int = 0
    reader: Reader | None = field(default=None, compare=False)
    measured: Measured | None = field(default=None, compare=False)

    def heading(self) -> str:
        """What was measured on what, in one line."""
        return f"{self.model} on {self.data}, split {self.split}, {counted(self.samples, 'sample')}"

    def to_json(self) -> dict[str, Any]:
        """One plain object: every figure, and what was measured with what."""
        return {
            **self.figures,
            "classes": list(self.classes),
            "model": self.model,
            "data": self.data,
            "split": self.split,
            "task": self.task,
        }

    def tables(self) -> list[Table]:
        """The single figures, and those with one entry a class; what has no value is a dash."""
        single: list[tuple[str, Cell]] = [
            (name, value) for name, value in self.figures.items() if value is None or isinstance(value, int | float)
        ]
        single += [
            (name, "{:.4f} to {:.4f}".format(*value))
            for name, value in self.figures.items()
            if name.endswith("_interval")
        ]
        each = {
            name: value
            for name, value in self.figures.items()
            if isinstance(value, list) and len(value) == len(self.classes) and not isinstance(value[0], list | dict)
        }
        each = {name: value for name, value in each.items() if not name.endswith("_interval")}
        tables = [Table(("figure", "value"), tuple(single), ("left", "right"))]
        if each:
            rows = tuple(zip(self.classes, *each.values(), strict=True))
            tables.append(Table(("class", *each), rows))
        return tables


def evaluate(
    model: str | Path | Predictor,
    data: str | Path,
    *,
    split: str | None = None,
    format: str | None = None,
    options: ReaderOptions | None = None,
    batch: int = 256,
    cache: Path | None = None,
    tiling: Tiling | None = None,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[int, int, str], None] = lambda done, total, seen: None,
) -> Evaluation:
    """Measure a model on labelled data, prepared by the model's own preprocessing.

    Classes are matched by name, so that data with fewer classes, or with another order, is measured rightly. Where the
    data has no such ``split``, but the run that made the model held one out of it, that one is measured. With
    ``tiling`` the model goes over every sample window by window, and is measured at the size of the originals.
    Errors: ``InputError`` for a bad model or data, a class the model does not know, a split that is not there, or
    tiling with a task whose answers cannot be blended.
    """
    predictor = model if isinstance(model, Predictor) else load(model)
    reader = open_data(data, format, (options or predictor.options).replace(minimum_classes=1, classes=()))
    say(reader.found)
    _demand_target(predictor.task, reader, data)
    held = held_out(predictor, reader)
    chosen = split or next(name for name in PREFERRED_SPLITS if name in reader.splits)
    if chosen not in reader.splits and chosen not in held:
        known = ", ".join([*reader.splits, *(name for name in held if name not in reader.splits)])
        raise InputError(data, f"it has no split {chosen!r}", f"choose one of: {known}")
    renumber = _renumbering(tuple(reader.classes), predictor.classes, data)
    predictor.demand_fit(_first_shape(reader), data)
    wanted = held.get(chosen) if split is not None else None  # a split that is named is the run's, where it made one
    if wanted is not None:
        say(f"split: {chosen} as the run divided this data (split.json), {counted(len(wanted), 'sample')}")
    if reader.fingerprint() == predictor.trained_on and chosen in (ALL, "train"):
        hint = "; --split val measures what the run held out" if held.keys() > {"train"} else ""
        say(f"note: the model was trained on samples of this data; figures of the split {chosen!r} flatter it{hint}")
    known_as = predictor.classes, predictor.source, str(data), chosen, predictor.task.kind
    if tiling is not None:
        positions = reader.splits[chosen] if wanted is None else wanted
        figures, count = measure_windows(predictor, reader, positions, renumber, tiling, say=say, show=show)
        return Evaluation(figures, *known_as, count, reader)
    measured = _prepared(predictor, reader, chosen, wanted, renumber, batch, cache, say, show)
    return Evaluation(measured.figures(batch), *known_as, len(measured.loader), reader, measured)


def _prepared(
    predictor: Predictor,
    reader: Reader,
    split: str,
    wanted: NDArray[np.int64] | None,
    renumber: Tensor,
    batch: int,
    cache: Path | None,
    say: Callable[[str], None],
    show: Callable[[int, int, str], None],
) -> Measured:
    """The samples of a split (or the ``wanted`` ones of the reader), as the model takes them. Errors: ``InputError``
    where there are none, or they have another size."""
    store, fit = stored_and_fit(predictor.geometry)
    shards = prepared(reader, store, cache=cache, say=say, show=show)
    if fit is None:
        shards.demand_one_shape()
    rows = shards.splits[split] if wanted is None else np.flatnonzero(np.isin(shards.rows[:, 0], wanted))
    if not len(rows):
        raise InputError(reader.path, f"no sample of the split {split!r} can be read", "correct the data")
    loader = Loader(shards, rows, batch=batch, seed=0, normalise=predictor.normalise, fit=fit)
    if loader.shape != predictor.input_shape:
        raise InputError(
            reader.path,
            f"its samples are {_times(loader.shape)}, the model takes {_times(predictor.input_shape)}",
            "give data of the size the model was trained on",
        )
    return Measured(predictor, loader, split, fit, renumber)


def stored_and_fit(geometry: Compose) -> tuple[Compose, Compose | None]:
    """What is done to samples before they are stored, and what after (None: nothing): where the first step only shrinks
    and the others only move pixels, it alone comes before, as in training, so that both share what is prepared."""
    first, rest = geometry.steps[:1], geometry.steps[1:]
    shrinks = all(isinstance(step, Resize) and not step.enlarge for step in first)
    if not rest or not shrinks or any(type(step).images is not Transform.images for step in rest):
        return geometry, None
    return Compose(steps=first), Compose(steps=rest)


def _demand_target(task: Task, reader: Reader, data: str | Path) -> None:
    """Errors: ``InputError`` for another target than the task's, or several classes a sample in place of one."""
    facts = DataFacts(
        target=reader.target,
        classes=tuple(reader.classes),
        counts=(0,) * len(reader.classes),
        multi_label=reader.multi_label,
    )
    other = replace(facts, multi_label=not facts.multi_label)
    if facts.target != task.target or (task.for_data(facts, {}) is None and task.for_data(other, {}) is not None):
        form = ", several classes a sample" if reader.multi_label else ", one class a sample"
        raise InputError(
            data,
            f"its target ({reader.target}{form}) is not what the model's task, {task.kind}, learns",
            "give data of the kind the model was trained on",
        )


def _first_shape(reader: Reader) -> tuple[int, ...]:
    """Shape (C, *S) of the first sample that can be read; preparing lists the others. Errors: ``InputError``."""
    for position in range(len(reader)):
        try:
            return tuple(reader.image(position).shape)
        except InputError:
            continue
    raise InputError(reader.path, "none of its samples can be read", "correct the data")


def _renumbering(found: tuple[str, ...], known: tuple[str, ...], data: str | Path) -> Tensor:
    """Where each class of the data stands among the model's."""
    unknown = [name for name in found if name not in known]
    if unknown:
        raise InputError(
            data,
            f"the model does not know the class {unknown[0]!r} (it knows: {', '.join(known[:10])})",
            "name the classes as in training, or leave these samples out",
        )
    return torch.tensor([known.index(name) for name in found])


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
