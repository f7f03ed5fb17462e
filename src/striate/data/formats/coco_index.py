"""A COCO JSON file as lists and arrays: parsed under caps, checked entry by entry, sorted by image.

Nothing is dropped in silence: what makes no sense becomes a :class:`~striate.data.problems.Problem`.
"""

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from striate.core.disk import open_file, read_into
from striate.core.errors import InputError
from striate.data.formats.outlines import FARTHEST
from striate.data.problems import Problem

LARGEST_FILE = 2 << 30
"""Bytes: a larger JSON file is refused before it is read."""


@dataclass(frozen=True)
class Rle:
    """Run lengths as they stand in the file: ``size`` and ``counts``, not yet looked at."""

    size: Any
    counts: Any


Outline = tuple[NDArray[np.float64], ...] | Rle
"""Polygons (P, 2) as (y, x), or run lengths; () where an object has none."""


@dataclass(frozen=True)
class Category:
    """A category: its id in the file, its name, the names of its keypoints (() where it has none)."""

    id: int | float
    name: str
    points: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """An image as listed: its id, its file name, its declared size (H, W) or None."""

    id: int | str
    file_name: str
    declared: tuple[int, int] | None


@dataclass(frozen=True)
class Document:
    """A JSON file: ``name`` in messages, categories in order of id, images in order, annotations as they stand, and of
    the images that are left out what is wrong with them, by their id."""

    name: str
    categories: list[Category]
    entries: list[Entry]
    annotations: list[Any]
    left_out: dict[int | str, Problem]


def load(path: Path, name: str, labelled: bool, problems: list[Problem]) -> Document:
    """Read a file. ``labelled`` demands annotations and categories. Errors: ``InputError`` for a file beyond
    :data:`LARGEST_FILE`, that is no JSON (with the line), too deep, or without the lists of a COCO file."""
    data = _parsed(path)
    if not isinstance(data, dict):
        what = "a list (results of a detector have no images)" if isinstance(data, list) else "no object"
        raise InputError(path, f"the JSON is {what}, where images, annotations and categories were expected", _FIX)
    lists = {}
    for key in ("images", "annotations", "categories"):
        value = data.pop(key, None)
        if value is None and not labelled and key != "images":
            value = []
        if not isinstance(value, list):
            raise InputError(path, f"it has no list of {key}", _FIX)
        lists[key] = value
    del data
    categories = _categories(lists["categories"], name, problems)
    entries, left_out = _entries(lists["images"], name, problems)
    return Document(name, categories, entries, lists["annotations"], left_out)


_FIX = "give the JSON file of a COCO set"


def _parsed(path: Path) -> Any:
    with open_file(path) as (file, size):
        if size > LARGEST_FILE:
            raise InputError(
                path, f"it has {size:,} bytes, more than the {LARGEST_FILE:,} that are read", "split it in several"
            )
        try:
            buffer = bytearray(size)
            read_into(file, memoryview(buffer), path)
            text = buffer.decode("utf-8-sig")
            del buffer
            return json.loads(text)
        except UnicodeDecodeError as error:
            line = bytes(error.object[: error.start]).count(b"\n") + 1
            raise InputError(
                f"{path}:{line}", f"it is not UTF-8 text (byte {error.start})", "export it again"
            ) from None
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}:{error.lineno}",
                f"it is not valid JSON ({error.msg}, column {error.colno}, byte {error.pos} of {size:,})",
                "export it again, or copy it whole",
            ) from None
        except RecursionError:
            raise InputError(path, "its JSON is nested too deep", _FIX) from None
        except MemoryError:
            raise InputError(
                path, f"there is not enough memory for its {size:,} bytes", "split it in several"
            ) from None
        except ValueError as error:  # a whole number of thousands of digits
            raise InputError(path, f"it has a number that cannot be ({error})", _FIX) from None


