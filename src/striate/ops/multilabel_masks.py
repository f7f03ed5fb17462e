"""Losses of masks with any number of classes a pixel: each returns ``(sum, count)`` over the samples of a batch.

Every class is a question of its own, yes or no. Every sample has its own loss, the mean over its classes, so dividing a
batch changes nothing and losses of different kinds can be added; ``count`` is how many samples have entries that count.

``logits`` are (B, K, \\*S), before the sigmoid; ``target`` (B, K, \\*S), an integer type, holds 0 and 1, and ``ignore``
marks entries (pixel and class) that do not count. p is sigmoid(logits), half-precision logits are taken as float32.
``class_weights`` (K,) multiply the classes' losses; with a mean of 1 they keep the size of the loss. Classes that are
not in a sample count too: nothing else would keep them from being answered there. Errors: ``ValueError`` for shapes
that do not fit.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor

from striate.ops.segmentation_losses import LEAST, Summed

_HALF = (torch.float16, torch.bfloat16)


def pixel_binary_cross_entropy(
    logits: Tensor, target: Tensor, ignore: int, class_weights: Tensor | None = None, gamma: float = 0.0
) -> Summed:
    """Binary cross-entropy in nats, of a class the mean over its n counted pixels; with ``gamma`` the focal loss (Lin
    et al. 2017, arXiv 1708.02002, equation 4), which lets pixels fade that are answered rightly:

        loss = 1 / n  sum over pixels i of  (1 - q[i])^gamma (- log q[i]),   q = p where the class is, else 1 - p
    """
    logits, truth, counted = _checked(logits, target, ignore)
    each = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none") * counted
    if gamma:
        each = each * (1.0 - torch.exp(-each)).clamp(min=LEAST) ** gamma
    pixels = counted.sum(dim=2)
    return _over_samples(each.sum(dim=2) / pixels.clamp(min=1), pixels, class_weights)


def binary_dice(logits: Tensor, target: Tensor, ignore: int, class_weights: Tensor | None = None) -> Summed:
    """1 - Dice of each class (Milletari et al. 2016, arXiv 1606.04797, section 3), with one pixel more above and
    below the line, so that a class that is not there has a slope too, towards no answer:

        loss = 1 - (2 sum_i p_i g_i + 1) / (sum_i p_i^2 + sum_i g_i + 1)
    """
    logits, truth, counted = _checked(logits, target, ignore)
    p = logits.sigmoid() * counted
    both, alone = (p * truth).sum(dim=2), (p * p).sum(dim=2) + truth.sum(dim=2)
    return _over_samples(1.0 - (2 * both + 1) / (alone + 1), counted.sum(dim=2), class_weights)


def lovasz_hinge(logits: Tensor, target: Tensor, ignore: int, class_weights: Tensor | None = None) -> Summed:
    """The Lovasz extension of the Jaccard loss 1 - IoU of each class by hinge errors (Berman et al. 2018, arXiv
    1705.08790, section 3.1 and algorithm 1, per image).

    With the errors m_i = max(0, 1 - s_i f_i) of the logits f, s_i = 1 where the class is and else -1, in falling
    order, loss = sum_i m_i (J_i - J_(i-1)), where J_i is the Jaccard loss of the answer that is wrong at the first i
    pixels alone. Where the class is not in the sample that is the largest error.
    """
    logits, truth, counted = _checked(logits, target, ignore)
    errors = (1.0 - logits * (2 * truth - 1)).masked_fill(~counted, 0.0).clamp(min=0.0)
    errors, order = errors.sort(dim=2, descending=True, stable=True)
    g, some = truth.gather(2, order), counted.gather(2, order).to(truth)  # what does not count is neither in nor out
    there = g.sum(dim=2, keepdim=True)
    jaccard = 1.0 - (there - g.cumsum(dim=2)) / (there + (some - g).cumsum(dim=2)).clamp(min=1.0)
    steps = torch.cat((jaccard[..., :1], jaccard[..., 1:] - jaccard[..., :-1]), dim=2)
    return _over_samples((errors * steps).sum(dim=2), counted.sum(dim=2), class_weights)


def _checked(logits: Tensor, target: Tensor, ignore: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits in a type to compute in, the truth in that type (0 where it does not count), and which entries count
    (bool): all (B, K, n)."""
    if logits.ndim < 3 or target.shape != logits.shape:
        raise ValueError(f"logits {tuple(logits.shape)} need a target of that shape, {tuple(target.shape)} came")
    logits, target = (logits.float() if logits.dtype in _HALF else logits).flatten(2), target.flatten(2)
    counted = target != ignore
    return logits, ((target == 1) & counted).to(logits.dtype), counted


def _over_samples(losses: Tensor, pixels: Tensor, class_weights: Tensor | None) -> Summed:
    """The sum over samples of the mean of losses (B, K) over the classes of which pixels (B, K) count, and how many
    samples have any."""
    there = pixels > 0
    weights = there.to(losses) if class_weights is None else there * class_weights.to(losses)
    each = (losses * weights).sum(dim=1) / there.sum(dim=1).clamp(min=1)
    return each.sum(), int(there.any(dim=1).sum())
