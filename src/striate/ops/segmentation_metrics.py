"""Metrics of segmentation in any number of axes, as sums over all pixels of a data set; mergeable and exact.

    IoU = TP / (TP + FP + FN)        Dice = 2 TP / (2 TP + FP + FN)

(Everingham et al. 2010, section 4.3; Dice 1945.) Counts are added up over the whole data set before dividing, not
averaged over images: so figures do not depend on how samples were batched, and are integers until the last step.
"""

from typing import Any, Self, final

import numpy as np
import torch
from torch import Tensor

from striate.ops.metrics import Metric, Result, Values, mean_where, only_where, ratios

IGNORE = 255


@final
class Segmentation(Metric):
    """One class a pixel. ``scores`` are logits or probabilities (B, K, *S), or class numbers (B, *S) of an integer
    type; ``target`` class numbers (B, *S), where ``ignore`` marks pixels that do not count.

    Of the classes' figures ``iou``, ``dice``, ``precision``, ``recall`` an entry is ``None`` where it would divide by
    zero, and for a class that is not present in the truth. ``mean_iou``, ``mean_dice`` and ``mean_recall`` are means
    over the others: a class that is only predicted costs them, but has no entry of its own. ``pixel_accuracy`` is the
    share of right pixels, ``support`` the true pixels of each class, ``confusion[t][p]`` the pixels of t given as p.
    """

    def __init__(self, classes: int, ignore: int = IGNORE) -> None:
        if classes < 1 or 0 <= ignore < classes:
            raise ValueError(f"{classes} classes and the ignore value {ignore} came: it must not be one of the classes")
        self.ignore = ignore
        self.matrix = np.zeros((classes, classes), dtype=np.int64)

    def update(self, scores: Values, target: Values) -> None:
        """Count the pixels of a batch; the first largest score is the prediction.

        Errors: ``ValueError`` for other shapes, class numbers out of range, or scores that are not a number.
        """
        classes = len(self.matrix)
        truth, given = _integers(target, "target"), _tensor(scores)
        if given.is_floating_point():
            _shape(given, (*truth.shape[:1], classes, *truth.shape[1:]), "scores")
            _numbers(given)
            given = given.argmax(dim=1)
        else:
            _shape(given, tuple(truth.shape), "predicted class numbers")
        truth = truth.to(given.device)
        counted = truth != self.ignore
        labels, named = truth[counted].long(), given[counted].long()
        for values, what in ((labels, "true"), (named, "predicted")):
            if values.numel() and not 0 <= int(values.min()) <= int(values.max()) < classes:
                low, high = int(values.min()), int(values.max())
                raise ValueError(f"{what} class numbers from {low} to {high} came with {classes} classes")
        counts = torch.bincount(labels * classes + named, minlength=classes**2).reshape(classes, classes)
        self.matrix += counts.cpu().numpy()

    def merge(self, other: Self) -> None:
        """Add the counts of ``other``. Errors: ``ValueError`` for other classes or another ignore value."""
        _alike((self.matrix.shape, self.ignore), (other.matrix.shape, other.ignore))
        self.matrix += other.matrix

    def compute(self) -> Result:
        """The figures of the class's description. Errors: ``ValueError`` when no pixel has been counted."""
        right = np.diag(self.matrix)
        support, named = self.matrix.sum(axis=1), self.matrix.sum(axis=0)
        total = int(self.matrix.sum())
        return {"pixels": total, **_figures(right, support, named), "pixel_accuracy": _share(int(right.sum()), total),
                "confusion": self.matrix.tolist()}  # fmt: skip


