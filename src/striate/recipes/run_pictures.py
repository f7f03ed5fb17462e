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

from striate.core.bitsets import MOST_CLASSES, unpacked
from striate.core.sample import Batch, Boxes
from striate.core.transform import Normalise
from striate.data.loader import Loader
from striate.data.shards import Shards
from striate.inference.measured import Measured
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
    rows = spread(source.shards, source.splits["train"], SEEN)
    augment = settings.augment if settings.augmented else None
    loader = Loader(source.shards, rows, len(rows), settings.seed, augment, source.normalise, fit=source.fit)
    batch = loader.batch(0)
    marks = target_marks(batch.targets.get(target), source.classes, len(batch), source.shards.multi_label)
    values = stored_values(batch, source.shards, source.normalise)
    items = [
        marked(one, each, each.text or short_name(source.shards, at))
        for one, each, at in zip(values, marks, batch.index, strict=True)
    ]
    return drawn(items, source.classes, "Training samples as the network saw them in the first epoch.")


def answers(measured: Measured) -> Figure | None:
    """What the network says of a few samples of a split: beside the truth where answers have a place, else in a note
    where it is wrong. None where the task draws nothing."""
    predictor, shards = measured.predictor, measured.shards
    classes = predictor.classes
    items = []
    for batch, _ in measured.few(spread(shards, measured.loader.indices, ANSWERED)):
        found = predictor.task.answer_marks(predictor.decode(batch.images), classes)
        if not found:
            return None
        truth = target_marks(measured.target(batch), classes, 1, shards.multi_label)[0]
        value, name = stored_values(batch, shards, predictor.normalise)[0], short_name(shards, batch.index[0])
        if found[0].text and truth.text:
            note = "" if found[0].text == truth.text else f"taken for {found[0].text}"
            items.append(Shown(value, truth.text, note=note))
        else:
            items += [marked(value, truth, f"{name}: truth"), marked(value, found[0], "answer")]
    return drawn(items, classes, f"Samples of the {measured.split} split, with what the network says of them.")


def target_marks(target: Any, classes: Sequence[str], count: int, several: bool = False) -> list[Marks]:
    """How the collated target of ``count`` samples is drawn, by its kind; nothing for a kind that is not drawn. The
    values of masks of ``several`` classes a pixel are bit sets."""
    if isinstance(target, Tensor) and target.ndim == 1:
        return [Marks(classes[number]) for number in target.tolist()]
    if isinstance(target, Tensor) and target.is_floating_point():
        return [Marks(", ".join(classes[k] for k in torch.nonzero(row >= 0.5).flatten().tolist())) for row in target]
    if isinstance(target, Tensor):
        return [Marks(mask=mask.cpu().numpy(), several=several) for mask in target]
    if isinstance(target, list) and target and isinstance(target[0], Boxes):
        return [Marks(outlines=_outlines(one)) for one in target]
    return [Marks()] * count


def _outlines(boxes: Boxes) -> tuple[Outline, ...]:
    rows = zip(boxes.bounds().tolist(), boxes.classes.tolist(), boxes.marks.tolist(), strict=True)
    return tuple(Outline(tuple(bounds), label) for bounds, label, ignored in rows if not ignored)


def marked(values: NDArray[Any], marks: Marks, title: str) -> Shown:
    """A sample with its marks. A mask of a signal is drawn as the intervals of its classes, of a volume in its middle
    slice."""
    if marks.mask is None:
        outlines = marks.outlines if values.ndim < 4 else ()
        return Shown(values, title, outlines)
    numbers = marks.mask.astype(np.int64)
    if numbers.ndim == 1:
        return Shown(values, title, _intervals(numbers, values.shape[-1], marks.several))
    mask = numbers[numbers.shape[0] // 2] if numbers.ndim == 3 else numbers
    return Shown(values, title, mask=_placed(mask, values.shape[-2:]), several=marks.several)


def _placed(mask: NDArray[np.int64], size: Sequence[int]) -> NDArray[np.int64]:
    """A mask of the middle of an image, with void around it."""
    whole = np.full(tuple(size), -1, dtype=np.int64)
    (top, left), (height, width) = ((n - m) // 2 for n, m in zip(size, mask.shape, strict=True)), mask.shape
    whole[top : top + height, left : left + width] = mask
    return whole


def _intervals(numbers: NDArray[np.int64], length: int, several: bool) -> tuple[Outline, ...]:
    if several:  # those of each class on its own; void, which is none, is not drawn
        layers = unpacked(numbers, MOST_CLASSES)
        each = [(label, _intervals(np.where(layer, label, -1), length, False)) for label, layer in enumerate(layers)]
        return tuple(one for label, found in each for one in found if one.label == label)
    shift = (length - len(numbers)) // 2
    ends = np.flatnonzero(np.diff(numbers)) + 1
    runs = pairwise([0, *ends.tolist(), len(numbers)])
    return tuple(Outline((float(low + shift), float(high + shift)), int(numbers[low])) for low, high in runs)


def drawn(items: list[Shown], classes: Sequence[str], caption: str, across: int = 4) -> Figure:
    """The samples in rows; what is no class is void, and a background is left clear."""
    void = [_without_void(item, len(classes)) for item in items]
    clear = [number for number, name in enumerate(classes) if name.lower() == _BACKGROUND]
    clear = [] if any(item.several for item in items) else clear  # there a background is a class like others
    return pictures(void, classes, caption, across=across, clear=clear[0] if clear else None)


def _without_void(item: Shown, classes: int) -> Shown:
    """Numbers that are no class are void, below 0."""
    limit = 1 << classes if item.several else classes
    mask = None if item.mask is None else np.where((item.mask >= 0) & (item.mask < limit), item.mask, -1)
    outlines = tuple(one for one in item.outlines if 0 <= one.label < classes)
    return Shown(item.values, item.title, outlines, mask, item.note, several=item.several)


def stored_values(batch: Batch, shards: Shards, normalise: Normalise | None) -> list[NDArray[Any]]:
    """The images of a batch as they were before their values were scaled, in the type they are stored in if 8-bit."""
    images = batch.images.cpu()
    if normalise is not None:
        shape = (-1, *(1,) * (images.ndim - 2))
        mean, std = (torch.tensor(value).reshape(shape) for value in (normalise.mean, normalise.std))
        images = (images * std + mean) / normalise.scale
    if shards.dtype == "uint8":
        images = images.round().clamp(0, 255).to(torch.uint8)
    return list(images.numpy())


def spread(shards: Shards, places: NDArray[np.integer], most: int) -> NDArray[np.int64]:
    """Some samples out of ``places``: of labelled ones each class in turn, of others evenly over all."""
    labels = shards.labels
    chosen = np.unique(np.linspace(0, len(places) - 1, min(most, len(places))).astype(int))
    if labels is None or labels.ndim != 1:
        return np.asarray(places[chosen], dtype=np.int64)
    own = labels[places]
    turns = [np.flatnonzero(own == number) for number in np.unique(own)]
    if len(turns) > most:  # more classes than pictures: a sample of as many classes as there is room for
        turns = [turns[place] for place in np.linspace(0, len(turns) - 1, most).astype(int)]
    each = -(-most // len(turns))
    rounds = [turn[np.unique(np.linspace(0, len(turn) - 1, min(each, len(turn))).astype(int))] for turn in turns]
    order = [turn[place] for place in range(each) for turn in rounds if place < len(turn)]
    return np.asarray(places[order[:most]], dtype=np.int64)


def short_name(shards: Shards, index: Tensor | int) -> str:
    """The last part of a sample's name."""
    return shards.names[int(index)].rsplit("/", 1)[-1]