def _categories(rows: list[Any], name: str, problems: list[Problem]) -> list[Category]:
    found: dict[int | float, Category] = {}
    for place, row in enumerate(rows):
        number = row.get("id") if isinstance(row, dict) else None
        called = row.get("name") if isinstance(row, dict) else None
        if not _is_number(number) or number in found:
            why = "has an id that another has" if _is_number(number) else "has no number as id"
            problems.append(Problem("annotation-malformed", name, f"category {place + 1} ({_short(row)}) {why}"))
            continue
        if not isinstance(called, str) or not called.strip() or not _is_text(called):
            problems.append(Problem("annotation-malformed", name, f"category {number} has no name: called '{number}'"))
            called = str(number)
        points = row.get("keypoints")
        listed = isinstance(points, list) and all(isinstance(point, str) for point in points)
        found[number] = Category(number, called, tuple(points) if listed else ())
    return sorted(found.values(), key=lambda category: category.id)


def _entries(rows: list[Any], name: str, problems: list[Problem]) -> tuple[list[Entry], dict[int | str, Problem]]:
    found: dict[int | str, Entry] = {}
    left_out: dict[int | str, Problem] = {}
    files: set[str] = set()
    for place, row in enumerate(rows):
        number = row.get("id") if isinstance(row, dict) else None
        file_name = row.get("file_name") if isinstance(row, dict) else None
        if not isinstance(number, int | str) or not isinstance(file_name, str) or not file_name:
            fault = f"image {place + 1} ({_short(row)}) lacks its id or file_name"
            problems.append(Problem("annotation-malformed", name, fault))
        elif number in found and found[number].file_name == file_name:
            problems.append(Problem("twice-labelled", file_name, f"listed twice in {name} (id {_short(number)})"))
        elif number in found or number in left_out:
            other = found.pop(number).file_name if number in found else "another"
            fault = (
                f"image id {_short(number)} is that of {_short(other)} and of {_short(file_name)}: both are left out"
            )
            left_out[number] = Problem("annotation-malformed", name, fault)
        elif file_name in files:
            fault = f"listed again in {name} with id {_short(number)}: the first is taken"
            left_out[number] = Problem("twice-labelled", file_name, fault)
        else:
            files.add(file_name)
            height, width = row.get("height"), row.get("width")
            known = _is_number(height) and _is_number(width) and height > 0 and width > 0
            found[number] = Entry(number, file_name, (int(height), int(width)) if known else None)
    return list(found.values()), left_out


