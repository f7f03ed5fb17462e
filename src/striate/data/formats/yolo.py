"""Reader of YOLO text labels: boxes or polygons, a text file an image, with or without a YAML that describes the set.

Read: ``images`` and ``labels`` in either order with the splits, text beside the images, lists of images, darknet's
``obj.data``; numbers of classes with gaps are mapped in their order.

No library reads it here: supervision takes one folder at a time, counts classes by their place and keeps shares as
float32; datumaro reads no polygons, drops the rest of an image at its first fault and asks for lists and meta files;
both say nothing of files without a partner. PyYAML is taken for the YAML (see :mod:`striate.data.formats.yaml_safe`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from striate.core.bitsets import form_of
from striate.core.errors import InputError
from striate.data.collection import ALL, Collection
from striate.data.formats.outlines import area, fill
from striate.data.formats.pairing import inside, ordered
from striate.data.formats.yolo_config import Config, find_config
from striate.data.formats.yolo_files import Files, find_files, recognised
from striate.data.formats.yolo_lines import Lines, bounds_of, read_lines
from striate.data.imagefiles import ImageFiles, image_files
from striate.data.problems import Problem
from striate.data.reader import Reader

if TYPE_CHECKING:
    from striate.core.sample import Target

_MOST_UNNAMED = 10_000  # without names, ids up to here are all classes; beyond, only those that occur


@dataclass
class _Objects:
    """The objects of every sample: class number and shape (see :class:`~striate.data.formats.yolo_lines.Lines`)."""

    classes: list[NDArray[np.int64]] = field(default_factory=list)
    shapes: list[list[NDArray[np.float64]]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(len(one) for one in self.classes)

    @property
    def polygons(self) -> int:
        return sum(shape.ndim == 2 for shapes in self.shapes for shape in shapes)


class YoloReader(Reader):
    """Images with YOLO labels; ``target`` is ``boxes``, or ``mask`` where (nearly) all objects are polygons."""

    format = "yolo"
    certainty = 2

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """Text files of lines such as ``0 0.5 0.5 0.2 0.3`` that belong to images, or a YAML file beside them."""
        return recognised(path)

    def collect(self) -> Collection:
        """Pair images and label files, and read all labels."""
        if self.options.target not in (None, "boxes", "mask"):
            raise InputError(self.path, f"YOLO labels have no {self.options.target}", "use target boxes or mask")
        self._root = self.path if self.path.is_dir() else self.path.parent
        config = find_config(self.path)
        files = find_files(self.path, config, self.options.images)
        if not self.options.labelled:
            return self._unlabelled(files)
        if files.images and all(label is None for label in files.labels):
            raise InputError(
                self.path,
                f"none of its {len(files.images)} images has a label file, such as {self._name(files.images[0])}",
                "put the label files into a folder labels that mirrors images, or beside the images",
            )
        found = [self._lines(label, config, files) for label in files.labels]
        self._leave_out(files, found, config)
        lines = [one for one in found if one is not None]
        self._tell_orphans(files, config)
        ids, names = _classes(config, lines)
        objects = self._objects(files, lines, ids)
        mostly_polygons = objects.count > 0 and objects.polygons >= 0.9 * objects.count
        target = self.options.target or ("mask" if mostly_polygons else "boxes")
        images = image_files(files.images, self.options)
        parts = ordered(files.splits)
        several = target == "mask" and bool(self.options.multi_label)
        classes, values = (tuple(names), ()) if target == "boxes" or several else _mask_classes(names)
        form = form_of(len(names), self.path) if several else None  # of bit sets
        return Collection(
            images=images,
            found=_said(config, files, objects, target, names, parts, images),
            names=[self._name(image) for image in files.images],
            classes=classes,
            splits=parts,
            skipped=files.skipped,
            target=target,
            multi_label=several,
            targets=_targets(objects, images, target, values, form),
            note=images.note,
            settled={**images.settled, "target": target, **({"multi_label": True} if several else {})},
            sizes=images.size,
            sources=[*files.images, *(label for label in files.labels if label is not None), *files.sources],
            problems=files.problems,
        )

    def _leave_out(self, files: Files, lines: list[Lines | None], config: Config) -> None:
        """Images whose labels cannot be read, and, where the set says so, those without, are no samples."""
        left = {position for position, one in enumerate(lines) if one is None}
        without = [position for position, label in enumerate(files.labels) if label is None]
        if config.leave_unlabelled and without:
            files.remarks.append(f"{len(without)} images without a label file left out, as the set says")
            left |= set(without)
        elif without:
            detail = "no label file: taken for an image with nothing on it"
            names = [self._name(files.images[position]) for position in without]
            files.problems += [Problem("image-without-label", name, detail) for name in names]
        lines[:] = [one for position, one in enumerate(lines) if position not in left]
        _keep(files, left)

    def _lines(self, label: Path | None, config: Config, files: Files) -> Lines | None:
        """The lines of a label file, none where there is no file; None when it cannot be read."""
        if label is None:
            return Lines()
        name = self._name(label)
        try:
            lines = read_lines(label, config.after)
        except InputError as error:
            files.problems.append(Problem("label-unreadable", name, f"{error.cause}; its image is left out"))
            return None
        files.problems += [Problem("annotation-malformed", f"{name}:{number}", why) for number, why in lines.faults]
        return lines

    def _tell_orphans(self, files: Files, config: Config) -> None:
        count = 0
        for label in files.orphans:
            try:
                objects = len(read_lines(label, config.after).ids)
            except InputError:
                objects = 0
            count += objects
            detail = f"no image of its name; its {objects} objects are left out"
            files.problems.append(Problem("label-without-image", self._name(label), detail))
        if files.orphans:
            files.remarks.append(f"{len(files.orphans)} more label files with {count:,} objects have no image")

    def _objects(self, files: Files, lines: list[Lines], ids: dict[int, int]) -> _Objects:
        objects = _Objects()
        for label, one in zip(files.labels, lines, strict=True):
            known = [place for place, number in enumerate(one.ids) if number in ids]
            objects.classes.append(np.array([ids[one.ids[place]] for place in known], dtype=np.int64))
            objects.shapes.append([one.shapes[place] for place in known])
            if label is None or len(known) == len(one.ids):
                continue
            for number, line in zip(one.ids, one.numbers, strict=True):
                if number not in ids:
                    detail = f"no class has the number {number}; the object is left out"
                    files.problems.append(Problem("class-undeclared", f"{self._name(label)}:{line}", detail))
        return objects

    def _unlabelled(self, files: Files) -> Collection:
        images = image_files(files.images, self.options)
        return Collection(
            images=images,
            found=f"{len(images)} images{f', {images.form}' if files.images else ''}",
            names=[self._name(image) for image in files.images],
            splits=ordered(files.splits),
            skipped=files.skipped,
            note=images.note,
            settled=images.settled,
            sizes=images.size,
            sources=[*files.images, *files.sources],
        )

    def _name(self, file: Path) -> str:
        return inside(file, self._root)


def _keep(files: Files, left_out: set[int]) -> None:
    kept = [position for position in range(len(files.images)) if position not in left_out]
    place = {position: number for number, position in enumerate(kept)}
    files.images = [files.images[position] for position in kept]
    files.labels = [files.labels[position] for position in kept]
    files.splits = {
        name: {place[position] for position in positions if position in place}
        for name, positions in files.splits.items()
    }


def _classes(config: Config, lines: list[Lines]) -> tuple[dict[int, int], list[str]]:
    """The class number of each id, in the order of ids, and the names in the order of class numbers."""
    if config.names is not None:
        ids = sorted(config.names)
        return {number: place for place, number in enumerate(ids)}, [config.names[number] for number in ids]
    seen = sorted({number for one in lines for number in one.ids if number >= 0})
    if seen and seen[-1] < _MOST_UNNAMED:
        seen = list(range(seen[-1] + 1))
    return {number: place for place, number in enumerate(seen)}, [str(number) for number in seen]


def _mask_classes(names: list[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The classes of a mask, background first, and the value of each class of the labels."""
    others = [name for name in names if name.lower() != "background"]
    value = {place: number for number, place in enumerate((i for i, n in enumerate(names) if n in others), 1)}
    return ("background", *others), tuple(value.get(place, 0) for place in range(len(names)))


