"""Images and the label files that belong to them: listing both, and telling which goes with which.

The layouts in use differ in where a folder of images and a folder of labels stand in the path (``images/train/1.jpg``
with ``labels/train/1.txt``, ``train/images`` with ``train/labels``, ``JPEGImages`` with ``Annotations``, or all in one
folder). With the words for images and for labels taken out of it, the path is the same: that is the key of a pair.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from striate.core.disk import open_file
from striate.core.errors import InputError
from striate.data.collection import ALL, SPLIT_NAMES
from striate.data.formats.folders import EXTENSIONS
from striate.data.paths import kind_of, said, visible
from striate.data.problems import Problem

_IMAGE_WORDS = frozenset(("images", "image", "imgs", "img", "jpegimages", "pictures", "photos"))
_LABEL_WORDS = frozenset(
    ("labels", "label", "annotations", "annotation", "annots", "anns", "ann", "xmls", "xml", "boxes")
)
_WORDS = _IMAGE_WORDS | _LABEL_WORDS
_PASSED_OVER = frozenset(("segmentationclass", "segmentationobject", "imagesets", "masks"))


@dataclass
class Listing:
    """What a walk met: image files, label files, and (name, reason) of what is neither file nor folder."""

    images: list[Path] = field(default_factory=list)
    labels: list[Path] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def listed(base: Path, suffix: str) -> Listing:
    """The images below a folder and the files that end in ``suffix``, in order of name.

    A folder is entered once, so that a loop of links ends; folders of VOC's masks and lists are passed over.
    """
    listing, entered, waiting = Listing(), set[tuple[int, int]](), [base]
    while waiting:
        here, inside = waiting.pop(), []
        try:
            status = here.stat()
            if (status.st_dev, status.st_ino) in entered:
                listing.skipped.append((os.path.relpath(here, base), "a link to a folder that is read anyway"))
                continue
            entered.add((status.st_dev, status.st_ino))
            for entry in visible(here):
                if entry.is_dir():
                    if entry.name.lower() not in _PASSED_OVER:
                        inside.append(Path(entry.path))
                    continue
                ending = os.path.splitext(entry.name)[1].lower()
                if ending not in EXTENSIONS and ending != suffix:
                    continue
                if entry.is_file():
                    (listing.labels if ending == suffix else listing.images).append(Path(entry.path))
                else:
                    listing.skipped.append((os.path.relpath(entry.path, base), _why_no_file(entry)))
        except OSError as error:
            listing.skipped.append((os.path.relpath(here, base), said(error)))
        waiting += reversed(inside)
    return listing


def _why_no_file(entry: "os.DirEntry[str]") -> str:
    try:
        return f"it is {kind_of(entry.stat().st_mode)}, not a file"
    except OSError as error:
        return said(error)


def inside(file: PurePath, base: PurePath) -> str:
    """The path of a file from ``base``, as ``os.path.relpath`` gives it; quick where the one begins with the other."""
    path, start = os.fspath(file), os.path.join(os.fspath(base), "")
    return path[len(start) :] if path.startswith(start) and ".." not in path else os.path.relpath(path, start)


def key(file: PurePath, base: PurePath) -> str:
    """What an image and its label file have in common: the path below ``base``, without ending and words of place."""
    *folders, name = inside(file, base).split("/")
    return "/".join([*(part for part in map(str.lower, folders) if part not in _WORDS), os.path.splitext(name)[0]])


def split_named(relative: PurePath) -> str | None:
    """The split that the folders of a path name (``train2017`` is train), or None. The first folder counts."""
    for part in relative.parent.parts:
        split = SPLIT_NAMES.get(part.lower().rstrip("0123456789"))
        if split is not None:
            return split
    return None


def splits_by_place(names: Sequence[str]) -> tuple[dict[str, set[int]], list[int]]:
    """Positions of the samples in each split by their folders, and those that lie outside where others lie in one."""
    found: dict[str, set[int]] = {}
    outside = []
    for position, name in enumerate(names):
        split = split_named(PurePath(name))
        if split is None:
            outside.append(position)
        else:
            found.setdefault(split, set()).add(position)
    return (found, outside) if found else ({ALL: set(range(len(names)))}, [])


def ordered(splits: Mapping[str, Iterable[int]]) -> dict[str, NDArray[np.int64]]:
    """Splits as a Collection has them: int64 positions, ascending; empty ones left away."""
    rows = {name: np.array(sorted(splits.get(name, ())), dtype=np.int64) for name in ("train", "val", "test", ALL)}
    return {name: positions for name, positions in rows.items() if len(positions)}


def leaks(splits: Mapping[str, set[int]], names: Sequence[str]) -> list[Problem]:
    """A problem for each sample that two splits have."""
    found = []
    parts = [(name, splits[name]) for name in ("train", "val", "test") if name in splits]
    for number, (first, positions) in enumerate(parts):
        for second, others in parts[number + 1 :]:
            found += [
                Problem("listed-twice", names[position], f"it is in {first} and in {second}")
                for position in sorted(positions & others)
            ]
    return found


def text_of(path: Path, most: int) -> str:
    """The text of a file of at most ``most`` bytes, UTF-8. Errors: ``InputError``."""
    with open_file(path) as (file, size):
        if size > most:
            raise InputError(path, f"{size:,} bytes are more than the {most:,} such a file may have", "split the file")
        data = file.readall() if size else b""
    try:
        return (data or b"").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = (data or b"").count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}", "it is not UTF-8 text", "save it as UTF-8") from None


def lines_of(path: Path) -> list[str]:
    """The lines of a list file (names of files or classes), blanks cut; bytes that are no UTF-8 survive. Errors:
    ``InputError``."""
    with open_file(path) as (file, size):
        if size > 1 << 28:
            raise InputError(path, f"{size:,} bytes are too many for a list", "split the file")
        data = file.readall() or b""
    return [line.strip() for line in data.decode("utf-8-sig", "surrogateescape").split("\n")]
