"""Map: an affine map from a source (signal, image, volume) onto a canvas, in any number of axes.

Coordinates are continuous and in array order: (x,), (y, x) or (z, y, x). Pixel i covers the interval [i, i + 1), its
centre is i + 1/2, and a source of n pixels covers [0, n). Resizing is therefore a scaling about the origin, the
half-pixel convention of Pillow and of torch with ``align_corners=False``, and the same matrix moves pixels, the
corners of boxes, masks and keypoints.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Fill = float | tuple[float, ...] | Literal["edge", "mean"]
"""What an image shows where no source is: a number, one a channel, its nearest edge pixel, or its mean colour."""

Filter = Literal["linear", "cubic"]
"""How pixels are interpolated. Shrinking always widens the filter by the factor of shrinking (antialiasing)."""


class AxisMap(NamedTuple):
    """One canvas axis of an axis-aligned map: canvas = scale * source[axis] + offset."""

    axis: int
    scale: float
    offset: float

    @property
    def exact(self) -> bool:
        """Whether pixels only change place: scale 1 or -1 and a whole offset."""
        return abs(self.scale) == 1.0 and float(self.offset).is_integer()


@dataclass(frozen=True, eq=False)
class Map:
    """``matrix`` (A+1, A+1) takes homogeneous source coordinates to coordinates on a canvas of ``canvas`` pixels.

    ``fill`` and ``filter`` say how an image is drawn there; they do not matter for other kinds. Errors: ``ValueError``
    for a matrix that is misshapen, not finite, not affine or not invertible, and for an empty canvas.
    """

    matrix: NDArray[np.float64]
    canvas: tuple[int, ...]
    fill: Fill = 0.0
    filter: Filter = "linear"

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        axes = len(self.canvas)
        if matrix.shape != (axes + 1, axes + 1) or not np.isfinite(matrix).all():
            raise ValueError(f"a finite matrix of {axes + 1} x {axes + 1} was expected for {axes} axes, got\n{matrix}")
        if (matrix[-1] != np.eye(axes + 1)[-1]).any() or min(self.canvas, default=0) < 1:
            raise ValueError(f"not an affine map onto a canvas of at least one pixel: {self.canvas}\n{matrix}")
        if abs(np.linalg.det(matrix[:-1, :-1])) < 1e-18:
            raise ValueError(f"a map must be invertible, and this one flattens the source:\n{matrix}")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "canvas", tuple(int(n) for n in self.canvas))

    @classmethod
    def identity(cls, size: tuple[int, ...]) -> "Map":
        """The map that leaves a source of ``size`` pixels as it is."""
        return cls(np.eye(len(size) + 1), size)

    def leaves(self, size: tuple[int, ...]) -> bool:
        """Whether a source of ``size`` pixels stays exactly as and where it is."""
        return self.canvas == tuple(size) and bool((self.matrix == np.eye(len(size) + 1)).all())

    @classmethod
    def aligned(
        cls, axes: tuple[AxisMap, ...], canvas: tuple[int, ...], fill: Fill = 0.0, kind: Filter = "linear"
    ) -> "Map":
        """The axis-aligned map with these canvas axes."""
        matrix = np.zeros((len(axes) + 1, len(axes) + 1))
        matrix[-1, -1] = 1.0
        for row, (axis, scale, offset) in enumerate(axes):
            matrix[row, axis], matrix[row, -1] = scale, offset
        return cls(matrix, canvas, fill, kind)

    @property
    def axes(self) -> int:
        """The number of spatial axes."""
        return len(self.canvas)

    def aligned_axes(self) -> tuple[AxisMap, ...] | None:
        """For each canvas axis the source axis it shows, scale and offset; ``None`` for rotations and shears."""
        linear = self.matrix[:-1, :-1]
        if ((linear != 0).sum(axis=1) != 1).any():  # invertible, so the columns then have one entry each too
            return None
        sources = (linear != 0).argmax(axis=1)
        return tuple(
            AxisMap(int(axis), float(linear[row, axis]), float(self.matrix[row, -1]))
            for row, axis in enumerate(sources)
        )

    @property
    def exact(self) -> bool:
        """Whether pixels only change place (flips, quarter turns, whole shifts, crops, pads): no interpolation."""
        rows = self.aligned_axes()
        return rows is not None and all(row.exact for row in rows)

    def points(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Source points (..., A) on the canvas, float64 of the same shape. Points may lie outside it."""
        return np.asarray(points, dtype=np.float64) @ self.matrix[:-1, :-1].T + self.matrix[:-1, -1]

    def inverse(self, size: tuple[int, ...]) -> "Map":
        """The map from the canvas back onto the source, whose size in pixels was ``size``."""
        rows = self.aligned_axes()
        if rows is None:
            return Map(np.linalg.inv(self.matrix).astype(np.float64), size, self.fill, self.filter)
        back = [AxisMap(0, 1.0, 0.0)] * len(rows)
        for row, (axis, scale, offset) in enumerate(rows):
            back[axis] = AxisMap(row, 1.0 / scale, -offset / scale)
        return Map.aligned(tuple(back), size, self.fill, self.filter)

    def covered_by(self, size: tuple[int, ...]) -> bool:
        """Whether a source of ``size`` pixels reaches every corner of the canvas, so that no fill shows."""
        corners = self.inverse(size).points(box_corners(np.zeros(self.axes), np.array(self.canvas, dtype=np.float64)))
        return bool((corners >= -1e-9).all() and (corners <= np.array(size) + 1e-9).all())

    def __matmul__(self, first: "Map") -> "Map":
        """``self @ first``: first ``first``, then this map, as one.

        Exact for points, boxes and keypoints. As one map has one filter and one fill, the filter is that of the map
        that interpolates (the later if both do), and the fill that of ``first`` where it alone shows; a Compose
        applies its steps one after the other to pixels, so that nothing is lost there.
        """
        fill = first.fill if self.covered_by(first.canvas) else self.fill
        return Map(self.matrix @ first.matrix, self.canvas, fill, first.filter if self.exact else self.filter)


def box_corners(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """The 2^A corners (..., 2^A, A) of the boxes from ``low`` (..., A) to ``high`` (..., A), the last axis fastest."""
    axes = low.shape[-1]
    upper = np.stack(np.meshgrid(*[[False, True]] * axes, indexing="ij"), axis=-1).reshape(-1, axes)
    return np.where(upper, high[..., None, :], low[..., None, :])
