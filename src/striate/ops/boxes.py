"""Boxes as numbers: how much two overlap, the forms they are written in, and the points a detector looks from.

``bounds`` (..., 2A) are A lows and then A highs in array order, in pixels, for A = 1, 2, 3 or more axes: intervals,
rectangles, cuboids. Pixel i covers [i, i + 1). A box whose high is not above its low along some axis is empty: it has
area 0 and overlaps nothing, itself included. Half-precision bounds are computed in float32, whole numbers in float64.
"""

from collections.abc import Sequence
from math import pi, prod
from typing import Literal

import torch
from torch import Tensor

IouKind = Literal["iou", "giou", "diou", "ciou"]
_HALF = (torch.float16, torch.bfloat16)


def axes_of(bounds: Tensor) -> int:
    """The number A of axes of bounds (..., 2A). Errors: ``ValueError`` when the last dimension is odd or empty."""
    width = bounds.shape[-1] if bounds.ndim else 0
    if width == 0 or width % 2:
        raise ValueError(f"bounds have the shape (..., 2A), a low and a high for each axis; {tuple(bounds.shape)} came")
    return width // 2


def _precise(values: Tensor) -> Tensor:
    if values.dtype in _HALF:
        return values.float()
    return values if values.is_floating_point() else values.double()


def _both(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, int]:
    axes = axes_of(first)
    if axes_of(second) != axes:
        raise ValueError(f"boxes of {axes} and of {axes_of(second)} axes came; they must lie in the same space")
    return _precise(first), _precise(second), axes


def _product(sizes: Tensor) -> Tensor:
    """The product over the last dimension, axis by axis from the first, so that equal boxes get equal bits."""
    total = sizes[..., 0]
    for axis in range(1, sizes.shape[-1]):
        total = total * sizes[..., axis]
    return total


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, and 0 with gradient 0 where ``whole`` is too small to divide by."""
    sound = whole > torch.finfo(whole.dtype).tiny ** 0.5
    return torch.where(sound, part / torch.where(sound, whole, 1.0), 0.0)


def areas(bounds: Tensor) -> Tensor:
    """Length, area or volume (...) of bounds (..., 2A), in pixels; 0 for an empty box."""
    bounds, axes = _precise(bounds), axes_of(bounds)
    return _product((bounds[..., axes:] - bounds[..., :axes]).clamp(min=0))


def pairwise_intersections(first: Tensor, second: Tensor) -> Tensor:
    """The area that each box of ``first`` (..., N, 2A) shares with each of ``second`` (..., M, 2A): (..., N, M).

    Leading dimensions are batches and broadcast. Errors: ``ValueError`` for boxes of different spaces.
    """
    first, second, axes = _both(first, second)
    total: Tensor | None = None
    for axis in range(axes):  # axis by axis: nothing larger than the answer is held
        low = torch.maximum(first[..., :, None, axis], second[..., None, :, axis])
        high = torch.minimum(first[..., :, None, axes + axis], second[..., None, :, axes + axis])
        shared = (high - low).clamp(min=0)
        total = shared if total is None else total * shared
    assert total is not None
    return total


def pairwise_ious(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of each box of ``first`` (..., N, 2A) with each of ``second`` (..., M, 2A): (..., N, M).

    Between 0 and 1; 0 where both are empty. Leading dimensions are batches and broadcast. Areas must be numbers of the
    type: float32 rectangles up to 1e19 pixels a side. Errors: ``ValueError`` for boxes of different spaces.
    """
    shared = pairwise_intersections(first, second)
    return _ratio(shared, areas(first)[..., :, None] + areas(second)[..., None, :] - shared)


