"""Boxes or keypoints written as a COCO data set: ``annotations/instances_{split}.json`` beside a folder for each split.

Numbers are written in full. A box at positive coordinates whose high is not below its low comes back exactly (its width
is chosen so that it and the low add up to the high again), any other to 1e-9 of a pixel; so do keypoints, which COCO
counts from the middle of the first pixel.
"""

import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from striate.core.disk import write_file
from striate.core.errors import InputError
from striate.data.formats.coco_targets import pairs_of
from striate.data.images import encode_png
from striate.data.paths import said, shortened
from striate.data.reader import Reader

if TYPE_CHECKING:
    from striate.core.sample import Target

_PREFIX = {"boxes": "instances", "keypoints": "person_keypoints"}
_PERSON = "person"


def write(reader: Reader, folder: Path, say: Callable[[str], None]) -> list[str]:
    """Write the samples of ``reader`` into the empty ``folder``; returns what COCO cannot hold, a line each.

    Image files are copied byte for byte, other samples become PNG. Categories have the ids 1 to K in the order of the
    classes; ignored boxes get ``iscrowd`` 1. Errors: ``InputError`` for another target than boxes or keypoints, axes
    other than two, values that PNG cannot hold, or a disk that cannot be written.
    """
    if reader.target not in _PREFIX:
        raise InputError(reader.path, f"its target is {reader.target}, COCO is written with boxes or keypoints", _FIX)
    lost = _Lost()
    writing = _Writing(reader, folder, lost)
    for split, positions in reader.splits.items():
        say(f"{split}: {len(positions):,} images")
        writing.split(split, [int(position) for position in positions])
    placed = {int(position) for positions in reader.splits.values() for position in positions}
    lost.outside = len(reader) - len(placed)
    return lost.lines()


_FIX = "convert it to another format, or choose another target"


class _Lost:
    """What could not be written, counted."""

    def __init__(self) -> None:
        self.outside = 0
        self.unreadable: list[str] = []
        self.pairs = False

    def lines(self) -> list[str]:
        """One line a kind of loss."""
        found = []
        if self.unreadable:
            found.append(f"{len(self.unreadable)} samples cannot be read, left out: {shortened(self.unreadable, 3)}")
        if self.outside:
            found.append(f"{self.outside} samples are in no split: left out")
        if self.pairs:
            found.append("the pairs of keypoints: COCO tells them only by names that begin with left_ and right_")
        return found


class _Writing:
    """Numbers images and annotations through all splits."""

    def __init__(self, reader: Reader, folder: Path, lost: _Lost) -> None:
        self.reader, self.folder, self.lost = reader, folder, lost
        self.images = 0
        self.annotations = 0

    def split(self, split: str, positions: Sequence[int]) -> None:
        """Copy the images of a split and write its JSON file."""
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        names = _inner_names([self.reader.name(position) for position in positions])
        for position, name in zip(positions, names, strict=True):
            try:
                size = self.reader.size(position)
                target = self.reader.targets(position)[self.reader.target]
                source = self.reader.source_file(position)
                values = self.reader.image(position) if source is None else None
            except InputError as error:
                self.lost.unreadable.append(f"{self.reader.name(position)} ({error.cause})")
                continue
            if len(size) != 2:
                raise InputError(self.reader.path, f"its samples have {len(size)} axes, COCO's have two", _FIX)
            if values is not None:
                name = self._encoded(values, self.folder / split, name)
            elif source is not None:
                _copy(source, self.folder / split / name)
            self.images += 1
            images.append({"id": self.images, "file_name": name, "height": size[0], "width": size[1]})
            for row in self._rows(target):
                self.annotations += 1
                annotations.append({"id": self.annotations, "image_id": self.images, **row})
        content = {
            "info": {"description": "written by striate convert"},
            "licenses": [],
            "images": images,
            "annotations": annotations,
            "categories": self._categories(),
        }
        # escaped: a file name that is no UTF-8 text has no other spelling in JSON
        text = json.dumps(content, ensure_ascii=True).encode()
        place = self.folder / "annotations" / f"{_PREFIX[self.reader.target]}_{split}.json"
        _make(place.parent)
        write_file(place, [text], len(text))

    def _encoded(self, values: NDArray[Any], folder: Path, name: str) -> str:
        """Write an image as PNG; returns its name inside the folder of the split."""
        if values.dtype != np.uint8 or values.ndim != 3 or len(values) not in (1, 3):
            cause = f"{name} is {values.dtype} {values.shape}; PNG is written of uint8 with 1 or 3 channels"
            raise InputError(self.reader.path, cause, "read it with bits 8")
        data = encode_png(values)
        name = name if name.lower().endswith(".png") else f"{name}.png"
        _make((folder / name).parent)
        write_file(folder / name, [data], len(data))
        return name

    def _categories(self) -> list[dict[str, Any]]:
        if self.reader.target == "keypoints":
            return [{"id": 1, "name": _PERSON, "keypoints": list(self.reader.classes), "skeleton": []}]
        return [{"id": number, "name": name} for number, name in enumerate(self.reader.classes, start=1)]

    def _rows(self, target: "Target") -> list[dict[str, Any]]:
        from striate.core.sample import Boxes, Keypoints

        if isinstance(target, Boxes):
            bounds, marks = target.annotated().tolist(), target.marks.tolist()
            return [_box(*row) for row in zip(bounds, target.classes.tolist(), marks, strict=True)]
        assert isinstance(target, Keypoints)
        pairs = {frozenset(pair) for pair in target.arrays()["pairs"].tolist()}
        self.lost.pairs |= pairs != {frozenset(pair) for pair in pairs_of(self.reader.classes).tolist()}
        return [_person(*row) for row in zip(target.points.tolist(), target.visible.tolist(), strict=True)]


