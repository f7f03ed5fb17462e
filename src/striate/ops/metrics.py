"""Metrics of single-label classification, all mergeable: ``update`` with batches, ``merge`` parts, ``compute`` a dict.

Scores are logits (B, K), torch or numpy (log-probabilities are logits too); labels are class numbers (B,). What
``compute`` returns is made of plain floats, integers, lists and dicts, ready for JSON, under names that do not clash,
so that :class:`Collection` can lay several metrics side by side. The result does not depend on the order of updates,
nor on how samples were divided among parts, beyond the rounding of sums.

Metrics of multi-label classification are in ``ops.multilabel``, intervals in ``ops.intervals``.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self, final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from striate.ops.intervals import proportion_interval

Array = npt.NDArray[np.float64]
Values = Tensor | npt.ArrayLike
Result = dict[str, Any]


class Metric(ABC):
    """A figure that adds up: parts made anywhere are merged, then computed once."""

    @abstractmethod
    def update(self, scores: Values, target: Values) -> None:
        """Take in one batch."""

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Take in what ``other``, a metric made with the same arguments, has seen."""

    @abstractmethod
    def compute(self) -> Result:
        """The figures by name. Errors: ``ValueError`` when nothing has been taken in."""


@final
class Collection(Metric):
    """Several metrics updated together; their results become one dict. Errors: ``ValueError`` when names clash."""

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self.metrics = dict(metrics)

    def update(self, scores: Values, target: Values) -> None:
        """Give one batch to every metric."""
        scores, target = to_numpy(scores), to_numpy(target)
        for metric in self.metrics.values():
            metric.update(scores, target)

    def merge(self, other: Self) -> None:
        """Merge metric by metric."""
        _same(list(self.metrics), list(other.metrics), "collections")
        for name, metric in self.metrics.items():
            metric.merge(other.metrics[name])

    def compute(self) -> Result:
        """Every metric's figures in one dict."""
        result: Result = {}
        for name, metric in self.metrics.items():
            part = metric.compute()
            if clash := result.keys() & part.keys():
                raise ValueError(f"the metric {name!r} repeats the names {', '.join(sorted(clash))}")
            result.update(part)
        return result


def single_label(classes: int, bins: int = 15) -> Collection:
    """What is measured of a single-label classifier with ``classes`` classes; top-5 only where it is not always 1."""
    return Collection(
        {
            "top": TopK((1, 5) if classes > 5 else (1,)),
            "likelihood": NegativeLogLikelihood(),
            "calibration": Calibration(bins),
            "confusion": Confusion(classes),
        }
    )


@final
class TopK(Metric):
    """Share of samples whose class is among the k highest scores: ``top1``, ``top5``, and an interval of ``top1``.

    The rank of the true class is the number of classes with a higher score, plus those of lower number with the same
    score, so that ``top1`` agrees with the first largest score. With k classes or fewer, top-k is 1. The interval
    ``top1_interval`` is the 95 % score interval of Wilson (:func:`striate.ops.intervals.proportion_interval`).
    """

    def __init__(self, k: tuple[int, ...] = (1, 5)) -> None:
        if not k or min(k) < 1:
            raise ValueError(f"top-k needs numbers from 1 up, {k} came")
        self.k = tuple(k)
        self.hits = dict.fromkeys({1, *self.k}, 0)
        self.count = 0

    def update(self, scores: Values, target: Values) -> None:
        """Rank the true class of each sample of a batch."""
        values, labels = batch(scores, target)
        own = values[np.arange(len(labels)), labels][:, None]
        earlier = np.arange(values.shape[1]) < labels[:, None]
        ranks = ((values > own) | ((values == own) & earlier)).sum(axis=1)
        for number in self.hits:
            self.hits[number] += int((ranks < number).sum())
        self.count += len(labels)

    def merge(self, other: Self) -> None:
        """Add the counts of ``other``."""
        _same(self.k, other.k, "k")
        for number in self.hits:
            self.hits[number] += other.hits[number]
        self.count += other.count

    def compute(self) -> Result:
        """``{"count", "top1", "top5", ..., "top1_interval": [low, high]}``."""
        _some(self.count)
        shares = {f"top{number}": self.hits[number] / self.count for number in self.k}
        low, high = proportion_interval(self.hits[1], self.count)
        return {"count": self.count, **shares, "top1_interval": [low, high]}


