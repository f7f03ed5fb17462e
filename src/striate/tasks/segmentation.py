"""Segmentation: one class for every position of a signal, image or volume (softmax); what it shares with several
classes a position (:mod:`striate.tasks.segmentation_multilabel`)."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field
from torch import Tensor

from striate.architectures.backbone import Architecture
from striate.architectures.decoders import Decoder
from striate.core.errors import InputError
from striate.core.map import Map
from striate.core.move import covered, move_images
from striate.core.spec import Spec, kinds
from striate.layers.layer import Layer, Shape
from striate.ops.multilabel_masks import binary_dice, lovasz_hinge, pixel_binary_cross_entropy
from striate.ops.segmentation_losses import lovasz_softmax, pixel_cross_entropy, soft_dice
from striate.ops.segmentation_metrics import IGNORE, Segmentation
from striate.report.plots import confusion_matrix
from striate.report.records import Block, Section, Table
from striate.tasks.task import DataFacts, Marks, Metrics, Place, Task

_LARGEST_WEIGHT = 10.0
"""A class weight is at most this many times that of the mean pixel, so that a class of few pixels does not rule."""
_AT_ONCE = 2**25
"""Probabilities that are moved to the original size at a time."""


class PixelLoss(Spec):
    """Base of the terms of a segmentation loss; ``weight`` is its share in the sum."""

    weight: float = Field(default=1.0, gt=0)

    @abstractmethod
    def of(self, logits: Tensor, target: Tensor, ignore: int, class_weights: Tensor | None) -> tuple[Tensor, float]:
        """Sum over the samples, and their number, of one class a position: see
        :mod:`striate.ops.segmentation_losses`."""

    @abstractmethod
    def of_each(
        self, logits: Tensor, target: Tensor, ignore: int, class_weights: Tensor | None
    ) -> tuple[Tensor, float]:
        """The same of any number of classes a position: see :mod:`striate.ops.multilabel_masks`."""


class CrossEntropy(PixelLoss):
    """The mean cross-entropy of a sample's pixels; of several classes a pixel that of each class, yes or no."""

    def of(self, logits: Tensor, target: Tensor, ignore: int, class_weights: Tensor | None) -> tuple[Tensor, float]:
        """See :func:`~striate.ops.segmentation_losses.pixel_cross_entropy`."""
        return pixel_cross_entropy(logits, target, ignore, class_weights)

    def of_each(
        self, logits: Tensor, target: Tensor, ignore: int, class_weights: Tensor | None
    ) -> tuple[Tensor, float]:
        """See :func:`~striate.ops.multilabel_masks.pixel_binary_cross_entropy`."""
        return pixel_binary_cross_entropy(logits, target, ignore, class_weights)


class Focal(PixelLoss):
    """Cross-entropy in which pixels that are answered rightly fade, the more the larger ``gamma``."""

    gamma: float = Field(default=2.0, ge=0)

    def of(self, logits: Tensor, target: Tensor, ignore: int, class_weights: Tensor | None) -> tuple[Tensor, float]:
        """See :func:`~striate.ops.segmentation_losses.pixel_cross_entropy`."""
        return pixel_cross_entropy(logits, target, ignore, class_weights, self.gamma)

    def of_each(
        self, logits: Tensor, target: Tensor, ignore: int, class_weights: Tensor | None
    ) -> tuple[Tensor, float]:
        """See :func:`~striate.ops.multilabel_masks.pixel_binary_cross_entropy`."""
        return pixel_binary_cross_entropy(logits, target, ignore, class_weights, self.gamma)


class Dice(PixelLoss):
    """1 - Dice of a sample, the mean over the classes that it has (of several classes a pixel over all)."""

    def of(self, logits: Tensor, target: Tensor, ignore: int, class_weights: Tensor | None) -> tuple[Tensor, float]:
        """See :func:`~striate.ops.segmentation_losses.soft_dice`."""
        return soft_dice(logits, target, ignore, class_weights)

    def of_each(
        self, logits: Tensor, target: Tensor, ignore: int, class_weights: Tensor | None
    ) -> tuple[Tensor, float]:
        """See :func:`~striate.ops.multilabel_masks.binary_dice`."""
        return binary_dice(logits, target, ignore, class_weights)


