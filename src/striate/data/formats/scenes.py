"""Small generated scenes with objects, to try every task on: events in signals, rectangles in images, cuboids.

Opened by the words ``scenes-1d``, ``scenes-2d`` and ``scenes-3d`` in place of a path, with any ``target``: the kind of
the objects of a scene (``label``; with ``multi_label`` those of scenes of several kinds), where they are (``boxes``),
or the class of every position (``mask``; with ``multi_label`` a bit set of classes, what is glaring being bright too).
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import InputError
from striate.core.random import integers, normal, uniform
from striate.data.collection import Collection
from striate.data.reader import Reader

if TYPE_CHECKING:
    from striate.core.sample import Target

KINDS = ("dark", "bright", "glaring")
LEVELS = (-1.0, 1.0, 2.0)
"""How far the objects of each kind are from their ground, which is at 0."""
GROUND = "ground"
LAYERS = (0b000, 0b001, 0b010, 0b110)
"""Bit sets of the kinds for the values of a mask."""
SMALLEST, LARGEST = 0.3, 0.45
"""Sides of objects, as shares of those of the scene."""


@dataclass(frozen=True, eq=False)
class Scenes:
    """n scenes: ``images`` (n, channels, \\*S) float32; of each scene the ``bounds`` (m, 2A) int64 of its m objects and
    their ``classes`` (m,), numbers into :data:`KINDS`; ``masks`` (n, \\*S) uint8, 0 for ground and 1 + class."""

    images: NDArray[np.float32]
    bounds: list[NDArray[np.int64]]
    classes: list[NDArray[np.int64]]
    masks: NDArray[np.uint8]


def scenes(
    count: int,
    size: tuple[int, ...],
    *,
    channels: int = 1,
    noise: float = 0.2,
    seed: int = 0,
    least: int = 0,
    most: int = 2,
    mixed: bool = True,
) -> Scenes:
    """Scenes of ``size`` (A,) with ``least`` to ``most`` objects, at most 2, over normal noise of this deviation.

    The objects lie in different halves of the first axis, so that they never touch. Those of a scene are of any kinds,
    or without ``mixed`` of one; the kinds are in nearly equal shares. Errors: ``ValueError`` for other numbers.
    """
    if not 0 <= least <= most <= 2:
        raise ValueError(f"{least} to {most} objects, at most 2 fit")
    axes, index, whole = len(size), np.arange(count), np.array(size)
    many = integers(seed, "scenes/many", index, least, most + 1)[:, 0]
    first = integers(seed, "scenes/half", index, 0, 2)[:, 0]
    images = noise * normal(seed, "scenes/noise", index, channels * prod(size)).reshape(count, channels, *size)
    masks = np.zeros((count, *size), dtype=np.uint8)
    bounds, classes = [], []
    for scene in range(count):
        found, kinds = np.zeros((many[scene], 2 * axes), dtype=np.int64), np.zeros(many[scene], dtype=np.int64)
        for place in range(many[scene]):
            drawn = uniform(seed, f"scenes/object/{place}", scene, 2 * axes)
            side = np.maximum(np.rint(whole * (SMALLEST + (LARGEST - SMALLEST) * drawn[:axes])), 1).astype(np.int64)
            room = np.array([size[0] // 2, *size[1:]])  # of its half
            side = np.minimum(side, room)
            low = np.floor(drawn[axes:] * (room - side + 1)).astype(np.int64)
            low[0] += (first[scene] + place) % 2 * (size[0] - room[0])
            kinds[place] = (scene + (place if mixed else 0)) % len(KINDS)
            found[place] = np.concatenate((low, low + side))
            here = tuple(slice(a, b) for a, b in zip(low.tolist(), (low + side).tolist(), strict=True))
            images[scene][(slice(None), *here)] += LEVELS[kinds[place]]
            masks[scene][here] = 1 + kinds[place]
        bounds.append(found)
        classes.append(kinds)
    return Scenes(images.astype(np.float32), bounds, classes, masks)


class SceneReader(Reader):
    """Base of the readers of scenes: ``count`` of them of ``extent`` (A,) pixels, four fifths for training."""

    listed: ClassVar[bool] = False
    word: ClassVar[str]
    extent: ClassVar[tuple[int, ...]]
    count: ClassVar[int]

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """The word itself."""
        return "the word for a generated set" if str(path) == cls.word else None

    def collect(self) -> Collection:
        """Generate the set for the target that is chosen. Errors: ``InputError`` for a target that scenes lack."""
        target, tags = self.options.target or "label", bool(self.options.multi_label)
        if target not in ("label", "boxes", "mask"):
            raise InputError(self.path, f"scenes have no {target}", "choose the target label, boxes or mask")
        single = target == "label" and not tags
        self._made = scenes(self.count, self.extent, least=1 if target == "label" else 0, mixed=not single)
        values = self._made.images
        if len(self.extent) > 1:
            values = np.clip(np.rint(110 + 60 * values), 0, 255).astype(np.uint8)
        labels: NDArray[np.int64] | NDArray[np.bool_] | None = None
        if single:
            labels = np.array([one[0] for one in self._made.classes])
        elif target == "label":
            labels = np.array([np.isin(np.arange(len(KINDS)), one) for one in self._made.classes])
        split, held = np.arange(self.count), self.count // 5
        self._masked, self._layered = target == "mask", tags
        return Collection(
            images=values,
            found=f"{self.count} generated scenes of {'x'.join(map(str, self.extent))}",
            names=[str(number) for number in range(self.count)],
            labels=labels,
            classes=(GROUND, *KINDS) if self._masked and not tags else KINDS,
            splits={"train": split[held:], "test": split[:held]},
            target=target,
            multi_label=self._masked and tags,
            targets=None if target == "label" else self._targets,
        )

    def _targets(self, position: int) -> "dict[str, Target]":
        import torch

        from striate.core.sample import Boxes, Mask

        if self._masked:
            mask = self._made.masks[position]
            return {"mask": Mask(torch.from_numpy(np.array(LAYERS, dtype=np.uint8)[mask] if self._layered else mask))}
        bounds = torch.from_numpy(self._made.bounds[position].astype(np.float64))
        return {"boxes": Boxes.from_bounds(bounds, torch.from_numpy(self._made.classes[position]))}


@final
class Scenes1d(SceneReader):
    """300 signals of 128 values."""

    format = word = "scenes-1d"
    listed: ClassVar[bool] = True
    extent: ClassVar[tuple[int, ...]] = (128,)
    count: ClassVar[int] = 300


@final
class Scenes2d(SceneReader):
    """300 grey images of 64 x 64."""

    format = word = "scenes-2d"
    listed: ClassVar[bool] = True
    extent: ClassVar[tuple[int, ...]] = (64, 64)
    count: ClassVar[int] = 300


@final
class Scenes3d(SceneReader):
    """100 grey volumes of 32 x 32 x 32."""

    format = word = "scenes-3d"
    listed: ClassVar[bool] = True
    extent: ClassVar[tuple[int, ...]] = (32, 32, 32)
    count: ClassVar[int] = 100
