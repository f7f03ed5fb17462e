"""Losses of detectors: each returns ``(sum, count)``, so that batches, processes and accumulation steps add up.

``sum`` is a scalar tensor with a gradient and ``count`` a Python number: how many answers, or how much weight, the sum
is over. Reading a count of weights waits for the device. Half-precision inputs are added up in float32. Bounds are as
in :mod:`striate.ops.boxes`, for any number A of axes.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor

from striate.ops.assign import CellAssignment
from striate.ops.boxes import IouKind, axes_of, iou

_HALF = (torch.float16, torch.bfloat16)


def _precise(values: Tensor) -> Tensor:
    return values.float() if values.dtype in _HALF else values


def _weighted(losses: Tensor, weights: Tensor | None) -> tuple[Tensor, float]:
    """Sum and count of one loss (N,) each, with a weight (N,) each or 1."""
    if weights is None:
        return losses.sum(), losses.numel()
    if weights.shape != losses.shape:
        raise ValueError(f"weights {tuple(losses.shape)} were expected, {tuple(weights.shape)} came")
    return (losses * weights).sum(), float(weights.sum())


def iou_loss(
    predicted: Tensor, wanted: Tensor, weights: Tensor | None = None, kind: IouKind = "ciou"
) -> tuple[Tensor, float]:
    """Sum of w (1 - overlap) of bounds ``predicted`` (..., 2A) with ``wanted`` (..., 2A), and the sum of w.

    ``kind`` and its papers: :func:`striate.ops.boxes.iou`; ``weights`` (...) are w, 1 without. Errors: ``ValueError``
    for shapes that differ and an unknown kind.
    """
    if predicted.shape != wanted.shape:
        raise ValueError(f"bounds {tuple(predicted.shape)} and {tuple(wanted.shape)} came; one wanted box is for each")
    return _weighted(1 - iou(predicted, wanted, kind), weights)


def distribution_mean(logits: Tensor) -> Tensor:
    """The expected bin (...) of distributions over bins 0 .. R - 1 with ``logits`` (..., R): sum of i softmax(i).

    The distance, in bins, that a head trained by :func:`distribution_focal_loss` means (Li et al. 2020, equation 4).
    """
    logits = _precise(logits)
    return logits.softmax(dim=-1) @ torch.arange(logits.shape[-1], dtype=logits.dtype, device=logits.device)


def distribution_focal_loss(logits: Tensor, distances: Tensor, weights: Tensor | None = None) -> tuple[Tensor, float]:
    """Distribution focal loss (Li et al. 2020, arXiv 2006.04388, equation 6), in nats.

    ``logits`` (..., S, R) are over bins 0 .. R - 1 for each of S sides of a box, ``distances`` (..., S) the true ones
    in bins. With i = floor(y), and y limited to what the bins can say, 0 .. R - 1:

        sum = - sum of w mean over sides of (i + 1 - y) log p[i] + (y - i) log p[i + 1],   p = softmax(logits)

    ``weights`` (...) are w, one a box, 1 without; the count is their sum. Errors: ``ValueError`` for shapes that do
    not fit and fewer than two bins.
    """
    if logits.ndim < 2 or logits.shape[:-1] != distances.shape or logits.shape[-1] < 2 or not distances.shape[-1]:
        raise ValueError(
            f"logits (..., S, R) with two bins or more and distances (..., S) were expected, {tuple(logits.shape)} "
            f"and {tuple(distances.shape)} came"
        )
    shares = _precise(logits).log_softmax(dim=-1)
    last = logits.shape[-1] - 1
    place = distances.to(shares.dtype).clamp(0, last)
    below = place.detach().floor().clamp(max=last - 1)
    part, left = place - below, below.long()[..., None]
    losses = -(1 - part) * shares.gather(-1, left)[..., 0] - part * shares.gather(-1, left + 1)[..., 0]
    return _weighted(losses.mean(dim=-1), weights)


def soft_binary_cross_entropy(
    logits: Tensor, targets: Tensor, weights: Tensor | None = None, focusing: float = 0.0
) -> tuple[Tensor, float]:
    """Binary cross-entropy of ``logits`` with ``targets`` in [0, 1] of the same shape, each with a weight, in nats.

        sum = - sum of w |t - s|^g (t log s + (1 - t) log(1 - s)),   s = sigmoid(logits)

    ``weights`` are w, of a shape that broadcasts to that of the logits, 1 without: 0 leaves an answer out. The count is
    the sum of the weights as broadcast. ``focusing`` is g: 0 is the plain loss; above, answers that are nearly right
    count less (Li et al. 2020, equation 2, and Feng et al. 2021, equation 5). Errors: ``ValueError`` for shapes that do
    not fit, and for a g between 0 and 1, whose gradient has no limit at s = t.
    """
    if targets.shape != logits.shape:
        raise ValueError(f"targets of shape {tuple(targets.shape)} came with logits of shape {tuple(logits.shape)}")
    if focusing != 0 and not focusing >= 1:
        raise ValueError(f"focusing is 0, or 1 or more; {focusing} came")
    logits = _precise(logits)
    targets = targets.to(logits.dtype)
    losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if focusing:
        losses = losses * (targets - logits.sigmoid()).abs() ** focusing
    return _weighted(losses, None if weights is None else weights.to(logits.dtype).expand_as(logits))


def yolo_v1_terms(
    values: Tensor,
    confidence: Tensor,
    probabilities: Tensor,
    wanted_values: Tensor,
    wanted_classes: Tensor,
    assignment: CellAssignment,
    *,
    coordinate_weight: float = 5.0,
    empty_weight: float = 0.5,
) -> dict[str, Tensor]:
    """The five sums of :func:`yolo_v1_loss`, weights included: location, size, object, empty, classes."""
    axes = axes_of(values)
    cells, predictors = values.shape[:2], values.shape[2:3]
    if (
        values.ndim != 4
        or confidence.shape != cells + predictors
        or probabilities.shape[:2] != cells
        or probabilities.ndim != 3
        or wanted_values.shape != (*cells, 2 * axes)
        or wanted_classes.shape != cells
        or assignment.objects.shape != cells
    ):
        came = [tuple(part.shape) for part in (values, confidence, probabilities, wanted_values, wanted_classes)]
        raise ValueError(f"(B, C, P, 2A), (B, C, P), (B, C, K), (B, C, 2A) and (B, C) were expected, {came} came")
    values, confidence, probabilities = _precise(values), _precise(confidence), _precise(probabilities)
    taken = assignment.objects >= 0  # (B, C): cells that answer for an object
    answers = assignment.responsible(values.shape[2])  # (B, C, P)
    wrong = torch.where(answers[..., None], values - wanted_values[:, :, None], 0.0).square()
    sure = torch.where(answers, confidence - assignment.ious[..., None], 0.0).square()
    empty = torch.where(answers | assignment.neither[..., None], 0.0, confidence).square()
    named = functional.one_hot(torch.where(taken, wanted_classes, 0), probabilities.shape[2])
    classes = torch.where(taken[..., None], probabilities - named, 0.0).square()
    return {
        "location": coordinate_weight * wrong[..., :axes].sum(),
        "size": coordinate_weight * wrong[..., axes:].sum(),
        "object": sure.sum(),
        "empty": empty_weight * empty.sum(),
        "classes": classes.sum(),
    }


def yolo_v1_loss(
    values: Tensor,
    confidence: Tensor,
    probabilities: Tensor,
    wanted_values: Tensor,
    wanted_classes: Tensor,
    assignment: CellAssignment,
    *,
    coordinate_weight: float = 5.0,
    empty_weight: float = 0.5,
) -> tuple[Tensor, int]:
    """The squared-error loss of YOLO (Redmon et al. 2016, arXiv 1506.02640, equation 3); the count is the images B.

    What C cells say: ``values`` (B, C, P, 2A) of their P boxes, in the form of
    :func:`striate.ops.boxes.cell_values_to_bounds` (offsets of the centre in cells, then square roots of the sizes in
    canvases: the network gives the root, as its authors' does, since the root of what it gives would have no gradient
    at 0), ``confidence`` (B, C, P), and class ``probabilities`` (B, C, K). What is wanted, read only where a cell
    answers for an object: ``wanted_values`` (B, C, 2A) and ``wanted_classes`` (B, C). With the responsible boxes 1obj
    of the ``assignment`` and their intersection over union with the object as the wanted confidence:

        sum =  5  sum 1obj ((x - x')^2 + (y - y')^2)                    location: over all A axes
            +  5  sum 1obj ((sqrt w - sqrt w')^2 + (sqrt h - sqrt h')^2)  size: over all A axes
            +     sum 1obj (c - iou)^2                                  object
            + 0.5 sum 1noobj c^2                                        empty: all other boxes
            +     sum over cells with an object, over classes, (p - p')^2  classes

    Boxes of cells that are ``neither`` are not counted as empty. The weights 5 and 0.5 are ``coordinate_weight`` and
    ``empty_weight``. Errors: ``ValueError`` for shapes that do not fit.
    """
    terms = yolo_v1_terms(
        values,
        confidence,
        probabilities,
        wanted_values,
        wanted_classes,
        assignment,
        coordinate_weight=coordinate_weight,
        empty_weight=empty_weight,
    )
    return torch.stack(list(terms.values())).sum(), len(values)