class Lovasz(PixelLoss):
    """A smooth bound of 1 - IoU of a sample, the mean over the classes that it has (of several classes a pixel over
    all)."""

    def of(self, logits: Tensor, target: Tensor, ignore: int, class_weights: Tensor | None) -> tuple[Tensor, float]:
        """See :func:`~striate.ops.segmentation_losses.lovasz_softmax`."""
        return lovasz_softmax(logits, target, ignore, class_weights)

    def of_each(
        self, logits: Tensor, target: Tensor, ignore: int, class_weights: Tensor | None
    ) -> tuple[Tensor, float]:
        """See :func:`~striate.ops.multilabel_masks.lovasz_hinge`."""
        return lovasz_hinge(logits, target, ignore, class_weights)


def _terms(given: object) -> object:
    """``"dice"`` stands for ``{"kind": "dice"}``, one term for a list of it."""
    several = given if isinstance(given, list | tuple) else (given,)
    terms = tuple({"kind": one} if isinstance(one, str) else one for one in several)
    known = kinds(PixelLoss)
    for one in terms:
        if isinstance(one, dict) and one.get("kind") not in known:
            raise ValueError(f"{one.get('kind')!r} is no loss of segmentation, those are {', '.join(known)}")
    return terms


Losses = Annotated[tuple[PixelLoss, ...], BeforeValidator(_terms), Field(min_length=1)]
DEFAULT_LOSSES: tuple[PixelLoss, ...] = (CrossEntropy(), Dice())


class _MaskOptions(Spec):
    """What may be chosen with one and with several classes a position. ``loss``: one or several of ``cross_entropy``,
    ``focal``, ``dice``, ``lovasz``, each by name or as a table with a ``weight``; they are added. ``balance`` weighs
    each class by the inverse root of its frequency in training (or by the inverse itself, ``"inverse"``). ``decoder``
    takes the place of the network's own way back to the input's size."""

    loss: Losses = DEFAULT_LOSSES
    balance: bool | Literal["root", "inverse"] = False
    decoder: Decoder | None = None

    def weights(self, counts: Sequence[int]) -> tuple[float, ...] | None:
        """The weights of the classes by their pixels in training, of mean 1 over these before the largest are cut; None
        for equal ones."""
        if not self.balance:
            return None
        power = 1.0 if self.balance == "inverse" else 0.5
        shares = np.maximum(np.array(counts, dtype=np.float64), 1.0) / max(sum(counts), 1)
        free = shares**-power
        return tuple(np.minimum(free / max(float((shares * free).sum()), 1e-12), _LARGEST_WEIGHT).tolist())


@final
class SegmentationOptions(_MaskOptions):
    """Options of :class:`SegmentationTask`."""


@final
class MultiLabelSegmentationOptions(_MaskOptions):
    """Options of several classes a position. ``score`` is the probability from which on a class is answered."""

    score: float = Field(default=0.5, gt=0, lt=1)


class MaskTask(Task):
    """What one and several classes a position share. ``losses`` are added; ``class_weights`` are one a class, or None
    for equal ones; ``ignore`` is the value of target positions that do not count."""

    target: ClassVar[str] = "mask"
    headline: ClassVar[str] = "mean_iou"
    blended: ClassVar[tuple[str, ...]] = ("probabilities",)
    losses: Losses = DEFAULT_LOSSES
    class_weights: tuple[float, ...] | None = None
    ignore: int = IGNORE
    decoder: Decoder | None = None

    def outputs(self, classes: int) -> int:
        """One logit a class."""
        return classes

    def network(self, architecture: Architecture, classes: int) -> Layer:
        """The architecture's dense network, with the task's decoder where it has one."""
        return architecture.dense(classes, self.decoder)

    def demand_outputs(self, network: Layer, input_shape: Shape, classes: int, where: object) -> None:
        """Errors: ``InputError`` where the network gives no map of all classes within the input's size."""
        found = network.output_shape(input_shape)
        fits = len(found) == len(input_shape) and all(n <= m for n, m in zip(found[1:], input_shape[1:], strict=True))
        if not fits or found[0] != classes:
            cause = f"outputs {found} for an input {input_shape} and {classes} classes"
            raise InputError(where, cause, "use a file written whole")

    def added(
        self, raw: Tensor, term: Callable[[PixelLoss, Tensor | None], tuple[Tensor, float]]
    ) -> tuple[Tensor, float]:
        """The weighted sum of what ``term`` gives for each loss and the weights of the classes, and the number of
        samples, which is the same for all."""
        weights = None if self.class_weights is None else torch.tensor(self.class_weights, device=raw.device)
        total, count = raw.new_zeros(()), 0.0
        for loss in self.losses:
            part, count = term(loss, weights)
            total = total + loss.weight * part
        return total, count


