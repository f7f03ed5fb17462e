"""A corrected copy of a data set: what is certain is corrected, everything else stays, and the original is untouched.

Certain are: samples that cannot be read (left out); of samples that are the same and labelled the same one is kept, and
of those in two splits the one that is measured with; boxes with swapped corners (swapped), that reach beyond their
image (cut), without area, outside, or twice there (left out).
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from striate.core.errors import InputError
from striate.data.collection import Array, Arrays, Collection, ReaderOptions
from striate.data.doctor.diagnosis import Diagnosis
from striate.data.imagefiles import image_files
from striate.data.paths import said
from striate.data.reader import Reader
from striate.data.writers.by_name import WRITERS

if TYPE_CHECKING:
    from striate.core.sample import Boxes, Target

Say = Callable[[str], None]
Boxed = dict[int, "Boxes"]

_FOR_TARGET = {"boxes": "coco", "keypoints": "coco", "mask": "masks", "label": "folders"}
_KEPT_FIRST = ("test", "val")
"""Of copies in several splits the one in the first of these is kept."""
_SAME = 1e-6


def fix(reader: Reader, diagnosis: Diagnosis, folder: str | os.PathLike[str], say: Say) -> list[str]:
    """Write a corrected copy of a set into a new ``folder``; returns what was corrected, a line each.

    ``diagnosis`` is that of a deep examination of this reader. The copy is in the format of the set where that can be
    written, else in COCO (boxes, keypoints), masks or class folders. Where nothing can be corrected with certainty,
    nothing is written and the only line says so. Errors: ``InputError`` when the folder holds something or lies in
    the set, when sets of this kind cannot be written, or when the disk is full; what was written is then removed.
    ``ValueError`` for a diagnosis that did not look at every sample.
    """
    if diagnosis.looked_at < len(reader):
        raise ValueError(f"the diagnosis is of {diagnosis.looked_at} of {len(reader)} samples; a deep one is needed")
    name, write = _writer(reader)
    left_out, lines = _left_out(reader, diagnosis)
    boxes: Boxed = {}
    if reader.target == "boxes":
        boxes, counted = _corrected_boxes(reader, left_out)
        lines += [f"{count} {what}" for what, count in counted.items()]
    if not lines:
        return ["nothing can be corrected with certainty: no copy was written"]
    kept = [position for position in range(len(reader)) if position not in left_out]
    if not kept:
        raise InputError(reader.path, "no sample would be left", "correct the data by hand")
    corrected = CorrectedReader(reader.path, reader.settled, source=reader, kept=kept, boxes=boxes)
    place = Path(folder)
    made = _new_folder(place, reader.path)
    say(f"writing {len(kept):,} samples into {place} ({name})")
    try:
        lost = write(corrected, place, say)
    except BaseException as error:
        for path in place.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if made:
            place.rmdir()
        if isinstance(error, OSError):
            raise InputError(
                place, f"it cannot be written: {said(error)}", "make room, or give another folder"
            ) from None
        raise
    return [*lines, *lost]


def _writer(reader: Reader) -> tuple[str, Callable[[Reader, Path, Say], list[str]]]:
    """The writer of the set's own format where one fits, else of its target. Errors: ``InputError``."""
    own = reader.format if reader.format in ("coco", "voc", "yolo") and reader.target == "boxes" else None
    name = own or _FOR_TARGET.get(reader.target, "")
    axes = len(reader.size(0))
    if name not in WRITERS or axes != 2:
        kind = {1: "signals", 3: "volumes"}.get(axes, reader.target)
        raise InputError(
            reader.path,
            f"corrected copies are written of sets of images, not of {kind}",
            "correct the files that are named",
        )
    return name, WRITERS[name]


def _new_folder(place: Path, source: Path) -> bool:
    """Make the folder unless it is there and empty; returns whether it was made. Errors: ``InputError``."""
    if place.resolve().is_relative_to(source.resolve()):
        raise InputError(place, "it lies in the data set, which is not changed", "give a folder elsewhere")
    try:
        made = not place.exists()
        place.mkdir(parents=True, exist_ok=True)
        if any(place.iterdir()):
            raise InputError(place, "the folder is not empty", "give a new folder")
    except OSError as error:
        raise InputError(place, f"the folder cannot be made: {said(error)}", "give another folder") from None
    return made


def _left_out(reader: Reader, diagnosis: Diagnosis) -> tuple[set[int], list[str]]:
    """The samples that are left out, and why, a line each."""
    out = set(diagnosis.unreadable)
    lines = [f"{len(out)} samples that cannot be read: left out"] if out else []
    split_of = {position: name for name, positions in reader.splits.items() for position in positions.tolist()}
    again = leaked = unclear = 0
    for group in diagnosis.copies:
        first = reader.targets(group[0])
        if not all(_equal(first, reader.targets(position)) for position in group[1:]):
            unclear += 1
            continue
        order = sorted(group, key=lambda position: (_rank(split_of.get(position, "")), position))
        for position in order[1:]:
            out.add(position)
            apart = split_of.get(position) != split_of.get(order[0])
            leaked, again = leaked + apart, again + (not apart)
    if leaked:
        lines.append(f"{leaked} samples that are in another split too: left out, those measured with are kept")
    if again:
        lines.append(f"{again} copies in one split: left out")
    if unclear and lines:
        lines.append(
            f"{unclear} groups of copies with different labels: kept, since which label is right is not certain"
        )
    return out, lines


