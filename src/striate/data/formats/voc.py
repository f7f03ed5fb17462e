"""Reader of Pascal VOC annotations: one XML file an image, with or without the kit's folders and split lists.

Read: ``Annotations`` with ``JPEGImages`` and ``ImageSets/Main``, here or one level down; XML beside the images; folders
of other names; splits as folders. Boxes only: parts, polygons and the masks of ``SegmentationClass`` are passed over.

No library reads it here: supervision takes whole numbers only and ends in a traceback at the first fault; datumaro
names faults, but drops boxes of classes it was not told, knows no origin of coordinates, and brings dozens of packages
for what is fifty lines. Only the XML parser is taken (defusedxml: entities and external files are refused).
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from striate.core.disk import open_file
from striate.core.errors import InputError
from striate.data.collection import ALL, Collection
from striate.data.formats.pairing import Listing, inside, key, leaks, lines_of, listed, ordered, splits_by_place
from striate.data.formats.voc_lists import Lists, read_lists
from striate.data.formats.voc_xml import Annotation, bounds_of, origin_of, read_annotation
from striate.data.imagefiles import ImageFiles, image_files
from striate.data.paths import natural, shortened
from striate.data.problems import Problem
from striate.data.reader import Reader

if TYPE_CHECKING:
    from striate.core.sample import Target

_CLASS_FILES = ("labels.txt", "classes.txt")
_DETECTION = (300, 2_000, 6)  # the most folders, entries of a folder, and files that are looked into


@dataclass
class _Set:
    """What was found so far: the samples' images and annotations, and everything met on the way."""

    images: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    annotations: list[Annotation] = field(default_factory=list)
    unlabelled: list[Path] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class VocReader(Reader):
    """Images with Pascal VOC XML annotations; ``target`` is ``boxes``, and difficult objects are ignored ones."""

    format = "voc"
    certainty = 2

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """XML files with the element ``<annotation>`` and an image's name, size or objects in it."""
        try:
            return next(iter(_annotations_in(path)), None) if path.is_dir() else None
        except (OSError, ValueError, InputError):
            return None

    def collect(self) -> Collection:
        """Pair images and annotations, and read all annotations."""
        if self.options.target not in (None, "boxes"):
            raise InputError(self.path, f"Pascal VOC XML has boxes, no {self.options.target}", "use target boxes")
        listing = listed(self.path, ".xml")
        if self.options.images is not None:
            listing.images = listed(Path(self.options.images), ".xml").images
        found = self._paired(listing)
        if not self.options.labelled:
            return self._unlabelled(found)
        roots = _roots(self.path, found.files)
        lists = read_lists(self.path, roots, found.images, {image.stem for image in found.unlabelled})
        splits, outside = self._splits(found, lists)
        classes, class_file = self._classes(found, roots)
        for position in outside:
            why = "no list names it; it is left out" if lists.files else "it lies in the folder of no split; left out"
            found.problems.append(Problem("not-in-a-split", self._name(found.images[position]), why))
        left = set(outside)
        kept = [position for position in range(len(found.images)) if position not in left]
        place = {position: number for number, position in enumerate(kept)}
        splits = {name: {place[position] for position in positions} for name, positions in splits.items()}
        lists.files += [class_file] if class_file is not None else []
        return self._collection_of(found, kept, splits, classes, lists)

    def _paired(self, listing: Listing) -> _Set:
        found = _Set(skipped=list(listing.skipped))
        images_base = self.path if self.options.images is None else Path(self.options.images)
        by_key: dict[str, list[Path]] = {}
        by_stem: dict[str, list[Path]] = {}
        for one in listing.images:
            by_key.setdefault(key(one, images_base), []).append(one)
            by_stem.setdefault(one.stem, []).append(one)
        taken: dict[Path, Path] = {}
        spoiled: set[Path | None] = set()
        for file in listing.labels:
            name = self._name(file)
            try:
                annotation = read_annotation(file)
            except InputError as error:
                image = _image_of(file, self.path, "", by_key, by_stem)
                spoiled.add(image)
                left = "" if image is None else "; its image is left out"
                found.problems.append(Problem("label-unreadable", name, f"{error.cause}{left}"))
                continue
            if annotation is None:
                found.skipped.append((name, "XML, but no Pascal VOC annotation"))
                continue
            found.problems += [Problem("annotation-malformed", name, fault) for fault in annotation.faults]
            image = _image_of(file, self.path, annotation.filename, by_key, by_stem)
            if image is None:
                found.problems.append(
                    Problem("label-without-image", name, f"no image {annotation.filename or file.stem}")
                )
            elif image in taken:
                detail = f"{self._name(taken[image])} is taken, this one is left out"
                found.problems.append(Problem("twice-labelled", name, detail))
            else:
                taken[image] = file
                found.images.append(image)
                found.files.append(file)
                found.annotations.append(annotation)
        found.unlabelled = [one for one in listing.images if one not in taken and one not in spoiled]
        if self.options.labelled:
            for one in found.unlabelled:
                found.problems.append(Problem("image-without-label", self._name(one), "no XML file; it is left out"))
        return found

    def _splits(self, found: _Set, lists: Lists) -> tuple[dict[str, set[int]], list[int]]:
        """Positions by split, and those of none."""
        names = [self._name(image) for image in found.images]
        if not lists.files:
            return splits_by_place(names)
        found.problems += lists.problems + leaks(lists.splits, names)
        named = set().union(*lists.splits.values())
        return lists.splits, [position for position in range(len(names)) if position not in named]

    def _classes(self, found: _Set, roots: list[Path]) -> tuple[tuple[str, ...], Path | None]:
        seen = sorted({name for one in found.annotations for name in one.names}, key=natural)
        for folder in dict.fromkeys([self.path, *roots, *(file.parent for file in found.files)]):
            for file in (folder / name for name in _CLASS_FILES):
                declared = list(dict.fromkeys(filter(None, lines_of(file)))) if file.is_file() else []
                if not declared or 2 * len(set(declared) & set(seen)) < len(seen):
                    continue
                extra = [name for name in seen if name not in declared]
                for name in extra:
                    detail = f"the class {name!r} is used and not in the file; it comes after the others"
                    found.problems.append(Problem("class-undeclared", self._name(file), detail))
                return (*declared, *extra), file
        return tuple(seen), None

    def _collection_of(
        self, found: _Set, kept: list[int], splits: dict[str, set[int]], classes: tuple[str, ...], lists: Lists
    ) -> Collection:
        annotations = [found.annotations[position] for position in kept]
        files = [found.images[position] for position in kept]
        images = image_files(files, self.options)
        names = [self._name(file) for file in files]
        origin, why = origin_of((one.corners, one.pathed) for one in annotations)
        if self.options.box_origin is not None:
            origin, why = self.options.box_origin, "as told"
        number = {name: index for index, name in enumerate(classes)}
        boxes = [
            (
                bounds_of(one.corners, origin),
                np.array([number[name] for name in one.names], dtype=np.int64),
                one.difficult,
            )
            for one in annotations
        ]
        found.problems += _wrong_sizes(images, annotations, names)
        parts = ordered(splits)
        return Collection(
            images=images,
            found=_said(self.path, [found.files[place] for place in kept], boxes, classes, parts, origin, why, images),
            names=names,
            classes=classes,
            splits=parts,
            skipped=found.skipped,
            target="boxes",
            targets=lambda position: _boxes(*boxes[position]),
            note=images.note,
            settled={**images.settled, "box_origin": origin},
            sizes=images.size,
            sources=[*files, *(found.files[position] for position in kept), *lists.files],
            problems=found.problems,
        )

    def _unlabelled(self, found: _Set) -> Collection:
        files = sorted([*found.images, *found.unlabelled], key=lambda file: natural(self._name(file)))
        images = image_files(files, self.options)
        return Collection(
            images=images,
            found=f"{len(files)} images{f', {images.form}' if files else ''}",
            names=[self._name(file) for file in files],
            skipped=found.skipped,
            note=images.note,
            settled=images.settled,
            sizes=images.size,
            sources=files,
        )

    def _name(self, file: Path) -> str:
        return inside(file, self.path)


