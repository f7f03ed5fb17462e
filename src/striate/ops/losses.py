"""Losses: each returns ``(sum, count)``, so that batches, processes and accumulation steps add up without error.

The mean over anything is the sum of sums over the sum of counts. ``sum`` is a scalar tensor with a gradient; ``count``
is a Python number: how many answers (or how much weight) the sum is over. Half-precision scores are added up in
float32. The functions do one library call on the common path, since that is what a tiny network's step is made of.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor

_NO_LABEL = -(2**63)
"""Given to torch as the ignored label when there is none: its default of -100 would swallow a wrong label."""
_HALF = (torch.float16, torch.bfloat16)


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    ignore: int | None = None,
) -> tuple[Tensor, float]:
    """Cross-entropy of ``logits`` (B, K, ...) against classes (B, ...) or class probabilities (B, K, ...), in nats.

    With p = softmax(logits) over K and the target distribution q (one-hot for a class), smoothed by e =
    ``label_smoothing`` to q' = (1 - e) q + e / K (Szegedy et al. 2016, arXiv 1512.00567, section 7):

        sum = - sum over answers, classes of w[k] q'[k] log p[k]

    ``class_weights`` (K,) is w (1 without it). Positions whose class is ``ignore`` count for nothing. The count is the
    number of answers, or with weights the sum of w[k] q[k]. Reading a count of weights or of ignored positions waits
    for the device. Errors: ``ValueError`` for shapes that do not fit or ``ignore`` with probabilities; ``IndexError``
    (on the CPU) for a class outside 0..K-1.
    """
    if logits.dtype in _HALF:
        logits = logits.float()
    if target.is_floating_point():
        return _soft_cross_entropy(logits, target, label_smoothing, class_weights, ignore)
    plain = target.ndim == 1 and logits.ndim == 2  # torch compares the two lengths itself, and names both
    if not plain and (logits.ndim < 2 or target.shape != logits.shape[:1] + logits.shape[2:]):
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} need classes of shape "
            f"{tuple(logits.shape[:1] + logits.shape[2:])}, {tuple(target.shape)} came"
        )
    total = functional.cross_entropy(
        logits,
        target if target.dtype == torch.int64 else target.long(),
        weight=class_weights,
        ignore_index=_NO_LABEL if ignore is None else ignore,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    if class_weights is None:
        return total, target.numel() if ignore is None else int((target != ignore).sum())
    kept = target if ignore is None else target[target != ignore]
    return total, float(class_weights[kept.long()].sum())


def _soft_cross_entropy(
    logits: Tensor, target: Tensor, label_smoothing: float, class_weights: Tensor | None, ignore: int | None
) -> tuple[Tensor, float]:
    if ignore is not None:
        raise ValueError("class probabilities have no class to ignore; give ignored positions all zeros instead")
    if target.shape != logits.shape:
        raise ValueError(
            f"class probabilities of shape {tuple(target.shape)} came with logits of shape {tuple(logits.shape)}"
        )
    target = target.to(logits.dtype)
    total = functional.cross_entropy(
        logits, target, weight=class_weights, reduction="sum", label_smoothing=label_smoothing
    )
    if class_weights is None:
        return total, target.numel() // target.shape[1] if target.shape[1] else 0
    return total, float((target.sum(dim=(0, *range(2, target.ndim))) * class_weights).sum())


def binary_cross_entropy(
    logits: Tensor,
    tags: Tensor,
    label_smoothing: float = 0.0,
    positive_weights: Tensor | None = None,
    ignore: float | None = None,
) -> tuple[Tensor, float]:
    """Binary cross-entropy of ``logits`` (B, K, ...) against tags in [0, 1] of the same shape, in nats.

        sum = - sum of v[k] t' log s + (1 - t') log(1 - s),  s = sigmoid(logits),  t' = (1 - e) t + e / 2

    with e = ``label_smoothing`` and v = ``positive_weights`` (K,), 1 without. Tags equal to ``ignore`` (unknown ones,
    say -1) count for nothing. The count is the number of known tags. Errors: ``ValueError`` for shapes that differ.
    """
    if tags.shape != logits.shape:
        raise ValueError(f"tags of shape {tuple(tags.shape)} came with logits of shape {tuple(logits.shape)}")
    if logits.dtype in _HALF:
        logits = logits.float()
    known = None if ignore is None else (tags != ignore)
    tags = tags.to(logits.dtype)
    if label_smoothing:
        tags = tags * (1.0 - label_smoothing) + 0.5 * label_smoothing
    if positive_weights is not None:
        positive_weights = positive_weights.to(logits.dtype).reshape(-1, *(1,) * (logits.ndim - 2))
    weight = None if known is None else known.to(logits.dtype)
    total = functional.binary_cross_entropy_with_logits(
        logits, tags, weight=weight, pos_weight=positive_weights, reduction="sum"
    )
    return total, tags.numel() if known is None else int(known.sum())