def iou(first: Tensor, second: Tensor, kind: IouKind = "iou") -> Tensor:
    """Overlap of boxes ``first`` (..., 2A) with ``second`` (..., 2A), box by box: (...), differentiable in both.

    With I and U the areas of intersection and union, C that of the smallest box around both, d the distance of the
    centres and c the diagonal of the box around both:

        iou   I / U
        giou  I / U - (C - U) / C                     (Rezatofighi et al. 2019, arXiv 1902.09630)
        diou  I / U - d^2 / c^2                       (Zheng et al. 2020, arXiv 1911.08287)
        ciou  diou - a v,  v = 4 / pi^2 (atan(w / h) - atan(w' / h'))^2,  a = v / ((1 - I / U) + v)

    ``a`` is a weight without gradient, as in the paper. Width over height means something for rectangles only: with
    any other number of axes ``ciou`` is ``diou``. All but ``iou`` still fall with the distance of boxes that do not
    overlap. Values and gradients are finite for all finite bounds (of size below a quarter of the type's largest
    number), also for empty and reversed boxes: what would be divided by nothing is 0. Errors: ``ValueError`` for boxes
    of different spaces and for an unknown kind.
    """
    if kind not in ("iou", "giou", "diou", "ciou"):
        raise ValueError(f"the kinds of overlap are iou, giou, diou and ciou; {kind!r} came")
    first, second, axes = _both(first, second)
    low, high, other_low, other_high = first[..., :axes], first[..., axes:], second[..., :axes], second[..., axes:]
    outer_low = torch.minimum(torch.minimum(low, high), torch.minimum(other_low, other_high))
    outer = torch.maximum(torch.maximum(low, high), torch.maximum(other_low, other_high)) - outer_low
    # Areas are taken as shares of the box around both, axis by axis, so that no product over- or underflows. No ratio
    # of areas depends on that unit, which therefore needs no gradient.
    unit = torch.where(outer > torch.finfo(outer.dtype).tiny ** 0.5, outer, 1.0).detach()
    shared = _product((torch.minimum(high, other_high) - torch.maximum(low, other_low)).clamp(min=0) / unit)
    sizes, other_sizes = (high - low).clamp(min=0), (other_high - other_low).clamp(min=0)
    union = _product(sizes / unit) + _product(other_sizes / unit) - shared
    overlap = _ratio(shared, union)
    if kind == "iou":
        return overlap
    if kind == "giou":
        around = _product(outer / unit)
        return overlap - _ratio(around - union, around)
    longest = unit.amax(dim=-1, keepdim=True)
    distance = ((low / 2 + high / 2 - other_low / 2 - other_high / 2) / longest).square().sum(dim=-1)
    distant = overlap - _ratio(distance, (outer / longest).square().sum(dim=-1))
    if kind == "diou" or axes != 2:
        return distant
    return distant - _aspect_penalty(sizes, other_sizes, overlap)


def _aspect_penalty(sizes: Tensor, other_sizes: Tensor, overlap: Tensor) -> Tensor:
    """a v of :func:`iou` for sizes (..., 2); 0 where either box is a point, which has no aspect."""
    angle, known = _angle(sizes)
    other, other_known = _angle(other_sizes)
    aspect = torch.where(known & other_known, 4 / pi**2 * (angle - other).square(), 0.0)
    weight = _ratio(aspect, 1 - overlap + aspect).detach()
    return weight * aspect


def _angle(sizes: Tensor) -> tuple[Tensor, Tensor]:
    """atan(w / h) of sizes (..., 2) = (h, w), by way of the longer side so that nothing overflows; and where it is."""
    longer = sizes.detach().amax(dim=-1, keepdim=True)
    known = longer > torch.finfo(sizes.dtype).tiny ** 0.5
    # a point gets the angle of a square, without gradient
    shares = torch.where(known, sizes / torch.where(known, longer, 1.0), 1.0)
    return torch.atan2(shares[..., 1], shares[..., 0]), known[..., 0]


def bounds_to_centres(bounds: Tensor) -> Tensor:
    """Bounds (..., 2A) as A centres and then A sizes, (..., 2A), in pixels."""
    axes = axes_of(bounds)
    low, high = bounds[..., :axes], bounds[..., axes:]
    return torch.cat(((low + high) / 2, high - low), dim=-1)


def centres_to_bounds(centres: Tensor) -> Tensor:
    """A centres and then A sizes (..., 2A), in pixels, as bounds (..., 2A)."""
    axes = axes_of(centres)
    middle, half = centres[..., :axes], centres[..., axes:] / 2
    return torch.cat((middle - half, middle + half), dim=-1)


def clip_bounds(bounds: Tensor, canvas: Sequence[int]) -> Tensor:
    """Bounds (..., 2A) cut to a canvas of that many pixels along each axis; what lies outside becomes empty.

    Errors: ``ValueError`` when the canvas has other axes.
    """
    axes = axes_of(bounds)
    if len(canvas) != axes:
        raise ValueError(f"boxes of {axes} axes came with a canvas of {len(canvas)}")
    limit = bounds.new_tensor([*canvas, *canvas])
    return torch.minimum(bounds.clamp(min=0), limit)