@final
class SegmentationTask(MaskTask):
    """One class a position. Raw outputs (B, classes, \\*S) are logits, for the input's positions, or for the central
    ones where the network has valid windows (the odd one is missing at the end)."""

    kind: ClassVar[str] = "segmentation"

    @classmethod
    def for_data(cls, facts: DataFacts, options: Mapping[str, Any]) -> Self | None:
        """For masks of one class a pixel."""
        if facts.target != "mask" or facts.multi_label:
            return None
        chosen = SegmentationOptions.from_json({"kind": SegmentationOptions.kind, **options}, "task options")
        return cls(
            losses=chosen.loss,
            class_weights=chosen.weights(facts.counts),
            ignore=IGNORE if facts.ignore is None else facts.ignore,
            decoder=chosen.decoder,
        )

    def loss(self, raw: Tensor, target: Tensor) -> tuple[Tensor, float]:
        """The weighted sum of the terms, each a sum over samples, and the number of samples in which a pixel counts.

        ``raw`` (B, classes, \\*S) of a network with valid windows is compared with the middle of the target (B, \\*T).
        """
        middle = central(target, tuple(raw.shape[2:]))
        return self.added(raw, lambda loss, weights: loss.of(raw, middle, self.ignore, weights))

    def decode(self, raw: Tensor) -> dict[str, Tensor]:
        """``probabilities`` (B, classes, \\*S), at the positions of ``raw``."""
        return {"probabilities": raw.softmax(dim=1)}

    def select(self, decoded: Mapping[str, Tensor]) -> list[Tensor]:
        """The most probable class of every position, int64 (\\*S) a sample."""
        return list(decoded["probabilities"].argmax(dim=1))

    def metrics(self, classes: Sequence[str]) -> Metrics:
        """Intersection over union and its kin, as sums over all pixels."""
        return _OfMaps(Segmentation(len(classes), self.ignore))

    def renumber(self, target: Tensor, numbers: Tensor, classes: int) -> Tensor:
        """Class numbers (B, \\*S) looked up; whatever is no class of the data becomes ``ignore``."""
        known = (target >= 0) & (target < len(numbers))
        return torch.where(known, numbers.to(target.device)[torch.where(known, target, 0)], self.ignore)

    def records(
        self, decoded: Mapping[str, Tensor], classes: Sequence[str], places: Sequence[Place] | None = None
    ) -> list[dict[str, Any]]:
        """``mask``, class numbers (\\*size) of the original sample, with ``ignore`` where nothing was predicted, and
        ``shares`` of its positions that each class has.

        Probabilities are brought back by linear interpolation before the largest is taken.
        """
        found = []
        for row, scores in enumerate(decoded["probabilities"]):
            if places is None:
                mask = scores.argmax(dim=0).cpu().numpy()
            else:
                mask = self._original(scores.cpu(), places[row])
            counts = np.bincount(mask[mask != self.ignore].ravel(), minlength=len(classes))
            shares = (counts / max(int(counts.sum()), 1)).tolist()
            kind = np.uint8 if len(classes) <= 255 and 0 <= self.ignore <= 255 else np.int32
            found.append({"mask": mask.astype(kind), "shares": dict(zip(classes, shares, strict=True))})
        return found

    def _original(self, scores: Tensor, place: Place) -> NDArray[np.int64]:
        """Class numbers (\\*size) of the original from probabilities (K, \\*S) on the middle of the canvas."""
        best: Tensor | None = None
        numbers = torch.zeros(place.size, dtype=torch.int64)
        for first, part in brought_back(scores, place):
            values, found = part.max(dim=0)
            if best is None:
                best, numbers = values, found
            else:
                numbers = torch.where(values > best, found + first, numbers)
                best = torch.maximum(values, best)
        there = answered(tuple(scores.shape[1:]), place)
        return (numbers if there is None else torch.where(there, numbers, self.ignore)).numpy()

    def answer_marks(self, decoded: Mapping[str, Tensor], classes: Sequence[str]) -> list[Marks]:
        """The mask of every sample."""
        return [Marks(mask=found.cpu().numpy()) for found in self.select(decoded)]

    def sections(self, figures: Mapping[str, Any], classes: Sequence[str]) -> list[Section]:
        """Per-class table and confusion matrix."""
        if not figures["pixels"]:
            return []
        said = "Per cent of the pixels of each true class that were given to each class, over the whole split."
        matrix = confusion_matrix(figures["confusion"], classes, said, unit="pixels", percent=True)
        blocks: list[Block] = [by_class(figures, classes), matrix]
        return [Section("Classes", tuple(blocks))]


