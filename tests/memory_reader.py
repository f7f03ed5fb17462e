"""A reader of samples made in a test: no path is of its format."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from striate.core.errors import InputError
from striate.core.sample import Boxes, Mask, Target
from striate.data.collection import Collection
from striate.data.problems import Problem
from striate.data.reader import Reader


class MemoryReader(Reader):
    """Samples (C, *S) or an ``InputError`` to raise, with one kind of label: ``labels``, ``boxes`` (bounds, classes) or
    ``masks``."""

    format = "memory"

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """Never."""
        return None

    def __init__(
        self,
        samples: Sequence[Any],
        *,
        labels: Sequence[int] | None = None,
        boxes: Sequence[tuple[Any, Any]] | None = None,
        masks: Sequence[Any] | None = None,
        classes: Sequence[str] = ("cat", "dog"),
        splits: Mapping[str, Sequence[int]] | None = None,
        groups: Sequence[str | None] | None = None,
        problems: Sequence[Problem] = (),
        skipped: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.given = samples, labels, boxes, masks, tuple(classes), splits or {}, groups, problems, skipped
        super().__init__(Path("memory"))

    def collect(self) -> Collection:
        """What was given."""
        samples, labels, boxes, masks, classes, splits, groups, problems, skipped = self.given
        target = "boxes" if boxes is not None else "mask" if masks is not None else "label"
        return Collection(
            images=_Given(samples),
            found=f"{len(samples)} samples made in a test",
            names=[f"s{number}.png" for number in range(len(samples))],
            labels=None if labels is None else np.array(labels, dtype=np.int64),
            classes=classes,
            splits={name: np.array(part, dtype=np.int64) for name, part in splits.items()},
            groups=groups,
            target=target,
            targets=None if target == "label" else self._targets,
            problems=problems,
            skipped=skipped,
            sizes=lambda position: (8,) if isinstance(samples[position], InputError) else samples[position].shape[1:],
        )

    def _targets(self, position: int) -> dict[str, Target]:
        _, _, boxes, masks, *_ = self.given
        if boxes is not None:
            bounds, classes = boxes[position]
            sides = 2 * (self._collection.images[position].ndim - 1)
            made = torch.tensor(np.asarray(bounds, dtype=np.float64).reshape(-1, sides))
            return {"boxes": Boxes.from_bounds(made, torch.tensor(np.asarray(classes, dtype=np.int64)))}
        assert masks is not None
        return {"mask": Mask(torch.from_numpy(np.asarray(masks[position])))}


class _Given:
    def __init__(self, samples: Sequence[Any]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, position: int) -> Any:
        one = self.samples[position]
        if isinstance(one, InputError):
            raise one
        return one


def photo(seed: int, height: int = 48, width: int = 64) -> Any:
    """A smooth random picture (3, H, W) of uint8: different seeds are not alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (3, 6, 8))
    rows = np.linspace(0, 5, height)
    columns = np.linspace(0, 7, width)
    down = np.stack([np.interp(rows, np.arange(6), coarse[c, :, x]) for c in range(3) for x in range(8)])
    down = down.reshape(3, 8, height)
    full = np.stack([np.interp(columns, np.arange(8), down[c, :, y]) for c in range(3) for y in range(height)])
    return np.rint(full.reshape(3, height, width)).astype(np.uint8)
