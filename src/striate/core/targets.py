"""What is known about a sample, and how it moves: Label, Boxes, Mask, Keypoints.

Each kind is a final frozen record of tensors. It knows how to move under a :class:`~striate.core.map.Map`, how to be
written to and read from named arrays (what shards store), how several are collated into a batch, and how those of
several sources on one canvas are joined. A new kind is one more subclass: it is registered by its name.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from striate.core.errors import InputError
from striate.core.map import Map, box_corners
from striate.core.move import nearest


def _move_points(points: Tensor, by: Map) -> Tensor:
    """Points (..., A) under a map, in float64 whatever the device."""
    return torch.from_numpy(by.points(points.cpu().numpy())).to(points.device)


class Target(ABC):
    """Base of the kinds. ``kind`` is the class name in snake case; ``Target.kinds`` maps it to the class."""

    kind: ClassVar[str] = "target"
    kinds: ClassVar[dict[str, type["Target"]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        other = Target.kinds.setdefault(cls.kind, cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"the target kind {cls.kind!r} is already {other.__module__}.{other.__qualname__}")
        Target.kinds[cls.kind] = cls

    @abstractmethod
    def arrays(self) -> dict[str, Tensor]:
        """Everything this target holds, as named tensors."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor]) -> Self:
        """The target that :meth:`arrays` described. Errors: ``InputError`` for missing, extra or misshapen arrays."""

    @abstractmethod
    def move(self, by: Map) -> Self:
        """The target after its source was moved onto a canvas."""

    @staticmethod
    @abstractmethod
    def collate(targets: Sequence[Any]) -> Any:
        """The batched form of several targets of this kind."""

    @staticmethod
    @abstractmethod
    def joined(targets: Sequence[Any], covers: Sequence[Tensor]) -> "Target":
        """One target for several sources already moved onto one canvas, later ones on top.

        ``covers`` (*canvas) bool says for each where its pixels are.
        """

    def equals(self, other: object) -> bool:
        """Whether the other target is of this kind and holds the same arrays, bit for bit."""
        if type(other) is not type(self):
            return False
        mine, theirs = self.arrays(), other.arrays()
        return mine.keys() == theirs.keys() and all(
            mine[name].dtype == theirs[name].dtype and torch.equal(mine[name], theirs[name]) for name in mine
        )


def _take(kind: str, arrays: Mapping[str, Tensor], *names: str) -> list[Tensor]:
    if set(arrays) != set(names):
        raise InputError(
            f"stored {kind}", f"arrays {sorted(arrays)} came where {sorted(names)} were expected", "prepare it again"
        )
    return [arrays[name] for name in names]


@dataclass(frozen=True, eq=False)
class Label(Target):
    """What a whole sample shows: one class ``index``, or ``tags`` (K,), a number in [0, 1] for each of K classes.

    Moving leaves it as it is. Batched: int64 (B,) of indices, or float32 (B, K) of tags.
    """

    index: int | None = None
    tags: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.index is None) == (self.tags is None):
            raise ValueError("a label has either an index or tags")
        if self.tags is not None and self.tags.ndim != 1:
            raise ValueError(f"tags are one number a class, shape (K,), got {tuple(self.tags.shape)}")

    def as_tags(self, classes: int) -> "Label":
        """The same label as tags of ``classes`` classes (what mixing labels needs)."""
        if self.tags is not None:
            return self
        return Label(tags=torch.nn.functional.one_hot(torch.tensor(self.index), classes).float())

    def arrays(self) -> dict[str, Tensor]:
        """``index`` int64 () or ``tags`` (K,)."""
        return {"tags": self.tags} if self.tags is not None else {"index": torch.tensor(self.index)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor]) -> "Label":
        """Read :meth:`arrays` back."""
        if "tags" in arrays:
            return cls(tags=_take("label", arrays, "tags")[0])
        return cls(index=int(_take("label", arrays, "index")[0]))

    def move(self, by: Map) -> "Label":
        """The label stays."""
        return self

    @staticmethod
    def collate(targets: Sequence["Label"]) -> Tensor:
        """int64 (B,), or float32 (B, K). Errors: ``ValueError`` when indices and tags are mixed."""
        tags = [target.tags for target in targets if target.tags is not None]
        if not tags:
            return torch.tensor([target.index for target in targets], dtype=torch.int64)
        if len(tags) != len(targets):
            raise ValueError("some labels of the batch have an index and some have tags")
        return torch.stack(tags).float()

    @staticmethod
    def joined(targets: Sequence["Label"], covers: Sequence[Tensor]) -> "Label":
        """The common index, or every tag that any source has. Errors: ``InputError`` when the indices differ."""
        tags = [target.tags for target in targets if target.tags is not None]
        if len(tags) == len(targets):
            return Label(tags=torch.stack(tags).amax(dim=0))
        if tags or len({target.index for target in targets}) > 1:
            raise InputError("paste", "sources with different class indices on one canvas", "use Label.as_tags first")
        return targets[0]