def _image_of(
    file: Path, base: Path, filename: str, by_key: dict[str, list[Path]], by_stem: dict[str, list[Path]]
) -> Path | None:
    """The image of an annotation file: of the same key, else of the name it gives in such a place, else the only one
    of its name in the set."""
    same = by_key.get(key(file, base), [])
    beside = [image for image in same if image.parent == file.parent]
    if same:
        return (beside or [image for image in same if image.name == filename] or same)[0]
    stem = os.path.splitext(os.path.basename(filename.replace("\\", "/")))[0]
    named = by_key.get(key(file.with_name(f"{stem}.xml"), base), []) if stem else []
    if named:
        return named[0]
    for name in (file.stem, stem):
        if len(by_stem.get(name, ())) == 1:
            return by_stem[name][0]
    return None


def _roots(base: Path, files: list[Path]) -> list[Path]:
    """The folders that may hold the lists: those above the annotations, down from ``base``."""
    found: dict[Path, None] = {}
    for folder in dict.fromkeys(file.parent for file in files):
        for above in (folder, *folder.parents):
            found.setdefault(above)
            if above == base:
                break
    return sorted(found, key=lambda folder: len(folder.parts))


def _wrong_sizes(images: ImageFiles, annotations: list[Annotation], names: list[str]) -> list[Problem]:
    found = []
    for position, annotation in enumerate(annotations):
        if annotation.size is None:
            continue
        try:
            size = images.size(position)
        except InputError:
            continue  # the same error comes when it is decoded, and is listed then
        if size == annotation.size:
            continue
        height, width = annotation.size
        turned = annotation.size == size[::-1] and images.header(position).orientation >= 5
        why = " after its EXIF orientation: its boxes may be those of the image before it" if turned else ""
        detail = f"its annotation says {width} x {height}, it is {size[1]} x {size[0]}{why}"
        found.append(Problem("size-declared-wrong", names[position], detail))
    return found


