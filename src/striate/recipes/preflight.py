"""Preflight: the data against the network that is to learn it, before an hour is spent on training.

The doctor (:mod:`striate.data.doctor.examine`) says what is wrong with the data alone. This joins it with the network:
what a unit sees against how large the objects are, which objects a grid would lose, and, from a few real steps, how
long an epoch takes and how much memory a step needs.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from striate import tasks
from striate.architectures.backbone import Architecture, FeatureInfo, architecture
from striate.core.errors import InputError
from striate.core.sample import Batch, Sample, collate
from striate.core.spec import discover
from striate.core.transform import Compose, Normalise
from striate.data.collection import ALL
from striate.data.problems import Severity
from striate.data.reader import Reader
from striate.recipes import defaults
from striate.recipes.geometry import Geometry
from striate.recipes.objects import PYRAMID, TINY, Objects, objects
from striate.tasks.task import DataFacts, Task, task_for
from striate.training.batch_size import kept_bytes
from striate.training.settings import TrainingSettings

TIMED_BATCH = 8
"""Largest batch of the timed steps; time and memory of a larger one are in proportion."""
TIMED_STEPS = 3
TIMED_SECONDS = 4.0
"""No further step is begun after so many seconds."""
YOLO_GRID = 7
"""Cells a side of the first YOLO (Redmon et al. 2016, arXiv 1506.02640): one class a cell."""
MANY = 0.05
"""Share of objects from which on a loss is worth a warning."""


@dataclass(frozen=True)
class Advice:
    """One thing to know before training: how bad it is, what it is, and what would help."""

    severity: Severity
    cause: str
    fix: str


@dataclass(frozen=True)
class Grid:
    """A grid of cells over the canvas: what it is called, its cells, the objects it answers for, and how many of them
    are lost because another's centre lies in the same cell."""

    name: str
    cells: tuple[int, ...]
    objects: int
    lost: int


@dataclass(frozen=True)
class Timing:
    """A few real steps: samples a second, seconds for an epoch of the training split, and the bytes that a step of
    ``batch`` samples needs. ``whole`` is False where the backbone was timed without a head. Decoding is not counted.
    """

    rate: float
    epoch_seconds: float
    memory: int
    batch: int
    whole: bool