@dataclass(frozen=True, eq=False)
class Boxes(Target):
    """N boxes: ``points`` (N, 2^A, A) float64 corners, ``classes`` (N,) int64 and ``ignored`` (N,) bool.

    An ignored box (a crowd, an object marked as difficult) is neither learned nor held against a prediction.

    Moving keeps the moved corners, so that turning there and back loses nothing; :meth:`bounds` reads the smallest
    axis-aligned box around them. Corners may lie outside the canvas until :meth:`clip`. Batched: a list.
    """

    points: Tensor
    classes: Tensor
    ignored: Tensor | None = None

    def __post_init__(self) -> None:
        if self.points.ndim != 3 or self.points.shape[1] != 2 ** self.points.shape[2]:
            raise ValueError(f"corners have the shape (N, 2^A, A), got {tuple(self.points.shape)}")
        if self.classes.shape != self.points.shape[:1]:
            raise ValueError(f"{len(self.points)} boxes need as many classes, got {tuple(self.classes.shape)}")
        ignored = torch.zeros(len(self.points), dtype=torch.bool) if self.ignored is None else self.ignored
        if ignored.shape != self.classes.shape:
            raise ValueError(
                f"{len(self.points)} boxes need as many marks of being ignored, got {tuple(ignored.shape)}"
            )
        object.__setattr__(self, "points", self.points.to(torch.float64))
        object.__setattr__(self, "classes", self.classes.to(torch.int64))
        object.__setattr__(self, "ignored", ignored.to(self.points.device, torch.bool))

    @classmethod
    def from_bounds(cls, bounds: Tensor, classes: Tensor, ignored: Tensor | None = None) -> "Boxes":
        """Boxes from ``bounds`` (N, 2A): all lows, then all highs, in array order (y0, x0, y1, x1).

        They are kept as given, also with a high below its low: :meth:`annotated` gives them back.
        """
        numbers = bounds.to(torch.float64).cpu().numpy()
        axes = numbers.shape[1] // 2
        return cls(torch.from_numpy(box_corners(numbers[:, :axes], numbers[:, axes:])), classes, ignored)

    @property
    def axes(self) -> int:
        """The number of spatial axes."""
        return int(self.points.shape[2])

    def bounds(self) -> Tensor:
        """float64 (N, 2A): the lows, then the highs, of the smallest axis-aligned boxes around the corners."""
        return torch.cat((self.points.amin(dim=1), self.points.amax(dim=1)), dim=1)

    def annotated(self) -> Tensor:
        """float64 (N, 2A): what :meth:`from_bounds` was given, lows above highs included (before any move)."""
        return torch.cat((self.points[:, 0], self.points[:, -1]), dim=1)

    def take(self, which: Tensor) -> "Boxes":
        """Some of the boxes, by positions int64 or by truth values bool (N,)."""
        return Boxes(self.points[which], self.classes[which], self.marks[which])

    @property
    def marks(self) -> Tensor:
        """``ignored``, which is never None once the boxes are made."""
        assert self.ignored is not None
        return self.ignored

    def clip(self, size: tuple[int, ...], keep: float = 0.0) -> tuple["Boxes", int]:
        """The axis-aligned boxes cut to a canvas of ``size`` pixels, and how many were dropped.

        A box is dropped when nothing of it, or not more than the share ``keep`` of its content, is on the canvas.
        """
        bounds, limit = self.bounds(), torch.tensor(size, dtype=torch.float64)
        low, high = bounds[:, : self.axes], bounds[:, self.axes :]
        whole = (high - low).prod(dim=1)
        low, high = low.clamp(min=torch.zeros_like(limit), max=limit), high.clamp(torch.zeros_like(limit), limit)
        rest = (high - low).prod(dim=1)
        kept = (rest > 0) & (rest > keep * whole)
        boxes = Boxes.from_bounds(torch.cat((low, high), dim=1)[kept], self.classes[kept], self.marks[kept])
        return boxes, int((~kept).sum())

    def arrays(self) -> dict[str, Tensor]:
        """``points``, ``classes`` and ``ignored``."""
        return {"points": self.points, "classes": self.classes, "ignored": self.marks}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor]) -> "Boxes":
        """Read :meth:`arrays` back."""
        return cls(*_take("boxes", arrays, "points", "classes", "ignored"))

    def move(self, by: Map) -> "Boxes":
        """Every corner moves."""
        return Boxes(_move_points(self.points, by), self.classes, self.marks)

    @staticmethod
    def collate(targets: Sequence["Boxes"]) -> list["Boxes"]:
        """A list: the number of boxes differs between samples."""
        return list(targets)

    @staticmethod
    def joined(targets: Sequence["Boxes"], covers: Sequence[Tensor]) -> "Boxes":
        """All the boxes; those that a later source hides are kept whole."""
        points, classes = torch.cat([one.points for one in targets]), torch.cat([one.classes for one in targets])
        return Boxes(points, classes, torch.cat([one.marks for one in targets]))