def _rank(split: str) -> int:
    return _KEPT_FIRST.index(split) if split in _KEPT_FIRST else len(_KEPT_FIRST)


def _equal(first: "dict[str, Target]", second: "dict[str, Target]") -> bool:
    return first.keys() == second.keys() and all(first[name].equals(second[name]) for name in first)


def _corrected_boxes(reader: Reader, left_out: set[int]) -> tuple[Boxed, Counter[str]]:
    """The boxes of the samples in which any was corrected, and how many were, by what was done."""
    from striate.core.sample import Boxes

    found: Boxed = {}
    counted: Counter[str] = Counter()
    for position in (number for number in range(len(reader)) if number not in left_out):
        target = reader.targets(position).get("boxes")
        if isinstance(target, Boxes) and len(target.classes):
            corrected = _corrected(target, reader.size(position), counted)
            if corrected is not None:
                found[position] = corrected
    return found, counted


def _corrected(target: "Boxes", size: tuple[int, ...], counted: Counter[str]) -> "Boxes | None":
    """The boxes without their certain faults, or None where there are none."""
    import torch

    from striate.core.sample import Boxes

    bounds, axes = target.annotated().numpy(), len(size)
    low, high = bounds[:, :axes], bounds[:, axes:]
    limit = np.array(size, dtype=np.float64)
    swapped = (high < low).any(axis=1)
    left, right = np.minimum(low, high), np.maximum(low, high)
    empty = ~np.isfinite(bounds).all(axis=1) | (left == right).any(axis=1)
    outside = ~empty & ((right <= 0) | (left >= limit)).any(axis=1)
    beyond = ~empty & ~outside & ((left < 0) | (right > limit)).any(axis=1)
    cut = np.concatenate((np.clip(left, 0, limit), np.clip(right, 0, limit)), axis=1)
    again = np.zeros(len(bounds), dtype=bool)
    for number in np.flatnonzero(~(empty | outside | target.marks.numpy())).tolist():
        alike = np.abs(bounds[:number] - bounds[number]).max(axis=1, initial=0.0) <= _SAME
        alike &= (target.classes[:number] == target.classes[number]).numpy() & ~target.marks[:number].numpy()
        again[number] = alike.any()
    gone = empty | outside | again
    if not (gone | swapped | beyond).any():
        return None
    counted["boxes without area: left out"] += int(empty.sum())
    counted["boxes outside their image: left out"] += int(outside.sum())
    counted["boxes that were there twice: left out"] += int(again.sum())
    counted["boxes with swapped corners: swapped"] += int((swapped & ~gone).sum())
    counted["boxes that reached beyond their image: cut"] += int((beyond & ~gone).sum())
    for what in [what for what, count in counted.items() if not count]:
        del counted[what]
    rest = torch.from_numpy(~gone)
    return Boxes.from_bounds(torch.from_numpy(cut[~gone]), target.classes[rest], target.marks[rest])


class _Some:
    """Some of the samples of a reader, under new numbers."""

    def __init__(self, source: Reader, kept: Sequence[int]) -> None:
        self._source, self._kept = source, kept

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, position: int) -> Array:
        return self._source.image(self._kept[position])


@final
class CorrectedReader(Reader):
    """The samples ``kept`` of another reader, some with other boxes. Made by :func:`fix`; no path is of this format."""

    format = "corrected"
    listed = False

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """Never: it is made of another reader."""
        return None

    def __init__(
        self,
        path: Path,
        options: ReaderOptions | None = None,
        *,
        source: Reader | None = None,
        kept: Sequence[int] = (),
        boxes: Boxed | None = None,
    ) -> None:
        self._source, self._kept, self._boxes = source, list(kept), boxes or {}
        given = options or ReaderOptions()
        super().__init__(path, given.replace(minimum_classes=0, decode_at_least=0))

    def collect(self) -> Collection:
        """What is kept of the other reader. Errors: ``InputError`` where there is none."""
        source, kept = self._source, self._kept
        if source is None:
            raise InputError(self.path, "no path is of the format 'corrected'", "leave --format out")
        number = {position: place for place, position in enumerate(kept)}
        splits = {
            name: np.array([number[p] for p in positions.tolist() if p in number], dtype=np.int64)
            for name, positions in source.splits.items()
        }
        files = [source.source_file(position) for position in kept]
        whole = [file for file in files if file is not None]
        images: Arrays = image_files(whole, self.options) if len(whole) == len(kept) else _Some(source, kept)
        return Collection(
            images=images,
            found=f"{len(kept)} of {len(source)} samples, corrected",
            names=[source.name(position) for position in kept],
            labels=None if source.labels is None else source.labels[kept],
            classes=source.classes,
            splits={name: positions for name, positions in splits.items() if len(positions)},
            groups=[source.group(position) for position in kept],
            target=source.target,
            multi_label=source.multi_label and source.labels is None,
            targets=self._targets,
            sizes=lambda place: source.size(kept[place]),
        )

    def _targets(self, place: int) -> "dict[str, Target]":
        assert self._source is not None
        position = self._kept[place]
        targets: dict[str, Any] = dict(self._source.targets(position))
        if position in self._boxes:
            targets["boxes"] = self._boxes[position]
        return targets

    def unknown_values(self, place: int) -> dict[int, int]:
        """What the other reader says of its masks."""
        told = getattr(self._source, "unknown_values", None)
        return {} if told is None else dict(told(self._kept[place]))
