"""Pictures of a run's report: samples as the network saw them in training, and what it says of others beside the truth.

They come out of the same loader as the batches, so that whatever was done to a sample shows.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from striate.core.sample import Batch, Boxes
from striate.data.loader import Loader
from striate.inference.predictor import Predictor
from striate.recipes.sources import Source
from striate.report.overlays import Outline, Shown, pictures
from striate.report.records import Figure
from striate.tasks.task import Marks

if TYPE_CHECKING:
    from striate.training.settings import TrainingSettings

SEEN = 8
ANSWERED = 8
_BACKGROUND = "background"


def seen_in_training(source: Source, settings: "TrainingSettings", target: str) -> Figure:
    """A few training samples as the first epoch showed them, augmented, with their targets."""
    rows = _spread(source.splits["train"], SEEN)
    augment = settings.augment if settings.augmented else None
    loader = Loader(source.shards, rows, len(rows), settings.seed, augment, source.normalise, fit=source.fit)
    batch = loader.batch(0)
    marks = target_marks(batch.targets.get(target), source.classes, len(batch))
    values = _values(batch, source)
    items = [
        _shown(one, each, each.text or _name(source, at))
        for one, each, at in zip(values, marks, batch.index, strict=True)
    ]
    return _drawn(items, source.classes, "Training samples as the network saw them in the first epoch.")


def answers(predictor: Predictor, source: Source, split: str) -> Figure | None:
    """What the network says of a few samples of a split: beside the truth where answers have a place, else in a note
    where it is wrong. None where the task draws nothing."""
    rows = _spread(source.splits[split], ANSWERED)
    loader = Loader(source.shards, rows, len(rows), 0, None, source.normalise, fit=source.fit)
    items = []
    for batch in loader.sequential(1):
        found = predictor.task.answer_marks(predictor.decode(batch.images), source.classes)
        if not found:
            return None
        truth = target_marks(batch.targets.get(predictor.task.target), source.classes, 1)[0]
        value, name = _values(batch, source)[0], _name(source, batch.index[0])
        if found[0].text and truth.text:
            note = "" if found[0].text == truth.text else f"taken for {found[0].text}"
            items.append(Shown(value, truth.text, note=note))
        else:
            items += [_shown(value, truth, f"{name}: truth"), _shown(value, found[0], "answer")]
    return _drawn(items, source.classes, f"Samples of the {split} split, with what the network says of them.")


def target_marks(target: Any, classes: Sequence[str], count: int) -> list[Marks]:
    """How the collated target of ``count`` samples is drawn, by its kind; nothing for a kind that is not drawn."""
    if isinstance(target, Tensor) and target.ndim == 1:
        return [Marks(classes[number]) for number in target.tolist()]
    if isinstance(target, Tensor) and target.is_floating_point():
        return [Marks(", ".join(classes[k] for k in torch.nonzero(row >= 0.5).flatten().tolist())) for row in target]
    if isinstance(target, Tensor):
        return [Marks(mask=mask.cpu().numpy()) for mask in target]
    if isinstance(target, list) and target and isinstance(target[0], Boxes):
        return [Marks(outlines=_outlines(one)) for one in target]
    return [Marks()] * count


def _outlines(boxes: Boxes) -> tuple[Outline, ...]:
    rows = zip(boxes.bounds().tolist(), boxes.classes.tolist(), boxes.marks.tolist(), strict=True)
    return tuple(Outline(tuple(bounds), label) for bounds, label, ignored in rows if not ignored)


def _shown(values: NDArray[Any], marks: Marks, title: str) -> Shown:
    """A mask of a signal is drawn as the intervals of its classes, of a volume in its middle slice."""
    if marks.mask is None:
        outlines = marks.outlines if values.ndim < 4 else ()
        return Shown(values, title, outlines)
    numbers = marks.mask.astype(np.int64)
    if numbers.ndim == 1:
        return Shown(values, title, _intervals(numbers, values.shape[-1]))
    mask = numbers[numbers.shape[0] // 2] if numbers.ndim == 3 else numbers
    return Shown(values, title, mask=_placed(mask, values.shape[-2:]))


def _placed(mask: NDArray[np.int64], size: Sequence[int]) -> NDArray[np.int64]:
    """A mask of the middle of an image, with void around it."""
    whole = np.full(tuple(size), -1, dtype=np.int64)
    (top, left), (height, width) = ((n - m) // 2 for n, m in zip(size, mask.shape, strict=True)), mask.shape
    whole[top : top + height, left : left + width] = mask
    return whole


def _intervals(numbers: NDArray[np.int64], length: int) -> tuple[Outline, ...]:
    shift = (length - len(numbers)) // 2
    ends = np.flatnonzero(np.diff(numbers)) + 1
    runs = pairwise([0, *ends.tolist(), len(numbers)])
    return tuple(Outline((float(low + shift), float(high + shift)), int(numbers[low])) for low, high in runs)


def _drawn(items: list[Shown], classes: Sequence[str], caption: str) -> Figure:
    void = [_without_void(item, len(classes)) for item in items]
    clear = [number for number, name in enumerate(classes) if name.lower() == _BACKGROUND]
    return pictures(void, classes, caption, clear=clear[0] if clear else None)


def _without_void(item: Shown, classes: int) -> Shown:
    """Numbers that are no class are void, below 0."""
    mask = None if item.mask is None else np.where((item.mask >= 0) & (item.mask < classes), item.mask, -1)
    outlines = tuple(one for one in item.outlines if 0 <= one.label < classes)
    return Shown(item.values, item.title, outlines, mask, item.note)


def _values(batch: Batch, source: Source) -> list[NDArray[Any]]:
    """The images of a batch as they were before their values were scaled, in the type they are stored in if 8-bit."""
    shape = (-1, *(1,) * (batch.images.ndim - 2))
    normalise = source.normalise
    mean, std = (torch.tensor(value).reshape(shape) for value in (normalise.mean, normalise.std))
    images = (batch.images.cpu() * std + mean) / normalise.scale
    if source.shards.dtype == "uint8":
        images = images.round().clamp(0, 255).to(torch.uint8)
    return list(images.numpy())


def _spread(places: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    chosen = np.unique(np.linspace(0, len(places) - 1, min(most, len(places))).astype(int))
    return np.asarray(places[chosen], dtype=np.int64)


def _name(source: Source, index: Tensor) -> str:
    return source.shards.names[int(index)].rsplit("/", 1)[-1]