@final
class Confusion(Metric):
    """The confusion matrix, and per class precision, recall, F1 and support.

    ``confusion[t][p]`` counts samples of class t predicted as p. precision = TP / (TP + FP), recall = TP / (TP + FN),
    F1 = 2 TP / (2 TP + FP + FN); what divides by zero is ``None``: there is no such value, and a class without samples
    has none of the three (what is wrongly taken for it shows in ``confusion``). ``macro_f1`` and
    ``balanced_accuracy`` (mean recall) are means over the classes that have samples.
    """

    def __init__(self, classes: int) -> None:
        self.matrix = np.zeros((classes, classes), dtype=np.int64)

    def update(self, scores: Values, target: Values) -> None:
        """Count the first largest score of each sample of a batch as its prediction."""
        values, labels = batch(scores, target)
        classes = len(self.matrix)
        if values.shape[1] != classes:
            raise ValueError(f"scores for {values.shape[1]} classes came to a confusion matrix of {classes}")
        pairs = labels * classes + values.argmax(axis=1)
        self.matrix += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    def merge(self, other: Self) -> None:
        """Add the counts of ``other``."""
        _same(self.matrix.shape, other.matrix.shape, "confusion matrices")
        self.matrix += other.matrix

    def compute(self) -> Result:
        """``{"confusion", "precision", "recall", "f1", "support", "macro_f1", "balanced_accuracy"}``, by class."""
        _some(int(self.matrix.sum()))
        right = np.diag(self.matrix)
        support, predicted = self.matrix.sum(axis=1), self.matrix.sum(axis=0)
        known = support > 0
        recall, f1 = ratios(right, support), only_where(known, ratios(2 * right, support + predicted))
        return {
            "confusion": self.matrix.tolist(),
            "precision": only_where(known, ratios(right, predicted)),
            "recall": recall,
            "f1": f1,
            "support": support.tolist(),
            "macro_f1": mean_where(f1, known),
            "balanced_accuracy": mean_where(recall, known),
        }


@final
class Calibration(Metric):
    """Expected calibration error over equal-width bins of confidence, with the table of a reliability diagram.

    Guo, Pleiss, Sun and Weinberger 2017 (arXiv 1706.04599), equations 1 to 3: confidence is the largest of
    softmax(scores); bin m of M holds confidences in ((m - 1) / M, m / M]; with acc and conf the means over a bin,

        ECE = sum over bins of |bin| / n * |acc - conf|
    """

    def __init__(self, bins: int = 15) -> None:
        if bins < 1:
            raise ValueError(f"calibration needs at least one bin, {bins} came")
        self.counts = np.zeros(bins, dtype=np.int64)
        self.right = np.zeros(bins, dtype=np.int64)
        self.confidence = np.zeros(bins)

    def update(self, scores: Values, target: Values) -> None:
        """Put each sample of a batch into its bin."""
        values, labels = batch(scores, target)
        probabilities = np.exp(log_softmax(values))
        confidence = probabilities.max(axis=1)
        bins = len(self.counts)
        edges = np.arange(1, bins) / bins
        places = np.searchsorted(edges, confidence, side="left")
        self.counts += np.bincount(places, minlength=bins)
        self.right += np.bincount(places[values.argmax(axis=1) == labels], minlength=bins)
        self.confidence += np.bincount(places, weights=confidence, minlength=bins)

    def merge(self, other: Self) -> None:
        """Add the bins of ``other``."""
        _same(len(self.counts), len(other.counts), "bins")
        self.counts += other.counts
        self.right += other.right
        self.confidence += other.confidence

    def compute(self) -> Result:
        """``{"expected_calibration_error", "reliability"}``, rows of low, high, count, confidence, accuracy."""
        total = int(self.counts.sum())
        _some(total)
        bins = len(self.counts)
        accuracy, confidence = ratios(self.right, self.counts), ratios(self.confidence, self.counts)
        rows = [
            {"low": m / bins, "high": (m + 1) / bins, "count": int(self.counts[m]), "confidence": c, "accuracy": a}
            for m, (c, a) in enumerate(zip(confidence, accuracy, strict=True))
        ]
        error = float(np.abs(self.right - self.confidence).sum()) / total
        return {"expected_calibration_error": error, "reliability": rows}


