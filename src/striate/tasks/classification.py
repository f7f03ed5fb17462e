"""Classification: one class a sample (softmax), or any number of tags a sample (a sigmoid each)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, final

import torch
from pydantic import Field
from torch import Tensor

from striate.core.errors import InputError
from striate.core.spec import Spec
from striate.ops.losses import binary_cross_entropy, cross_entropy
from striate.ops.metrics import Metric, single_label
from striate.ops.multilabel import MultiLabel
from striate.report.plots import calibration, confusion_matrix
from striate.report.records import Block, Section, Table
from striate.tasks.task import DataFacts, Marks, Metrics, Place, Task

TOP = 5
"""How many of the most probable classes a prediction lists."""


SMOOTHING = 0.1
"""Label smoothing of images where none is chosen (Szegedy et al. 2016, arXiv:1512.00567); signals have none."""


class ClassificationOptions(Spec):
    """What may be chosen. ``label_smoothing`` None: what suits the data. ``balance`` weighs each class by the inverse
    of its frequency in training."""

    label_smoothing: float | None = Field(default=None, ge=0.0, lt=1.0)
    balance: bool = False

    def smoothing(self, facts: DataFacts) -> float:
        """The label smoothing that is chosen, or suits the data."""
        if self.label_smoothing is not None:
            return self.label_smoothing
        return SMOOTHING if facts.axes == 2 else 0.0


class _Classification(Task):
    """What the two forms share."""

    target: ClassVar[str] = "label"
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)

    def outputs(self, classes: int) -> int:
        """One logit a class."""
        return classes


@final
class Classification(_Classification):
    """One class a sample. Loss: cross-entropy, with ``class_weights``, one a class, or None for equal weights. Raw
    outputs (B, classes) are logits."""

    headline: ClassVar[str] = "top1"
    class_weights: tuple[float, ...] | None = None

    @classmethod
    def for_data(cls, facts: DataFacts, options: Mapping[str, Any]) -> Self | None:
        """For labels of one class a sample. Balanced weights are n / (classes n_c), of mean 1 over the samples."""
        if facts.target != "label" or facts.multi_label:
            return None
        chosen = _options(options)
        weights = None
        if chosen.balance:
            total, seen = sum(facts.counts), [max(count, 1) for count in facts.counts]
            weights = tuple(total / (len(seen) * count) for count in seen)
        return cls(label_smoothing=chosen.smoothing(facts), class_weights=weights)

    @property
    def softmax_smoothing(self) -> float | None:
        """The label smoothing, unless classes are weighed."""
        return self.label_smoothing if self.class_weights is None else None

    def loss(self, raw: Tensor, target: Tensor) -> tuple[Tensor, float]:
        """Cross-entropy of logits (B, classes) against classes (B,)."""
        weights = None if self.class_weights is None else torch.tensor(self.class_weights, device=raw.device)
        return cross_entropy(raw, target, self.label_smoothing, weights)

    def decode(self, raw: Tensor) -> dict[str, Tensor]:
        """``logits`` and ``probabilities``, each (B, classes)."""
        return {"logits": raw, "probabilities": raw.softmax(dim=1)}

    def metrics(self, classes: Sequence[str]) -> Metrics:
        """Top-1, top-5, per-class figures, confusion matrix, calibration, likelihood."""
        return _OfLogits(single_label(len(classes)))

    def answer_marks(self, decoded: Mapping[str, Tensor], classes: Sequence[str]) -> list[Marks]:
        """The most probable class."""
        return [Marks(classes[number]) for number in decoded["probabilities"].argmax(dim=1).tolist()]

    def renumber(self, target: Tensor, numbers: Tensor, classes: int) -> Tensor:
        """Class numbers (B,) looked up."""
        return numbers[target]

    def records(
        self, decoded: Mapping[str, Tensor], classes: Sequence[str], places: Sequence[Place] | None = None
    ) -> list[dict[str, Any]]:
        """The class, its probability, and the most probable classes with theirs."""
        values, numbers = decoded["probabilities"].topk(min(TOP, len(classes)), dim=1)
        found = []
        for row, order in zip(values.tolist(), numbers.tolist(), strict=True):
            ranked = [[classes[number], value] for value, number in zip(row, order, strict=True)]
            found.append({"class": ranked[0][0], "probability": ranked[0][1], "top": ranked})
        return found

    def sections(self, figures: Mapping[str, Any], classes: Sequence[str]) -> list[Section]:
        """Per-class table, confusion matrix and reliability diagram."""
        rows = zip(classes, *(figures[name] for name in ("support", "precision", "recall", "f1")), strict=True)
        blocks: list[Block] = [
            confusion_matrix(figures["confusion"], classes),
            Table(columns=("class", "samples", "precision", "recall", "F1"), rows=tuple(rows)),
        ]
        reliability = calibration(figures["reliability"], figures["expected_calibration_error"])
        return [Section("Classes", tuple(blocks)), Section("Calibration", (reliability,))]


@final
class MultiLabelClassification(_Classification):
    """Any number of tags a sample. Loss: binary cross-entropy of each. Raw outputs (B, classes) are logits."""

    headline: ClassVar[str] = "mean_average_precision"

    @classmethod
    def for_data(cls, facts: DataFacts, options: Mapping[str, Any]) -> Self | None:
        """For labels of several classes a sample."""
        if facts.target != "label" or not facts.multi_label:
            return None
        chosen = _options(options)
        if chosen.balance:
            raise InputError("balance", "tags have no class frequencies to balance", "leave the option out")
        return cls(label_smoothing=chosen.smoothing(facts))

    def loss(self, raw: Tensor, target: Tensor) -> tuple[Tensor, float]:
        """Binary cross-entropy of logits (B, classes) against tags (B, classes) in [0, 1]."""
        return binary_cross_entropy(raw, target, self.label_smoothing)

    def decode(self, raw: Tensor) -> dict[str, Tensor]:
        """``logits`` and ``probabilities``, each (B, classes)."""
        return {"logits": raw, "probabilities": raw.sigmoid()}

    def metrics(self, classes: Sequence[str]) -> Metrics:
        """Mean average precision, per-tag F1, exact match."""
        return _OfLogits(MultiLabel(len(classes)))

    def renumber(self, target: Tensor, numbers: Tensor, classes: int) -> Tensor:
        """Columns of tags (B, K) put where the model has them, (B, classes); tags the data lacks are 0."""
        return target.new_zeros(len(target), classes).index_copy_(1, numbers, target)

    def records(
        self, decoded: Mapping[str, Tensor], classes: Sequence[str], places: Sequence[Place] | None = None
    ) -> list[dict[str, Any]]:
        """The tags above one half, and the probability of each."""
        found = []
        for row in decoded["probabilities"].tolist():
            given = dict(zip(classes, row, strict=True))
            found.append({"tags": [name for name, value in given.items() if value >= 0.5], "probabilities": given})
        return found


@final
class _OfLogits:
    """Metrics that read the decoded logits."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric

    def update(
        self,
        decoded: Mapping[str, Tensor],
        target: Tensor,
        index: Tensor | None = None,
        places: Sequence[Place] | None = None,
    ) -> None:
        """Take in one batch."""
        self.metric.update(decoded["logits"], target)

    def merge(self, other: "_OfLogits") -> None:
        """Take in what another has seen."""
        self.metric.merge(other.metric)

    def compute(self) -> dict[str, Any]:
        """The figures by name."""
        return self.metric.compute()


def _options(options: Mapping[str, Any]) -> ClassificationOptions:
    return ClassificationOptions.from_json({"kind": ClassificationOptions.kind, **options}, "task options")