@dataclass(frozen=True)
class Preflight:
    """What is known before training: the network's name, input (C, *S), parameters and feature maps, the objects, the
    grids, the timing (None where it was not asked for), and the advice that follows."""

    network: str
    input_shape: tuple[int, ...]
    parameters: int
    features: tuple[FeatureInfo, ...]
    objects: Objects | None
    grids: tuple[Grid, ...]
    timing: Timing | None
    advice: tuple[Advice, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        found = self.objects
        return {
            "network": self.network,
            "input_shape": list(self.input_shape),
            "parameters": self.parameters,
            "features": [
                {"name": one.name, "stride": [float(n) for n in one.stride], "receptive_field": one.receptive_field}
                for one in self.features
            ],
            "objects": None if found is None else _object_figures(found),
            "grids": [vars(grid) for grid in self.grids],
            "timing": None if self.timing is None else vars(self.timing),
            "advice": [vars(one) for one in self.advice],
        }


def preflight(
    reader: Reader,
    geometry: Geometry,
    name: str | None = None,
    options: dict[str, Any] | None = None,
    steps: bool = True,
) -> Preflight:
    """The data of a reader against the architecture ``name`` (None: what suits the data), with ``steps`` timed steps.

    Errors: ``InputError`` for an unknown architecture, one that cannot take the samples, or data without any sample.
    """
    shape = _input_shape(reader, geometry)
    chosen = name or defaults.architecture_for(shape, reader.target)
    spec = architecture(chosen, options or {})
    found = objects(reader, geometry)
    features = spec.features(shape)
    grids = () if found is None or found.regions else tuple(_grids(found))
    task = _task(reader, shape, {} if name else defaults.task_options_for(shape, reader.target))
    network = spec.backbone() if task is None else task.network(spec, len(reader.classes))
    timing = _timed(reader, geometry, shape, spec, task) if steps else None
    parameters = network.parameters(shape)
    advice = tuple(_advice(found, features, grids, shape, reader))
    return Preflight(chosen, shape, parameters, features, found, grids, timing, advice)


def _input_shape(reader: Reader, geometry: Geometry) -> tuple[int, ...]:
    for position in range(len(reader)):
        try:
            image = reader.image(position)
        except InputError:
            continue
        whole = Compose(steps=(*geometry.store.steps, *geometry.fit.steps))
        return (len(image), *whole.output_size(tuple(image.shape[1:])))
    raise InputError(reader.path, "none of its samples can be read", "correct the data")


def _task(reader: Reader, shape: tuple[int, ...], options: dict[str, Any]) -> Task | None:
    """The task that would learn this data, or None where there is none for its target."""
    discover(tasks)
    counts = (1,) * len(reader.classes)
    facts = DataFacts(
        target=reader.target,
        classes=reader.classes,
        counts=counts,
        multi_label=reader.multi_label,
        axes=len(shape) - 1,
        canvas=shape[1:],
    )
    try:
        return task_for(facts, options=options)
    except InputError:
        return None


def _grids(found: Objects) -> list[Grid]:
    """The 7x7 grid of the first YOLO, then the heads of a pyramid with the objects of their sizes."""
    axes = len(found.canvas)
    cells = (YOLO_GRID,) * axes
    grids = [Grid("one grid of " + "x".join(map(str, cells)), cells, len(found), found.lost(cells))]
    for stride, (least, most) in PYRAMID.items():
        cells = tuple(max(1, -(-n // stride)) for n in found.canvas)
        which = (found.longer >= least) & (found.longer < most)
        reach = f"{least:g} px and more" if most == np.inf else f"{least:g} to {most:g} px"
        grids.append(Grid(f"head of stride {stride} ({reach})", cells, int(which.sum()), found.lost(cells, which)))
    return grids


def _timed(
    reader: Reader, geometry: Geometry, shape: tuple[int, ...], spec: Architecture, task: Task | None
) -> Timing | None:
    """A few steps on real samples; None where no batch can be made of those that can be read."""
    training = len(reader.splits.get("train", reader.splits.get(ALL, ())))
    wanted = defaults.training_for(TrainingSettings(), shape, max(training, 1), reader.target).samples_a_step
    batch = _first_batch(reader, geometry, min(wanted, TIMED_BATCH))
    if batch is None:
        return None
    network = spec.backbone() if task is None else task.network(spec, len(reader.classes))
    module = network.build(shape)
    seconds: list[float] = []
    while len(seconds) <= TIMED_STEPS and sum(seconds) < TIMED_SECONDS:
        start = time.perf_counter()
        with kept_bytes(module) as kept:
            raw = module(batch.images)
            if task is None:
                loss = sum(torch.as_tensor(one.square().mean()) for one in _tensors(raw))
            else:
                total, count = task.loss(raw, batch.targets[task.target])
                loss = total / (count or 1)
        torch.as_tensor(loss).backward()
        seconds.append(time.perf_counter() - start)
        module.zero_grad()
    rate = len(batch) / float(np.median(seconds[1:] or seconds))  # the first of several warms up
    weights = sum(one.numel() * one.element_size() for one in module.parameters())
    memory = 3 * weights + int(kept() * wanted / len(batch))  # weights, gradients and momentum
    return Timing(rate, training / rate, memory, wanted, task is not None)


def _first_batch(reader: Reader, geometry: Geometry, size: int) -> Batch | None:
    whole = Compose(steps=(*geometry.store.steps, *geometry.fit.steps))
    samples: list[Sample] = []
    for position in range(len(reader)):
        if len(samples) == size:
            break
        try:
            samples.append(whole(reader.read(position)))
        except InputError:
            continue
    try:
        batch = collate(samples, range(len(samples))) if samples else None
    except ValueError:
        return None
    if batch is None:
        return None
    images = batch.images.float()
    scale = Normalise(mean=float(images.mean()), std=max(float(images.std()), 1e-6))
    return Batch(scale.images(images), batch.targets, batch.index)


def _tensors(raw: Any) -> Sequence[Tensor]:
    return list(raw.values()) if isinstance(raw, dict) else [raw]


def _advice(
    found: Objects | None,
    features: tuple[FeatureInfo, ...],
    grids: tuple[Grid, ...],
    shape: tuple[int, ...],
    reader: Reader,
) -> list[Advice]:
    advice = []
    deepest = next((one for one in reversed(features) if one.receptive_field), None)
    if found is not None and len(found):
        what = "regions" if found.regions else "objects"
        side = max(shape[1:])
        if found.tiny:
            share = found.tiny / len(found)
            severity: Severity = "warning" if share >= MANY else "note"
            larger = _needed(found, side)
            cause = f"{found.tiny:,} of {len(found):,} {what} ({share:.0%}) have a side under {TINY:g} px at this size"
            fix = f"--size {larger} would leave 5% of them" if larger else "a larger --size shows more of them"
            advice.append(Advice(severity, cause, fix))
        if deepest is not None:
            beyond = int((found.sides > np.array(deepest.receptive_field)).any(axis=1).sum())
            if beyond:
                share = beyond / len(found)
                field = "x".join(map(str, deepest.receptive_field))
                cause = (
                    f"{beyond:,} of {len(found):,} {what} ({share:.0%}) are larger than the receptive field of "
                    f"{deepest.name} ({field} px)"
                )
                severity = "warning" if share >= MANY else "note"
                advice.append(Advice(severity, cause, "choose a deeper network (--arch), or a smaller --size"))
        for grid in grids:
            if grid.lost and grid.lost >= MANY * max(1, grid.objects):
                cause = f"{grid.name}: {grid.lost:,} of {grid.objects:,} objects share a cell with another"
                fix = "use a finer grid or several heads" if grid is grids[0] else "a larger --size spreads them"
                advice.append(Advice("note" if grid is grids[0] else "warning", cause, fix))
    elif (
        found is None
        and deepest is not None
        and any(field < side for field, side in zip(deepest.receptive_field, shape[1:], strict=True))
    ):
        field, whole = "x".join(map(str, deepest.receptive_field)), "x".join(map(str, shape[1:]))
        cause = f"a unit of {deepest.name} sees {field} of {whole}: what is farther apart meets only in the pooling"
        advice.append(Advice("note", cause, "right for textures and short patterns; else choose a deeper --arch"))
    return advice


def _needed(found: Objects, side: int) -> int | None:
    """The longer side, a multiple of 32, at which one object in twenty is still tiny; None beyond four times this."""
    smallest = float(np.quantile(found.sides.min(axis=1), MANY))
    if smallest <= 0:
        return None
    wanted = int(np.ceil(side * TINY / smallest / 32) * 32)
    return wanted if side < wanted <= 4 * side else None


def _object_figures(found: Objects) -> dict[str, Any]:
    quantiles = np.quantile(found.longer, (0.05, 0.5, 0.95)).tolist() if len(found) else []
    return {
        "count": len(found),
        "are": "regions of masks" if found.regions else "boxes",
        "samples_looked_at": found.looked_at,
        "longer_side_quantiles_5_50_95": quantiles,
        "under_4_pixels": found.tiny,
    }
