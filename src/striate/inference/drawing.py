"""Answers drawn over their samples, a picture each in a new folder, named as the samples are."""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.bitsets import packed
from striate.inference.places import Names, new_folder
from striate.inference.predictor import Answer
from striate.report.annotated import annotated, resized_mask, scaled
from striate.report.outlines import Outline
from striate.report.overlays import Shown

_PHOTOS = {".jpg", ".jpeg", ".jpe", ".jfif"}
_BACKGROUND = "background"
_TOLD = 3
"""Classes of a sample that are written below it, with their probabilities."""


class Drawings:
    """Draws answers into ``folder``, JPEG for photos and frames of videos, PNG for all others."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.folder = folder
        self.classes = tuple(classes)
        self.names = Names()
        self._numbers = {name: number for number, name in enumerate(self.classes)}

    def draw(self, answer: Answer) -> Path:
        """Draw one answer, whose image was kept; returns the file. Errors: ``OSError`` for a full disk, ``ValueError``
        for an answer without an image."""
        if answer.image is None:
            raise ValueError("the image of the answer was not kept")
        record = answer.record
        item = self._shown(answer.image.numpy(), record)
        clear = next((number for name, number in self._numbers.items() if name.lower() == _BACKGROUND), None)
        picture = annotated(item, self.classes, None if item.several else clear)
        photo = "time" in record or os.path.splitext(record["name"])[1].lower() in _PHOTOS
        stem, buffer = self.names.free(record["name"]), io.BytesIO()
        if photo:
            picture.save(buffer, "JPEG", quality=92, subsampling=0)
        else:
            picture.save(buffer, "PNG", compress_level=4)
        path = self.folder / f"{stem}{'.jpg' if photo else '.png'}"
        path.write_bytes(buffer.getvalue())
        return path

    def _shown(self, values: NDArray[Any], record: Mapping[str, Any]) -> Shown:
        size = values.shape[1:]
        outlines: tuple[Outline, ...] = ()
        if "boxes" in record:
            by = [n / m for n, m in zip(size, record["size"], strict=True)]
            outlines = tuple(scaled(self._outline(box), by) for box in record["boxes"])
        mask, several = self._mask(record)
        title = self._title(record)
        if mask is None:
            return Shown(values, title, outlines)
        mask = resized_mask(mask, size)
        if mask.ndim > 1:
            return Shown(values, title, outlines, mask, several=several)
        return Shown(values, title, self._runs(mask, several))

    def _outline(self, box: Mapping[str, Any]) -> Outline:
        return Outline(tuple(box["bounds"]), self._numbers[box["class"]], text=f"{box['class']} {box['score']:.2f}")

    def _mask(self, record: Mapping[str, Any]) -> tuple[NDArray[np.int64] | None, bool]:
        """Class numbers, or bit sets where a position may have several classes; -1 where nothing was predicted."""
        if "masks" in record:
            layers = [record["masks"][name] for name in self.classes]
            sets = packed([layer == 1 for layer in layers], np.int64)
            return np.where(np.logical_or.reduce([layer > 1 for layer in layers]), -1, sets), True
        if "mask" not in record:
            return None, False
        numbers = record["mask"].astype(np.int64)
        return np.where((numbers >= 0) & (numbers < len(self.classes)), numbers, -1), False

    def _runs(self, mask: NDArray[np.int64], several: bool) -> tuple[Outline, ...]:
        """The intervals of a signal's classes."""
        found = []
        for number, name in enumerate(self.classes):
            if several or name.lower() != _BACKGROUND:
                there = (mask >= 0) & (mask >> number & 1 == 1) if several else mask == number
                edges = np.flatnonzero(np.diff(np.concatenate(([0], there.astype(np.int8), [0])))).tolist()
                found += [Outline((low, high), number, text=name) for low, high in list(pairwise(edges))[::2]]
        return tuple(found)

    def _title(self, record: Mapping[str, Any]) -> str:
        """What is said of the sample as a whole."""
        time = [f"{record['time']:.2f} s"] if record.get("time") is not None else []
        if "top" in record:
            return " · ".join(time + [f"{name}: {100 * value:.1f} %" for name, value in record["top"][:_TOLD]])
        if "tags" in record:
            said = [f"{name}: {100 * record['probabilities'][name]:.1f} %" for name in record["tags"]]
            return " · ".join(time + (said or ["no tag"]))
        if "boxes" in record and not record["boxes"]:
            return " · ".join([*time, "nothing found"])
        return " · ".join(time)


@contextmanager
def drawings(folder: Path | None, classes: Sequence[str]) -> Iterator[Drawings | None]:
    """What draws into the new ``folder``, which appears when all is drawn; None where none is wanted. Errors:
    ``InputError`` where something is there already."""
    if folder is None:
        yield None
        return
    with new_folder(folder) as temporary:
        yield Drawings(temporary, classes)
