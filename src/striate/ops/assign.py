"""Which prediction answers for which object: the rule of YOLO's first version, and task-aligned assignment.

Pure functions of tensors over a whole batch, without gradient. Objects come padded to the same number M in every image
(:class:`PaddedBoxes`); answers name objects by their place 0 .. M - 1 and "none" by -1. An *ignored* box claims
nothing, and what looks from inside it without answering for anything is neither right nor wrong: the losses leave it
out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from striate.core.targets import Boxes
from striate.ops.boxes import axes_of, pairwise_ious


@dataclass(frozen=True)
class PaddedBoxes:
    """The objects of B images, M places each: ``bounds`` (B, M, 2A), ``classes`` int64 (B, M), and two truth values.

    ``present`` (B, M) marks the places that hold a box, ``ignored`` (B, M) the boxes not to be learned. Errors:
    ``ValueError`` for shapes that do not fit.
    """

    bounds: Tensor
    classes: Tensor
    present: Tensor
    ignored: Tensor

    def __post_init__(self) -> None:
        axes_of(self.bounds)
        shapes = {tuple(part.shape) for part in (self.classes, self.present, self.ignored)}
        if self.bounds.ndim != 3 or shapes != {tuple(self.bounds.shape[:2])}:
            raise ValueError(f"bounds (B, M, 2A) and three tensors (B, M) were expected, {shapes} came for the three")

    @property
    def learned(self) -> Tensor:
        """bool (B, M): present and not ignored."""
        return self.present & ~self.ignored

    def to(self, device: torch.device | str) -> "PaddedBoxes":
        """The same on another device."""
        return PaddedBoxes(*(part.to(device) for part in (self.bounds, self.classes, self.present, self.ignored)))


def pad_boxes(targets: Sequence[Boxes], dtype: torch.dtype = torch.float32) -> PaddedBoxes:
    """The boxes of B images side by side, filled up to the largest number with empty boxes of class 0.

    Errors: ``ValueError`` for no images, or images whose boxes have different axes.
    """
    axes = {target.axes for target in targets}
    if len(axes) != 1:
        raise ValueError(f"a batch has boxes of one number of axes, {sorted(axes)} came from {len(targets)} images")
    count, most = len(targets), max(len(target.classes) for target in targets)
    bounds = torch.zeros(count, most, 2 * axes.pop(), dtype=dtype)
    classes = torch.zeros(count, most, dtype=torch.int64)
    present, ignored = torch.zeros(count, most, dtype=torch.bool), torch.zeros(count, most, dtype=torch.bool)
    for image, target in enumerate(targets):
        places = slice(len(target.classes))
        bounds[image, places] = target.bounds().to(dtype)
        classes[image, places] = target.classes
        present[image, places] = True
        ignored[image, places] = target.marks
    return PaddedBoxes(bounds, classes, present, ignored)


def of_objects(values: Tensor, objects: Tensor) -> Tensor:
    """``values`` (B, M, ...) of the objects named by ``objects`` (B, P): (B, P, ...), and 0 where that is -1."""
    empty = values.new_zeros(values.shape[0], 1, *values.shape[2:])
    padded = torch.cat((values, empty), dim=1)  # the place M holds what "none" gets
    places = torch.where(objects < 0, values.shape[1], objects)
    places = places.reshape(*objects.shape, *(1,) * (values.ndim - 2)).expand(*objects.shape, *values.shape[2:])
    return padded.gather(1, places)


def inside(points: Tensor, bounds: Tensor, reach: Tensor | None = None) -> Tensor:
    """Which points (P, A) lie in which boxes (B, M, 2A): bool (B, M, P), low <= point < high along every axis.

    With ``reach`` (P, A) also those that have the middle of the box within their reach, middle - point in
    [-reach, reach), so that with half a stride every box, however small, has one point of that stride.
    """
    axes = axes_of(bounds)
    if points.shape[-1] != axes:
        raise ValueError(f"points (P, {axes}) belong to boxes of {axes} axes; {tuple(points.shape)} came")
    within, near = None, None
    for axis in range(axes):  # axis by axis: nothing larger than the answer is held
        place, low, high = points[:, axis], bounds[..., axis, None], bounds[..., axes + axis, None]
        here = (place >= low) & (place < high)
        within = here if within is None else within & here
        if reach is not None:
            offset = (low + high) / 2 - place
            here = (offset >= -reach[:, axis]) & (offset < reach[:, axis])
            near = here if near is None else near & here
    assert within is not None
    return within if near is None else within | near


@dataclass(frozen=True)
class Assignment:
    """What P points of each of B images answer for.

    ``objects`` int64 (B, P): the object, or -1. ``targets`` (B, P): how sure of its class the point should be, 0 to 1.
    ``neither`` bool (B, P): not to be counted, not even as background.
    """

    objects: Tensor
    targets: Tensor
    neither: Tensor

    @property
    def positive(self) -> Tensor:
        """bool (B, P): the points that answer for an object."""
        return self.objects >= 0

    def class_targets(self, classes: Tensor, count: int) -> Tensor:
        """What each point should say about ``count`` classes, (B, P, count): the target at its object's class, else 0.

        ``classes`` (B, M) are the classes of the objects.
        """
        wanted = of_objects(classes, self.objects)[..., None]
        return self.targets.new_zeros(*self.targets.shape, count).scatter(2, wanted, self.targets[..., None])


def _ranks(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """Each one's place, from 0, among the ``values`` (n,) of its group: the highest first, of equals the first.

    ``group`` int64 (n,) does not fall along n.
    """
    falling = values.argsort(descending=True, stable=True)
    order = falling[group[falling].argsort(stable=True)]
    counts = torch.bincount(group, minlength=groups)
    starts = counts.cumsum(0) - counts
    places = torch.arange(len(values), device=values.device)
    return torch.empty_like(places).scatter(0, order, places - starts[group])


def task_aligned(
    scores: Tensor,
    predicted: Tensor,
    points: Tensor,
    objects: PaddedBoxes,
    *,
    alpha: float = 1.0,
    beta: float = 6.0,
    top: int = 13,
    reach: Tensor | None = None,
) -> Assignment:
    """Task-aligned assignment (Feng et al. 2021, TOOD, arXiv 2108.07755, sections 3.2 and 3.3).

    ``scores`` (B, P, K) are class probabilities, ``predicted`` (B, P, 2A) the predicted bounds and ``points`` (P, A)
    where the predictions look from, in the unit of the objects' bounds. The alignment of point p with object o is

        t = s^alpha u^beta,   s = score of o's class at p,   u = intersection over union of o with p's prediction

    An object claims the ``top`` points of highest t among those inside it (``reach``: see :func:`inside`). A point
    claimed by several goes to the object it overlaps most, of equals to the first; of points with equal t the first
    are claimed. The target of a point is t over the highest t of its object's points, times their highest u: the best
    aligned point of an object is to be as sure as the best of them overlaps, and where nothing overlaps the target
    is 0.

    Errors: ``ValueError`` for shapes that do not fit or a ``top`` below 1; what torch raises for a class outside K.
    """
    batch, count = scores.shape[:2]
    if predicted.shape[:2] != (batch, count) or len(points) != count or objects.bounds.shape[0] != batch:
        raise ValueError(
            f"scores (B, P, K), predicted (B, P, 2A), points (P, A) and B images were expected; {tuple(scores.shape)}, "
            f"{tuple(predicted.shape)}, {tuple(points.shape)} and {objects.bounds.shape[0]} images came"
        )
    if top < 1:
        raise ValueError(f"an object claims one point or more, top is {top}")
    many = objects.bounds.shape[1]
    with torch.no_grad():
        within = inside(points, objects.bounds, reach) & objects.present[..., None]  # (B, M, P)
        spared = (within & objects.ignored[..., None]).any(dim=1)
        # few points are inside a box, so what follows is a list of the n pairs of an object and a point inside it
        pairs = (within & ~objects.ignored[..., None]).nonzero()
        image, number, point = pairs.unbind(dim=1)
        overlap = pairwise_ious(objects.bounds[image, number, None], predicted[image, point, None])[:, 0, 0]
        score = scores[image, point, objects.classes[image, number]].to(overlap.dtype)
        aligned = score**alpha * overlap**beta
        claimed = _ranks(aligned, image * many + number, batch * many) < top
        image, number, point, overlap, aligned = (part[claimed] for part in (image, number, point, overlap, aligned))
        object_place, point_place = image * many + number, image * count + point
        most = overlap.new_full((batch * count,), -1.0).scatter_reduce(0, point_place, overlap, "amax")
        rivals = torch.where(overlap == most[point_place], number, many)
        owner = number.new_full((batch * count,), many).scatter_reduce(0, point_place, rivals, "amin")
        won = number == owner[point_place]
        object_place, point_place, overlap, aligned = (
            part[won] for part in (object_place, point_place, overlap, aligned)
        )
        nothing = overlap.new_zeros(batch * many)
        strongest = nothing.scatter_reduce(0, object_place, aligned, "amax")[object_place]
        closest = nothing.scatter_reduce(0, object_place, overlap, "amax")[object_place]
        wanted = torch.where(strongest > 0, aligned / torch.where(strongest > 0, strongest, 1.0), 0.0) * closest
        targets = overlap.new_zeros(batch * count).scatter(0, point_place, wanted)
        owners = torch.where(owner < many, owner, -1).reshape(batch, count)
    return Assignment(owners, targets.reshape(batch, count), spared & (owners < 0))


@dataclass(frozen=True)
class CellAssignment:
    """What C grid cells of each of B images answer for.

    ``objects`` int64 (B, C): the object whose centre the cell has, or -1. ``predictor`` int64 (B, C): which of the
    cell's boxes answers (0 where none does). ``ious`` (B, C): how much that box overlaps the object. ``neither`` bool
    (B, C): not to be counted, not even as empty.
    """

    objects: Tensor
    predictor: Tensor
    ious: Tensor
    neither: Tensor

    def responsible(self, predictors: int) -> Tensor:
        """bool (B, C, predictors): the boxes that answer for an object."""
        numbers = torch.arange(predictors, device=self.predictor.device)
        return (self.predictor[..., None] == numbers) & (self.objects >= 0)[..., None]


def responsible(predicted: Tensor, objects: PaddedBoxes, canvas: Sequence[int], grid: Sequence[int]) -> CellAssignment:
    """The rule of YOLO (Redmon et al. 2016, arXiv 1506.02640, section 2) for ``predicted`` (B, C, P, 2A) bounds.

    The cell of the ``grid`` on the ``canvas`` (pixels along each axis) that has the centre of an object answers for
    it: cell floor(centre grid / canvas). Of several objects in a cell it takes the first, since it has one class to
    give; an object whose centre is not on the canvas is nobody's. Of the cell's P boxes the one with the highest
    intersection over union answers; of equal ones, say all 0, the one whose sides are nearest (least squared
    distance), and then the first. ``neither`` are the cells that answer for nothing and have their middle in an
    ignored box.

    Errors: ``ValueError`` for shapes that do not fit.
    """
    axes, cells = axes_of(predicted), prod(grid)
    if (
        predicted.ndim != 4
        or predicted.shape[1] != cells
        or not predicted.shape[2]
        or (len(grid), len(canvas), 2 * axes) != (axes, axes, objects.bounds.shape[2])
        or predicted.shape[0] != objects.bounds.shape[0]
    ):
        raise ValueError(
            f"bounds (B, C, P, 2A) of the {cells} cells of a grid {tuple(grid)} on a canvas {tuple(canvas)} were "
            f"expected, {tuple(predicted.shape)} came for objects {tuple(objects.bounds.shape)}"
        )
    with torch.no_grad():
        bounds, device = objects.bounds, objects.bounds.device
        size = bounds.new_tensor(tuple(canvas))
        counts = bounds.new_tensor(tuple(grid))
        place = ((bounds[..., :axes] + bounds[..., axes:]) / 2 * counts / size).floor().long()  # (B, M, A)
        on = ((place >= 0) & (place < counts.long())).all(dim=-1) & objects.learned
        flat = torch.zeros_like(place[..., 0])
        for axis, length in enumerate(grid):
            flat = flat * length + place[..., axis]
        many = bounds.shape[1]
        numbers = torch.arange(many, device=device).expand(flat.shape)
        first = torch.full((len(bounds), cells), many, dtype=torch.int64, device=device)
        first = first.scatter_reduce(1, torch.where(on, flat, 0), torch.where(on, numbers, many), "amin")
        owners = torch.where(first < many, first, -1)
        own = of_objects(bounds, owners)[:, :, None]  # (B, C, 1, 2A)
        overlaps = pairwise_ious(predicted, own)[..., 0]  # (B, C, P)
        best = overlaps.amax(dim=2, keepdim=True)
        away = (predicted - own).square().sum(dim=-1)
        predictor = torch.where(overlaps == best, away, float("inf")).argmin(dim=2)
        lines = [(torch.arange(n, device=device, dtype=size.dtype) + 0.5) for n in grid]
        middles = torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1).reshape(-1, axes) * (size / counts)
        spared = (inside(middles, bounds) & (objects.present & objects.ignored)[..., None]).any(dim=1)
        taken = owners >= 0
    return CellAssignment(
        owners, torch.where(taken, predictor, 0), torch.where(taken, best[..., 0], 0.0), spared & ~taken
    )
