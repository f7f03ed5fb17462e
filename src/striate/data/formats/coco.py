"""Reader of COCO JSON: boxes, outlines (polygons and run lengths) as semantic masks, or keypoints.

Boxes are [x, y, width, height] in continuous pixels and are read as they stand. Category ids may have gaps: classes are
in order of category id, and those of a later file are matched by name. ``iscrowd`` (or ``ignore``) marks an object as
ignored. An image without annotations is a sample without objects. The target is boxes, unless ``options.target`` says
``mask`` (class 0 is ``background``, larger objects lie under smaller ones, crowds are the ignore value; with
``options.multi_label`` every class is kept where outlines overlap, and there is no background) or
``keypoints`` (the default for a ``person_keypoints`` file; the points are the classes, ``left_`` and ``right_`` pair).
A keypoint is the number of a pixel in COCO and is read as the middle of that pixel.

Why not a library: pycocotools' reader checks nothing (a missing key is a KeyError without file or entry, and it keeps
all as dictionaries); datumaro drops unknown image ids with a log line, takes category 0 as no class, and needs 20
packages; supervision drops categories whose supercategory is "none" and forgets iscrowd. Both rasterise by pycocotools.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from striate.core.errors import InputError
from striate.data.collection import Collection, splits_of
from striate.data.formats.coco_files import (
    CocoJson,
    choose,
    coco_jsons,
    described,
    images_folder,
    leads_out,
    located,
    unlisted,
)
from striate.data.formats.coco_index import Document, Entry, Objects, load
from striate.data.formats.coco_targets import CocoTargets
from striate.data.imagefiles import ImageFiles, image_files
from striate.data.paths import shortened
from striate.data.problems import Problem
from striate.data.reader import Reader

SIZES_CHECKED = 5_000
"""Of so many images, evenly spread, the declared size is compared with the header."""
_CALLED = {"boxes": "boxes", "mask": "outlines", "keypoints": "people with keypoints"}


class CocoReader(Reader):
    """A COCO data set: a folder with JSON files and images, or one JSON file beside its images."""

    format = "coco"
    certainty = 2

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """JSON files with lists of images, annotations and categories."""
        found = coco_jsons(path)
        if not found:
            return None
        names = [found[0].path.name] if path == found[0].path else [os.path.relpath(one.path, path) for one in found]
        return f"COCO JSON with lists of images and annotations: {shortened(names, 3)}"

    def collect(self) -> Collection:
        """Read the JSON files, find their images, and sort the annotations by image."""
        found = coco_jsons(self.path) or ([described(self.path, self.path)] if self.path.is_file() else [])
        if not found:
            raise InputError(self.path, "no COCO JSON file was found", "give a folder or file of a COCO set")
        chosen, skipped = choose(found, self.options.target, self.options.labelled, self.path)
        return _Gathering(self, chosen, self._target(chosen[0])).collection(skipped)

    def _target(self, first: CocoJson) -> str | None:
        target = self.options.target
        if target == "label":
            raise InputError(
                self.path, "a COCO set has no label per image", "choose the target boxes, mask or keypoints"
            )
        return target or (None if first.kind == "keypoints" else "boxes")


class _Gathering:
    """What is collected while the JSON files are read one after the other."""

    def __init__(self, reader: CocoReader, chosen: Sequence[CocoJson], target: str | None) -> None:
        self.base, self.options, self.chosen = reader.path, reader.options, chosen
        self.problems: list[Problem] = []
        self.files: list[Path] = []
        self.splits: list[str] = []
        self.declared: list[tuple[int, int] | None] = []
        self.folders: list[Path] = []
        self.absent: list[tuple[str, str]] = []
        self.classes: dict[str, int] = {}
        self.points: tuple[str, ...] = ()
        self.objects: Objects | None = None
        for one in chosen:
            name = os.path.relpath(one.path, self.base) if one.path != self.base else one.path.name
            document = load(one.path, name, self.options.labelled, self.problems)
            if self.objects is None:
                pointed = any(category.points for category in document.categories)
                self.objects = Objects(target or ("keypoints" if pointed else "boxes"))
            self._take(one, document, self.objects)

    def _take(self, one: CocoJson, document: Document, objects: Objects) -> None:
        names = [entry.file_name for entry in document.entries]
        folder, looked = images_folder(one, names, self.base, self.options.images)
        if folder is None and document.entries:
            where = shortened([os.path.relpath(place, one.path.parent) for place in looked], 4) or "nowhere"
            cause = f"none of its {len(names):,} images (such as {names[0]}) is there; looked in {where}"
            if len(self.chosen) == 1:
                raise InputError(one.path, cause, "name the folder of the images with the option images")
            self.problems.append(Problem("listed-missing", document.name, cause))
            self.absent.append((document.name, cause))
            return
        if folder is not None:
            self.folders.append(folder)
        positions = {}
        for entry in document.entries:
            place = None if folder is None else located(folder, entry.file_name)
            if place is None:
                document.left_out[entry.id] = self._absent(entry, document.name)
                continue
            positions[entry.id] = len(self.files)
            self.files.append(place)
            self.splits.append(one.split)
            self.declared.append(entry.declared)
        numbers = self._classes(document)
        if objects.keep == "keypoints" and (document.categories or self.options.labelled):
            self._demand_points(one, document)
        before = objects.doubled
        objects.add(document, positions, numbers, len(self.points), self.problems)
        if objects.doubled > before:
            times = f"{objects.doubled - before:,} annotation ids come again (ids are not used: all are kept)"
            self.problems.append(Problem("annotation-malformed", document.name, times))

    @staticmethod
    def _absent(entry: Entry, name: str) -> Problem:
        if leads_out(entry.file_name):
            fault = f"file_name {entry.file_name!r} leads out of the folder of the images: not followed"
            return Problem("annotation-malformed", name, fault)
        return Problem("listed-missing", entry.file_name, f"listed in {name} and not there")

    def _classes(self, document: Document) -> dict[int | float, int]:
        """The class of each category id of a file; what a later file adds is said."""
        numbers, first, own = {}, not self.classes, set()
        for category in document.categories:
            if category.name in own:
                fault = f"several categories are called {category.name!r}: they are read as one class"
                self.problems.append(Problem("class-names-alike", document.name, fault))
            elif category.name not in self.classes and not first:
                fault = f"category {category.name!r} is not in {self.chosen[0].path.name}: added as the last class"
                self.problems.append(Problem("class-undeclared", document.name, fault))
            own.add(category.name)
            numbers[category.id] = self.classes.setdefault(category.name, len(self.classes))
        return numbers

    def _demand_points(self, one: CocoJson, document: Document) -> None:
        lists = {category.points for category in document.categories if category.points}
        lists |= {self.points} if self.points else set()
        if len(lists) != 1:
            cause = "its categories name no keypoints" if not lists else f"there are {len(lists)} lists of keypoints"
            raise InputError(one.path, cause, "choose the target boxes, or give categories with one list of keypoints")
        self.points = lists.pop()

    def collection(self, skipped: Sequence[tuple[str, str]]) -> Collection:
        """Everything found, sorted by sample."""
        assert self.objects is not None
        objects, target = self.objects, self.objects.keep
        images = image_files(self.files, self.options)
        home = self._home()
        self._check_sizes(images, home)
        # beside one JSON file there may be others, for which the images that it does not list are
        if self.options.labelled and self.base.is_dir():
            for path in unlisted(self.folders, {str(path) for path in self.files}):
                self.problems.append(Problem("image-without-label", os.path.relpath(path, home), "no JSON lists it"))
        if target == "mask" and objects.outlines and not any(objects.outlines):
            raise InputError(self.base, "no annotation has an outline (segmentation)", "choose the target boxes")
        annotated = bool(self.classes) or self.options.labelled
        classes = tuple(self.classes)
        several = target == "mask" and bool(self.options.multi_label)
        if target == "mask" and not several:
            if "background" in self.classes:
                fault = "a category is called 'background', and class 0 of a mask is that too"
                self.problems.append(Problem("class-names-alike", self.chosen[0].path.name, fault))
            classes = ("background", *classes)
        most = self.options.maximum_pixels
        index = CocoTargets(objects, images, len(classes), self.points, most, several)
        targets = {"boxes": index.boxes, "mask": index.mask, "keypoints": index.keypoints}[target]
        return Collection(
            images=images,
            found=self._found(objects, images),
            names=[os.path.relpath(path, home) for path in self.files],
            classes=self.points if target == "keypoints" else classes if annotated else (),
            splits=splits_of(self.splits) if self.splits else {},
            skipped=[*skipped, *self.absent],
            target=target,
            multi_label=several and annotated,
            targets=targets if annotated else None,
            note=images.note,
            sources=[*(one.path for one in self.chosen), *self.files],
            settled={**images.settled, "target": target, **({"multi_label": True} if several else {})},
            sizes=images.size,
            problems=self.problems,
        )

    def _home(self) -> Path:
        """The folder by which samples are named: the data set's, unless the images are elsewhere."""
        base = self.base if self.base.is_dir() else self.base.parent
        if all(folder.is_relative_to(base) for folder in self.folders):
            return base
        return Path(os.path.commonpath([os.path.abspath(folder) for folder in self.folders]))

    def _found(self, objects: Objects, images: ImageFiles) -> str:
        parts = splits_of(self.splits) if self.splits else {}
        counted = ", ".join(f"{len(rows):,} {name}" for name, rows in parts.items() if name != "all")
        kinds = f"{len(self.points)} points" if objects.keep == "keypoints" else f"{len(self.classes)} classes"
        crowds = f" ({sum(objects.ignored):,} of them ignored)" if any(objects.ignored) else ""
        bare = f", {objects.without_points:,} others have none" if objects.without_points else ""
        jsons = shortened([one.path.name for one in self.chosen], 3)
        return (
            f"{len(self.files):,} images with {len(objects.position):,} {_CALLED[objects.keep]}{crowds} of {kinds}"
            f"{bare}{f' ({counted})' if counted else ''}, COCO JSON ({jsons}), {images.form}"
        )

    def _check_sizes(self, images: ImageFiles, home: Path) -> None:
        known = [place for place, size in enumerate(self.declared) if size is not None]

        def shown(place: int) -> tuple[int, int] | None:
            try:
                return images.size(place)
            except InputError:
                return None  # the same error comes when it is decoded

        some = known[:: max(1, -(-len(known) // SIZES_CHECKED))]
        with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) * 2)) as pool:
            for place, size in zip(some, pool.map(shown, some), strict=True):
                declared = self.declared[place]
                if size is not None and declared is not None and size != declared:
                    turned = ": its EXIF orientation turns it" if size == declared[::-1] else ""
                    fault = f"declared {declared[1]} x {declared[0]}, it is {size[1]} x {size[0]}{turned}"
                    name = os.path.relpath(self.files[place], home)
                    self.problems.append(Problem("size-declared-wrong", name, fault))
