"""Evaluation: a predictor's decoded outputs against the targets, batch by batch, through the task's metrics."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from striate.core.errors import InputError
from striate.core.sample import Batch
from striate.data.cache import prepared
from striate.data.collection import ALL, ReaderOptions
from striate.data.loader import Loader
from striate.data.reader import Reader, open_data
from striate.inference.predictor import Predictor, at_once, load
from striate.report.records import Cell, Table
from striate.tasks.task import DataFacts, Task

PREFERRED_SPLITS = ("test", "val", "all", "train")
"""The split that is measured when none is named: the first of these that the data has."""


@dataclass(frozen=True)
class Evaluation:
    """Figures of a model on a data set, by their plain names. ``split`` is what was measured."""

    figures: dict[str, Any]
    classes: tuple[str, ...]
    model: str
    data: str
    split: str
    task: str

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
        """The single figures, and those with one entry a class."""
        single: list[tuple[str, Cell]] = [
            (name, value) for name, value in self.figures.items() if isinstance(value, int | float)
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
        tables = [Table(("figure", "value"), tuple(single), caption=f"{self.model} on {self.data}, split {self.split}")]
        if each:
            rows = tuple(zip(self.classes, *each.values(), strict=True))
            tables.append(Table(("class", *each), rows))
        return tables


def measure(predictor: Predictor, batches: Iterable[Batch], renumber: Tensor | None = None) -> dict[str, Any]:
    """The task's figures over batches of prepared inputs. ``renumber`` maps the data's class numbers to the model's."""
    task = predictor.task
    metrics = task.metrics(predictor.classes)
    for batch in batches:
        target = batch.targets[task.target]
        if renumber is not None:
            target = task.renumber(target, renumber, len(predictor.classes))
        metrics.update(predictor.decode(batch.images), target, batch.index)
    return metrics.compute()


def evaluate(
    model: str | Path | Predictor,
    data: str | Path,
    *,
    split: str | None = None,
    format: str | None = None,
    options: ReaderOptions | None = None,
    batch: int = 256,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[int, int, str], None] = lambda done, total, seen: None,
) -> Evaluation:
    """Measure a model on labelled data, prepared by the model's own preprocessing.

    Classes are matched by name, so that data with fewer classes, or with another order, is measured rightly.
    Errors: ``InputError`` for a bad model or data, a class the model does not know, or a split that is not there.
    """
    predictor = model if isinstance(model, Predictor) else load(model)
    reader = open_data(data, format, (options or predictor.options).replace(minimum_classes=1, classes=()))
    say(reader.found)
    _demand_target(predictor.task, reader, data)
    chosen = split or next(name for name in PREFERRED_SPLITS if name in reader.splits)
    if chosen not in reader.splits:
        raise InputError(data, f"it has no split {chosen!r}", f"choose one of: {', '.join(reader.splits)}")
    renumber = _renumbering(tuple(reader.classes), predictor.classes, data)
    predictor.demand_fit(_first_shape(reader), data)
    shards = prepared(reader, predictor.geometry, cache=cache, say=say, show=show)
    shape = shards.demand_one_shape()
    if shape != predictor.input_shape:
        raise InputError(
            data,
            f"its samples are {_times(shape)}, the model takes {_times(predictor.input_shape)}",
            "give data of the size the model was trained on",
        )
    if not len(shards.splits[chosen]):
        raise InputError(data, f"no sample of the split {chosen!r} can be read", "correct the data")
    if shards.data_fingerprint == predictor.trained_on and chosen in (ALL, "train"):
        say(f"note: the model was trained on samples of this data; figures of the split {chosen!r} flatter it")
    loader = Loader(shards, shards.splits[chosen], batch=batch, seed=0, normalise=predictor.normalise)
    figures = measure(predictor, loader.sequential(at_once(batch, predictor.input_shape)), renumber)
    return Evaluation(figures, predictor.classes, predictor.source, str(data), chosen, predictor.task.kind)


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