def _targets(
    objects: _Objects,
    images: ImageFiles,
    target: str,
    values: tuple[int, ...],
    bits: tuple[type[np.integer], int] | None,
) -> "Callable[[int], dict[str, Target]]":
    def boxes(position: int) -> "dict[str, Target]":
        import torch

        from striate.core.sample import Boxes

        bounds = bounds_of(objects.shapes[position], images.size(position))
        classes = torch.from_numpy(objects.classes[position])
        return {"boxes": Boxes.from_bounds(torch.from_numpy(bounds), classes)}

    def mask(position: int) -> "dict[str, Target]":
        import torch

        from striate.core.sample import Mask

        classes, shapes = objects.classes[position].tolist(), objects.shapes[position]
        size = images.size(position)
        try:
            if bits is not None:
                kind, ignore = bits
                layers = np.zeros(size, dtype=kind)
                for number, outline in zip(classes, _outlines(shapes, size), strict=True):
                    layers[fill([outline], size)] |= kind(1 << number)
                return {"mask": Mask(torch.from_numpy(layers), ignore)}
            painted = _painted(shapes, [values[number] for number in classes], size, len(values) + 1)
        except ValueError as error:
            raise InputError(
                images.files[position], f"its outlines cannot be filled ({error})", "correct them"
            ) from None
        return {"mask": Mask(torch.from_numpy(painted), 255 if painted.dtype == np.uint8 else -1)}

    return boxes if target == "boxes" else mask