@dataclass
class Objects:
    """The objects of a set, growing file by file. Parallel lists, one item an object; ``position`` is its sample.

    ``bounds`` are four numbers an object (y0, x0, y1, x1; NaN where there is no box), ``points`` the keypoints
    (K, 3) as (y, x, visible), ``outlines`` polygons or run lengths. Which of them are kept is said by ``keep``.
    """

    keep: str
    position: "array[int]" = field(default_factory=lambda: array("q"))
    category: "array[int]" = field(default_factory=lambda: array("q"))
    bounds: "array[float]" = field(default_factory=lambda: array("d"))
    ignored: "array[int]" = field(default_factory=lambda: array("b"))
    points: list[NDArray[np.float64]] = field(default_factory=list)
    outlines: list[Outline] = field(default_factory=list)
    ids: list[Any] = field(default_factory=list)
    without_points: int = 0
    doubled: int = 0

    def add(
        self,
        document: Document,
        positions: Mapping[int | str, int],
        classes: Mapping[int | float, int],
        length: int,
        problems: list[Problem],
    ) -> None:
        """Take in the annotations of a file. ``positions``: the sample of each image id; ``classes``: the class of each
        category id; ``length``: the number of keypoints. What is wrong with the images that were left out is said
        here, with the number of annotations that are left out with them."""
        seen: set[Any] = set()
        dropped = dict.fromkeys(document.left_out, 0)
        for place, row in enumerate(document.annotations):
            code, fault = "annotation-malformed", None
            number = image = category = None
            if not isinstance(row, dict):
                fault = f"it is {_short(row)}, not an object"
            else:
                number, image, category = row.get("id"), row.get("image_id"), row.get("category_id")
                position = positions.get(image) if isinstance(image, int | str) else None
                if position is None:
                    if isinstance(image, int | str) and image in dropped:
                        dropped[image] += 1
                        continue
                    fault = f"no image has the id {_short(image)}"
                elif not _is_number(category) or category not in classes:
                    code, fault = "class-undeclared", f"no category has the id {_short(category)}"
                else:
                    fault = self._take(row, position, classes[category], length)
            if fault is not None:
                called = f"annotation {_short(number)}" if number is not None else f"annotation number {place + 1}"
                of = f" (image id {_short(image)})" if image is not None else ""
                problems.append(Problem(code, document.name, f"{called}{of}: {fault}"))
            if isinstance(number, int | str):
                self.doubled += number in seen
                seen.add(number)
        for left, count in dropped.items():
            problem = document.left_out[left]
            code = "label-without-image" if problem.code == "listed-missing" and count else problem.code
            problems.append(Problem(code, problem.file, f"{problem.detail} ({count} annotations)"))

    def _take(self, row: dict[str, Any], position: int, category: int, length: int) -> str | None:
        """Take in one annotation, or say what is wrong with it; without an outline it is taken in, and that is said."""
        fault = None
        box = _floats(row.get("bbox"), 4)
        crowd = bool(row.get("iscrowd")) or bool(row.get("ignore"))
        if self.keep == "boxes" and box is None:
            return f"bbox is {_short(row.get('bbox'))}, not four finite numbers [x, y, width, height]"
        if self.keep == "keypoints":
            given = row.get("keypoints")
            if not given or not row.get("num_keypoints", 1):
                self.without_points += 1
                return None
            numbers = _floats(given, 3 * length)
            if numbers is None:
                return f"keypoints are {_short(given)}, not {length} times three finite numbers"
            values = np.array(numbers).reshape(length, 3)
            if not (values[:, 2] > 0).any():
                self.without_points += 1
                return None
            # COCO's keypoints are numbers of pixels; the point meant is the middle of that pixel
            self.points.append(np.column_stack((values[:, 1] + 0.5, values[:, 0] + 0.5, values[:, 2] > 0)))
        if self.keep == "mask":
            outline, fault = _outline(row.get("segmentation"))
            if not outline:
                fault = f"{fault}: " + ("its box is taken as unknown" if box else "it has no box either, left out")
                if box is None:
                    return fault
            self.outlines.append(outline)
            self.ids.append(row.get("id"))
        x, y, width, height = box or (float("nan"),) * 4
        self.bounds.extend((y, x, y + height, x + width))
        self.position.append(position)
        self.category.append(category)
        self.ignored.append(crowd)
        return fault


def _outline(given: Any) -> tuple[Outline, str | None]:
    """The outline of an object, or () and what is wrong with it."""
    if isinstance(given, dict):
        if isinstance(given.get("counts"), str | list):
            return Rle(given.get("size"), given["counts"]), None
        return (), "its run lengths have no counts"
    if not given or given == [[]]:
        return (), "it has no outline"
    if not isinstance(given, list):
        return (), f"segmentation is {_short(given)}, neither polygons nor run lengths"
    rings = []
    for ring in given:
        numbers = _floats(ring, None)
        if numbers is None or len(numbers) < 6 or len(numbers) % 2 or max(map(abs, numbers)) > FARTHEST:
            return (), f"a polygon is {_short(ring)}, not a list of x, y of three corners or more"
        rings.append(np.array(numbers).reshape(-1, 2)[:, ::-1])
    return tuple(rings), None


def _floats(given: Any, count: int | None) -> Sequence[float] | None:
    """The numbers of a list of ``count`` finite numbers (None: any count), else None."""
    if not isinstance(given, list) or (count is not None and len(given) != count):
        return None
    try:
        if not all(map(isfinite, given)):
            return None
    except (TypeError, OverflowError):  # text, lists; whole numbers beyond what floats hold
        return None
    return [float(number) for number in given]


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1 << 53


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _short(value: Any) -> str:
    try:
        text = str(value) if isinstance(value, int | str) else repr(value)
    except (RecursionError, ValueError):  # nested nearly as deep as JSON may be; thousands of digits
        text = "something very long"
    return text if len(text) <= 60 else f"{text[:57]}..."
