"""The split lists of a Pascal VOC set: ``ImageSets/Main/{train,val,test,trainval}.txt``.

Lists of one class (``dog_train.txt``) say what is in the annotations anyway, and are no splits: only the names of
splits count. A line is the name of an image without its ending; numbers after it (-1, 0, 1) are passed over.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from striate.data.collection import SPLIT_NAMES
from striate.data.formats.pairing import lines_of
from striate.data.paths import visible
from striate.data.problems import Problem

_PLACES = ("ImageSets/Main", "ImageSets", ".", "Annotations", "annotations")


@dataclass
class Lists:
    """What the lists say: positions of each split, the list files, and the problems met."""

    splits: dict[str, set[int]] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read_lists(base: Path, roots: Sequence[Path], images: Sequence[Path], unlabelled: set[str]) -> Lists:
    """The lists of every root of a set in ``base``; ``images`` are its samples, ``unlabelled`` the names (without
    ending) of images that have no annotation. Errors: ``InputError`` when a list cannot be read."""
    lists = Lists()
    for root in roots:
        places = _places(root, images)
        for folder in _PLACES:
            files = _list_files(root / folder)
            if _read_folder(files, base, places, unlabelled, lists, demand=folder.startswith("ImageSets")):
                break
    return lists


def _places(root: Path, images: Sequence[Path]) -> dict[str, int]:
    places = {}
    for position, image in enumerate(images):
        if image.is_relative_to(root):
            places[image.stem] = position
            places[os.path.splitext(image.relative_to(root).as_posix())[0]] = position
    return places


def _list_files(folder: Path) -> dict[str, Path]:
    """The list files of a folder by the split they name; ``trainval`` is one of its own."""
    found: dict[str, Path] = {}
    try:
        entries = [entry for entry in visible(folder) if entry.name.lower().endswith(".txt") and entry.is_file()]
    except OSError:
        return found
    for entry in entries:
        stem = entry.name[:-4].lower()
        split = "trainval" if stem == "trainval" else SPLIT_NAMES.get(stem)
        if split is not None:
            found.setdefault(split, Path(entry.path))
    return found


def _read_folder(
    files: Mapping[str, Path], base: Path, places: dict[str, int], unlabelled: set[str], lists: Lists, demand: bool
) -> bool:
    """Read the lists of one folder; False when there are none, or none of this set and ``demand`` is not set."""
    found: dict[str, set[int]] = {}
    problems = []
    for split, file in files.items():
        positions = found.setdefault(split, set())
        for number, line in enumerate(lines_of(file), 1):
            position = next((places[name] for name in _names(line) if name in places), None)
            if position is not None:
                positions.add(position)
            elif line and split != "trainval":
                where = f"{os.path.relpath(file, base)}:{number}"
                known = any(name in unlabelled for name in _names(line))
                problems.append(Problem("listed-missing", where, f"{line} has no {'annotation' if known else 'image'}"))
    if not files or not (demand or any(found.values())):
        return False
    both = found.pop("trainval", set())
    if "train" not in found:
        found["train"] = both - found.get("val", set()) - found.get("test", set())
    elif "val" not in found and both - found["train"]:
        found["val"] = both - found["train"] - found.get("test", set())
    for split, positions in found.items():
        lists.splits.setdefault(split, set()).update(positions)
    lists.files += files.values()
    lists.problems += problems
    return True


def _names(line: str) -> list[str]:
    """What a line may mean: all of it, or what stands before its numbers, with or without folders and ending."""
    found = []
    for text in (line, re.sub(r"(\s+-?[0-9]+)+$", "", line)):
        found += [text, os.path.splitext(text)[0], os.path.splitext(os.path.basename(text))[0]]
    return [name for name in found if name]