def _outlines(shapes: list[NDArray[np.float64]], size: tuple[int, int]) -> list[NDArray[np.float64]]:
    """The corners (P, 2) as (y, x) in pixels of polygons and of boxes."""
    outlines = []
    for shape, box in zip(shapes, bounds_of(shapes, size), strict=True):
        if shape.ndim == 2:
            outlines.append(shape[:, ::-1] * np.array(size, dtype=np.float64))
        else:
            y0, x0, y1, x1 = box
            outlines.append(np.array([(y0, x0), (y0, x1), (y1, x1), (y1, x0)]))
    return outlines


def _painted(
    shapes: list[NDArray[np.float64]], values: list[int], size: tuple[int, int], classes: int
) -> NDArray[np.uint8] | NDArray[np.int32]:
    """The objects' values on a canvas of ``size`` (height, width), 0 elsewhere, the smaller on top of the larger."""
    canvas = np.zeros(size, dtype=np.uint8 if classes <= 255 else np.int32)
    outlines = _outlines(shapes, size)
    order = sorted(range(len(shapes)), key=lambda place: -area([outlines[place]]))
    for place in order:
        canvas[fill([outlines[place]], size)] = values[place]
    return canvas


def _said(
    config: Config,
    files: Files,
    objects: _Objects,
    target: str,
    names: list[str],
    splits: dict[str, NDArray[np.int64]],
    images: ImageFiles,
) -> str:
    parts = ", ".join(f"{len(rows)} {name}" for name, rows in splits.items() if name != ALL)
    described = config.file.name if config.file is not None else "label files, no YAML"
    kind = "boxes" if target == "boxes" else "outlines"
    remarks = list(dict.fromkeys(files.remarks))
    if target == "boxes" and objects.polygons:
        remarks.append(f"{objects.polygons:,} of them around polygons")
    if target == "mask" and objects.polygons < objects.count:
        remarks.append(f"{objects.count - objects.polygons:,} of them boxes, filled")
    if config.names is None:
        remarks.append("no names of classes were found")
    if config.keypoints:
        remarks.append("keypoints are passed over")
    if config.scores:
        remarks.append("scores are passed over")
    more = "".join(f"; {remark}" for remark in remarks)
    counted = f"{len(files.images)} images with {objects.count:,} {kind} of {len(names)} classes"
    return (
        f"{counted}{f' ({parts})' if parts else ''}, YOLO ({described})"
        f"{f', {images.form}' if files.images else ''}{more}"
    )