def by_class(figures: Mapping[str, Any], classes: Sequence[str]) -> Table:
    """The figures of each class as a table."""
    names = ("iou", "dice", "precision", "recall", "support")
    rows = tuple(zip(classes, *(figures[name] for name in names), strict=True))
    return Table(("class", "IoU", "Dice", "precision", "recall", "pixels"), rows)


def brought_back(scores: Tensor, place: Place) -> Iterator[tuple[int, Tensor]]:
    """Scores (K, \\*S) on the middle of the canvas at the original's size (k, \\*size), some classes at a time, since
    the original may be large; before each part stands the number of its first class."""
    back = _back(tuple(scores.shape[1:]), place)
    step = max(1, _AT_ONCE // max(1, int(np.prod(place.size))))
    for first in range(0, len(scores), step):
        yield first, move_images(scores[None, first : first + step], [back])[0]


def answered(size: tuple[int, ...], place: Place) -> Tensor | None:
    """Where in the original a network of valid windows, which answers for the middle ``size`` of the canvas, has an
    answer: bool (\\*size of the original), or None for everywhere."""
    return None if size == place.by.canvas else covered(size, replace(_back(size, place), fill=0.0))


def _back(size: tuple[int, ...], place: Place) -> Map:
    """The map from the middle ``size`` positions of the canvas to the original."""
    middle = np.eye(len(size) + 1)
    middle[:-1, -1] = [(n - m) // 2 for n, m in zip(place.by.canvas, size, strict=True)]
    return Map(place.by.inverse(place.size).matrix @ middle, place.size, fill="edge")


def central(values: Tensor, size: tuple[int, ...]) -> Tensor:
    """The middle ``size`` positions of (B, \\*S), the odd one missing at the end. Errors: ``ValueError`` where it is
    smaller."""
    if values.ndim != len(size) + 1 or any(n < m for n, m in zip(values.shape[1:], size, strict=True)):
        raise ValueError(f"no middle of {size} positions in a target {tuple(values.shape)}")
    for axis, (n, m) in enumerate(zip(values.shape[1:], size, strict=True), start=1):
        values = values.narrow(axis, (n - m) // 2, m)
    return values


@final
class _OfMaps:
    """Metrics of class maps that may be the middle of what the target covers."""

    def __init__(self, metric: Segmentation) -> None:
        self.metric = metric

    def update(
        self,
        decoded: Mapping[str, Tensor],
        target: Tensor,
        index: Tensor | None = None,
        places: Sequence[Place] | None = None,
    ) -> None:
        """Take in one batch."""
        scores = decoded["probabilities"]
        self.metric.update(scores, central(target, tuple(scores.shape[2:])))

    def merge(self, other: "_OfMaps") -> None:
        """Take in what another has seen."""
        self.metric.merge(other.metric)

    def compute(self) -> dict[str, Any]:
        """The figures by name; without a single pixel that counts there are none."""
        if not self.metric.matrix.any():
            return {"pixels": 0, "mean_iou": None, "mean_dice": None, "mean_recall": None, "pixel_accuracy": None}
        return self.metric.compute()