def point_grid(
    canvas: Sequence[int],
    stride: Sequence[int],
    start: Sequence[float] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Where the positions of a feature map lie on the canvas: (P, A) in pixels, in the order of the flattened map.

    Along each axis position u = 0 .. ceil(n / s) - 1 lies at start + s u + 1/2, with ``start`` as
    :class:`striate.core.geometry.Field` gives it (a pixel number; 1/2 leads to the pixel's middle) and without it
    (s - 1) / 2: the middle of the u-th cell of s pixels, (u + 1/2) s. Where s does not divide the canvas the last point
    may lie beyond its end. Errors: ``ValueError`` when the arguments have different axes, or a number below 1.
    """
    if len(stride) != len(canvas) or (start is not None and len(start) != len(canvas)):
        raise ValueError(f"canvas {tuple(canvas)}, stride {tuple(stride)} and start {start} have different axes")
    if min(*canvas, *stride) < 1:
        raise ValueError(f"canvas {tuple(canvas)} and stride {tuple(stride)} must be 1 or more along every axis")
    first = [(step - 1) / 2 for step in stride] if start is None else [float(value) for value in start]
    lines = [
        torch.arange(-(-size // step), dtype=torch.float64, device=device) * step + (begin + 0.5)
        for size, step, begin in zip(canvas, stride, first, strict=True)
    ]
    return torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1).reshape(-1, len(canvas)).to(dtype)


def point_grids(
    canvas: Sequence[int],
    strides: Sequence[Sequence[int]],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor]:
    """The :func:`point_grid` of several feature maps, one after the other: points (P, A), and each one's stride (P, A).

    Errors: ``ValueError`` without any stride, and as :func:`point_grid`.
    """
    if not strides:
        raise ValueError("a detector looks from at least one feature map; no strides came")
    grids = [point_grid(canvas, stride, dtype=dtype, device=device) for stride in strides]
    steps = [grid.new_tensor(tuple(stride)).expand_as(grid) for grid, stride in zip(grids, strides, strict=True)]
    return torch.cat(grids), torch.cat(steps)


def bounds_to_distances(points: Tensor, bounds: Tensor) -> Tensor:
    """How far the sides of bounds (..., 2A) lie from points (..., A): A distances down, then A up, (..., 2A).

    In the unit of both; negative where the point is outside. Errors: ``ValueError`` for boxes of another space.
    """
    axes = _check_points(points, bounds)
    return torch.cat((points - bounds[..., :axes], bounds[..., axes:] - points), dim=-1)


def distances_to_bounds(points: Tensor, distances: Tensor) -> Tensor:
    """Bounds (..., 2A) from the distances (..., 2A) of :func:`bounds_to_distances` and its points (..., A)."""
    axes = _check_points(points, distances)
    return torch.cat((points - distances[..., :axes], points + distances[..., axes:]), dim=-1)


def _check_points(points: Tensor, bounds: Tensor) -> int:
    axes = axes_of(bounds)
    if points.ndim == 0 or points.shape[-1] != axes:
        raise ValueError(f"points (..., {axes}) belong to boxes of {axes} axes; {tuple(points.shape)} came")
    return axes


def _cells(
    canvas: Sequence[int], grid: Sequence[int], like: Tensor, places: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Cell numbers (C, A) along each axis, pixels a cell (A,) and pixels of the canvas (A,), checked against ``like``.

    ``places`` are the dimensions of ``like`` that hold the cells and the numbers of a box.
    """
    axes = axes_of(like)
    count = prod(grid)
    if len(canvas) != axes or len(grid) != axes or like.shape[places[0]] != count:
        raise ValueError(
            f"boxes of shape {tuple(like.shape)} do not fit a grid {tuple(grid)} on a canvas {tuple(canvas)}: "
            f"dimension {places[0]} must be the {count} cells and the last one 2 x {len(grid)}"
        )
    size = like.new_tensor(tuple(canvas))
    numbers = torch.meshgrid(*(torch.arange(n, dtype=like.dtype, device=like.device) for n in grid), indexing="ij")
    return torch.stack(numbers, dim=-1).reshape(-1, axes), size / like.new_tensor(tuple(grid)), size


def cell_values_to_bounds(values: Tensor, canvas: Sequence[int], grid: Sequence[int]) -> Tensor:
    """Bounds (..., C, P, 2A) in pixels from what the P predictors of C grid cells say, ``values`` (..., C, P, 2A).

    The form of YOLO (Redmon et al. 2016, arXiv 1506.02640, section 2): A offsets of the centre from the low corner of
    its cell, in cells, then A square roots of the sizes, in canvases: centre = (cell + offset) canvas / grid,
    size = root^2 canvas. C counts the cells in the order of the flattened grid. Errors: ``ValueError`` for a grid or
    canvas that does not fit.
    """
    cells, cell, size = _cells(canvas, grid, values, (-3, -1))
    axes = len(grid)
    centres = (cells[:, None, :] + values[..., :axes]) * cell
    return centres_to_bounds(torch.cat((centres, values[..., axes:].square() * size), dim=-1))


def bounds_to_cell_values(bounds: Tensor, canvas: Sequence[int], grid: Sequence[int]) -> Tensor:
    """The inverse of :func:`cell_values_to_bounds` for one box a cell: bounds (..., C, 2A) to values (..., C, 2A).

    An empty box has the root 0. Errors: ``ValueError`` for a grid or canvas that does not fit.
    """
    cells, cell, size = _cells(canvas, grid, bounds, (-2, -1))
    axes = len(grid)
    centres = bounds_to_centres(bounds)
    roots = (centres[..., axes:].clamp(min=0) / size).sqrt()
    return torch.cat((centres[..., :axes] / cell - cells, roots), dim=-1)
