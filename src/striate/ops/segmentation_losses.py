"""Losses of segmentation in any number of axes: each returns ``(sum, count)`` over the samples of a batch.

Every sample has its own loss, over those of its pixels that count; ``sum`` adds them up and ``count`` is how many
samples have such pixels. So dividing a batch changes nothing, and losses of different kinds can be added.

``logits`` are (B, K, \\*S), before the softmax; ``target`` int64 (B, \\*S) holds class numbers, where ``ignore`` marks
pixels that do not count. p is softmax(logits) over the classes, half-precision logits are taken as float32.
Errors: ``ValueError`` for shapes that do not fit; ``IndexError`` (on the CPU) for a class outside 0..K-1.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor

Summed = tuple[Tensor, float]
_HALF = (torch.float16, torch.bfloat16)
LEAST = 1e-12
"""What a focal factor is a power of is at least this: the slope of 0^gamma is infinite for gamma below 1."""


def pixel_cross_entropy(
    logits: Tensor, target: Tensor, ignore: int, class_weights: Tensor | None = None, gamma: float = 0.0
) -> Summed:
    """Cross-entropy in nats, of a sample the mean over its n counted pixels; with ``gamma`` the focal loss (Lin et al.
    2017, arXiv 1708.02002, equation 5), which lets pixels fade that are answered rightly:

        loss = 1 / n  sum over pixels i of  w[t_i] (1 - p[t_i])^gamma (- log p[t_i])

    ``class_weights`` (K,) is w (1 without it); weights of mean 1 over the pixels of a set keep the size of the loss.
    """
    logits, counted, pixels = _checked(logits, target, ignore)
    each = functional.cross_entropy(logits, target, reduction="none", ignore_index=ignore)
    if gamma:
        each = each * (1.0 - torch.exp(-each)).clamp(min=LEAST) ** gamma
    if class_weights is not None:
        each = each * class_weights.to(each)[torch.where(counted, target, 0)]
    return _over_samples(each.flatten(1).sum(dim=1) / pixels.clamp(min=1), pixels)


def soft_dice(logits: Tensor, target: Tensor, ignore: int, class_weights: Tensor | None = None) -> Summed:
    """1 - Dice, of a sample the mean over the classes c that its truth g has (Milletari et al. 2016, arXiv 1606.04797,
    section 3, for one class):

        loss = 1 - mean over c of  2 sum_i p_ic g_ic / (sum_i p_ic^2 + sum_i g_ic)

    ``class_weights`` (K,) weigh that mean. Sums go over the counted pixels i.
    """
    logits, counted, pixels = _checked(logits, target, ignore)
    classes = logits.shape[1]
    shape = (1, classes, *(1,) * (target.ndim - 1))
    truth = (target.unsqueeze(1) == torch.arange(classes, device=target.device).reshape(shape)).to(logits.dtype)
    truth, p = truth.flatten(2), (logits.softmax(dim=1) * counted.unsqueeze(1)).flatten(2)
    there = truth.sum(dim=2)
    dice = 2 * (p * truth).sum(dim=2) / ((p * p).sum(dim=2) + there).clamp(min=1e-6)
    return _over_samples(_mean_present(1.0 - dice, there > 0, class_weights), pixels)


def lovasz_softmax(logits: Tensor, target: Tensor, ignore: int, class_weights: Tensor | None = None) -> Summed:
    """The Lovasz extension of the Jaccard loss 1 - IoU, of a sample the mean over the classes its truth has (Berman et
    al. 2018, arXiv 1705.08790, equation 11 and algorithm 1, per image).

    With the errors m_i = |g_i - p_i| of a class in falling order, loss = sum_i m_i (J_i - J_(i-1)), where J_i is
    the Jaccard loss of the answer that is wrong at the first i pixels alone. ``class_weights`` (K,) weigh the mean.
    """
    logits, counted, pixels = _checked(logits, target, ignore)
    losses = []
    for scores, truth, kept in zip(logits, target, counted, strict=True):
        p, labels = scores.softmax(dim=0)[:, kept], truth[kept]
        present = torch.unique(labels)
        if not len(present):
            losses.append(scores.sum() * 0.0)
            continue
        g = (labels == present[:, None]).to(p.dtype)
        errors, order = (g - p[present]).abs().sort(dim=1, descending=True, stable=True)
        g = g.gather(1, order)
        there = g.sum(dim=1, keepdim=True)
        jaccard = 1.0 - (there - g.cumsum(dim=1)) / (there + (1.0 - g).cumsum(dim=1))
        steps = torch.cat((jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]), dim=1)
        found = (errors * steps).sum(dim=1)
        weights = torch.ones_like(found) if class_weights is None else class_weights.to(found)[present]
        losses.append((found * weights).sum() / weights.sum().clamp(min=1e-12))
    return _over_samples(torch.stack(losses) if losses else logits.flatten(1).sum(dim=1), pixels)


def _checked(logits: Tensor, target: Tensor, ignore: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits in a type to compute in, which pixels count (B, \\*S), and how many of each sample (B,)."""
    if logits.ndim < 3 or target.shape != logits.shape[:1] + logits.shape[2:]:
        wanted = tuple(logits.shape[:1] + logits.shape[2:])
        raise ValueError(f"logits {tuple(logits.shape)} need a target {wanted}, {tuple(target.shape)} came")
    counted = target != ignore
    return logits.float() if logits.dtype in _HALF else logits, counted, counted.flatten(1).sum(dim=1)


def _mean_present(losses: Tensor, present: Tensor, class_weights: Tensor | None) -> Tensor:
    """The (weighted) mean (B,) of losses (B, K) over the classes that are present."""
    weights = present.to(losses) if class_weights is None else present * class_weights.to(losses)
    return (losses * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-12)


def _over_samples(losses: Tensor, pixels: Tensor) -> Summed:
    """The sum over those samples (B,) that have pixels, and how many they are."""
    there = pixels > 0
    return (losses * there).sum(), int(there.sum())
