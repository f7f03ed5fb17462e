"""Samples made ready to be stored: read, checked, made sound and preprocessed, small ones of one size together.

A transform of a small image costs more in calls than in arithmetic. What is moved together gets the same values as what
is moved alone: every transform changes the images of a batch alike, and torch resizes each on its own.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from striate.core.errors import InputError
from striate.core.sample import Label, Sample
from striate.core.transform import Transform
from striate.data.reader import Reader
from striate.data.sound import sound

Prepared = tuple[Sample, tuple[str, ...]]
"""A sample ready to be stored, and what is to be known of it."""
SMALL = 1 << 18
"""Images up to this many bytes are moved together; of larger ones the arithmetic is what takes the time."""


def ready(reader: Reader, preprocessing: Transform, positions: Sequence[int]) -> list[Prepared | InputError]:
    """The samples at these positions, or why one cannot be used. A large one is finished before the next is read."""
    out: list[Prepared | InputError] = []
    alike: dict[object, list[int]] = {}
    for place, position in enumerate(positions):
        found = _checked(reader, position)
        if not isinstance(found, InputError):
            sample, notes = found
            image = sample.image
            if image.nbytes <= SMALL and all(type(target) is Label for target in sample.targets.values()):
                alike.setdefault((image.shape, image.dtype, image.stride()), []).append(place)
            else:
                found = _moved(sample, notes, preprocessing)
        out.append(found)
    for places in alike.values():
        group = [one for one in (out[place] for place in places) if not isinstance(one, InputError)]
        for place, result in zip(places, _moved_together(group, preprocessing), strict=True):
            out[place] = result
    return out


def _checked(reader: Reader, position: int) -> Prepared | InputError:
    """A sample as read, faults dropped and noted."""
    try:
        sample = reader.read(position)
        if 0 in sample.image.shape:
            cause = f"it has no values (shape {tuple(sample.image.shape)})"
            raise InputError(sample.name, cause, "remove it")
        if sample.image.is_floating_point() and not bool(sample.image.isfinite().all()):
            cause = "it holds values that are not finite (NaN or infinity)"
            raise InputError(sample.name, cause, "correct or remove it")
        if sample.original is None:
            sample = replace(sample, original=sample.size)
        return sound(sample)
    except InputError as error:
        return error


def _moved(sample: Sample, notes: tuple[str, ...], preprocessing: Transform) -> Prepared | InputError:
    try:
        return preprocessing(sample), notes
    except InputError as error:
        return error


def _moved_together(group: list[Prepared], preprocessing: Transform) -> Sequence[Prepared | InputError]:
    """Samples of one size with labels alone, which stay as they are whatever moves."""
    if len(group) > 1:
        try:
            images = preprocessing.images(_stacked([sample.image for sample, _ in group]))
        except InputError:
            pass  # whose fault it is is found one by one
        else:
            return [(one.with_image(image), notes) for (one, notes), image in zip(group, images, strict=True)]
    return [_moved(sample, notes, preprocessing) for sample, notes in group]


def _stacked(images: list[Tensor]) -> Tensor:
    """(B, C, *spatial) in the order in memory that the images have: packed, or with interleaved channels."""
    if images[0].is_contiguous():
        return torch.stack(images)
    return torch.stack([image.movedim(0, -1) for image in images]).movedim(-1, 1)