@final
class NegativeLogLikelihood(Metric):
    """Mean of -log softmax(scores)[label], in nats."""

    def __init__(self) -> None:
        self.total = 0.0
        self.count = 0

    def update(self, scores: Values, target: Values) -> None:
        """Add the surprise at each label of a batch."""
        values, labels = batch(scores, target)
        self.total -= float(log_softmax(values)[np.arange(len(labels)), labels].sum())
        self.count += len(labels)

    def merge(self, other: Self) -> None:
        """Add the sums of ``other``."""
        self.total += other.total
        self.count += other.count

    def compute(self) -> Result:
        """``{"negative_log_likelihood": float}``."""
        _some(self.count)
        return {"negative_log_likelihood": self.total / self.count}


def to_numpy(values: Values) -> npt.NDArray[Any]:
    """A tensor (on any device, of any float type) or an array as a numpy array."""
    if isinstance(values, Tensor):
        values = values.detach()
        return (values.double() if values.is_floating_point() else values).cpu().numpy()
    return np.asarray(values)


def batch(scores: Values, target: Values) -> tuple[Array, npt.NDArray[np.int64]]:
    """Scores as float64 (B, K) and labels as int64 (B,), checked.

    Errors: ``ValueError`` for shapes that do not fit, scores that are not a number, or labels outside 0..K-1.
    """
    values, labels = to_numpy(scores).astype(np.float64, copy=False), to_numpy(target)
    if values.ndim != 2 or labels.shape != values.shape[:1]:
        raise ValueError(f"scores (B, K) and labels (B,) were expected, {values.shape} and {labels.shape} came")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are class numbers (integers), {labels.dtype} came")
    if np.isnan(values).any():
        raise ValueError(f"{int(np.isnan(values).any(axis=1).sum())} samples have scores that are not a number")
    if labels.size and (labels.min() < 0 or labels.max() >= values.shape[1]):
        raise ValueError(f"labels from {labels.min()} to {labels.max()} came with {values.shape[1]} classes")
    return values, labels.astype(np.int64, copy=False)


def log_softmax(values: Array) -> Array:
    """log softmax over the last axis of (B, K), without overflow."""
    shifted = values - values.max(axis=1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def ratios(above: npt.NDArray[Any], below: npt.NDArray[Any]) -> list[float | None]:
    """``above / below`` entry by entry, ``None`` where ``below`` is 0."""
    return [float(a) / float(b) if b else None for a, b in zip(above.tolist(), below.tolist(), strict=True)]


def only_where(known: npt.NDArray[np.bool_], values: list[float | None]) -> list[float | None]:
    """The values of what is known, ``None`` for the rest."""
    return [value if has else None for value, has in zip(values, known.tolist(), strict=True)]


def mean_where(values: list[float | None], chosen: npt.NDArray[np.bool_]) -> float | None:
    """The mean of the chosen values that exist; ``None`` when there are none."""
    kept = [value for value, keep in zip(values, chosen.tolist(), strict=True) if keep and value is not None]
    return float(np.mean(kept)) if kept else None


def _same(mine: object, other: object, what: str) -> None:
    if mine != other:
        raise ValueError(f"metrics made with different {what} cannot be merged: {mine} and {other}")


def _some(count: int) -> None:
    if count == 0:
        raise ValueError("there is nothing to compute: no samples have been taken in")
