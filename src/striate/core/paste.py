"""Several sources on one canvas: pasted over each other (mosaic) or blended (mixup)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from striate.core.errors import InputError
from striate.core.map import Map
from striate.core.move import covered
from striate.core.resample import from_floating, to_floating
from striate.core.sample import Sample
from striate.core.targets import Label, Mask, Target


def paste(sources: Sequence[tuple[Sample, Map]], name: str = "") -> Sample:
    """Several sources on one canvas, later ones on top (a mosaic). Targets of one name are joined.

    The first source's fill shows where no source is. Errors: ``InputError`` when sources differ in targets or have
    different class indices; ``ValueError`` when canvases, channels or numeric types differ.
    """
    moved, covers = _moved(sources)
    image = moved[0].image
    for one, cover in zip(moved[1:], covers[1:], strict=True):
        image = torch.where(cover, one.image, image)
    return Sample(image, _joined(moved, covers), name or moved[0].name, moved[0].group)


def blend(sources: Sequence[tuple[Sample, Map]], weights: Sequence[float], name: str = "") -> Sample:
    """The weighted mean of several sources on one canvas (mixup; Zhang et al. 2018, arXiv 1710.09412).

    image = sum_i weights_i image_i; tags likewise; boxes and keypoints of all sources. ``weights`` are not negative
    and add up to 1. Errors: as :func:`paste`, and ``InputError`` for labels without tags and for masks.
    """
    if len(weights) != len(sources) or min(weights) < 0 or not math.isclose(sum(weights), 1.0, abs_tol=1e-6):
        raise ValueError(f"{len(sources)} sources need as many weights >= 0 that add up to 1, got {list(weights)}")
    moved, covers = _moved(sources)
    total = sum(to_floating(one.image) * weight for one, weight in zip(moved, weights, strict=True))
    mixed: dict[str, Target] = {}
    for key, first in moved[0].targets.items():
        if isinstance(first, Mask):
            raise InputError("blend", f"the mask {key!r} has no meaningful mean", "paste the sources, or drop the mask")
        if isinstance(first, Label):
            tags = [one.targets[key].arrays().get("tags") for one in moved]
            known = [tag for tag in tags if tag is not None]
            if len(known) < len(tags):
                raise InputError("blend", f"the label {key!r} is a class index", "use Label.as_tags first")
            mean = sum(tag.float() * weight for tag, weight in zip(known, weights, strict=True))
            mixed[key] = Label(tags=torch.as_tensor(mean))
    joined = _joined([one.without(*mixed) for one in moved], covers)
    image = from_floating(torch.as_tensor(total), moved[0].image.dtype)
    return Sample(image, {**joined, **mixed}, name or moved[0].name, moved[0].group)


def _moved(sources: Sequence[tuple[Sample, Map]]) -> tuple[list[Sample], list[Tensor]]:
    images = {(by.canvas, sample.image.shape[0], sample.image.dtype) for sample, by in sources}
    if len(images) != 1:
        raise ValueError(f"sources must agree in canvas, channels and numeric type, got {sorted(map(str, images))}")
    if len({tuple(sorted((key, one.kind) for key, one in sample.targets.items())) for sample, _ in sources}) != 1:
        raise InputError("paste", "the sources have different targets", "give every source the same kinds of targets")
    return [sample.move(by) for sample, by in sources], [covered(sample.size, by) for sample, by in sources]


def _joined(moved: Sequence[Sample], covers: Sequence[Tensor]) -> dict[str, Target]:
    return {
        key: type(first).joined([one.targets[key] for one in moved], covers) for key, first in moved[0].targets.items()
    }
