"""The metric of multi-label classification: average precision per tag, F1 per tag, exact match; mergeable."""

from typing import Any, Self, final

import numpy as np
import numpy.typing as npt

from striate.ops.metrics import Array, Metric, Result, Values, mean_where, only_where, ratios, to_numpy


@final
class MultiLabel(Metric):
    """Scores are logits (B, K), targets multi-hot tags (B, K) of 0 and 1; both are kept until ``compute``.

    A tag is predicted when sigmoid(score) >= ``threshold``. ``average_precision`` of a tag is the area under its
    precision-recall steps, sum over n of (R_n - R_(n-1)) P_n, with equal scores as one step; it is ``None`` for a tag
    that never occurs. ``mean_average_precision`` and ``macro_f1`` are means over the tags that occur, ``micro_f1`` adds
    up all tags first, ``exact_match`` is the share of samples with every tag right.
    """

    def __init__(self, tags: int, threshold: float = 0.5) -> None:
        if not 0 < threshold < 1:
            raise ValueError(f"the threshold is a probability between 0 and 1, {threshold} came")
        self.tags = tags
        self.cut = float(np.log(threshold) - np.log1p(-threshold))
        self.scores: list[Array] = []
        self.truths: list[npt.NDArray[np.bool_]] = []

    def update(self, scores: Values, target: Values) -> None:
        """Keep one batch. Errors: ``ValueError`` for other shapes, tags that are not 0 or 1, scores not a number."""
        values, tags = to_numpy(scores).astype(np.float64), to_numpy(target)
        if values.ndim != 2 or values.shape[1] != self.tags or tags.shape != values.shape:
            raise ValueError(f"scores and tags (B, {self.tags}) were expected, {values.shape} and {tags.shape} came")
        if not np.isin(tags, (0, 1)).all():
            raise ValueError("tags are 0 or 1; other values came")
        if np.isnan(values).any():
            raise ValueError("some scores are not a number")
        self.scores.append(values)
        self.truths.append(tags.astype(bool))

    def merge(self, other: Self) -> None:
        """Take over the batches of ``other``."""
        if (self.tags, self.cut) != (other.tags, other.cut):
            raise ValueError("metrics made with different tags or thresholds cannot be merged")
        self.scores.extend(other.scores)
        self.truths.extend(other.truths)

    def compute(self) -> Result:
        """The figures named in the class's description, with ``precision``, ``recall``, ``f1``, ``support`` by tag."""
        if not sum(map(len, self.scores)):
            raise ValueError("there is nothing to compute: no samples have been taken in")
        scores, truths = np.concatenate(self.scores), np.concatenate(self.truths)
        predicted = scores >= self.cut
        right = (predicted & truths).sum(axis=0)
        support, named = truths.sum(axis=0), predicted.sum(axis=0)
        precisions = [average_precision(scores[:, tag], truths[:, tag]) for tag in range(self.tags)]
        known = support > 0
        f1 = only_where(known, ratios(2 * right, support + named))
        total = int(support.sum() + named.sum())
        return {
            "count": len(scores),
            "mean_average_precision": mean_where(precisions, known),
            "average_precision": precisions,
            "precision": only_where(known, ratios(right, named)),
            "recall": ratios(right, support),
            "f1": f1,
            "support": support.tolist(),
            "macro_f1": mean_where(f1, known),
            "micro_f1": 2 * int(right.sum()) / total if total else None,
            "exact_match": float((predicted == truths).all(axis=1).mean()),
        }


def average_precision(scores: npt.NDArray[Any], truths: npt.NDArray[np.bool_]) -> float | None:
    """Area under the steps of the precision-recall curve of scores (n,) for truths (n,); ``None`` without positives."""
    positives = int(truths.sum())
    if positives == 0:
        return None
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(truths[order])
    last_of_equals = np.append(np.diff(scores[order]) != 0, True)
    hits, seen = found[last_of_equals], np.flatnonzero(last_of_equals) + 1
    gained = np.diff(np.concatenate(([0], hits)))
    return float((gained * hits / seen).sum() / positives)