@dataclass(frozen=True, eq=False)
class Mask(Target):
    """A class for every pixel: ``values`` (*spatial), an integer type, and the value that means "unknown".

    Where a pixel may have several classes, its value is a bit set of them (:mod:`striate.core.bitsets`). Moving takes
    the nearest source pixel, and ``ignore`` where there was none. Batched: int64 (B, *spatial).
    """

    values: Tensor
    ignore: int = 255

    def __post_init__(self) -> None:
        if self.values.is_floating_point() or self.values.is_complex() or self.values.dtype == torch.bool:
            raise ValueError(f"a mask holds integers, got {self.values.dtype}")
        limits = torch.iinfo(self.values.dtype)
        if not limits.min <= self.ignore <= limits.max:
            raise ValueError(f"the ignore value {self.ignore} does not fit into {self.values.dtype}")

    def arrays(self) -> dict[str, Tensor]:
        """``values`` in their own integer type, and ``ignore`` int64 ()."""
        return {"values": self.values, "ignore": torch.tensor(self.ignore)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor]) -> "Mask":
        """Read :meth:`arrays` back."""
        values, ignore = _take("mask", arrays, "values", "ignore")
        return cls(values, int(ignore))

    def move(self, by: Map) -> "Mask":
        """Every canvas pixel takes the value of the source pixel that its centre falls into."""
        return Mask(nearest(self.values, by, self.ignore), self.ignore)

    @staticmethod
    def collate(targets: Sequence["Mask"]) -> Tensor:
        """int64 (B, *spatial). Errors: ``ValueError`` when the ignore values differ."""
        if len({target.ignore for target in targets}) > 1:
            raise ValueError("the masks of one batch have different ignore values")
        return torch.stack([target.values for target in targets]).long()

    @staticmethod
    def joined(targets: Sequence["Mask"], covers: Sequence[Tensor]) -> "Mask":
        """Each source's mask where its pixels are on top."""
        values = targets[0].values
        for target, cover in zip(targets[1:], covers[1:], strict=True):
            values = torch.where(cover, target.values, values)
        return Mask(values, targets[0].ignore)


@dataclass(frozen=True, eq=False)
class Keypoints(Target):
    """N objects of K named points: ``points`` (N, K, A) float64, ``visible`` (N, K) bool as annotated.

    Moving never changes ``visible``: whether a point is on the canvas is found when it is read, by :meth:`shown`.
    ``pairs`` (P, 2) int64 are the points that a mirror image exchanges (left and right eye). Batched: a list.
    """

    points: Tensor
    visible: Tensor
    pairs: Tensor | None = None

    def __post_init__(self) -> None:
        if self.points.ndim != 3 or self.visible.shape != self.points.shape[:2]:
            shapes = tuple(self.points.shape), tuple(self.visible.shape)
            raise ValueError(f"points (N, K, A) and visible (N, K) were expected, got {shapes}")
        object.__setattr__(self, "points", self.points.to(torch.float64))
        object.__setattr__(self, "visible", self.visible.bool())
        pairs = torch.zeros((0, 2), dtype=torch.int64) if self.pairs is None else self.pairs.to(torch.int64)
        if pairs.ndim != 2 or pairs.shape[1] != 2 or (pairs.numel() and int(pairs.max()) >= self.points.shape[1]):
            raise ValueError(f"pairs (P, 2) of the {self.points.shape[1]} points were expected, got {pairs.tolist()}")
        object.__setattr__(self, "pairs", pairs)

    def shown(self, size: tuple[int, ...]) -> Tensor:
        """bool (N, K): annotated as visible and on a canvas of ``size`` pixels."""
        inside = (self.points >= 0) & (self.points < torch.tensor(size, dtype=torch.float64))
        return self.visible & inside.all(dim=-1)

    def arrays(self) -> dict[str, Tensor]:
        """``points``, ``visible`` and ``pairs``."""
        return {"points": self.points, "visible": self.visible, "pairs": self._pairs}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor]) -> "Keypoints":
        """Read :meth:`arrays` back."""
        return cls(*_take("keypoints", arrays, "points", "visible", "pairs"))

    def move(self, by: Map) -> "Keypoints":
        """Every point moves; a map that mirrors exchanges the pairs."""
        points, visible = _move_points(self.points, by), self.visible
        if len(self._pairs) and np.linalg.det(by.matrix[:-1, :-1]) < 0:
            order = torch.arange(points.shape[1])
            order[self._pairs] = self._pairs.flip(1)
            points, visible = points[:, order], visible[:, order]
        return Keypoints(points, visible, self._pairs)

    @property
    def _pairs(self) -> Tensor:
        assert self.pairs is not None
        return self.pairs

    @staticmethod
    def collate(targets: Sequence["Keypoints"]) -> list["Keypoints"]:
        """A list: the number of objects differs between samples."""
        return list(targets)

    @staticmethod
    def joined(targets: Sequence["Keypoints"], covers: Sequence[Tensor]) -> "Keypoints":
        """All the objects' points."""
        points, visible = torch.cat([one.points for one in targets]), torch.cat([one.visible for one in targets])
        return Keypoints(points, visible, targets[0].pairs)