def _boxes(bounds: NDArray[np.float64], classes: NDArray[np.int64], ignored: NDArray[np.bool_]) -> "dict[str, Target]":
    import torch

    from striate.core.sample import Boxes

    boxes = Boxes.from_bounds(torch.from_numpy(bounds), torch.from_numpy(classes), torch.from_numpy(ignored))
    return {"boxes": boxes}


def _said(
    base: Path,
    files: list[Path],
    boxes: list[tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]],
    classes: tuple[str, ...],
    splits: dict[str, NDArray[np.int64]],
    origin: int,
    why: str,
    images: ImageFiles,
) -> str:
    parts = ", ".join(f"{len(rows)} {name}" for name, rows in splits.items() if name != ALL)
    folders = Counter(os.path.relpath(file.parent, base) for file in files)
    places = shortened([f"{'' if place == '.' else f'{place}/'}*.xml" for place in folders], 2)
    total, difficult = sum(len(one[0]) for one in boxes), sum(int(one[2].sum()) for one in boxes)
    marked = f", {difficult:,} of them difficult and ignored" if difficult else ""
    counted = "edges from 0" if origin == 0 else "pixels from 1, the last included"
    return (
        f"{len(boxes)} images with {total:,} boxes{marked} of {len(classes)} classes{f' ({parts})' if parts else ''}, "
        f"Pascal VOC ({places}), coordinates are {counted} ({why}){f', {images.form}' if files else ''}"
    )


def _annotations_in(path: Path) -> list[str]:
    """Reasons to take a folder for VOC: the first of its XML files that is an annotation. Looks at a bounded number of
    entries, three levels down."""
    folders, most, left = _DETECTION
    waiting, looked = [(path, 0)], 0
    while waiting and looked < folders:
        here, depth = waiting.pop(0)
        looked += 1
        try:
            with os.scandir(here) as entries:
                for _, entry in zip(range(most), entries, strict=False):
                    if entry.name.startswith("."):
                        continue
                    if entry.name.lower().endswith(".xml") and entry.is_file() and left:
                        left -= 1
                        if _looks_like_voc(Path(entry.path)):
                            return [f"Pascal VOC annotations, such as {os.path.relpath(entry.path, path)}"]
                    elif depth < 3 and entry.is_dir():
                        waiting.append((Path(entry.path), depth + 1))
        except OSError:
            continue
    return []


def _looks_like_voc(file: Path) -> bool:
    try:
        with open_file(file) as (opened, _):
            first = opened.read(4096) or b""
    except InputError:
        return False
    return b"<annotation" in first and any(word in first for word in (b"<filename", b"<object", b"<size"))