@final
class MultiLabelSegmentation(Metric):
    """Any number of classes a pixel. ``scores`` are logits (B, K, *S), or a boolean or integer answer of 0 and 1;
    ``target`` (B, K, *S) of 0 and 1, where ``ignore`` marks entries that do not count.

    A class is predicted where sigmoid(score) >= ``threshold``. Figures as those of :class:`Segmentation`, but
    ``pixel_accuracy`` is the share of right entries (pixel and class), and there is no confusion matrix.
    """

    def __init__(self, classes: int, ignore: int = IGNORE, threshold: float = 0.5) -> None:
        if classes < 1 or ignore in (0, 1):
            raise ValueError(f"{classes} classes and the ignore value {ignore} came: it must be neither 0 nor 1")
        if not 0 < threshold < 1:
            raise ValueError(f"the threshold is a probability between 0 and 1, {threshold} came")
        self.ignore = ignore
        self.cut = float(np.log(threshold) - np.log1p(-threshold))
        self.counts = np.zeros((4, classes), dtype=np.int64)
        """True positives, true pixels, predicted pixels, counted pixels."""

    def update(self, scores: Values, target: Values) -> None:
        """Count the entries of a batch. Errors: ``ValueError`` for other shapes or values."""
        truth, given = _integers(target, "target"), _tensor(scores)
        if truth.ndim < 3 or truth.shape[1] != self.counts.shape[1]:
            raise ValueError(f"a target (B, {self.counts.shape[1]}, *S) was expected, {tuple(truth.shape)} came")
        _shape(given, tuple(truth.shape), "scores")
        if given.is_floating_point():
            _numbers(given)
            predicted = given >= self.cut
        else:
            _zeros_and_ones(given, "predictions")
            predicted = given.bool()
        truth = truth.to(given.device)
        counted = truth != self.ignore
        _zeros_and_ones(truth[counted], "true values")
        there, predicted = (truth == 1) & counted, predicted & counted
        rest = [axis for axis in range(truth.ndim) if axis != 1]
        sums = [one.sum(dim=rest, dtype=torch.int64) for one in (there & predicted, there, predicted, counted)]
        self.counts += torch.stack(sums).cpu().numpy()

    def merge(self, other: Self) -> None:
        """Add the counts of ``other``. Errors: ``ValueError`` for other classes, ignore values or thresholds."""
        mine, theirs = ((one.counts.shape, one.ignore, one.cut) for one in (self, other))
        _alike(mine, theirs)
        self.counts += other.counts

    def compute(self) -> Result:
        """The figures of the class's description. Errors: ``ValueError`` when nothing has been counted."""
        right, support, named, counted = self.counts
        wrong = int((support + named - 2 * right).sum())
        total = int(counted.sum())
        return {
            "pixels": int(counted.max(initial=0)),
            **_figures(right, support, named),
            "pixel_accuracy": _share(total - wrong, total),
        }


def _figures(right: Any, support: Any, named: Any) -> Result:
    """Figures by class and their means over the classes present in the truth, from integer sums (K,)."""
    present = support > 0
    iou = only_where(present, ratios(right, support + named - right))
    dice = only_where(present, ratios(2 * right, support + named))
    recall = ratios(right, support)
    return {
        "iou": iou,
        "dice": dice,
        "precision": only_where(present, ratios(right, named)),
        "recall": recall,
        "support": support.tolist(),
        "mean_iou": mean_where(iou, present),
        "mean_dice": mean_where(dice, present),
        "mean_recall": mean_where(recall, present),
    }


def _share(right: int, total: int) -> float:
    if not total:
        raise ValueError("there is nothing to compute: no pixels have been taken in")
    return right / total


def _tensor(values: Values) -> Tensor:
    return values.detach() if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values))


def _integers(values: Values, what: str) -> Tensor:
    made = _tensor(values)
    if made.is_floating_point() or made.is_complex():
        raise ValueError(f"the {what} has class numbers (integers), {made.dtype} came")
    if made.ndim < 2:
        raise ValueError(f"the {what} has the batch first and then at least one axis, {tuple(made.shape)} came")
    return made.long()


def _shape(values: Tensor, expected: tuple[int, ...], what: str) -> None:
    if tuple(values.shape) != expected:
        raise ValueError(f"{what} of the shape {expected} were expected, {tuple(values.shape)} came")


def _numbers(values: Tensor) -> None:
    if bool(values.isnan().any()):
        raise ValueError(f"{int(values.isnan().sum())} scores are not a number")


def _zeros_and_ones(values: Tensor, what: str) -> None:
    if bool(((values != 0) & (values != 1)).any()):
        raise ValueError(f"{what} are 0 or 1; other values came")


def _alike(mine: object, theirs: object) -> None:
    if mine != theirs:
        raise ValueError(f"metrics made with different arguments cannot be merged: {mine} and {theirs}")