def _box(bounds: Sequence[float], category: int, ignored: bool) -> dict[str, Any]:
    x, y, width, height = box_of(bounds)
    return {
        "category_id": category + 1,
        "bbox": [x, y, width, height],
        "area": width * height,
        "iscrowd": int(ignored),
        "segmentation": [],
    }


def box_of(bounds: Sequence[float]) -> list[float]:
    """``bbox`` [x, y, width, height] of bounds (y0, x0, y1, x1)."""
    y0, x0, y1, x1 = bounds
    return [x0, y0, _extent(x0, x1), _extent(y0, y1)]


def _extent(low: float, high: float) -> float:
    """The length that added to ``low`` gives ``high`` to the last bit, where there is one."""
    length = high - low
    nearby = (length, math.nextafter(length, math.inf), math.nextafter(length, -math.inf))
    return next((one for one in nearby if low + one == high), length)


def _person(points: Sequence[Sequence[float]], visible: Sequence[bool]) -> dict[str, Any]:
    numbers: list[float] = []
    for (y, x), shown in zip(points, visible, strict=True):
        numbers += [x - 0.5, y - 0.5, 2 if shown else 0]
    seen = [point for point, shown in zip(points, visible, strict=True) if shown]
    low = [min((point[axis] for point in seen), default=0.0) for axis in (0, 1)]
    high = [max((point[axis] for point in seen), default=0.0) for axis in (0, 1)]
    row = _box((*low, *high), 0, False)
    return {**row, "keypoints": numbers, "num_keypoints": len(seen)}


def _inner_names(names: Sequence[str]) -> list[str]:
    """The names without the folders that all have in common, safe inside a new folder, and each there once."""
    parts = [[part for part in PurePosixPath(name).parts if part not in ("/", "..")] or ["image"] for name in names]
    common = parts[0][:-1] if parts else []
    for part in parts:
        same = [mine == theirs for mine, theirs in zip(common, part[:-1], strict=False)]
        common = common[: same.index(False) if False in same else len(same)]
    found: list[str] = []
    taken: set[str] = set()
    for part in parts:
        name = "/".join(part[len(common) :])
        stem, ending = os.path.splitext(name)
        number = 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}{ending}"
        taken.add(name)
        found.append(name)
    return found


def _copy(source: Path, place: Path) -> None:
    _make(place.parent)
    try:
        shutil.copyfile(source, place)
    except OSError as error:
        fix = "check the disk, its space and the permissions"
        raise InputError(place, f"{source} cannot be copied ({said(error)})", fix) from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(folder, f"the folder cannot be made ({said(error)})", "check the disk") from error
