"""Segmentation with any number of classes for every position: each is a question of its own (a sigmoid each).

A target is bit sets (B, \\*S): bit c says that class c is there (:mod:`striate.core.bitsets`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from striate.core.bitsets import form_of
from striate.ops.segmentation_metrics import IGNORE, MultiLabelSegmentation
from striate.report.records import Section
from striate.tasks.segmentation import (
    MaskTask,
    MultiLabelSegmentationOptions,
    answered,
    brought_back,
    by_class,
    central,
)
from striate.tasks.task import DataFacts, Marks, Metrics, Place


@final
class MultiLabelSegmentationTask(MaskTask):
    """Any number of classes a position. Raw outputs (B, classes, \\*S) are logits, as those of one class a position.

    ``score`` is the probability from which on a class is answered.
    """

    kind: ClassVar[str] = "multi_label_segmentation"
    score: float = Field(default=0.5, gt=0, lt=1)

    @classmethod
    def for_data(cls, facts: DataFacts, options: Mapping[str, Any]) -> Self | None:
        """For masks of several classes a pixel. Errors: ``InputError`` for more classes than bit sets hold."""
        if facts.target != "mask" or not facts.multi_label:
            return None
        kind = MultiLabelSegmentationOptions.kind
        chosen = MultiLabelSegmentationOptions.from_json({"kind": kind, **options}, "task options")
        _, largest = form_of(len(facts.classes), "masks")
        return cls(
            losses=chosen.loss,
            class_weights=chosen.weights(facts.counts),
            ignore=largest if facts.ignore is None else facts.ignore,
            decoder=chosen.decoder,
            score=chosen.score,
        )

    def loss(self, raw: Tensor, target: Tensor) -> tuple[Tensor, float]:
        """The weighted sum of the terms, each a sum over samples, and the number of samples in which a pixel counts.

        ``raw`` (B, classes, \\*S) of a network with valid windows is compared with the middle of the target (B, \\*T).
        """
        truth = entries(central(target, tuple(raw.shape[2:])), raw.shape[1])
        return self.added(raw, lambda loss, weights: loss.of_each(raw, truth, IGNORE, weights))

    def decode(self, raw: Tensor) -> dict[str, Tensor]:
        """``probabilities`` (B, classes, \\*S), each between 0 and 1, at the positions of ``raw``."""
        return {"probabilities": raw.sigmoid()}

    def select(self, decoded: Mapping[str, Tensor]) -> list[Tensor]:
        """The classes of every position as a bit set, int64 (\\*S) a sample."""
        there = (decoded["probabilities"] >= self.score).long()
        sets = torch.zeros_like(there[:, 0])
        for number in range(there.shape[1]):
            sets |= there[:, number] << number
        return list(sets)

    def metrics(self, classes: Sequence[str]) -> Metrics:
        """Intersection over union and its kin of each class, as sums over all pixels."""
        return _OfLayers(MultiLabelSegmentation(len(classes)), self.score)

    def renumber(self, target: Tensor, numbers: Tensor, classes: int) -> Tensor:
        """Bit sets (B, \\*S) with each bit put where the model has it; classes that the data lacks are not there, and
        what is no set of its classes becomes ``ignore``."""
        moved = torch.zeros_like(target)
        for old, new in enumerate(numbers.tolist()):
            moved |= (target >> old & 1) << new
        return torch.where(_known(target, len(numbers)), moved, self.ignore)

    def records(
        self, decoded: Mapping[str, Tensor], classes: Sequence[str], places: Sequence[Place] | None = None
    ) -> list[dict[str, Any]]:
        """``masks``, of each class 1 where it is and 0 where it is not, uint8 (\\*size) of the original sample, with
        255 where nothing was predicted, and ``shares`` of the positions that each class has.

        Probabilities are brought back by linear interpolation before they are compared with ``score``.
        """
        found = []
        for row, scores in enumerate(decoded["probabilities"]):
            layers = self._layers(scores.cpu(), None if places is None else places[row])
            masks = dict(zip(classes, layers, strict=True))
            seen = {name: one[one != IGNORE] for name, one in masks.items()}
            shares = {name: float(one.mean()) if one.size else 0.0 for name, one in seen.items()}
            found.append({"masks": masks, "shares": shares})
        return found

    def _layers(self, scores: Tensor, place: Place | None) -> list[NDArray[np.uint8]]:
        """A mask for each class, of the original's size, or of that of the scores (K, \\*S)."""
        if place is None:
            return [(one >= self.score).to(torch.uint8).numpy() for one in scores]
        found = [(one >= self.score).to(torch.uint8) for _, part in brought_back(scores, place) for one in part]
        there = answered(tuple(scores.shape[1:]), place)
        return [(one if there is None else torch.where(there, one, IGNORE)).numpy() for one in found]

    def answer_marks(self, decoded: Mapping[str, Tensor], classes: Sequence[str]) -> list[Marks]:
        """The bit sets of every sample."""
        return [Marks(mask=found.cpu().numpy(), several=True) for found in self.select(decoded)]

    def sections(self, figures: Mapping[str, Any], classes: Sequence[str]) -> list[Section]:
        """Per-class table."""
        return [Section("Classes", (by_class(figures, classes),))] if figures["pixels"] else []


def entries(target: Tensor, classes: int) -> Tensor:
    """Bit sets (B, \\*S) as 0 and 1 for each class, uint8 (B, K, \\*S); 255 where a value is no set of the classes."""
    layers = torch.stack([(target >> number & 1).to(torch.uint8) for number in range(classes)], dim=1)
    return layers.masked_fill(~_known(target, classes).unsqueeze(1), IGNORE)


def _known(target: Tensor, classes: int) -> Tensor:
    return (target >= 0) & (target < 1 << classes)


@final
class _OfLayers:
    """Metrics of probabilities that may be those of the middle of what the target covers."""

    def __init__(self, metric: MultiLabelSegmentation, score: float) -> None:
        self.metric = metric
        self.score = score

    def update(
        self,
        decoded: Mapping[str, Tensor],
        target: Tensor,
        index: Tensor | None = None,
        places: Sequence[Place] | None = None,
    ) -> None:
        """Take in one batch. Errors: ``ValueError`` for probabilities that are not a number."""
        scores = decoded["probabilities"]
        if bool(scores.isnan().any()):
            raise ValueError(f"{int(scores.isnan().sum())} probabilities are not a number")
        truth = entries(central(target, tuple(scores.shape[2:])), scores.shape[1])
        self.metric.update((scores >= self.score).to(torch.uint8), truth)

    def merge(self, other: "_OfLayers") -> None:
        """Take in what another has seen."""
        self.metric.merge(other.metric)

    def compute(self) -> dict[str, Any]:
        """The figures by name; without a single pixel that counts there are none."""
        if not self.metric.counts[3].any():
            return {"pixels": 0, "mean_iou": None, "mean_dice": None, "mean_recall": None, "pixel_accuracy": None}
        return self.metric.compute()
