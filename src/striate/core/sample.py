"""Sample, Batch and Prediction: what readers give, the loader collates and the predictor returns.

The target kinds live in :mod:`striate.core.targets` and are importable from here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from striate.core.map import Map
from striate.core.move import move_images
from striate.core.targets import Boxes, Keypoints, Label, Mask, Target

__all__ = ["Batch", "Boxes", "Keypoints", "Label", "Mask", "Prediction", "Sample", "Target", "collate"]


@dataclass(frozen=True, eq=False)
class Sample:
    """One signal, image or volume, ``image`` (C, *spatial) of any numeric type, with its named targets.

    ``name`` identifies it in lists and messages (usually the file); samples of one ``group`` (a patient, a device)
    must not be divided between training and validation. ``original`` is the size in which it was annotated, before
    anything moved it (None: its own): predictions return to it. ``time`` is the moment, in seconds, of a frame of a
    video (None: it is none).
    """

    image: Tensor
    targets: dict[str, Target] = field(default_factory=dict)
    name: str = ""
    group: str | None = None
    original: tuple[int, ...] | None = None
    time: float | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.image.ndim <= 4:
            raise ValueError(f"an image has the shape (C, *spatial) with 1 to 3 axes, got {tuple(self.image.shape)}")

    @property
    def size(self) -> tuple[int, ...]:
        """The spatial size in pixels, without channels."""
        return tuple(self.image.shape[1:])

    def move(self, by: Map) -> "Sample":
        """The sample on the map's canvas: the image and every target moved together."""
        image = move_images(self.image[None], [by])[0]
        return replace(self, image=image, targets={name: one.move(by) for name, one in self.targets.items()})

    def without(self, *names: str) -> "Sample":
        """The same sample without the targets of these names."""
        kept = {name: one for name, one in self.targets.items() if name not in names}
        return replace(self, targets=kept)

    def with_image(self, image: Tensor) -> "Sample":
        """The same sample with other pixels of the same size (a changed appearance)."""
        return replace(self, image=image)


@dataclass(frozen=True, eq=False)
class Batch:
    """``images`` (B, C, *spatial), each target in the batched form of its kind, ``index`` (B,) int64 of the samples.

    Batched forms: Label int64 (B,) or float32 (B, K); Mask int64 (B, *spatial); Boxes and Keypoints lists of B.
    """

    images: Tensor
    targets: dict[str, Any]
    index: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> "Batch":
        """The batch with its tensors on a device (targets batched as lists stay where they are)."""
        targets = {name: one.to(device) if isinstance(one, Tensor) else one for name, one in self.targets.items()}
        return Batch(self.images.to(device), targets, self.index.to(device))


def collate(samples: Sequence[Sample], index: Sequence[int] | Tensor) -> Batch:
    """Stack samples of one size into a batch; ``index`` are their positions in the data.

    Errors: ``ValueError`` when sizes, types or the names and kinds of targets differ.
    """
    shapes = {(tuple(one.image.shape), one.image.dtype) for one in samples}
    kinds = {tuple((name, target.kind) for name, target in sorted(one.targets.items())) for one in samples}
    if len(shapes) != 1 or len(kinds) != 1:
        raise ValueError(f"the samples of a batch must agree in shape, type and targets, got {shapes} and {kinds}")
    targets = {
        name: type(first).collate([one.targets[name] for one in samples]) for name, first in samples[0].targets.items()
    }
    return Batch(torch.stack([one.image for one in samples]), targets, torch.as_tensor(index, dtype=torch.int64))


@dataclass(frozen=True, eq=False)
class Prediction(Mapping[str, Any]):
    """What a network says about the sample ``name``: a read-only record of decoded outputs, by their names."""

    name: str
    outputs: dict[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.outputs[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)
