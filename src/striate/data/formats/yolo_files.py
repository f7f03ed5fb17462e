"""Which images and label files a YOLO set has, and which belong together.

A label file lies where the image does with the last ``images`` of its path replaced by ``labels``, or beside the image,
or (where a set has them in another order) where both have the same :func:`~striate.data.formats.pairing.key`.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from striate.core.errors import InputError
from striate.data.formats.folders import EXTENSIONS
from striate.data.formats.pairing import Listing, inside, key, leaks, listed, splits_by_place
from striate.data.formats.siblings import find_folder
from striate.data.formats.yolo_config import Config, find_config, listed_images
from striate.data.formats.yolo_lines import looks_like_labels
from striate.data.problems import Problem

_LABEL_FOLDERS = frozenset(("labels", "label", "annotations"))
_NO_LABELS = frozenset(("classes.txt", "labels.txt", "obj.names", "train.txt", "val.txt", "valid.txt", "test.txt"))
_DETECTION = (300, 2_000, 8)  # the most folders, entries of a folder, and label files that are looked into


@dataclass
class Files:
    """The samples: ``images``, the label file of each (None: none), positions by split; and what was met on the way.
    ``orphans`` are label files without an image."""

    images: list[Path] = field(default_factory=list)
    labels: list[Path | None] = field(default_factory=list)
    splits: dict[str, set[int]] = field(default_factory=dict)
    sources: list[Path] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    orphans: list[Path] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass
class _Search:
    """A set being searched: its ``root``, what was said of it, everything below it, and label files by key."""

    root: Path
    config: Config
    images_from: Path | None
    listing: Listing
    by_key: dict[str, Path]
    files: Files
    places: dict[str, int] = field(default_factory=dict)

    def name(self, file: Path) -> str:
        """A file's path inside the set."""
        return inside(file, self.root)

    def add(self, image: Path, stand_in: Path, split: str | None) -> None:
        """Take an image for a sample; ``stand_in`` is where it would lie if it lay in the set: there its label file is
        looked for, as that beside an image of another set is the other set's."""
        place = os.path.abspath(image)
        position = self.places.get(place)
        if position is None:
            position = self.places[place] = len(self.files.images)
            self.files.images.append(image)
            self.files.labels.append(self._label(stand_in))
        if split is not None:
            self.files.splits.setdefault(split, set()).add(position)

    def _label(self, image: Path) -> Path | None:
        ways = dict.fromkeys((_mirrored(image), image.with_suffix(".txt")))
        found = [way for way in ways if way is not None and way.is_file()]
        if len(found) > 1:
            detail = f"{self.name(found[0])} is taken, {self.name(found[1])} is left out"
            self.files.problems.append(Problem("twice-labelled", self.name(image), detail))
        return found[0] if found else self.by_key.get(key(image, self.root))


def find_files(path: Path, config: Config, images: str | None) -> Files:
    """The samples of the set at ``path``; ``images`` is the folder of the images when it was told. Errors:
    ``InputError`` when what the set names is not there."""
    root = path if path.is_dir() else path.parent
    listing = listed(root, ".txt")
    by_key: dict[str, Path] = {}
    for label in listing.labels:
        if label.name.lower() not in _NO_LABELS:
            by_key.setdefault(key(label, root), label)
    files = Files(sources=list(config.sources), skipped=listing.skipped, problems=list(config.problems))
    search = _Search(root, config, None if images is None else Path(images), listing, by_key, files)
    if config.splits:
        _add_named(search)
    else:
        _add_all(search)
    _tell_unused(search)
    return files


def _add_named(search: _Search) -> None:
    missing = []
    for split, entries in search.config.splits.items():
        for entry in entries:
            if entry.lower().endswith(".txt"):
                _add_list(search, entry, split)
            elif not _add_folder(search, entry, split):
                missing.append(f"{split}: {entry}")
    where = search.config.file or search.root
    if missing and not search.files.images:
        fix = "correct the path, or name the folder with images"
        raise InputError(where, f"no folder with the images was found ({missing[0]})", fix)
    for one in missing:
        search.files.problems.append(Problem("listed-missing", search.name(where), f"{one} was not found"))
    names = [search.name(image) for image in search.files.images]
    parts = search.files.splits
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        if first in parts and parts[first] == parts.get(second):
            detail = f"{first} and {second} are the same {len(parts[first])} images"
            search.files.problems.append(Problem("leak", search.name(where), detail))
            break
    else:
        search.files.problems += leaks(parts, names)


def _add_list(search: _Search, entry: str, split: str) -> None:
    file, lines = listed_images(search.config, entry)
    search.files.sources.append(file)
    for number, text, image in lines:
        if image is None:
            where = f"{search.name(file)}:{number}"
            search.files.problems.append(Problem("listed-missing", where, f"{text} does not exist"))
        else:
            search.add(image, image, split)


def _add_folder(search: _Search, entry: str, split: str) -> bool:
    base = search.config.base
    inner = Path(*[part for part in Path(os.path.normpath(entry)).parts if part not in ("..", "/")])
    folder: Path | None = None
    if search.images_from is not None:
        tries = [search.images_from / Path(*inner.parts[n:]) for n in range(len(inner.parts) + 1)]
        folder = next((one for one in tries if one.is_dir()), None)
    if folder is None:
        mirrored = _mirrored(base / inner / "x")
        found = find_folder(base, entry, set() if mirrored is None else _stems(mirrored.parent))
        if found is not None:
            folder, words = found
            if words != "as named":
                search.files.remarks.append(f"the images of {split} were found {words}")
        elif (base / entry).is_dir():
            folder = base / entry
    if folder is None:
        return False
    below = listed(folder, ".txt")
    search.files.skipped += [(search.name(folder / name), why) for name, why in below.skipped]
    inside = folder.absolute().is_relative_to(search.root.absolute())
    for image in below.images:
        stand_in = image if inside else base / inner / image.relative_to(folder)
        search.add(image, stand_in, split)
    return True


def _add_all(search: _Search) -> None:
    place, found = search.root, search.listing.images
    if search.images_from is not None:
        place = search.images_from
        found = listed(place, ".txt").images
    names = [search.name(image) if place == search.root else os.path.relpath(image, place) for image in found]
    splits, outside = splits_by_place(names)
    split_of = {position: split for split, positions in splits.items() for position in positions}
    for position in outside:
        detail = "it lies in the folder of no split; it is left out"
        search.files.problems.append(Problem("not-in-a-split", search.name(found[position]), detail))
    for position, image in enumerate(found):
        if position in split_of:
            search.add(image, search.root / names[position], split_of[position])


def _tell_unused(search: _Search) -> None:
    """Label files without an image, and labelled images that no split names."""
    used = {os.path.abspath(label) for label in search.files.labels if label is not None}
    keys = {key(image, search.root): image for image in search.listing.images}
    sources = {os.path.abspath(source) for source in search.files.sources}
    for label in search.listing.labels:
        place = os.path.abspath(label)
        if place in used or place in sources or label.name.lower() in _NO_LABELS:
            continue
        image = keys.get(key(label, search.root))
        folders = set(inside(label, search.root).lower().split("/")[:-1])
        if image is None and (folders & _LABEL_FOLDERS or looks_like_labels(label)):
            search.files.orphans.append(label)
        elif image is not None and search.config.splits and os.path.abspath(image) not in search.places:
            detail = "it is labelled, and no split names it; it is left out"
            search.files.problems.append(Problem("not-in-a-split", search.name(image), detail))


def _mirrored(image: Path) -> Path | None:
    """The label file of an image by the rule of the path: the last folder ``images`` is ``labels``."""
    parts = list(image.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place].lower() == "images":
            parts[place] = {"images": "labels", "IMAGES": "LABELS"}.get(parts[place], "Labels")
            return Path(*parts).with_suffix(".txt")
    return None


def _stems(folder: Path) -> set[str]:
    try:
        return {name[:-4] for name in os.listdir(folder) if name.endswith(".txt") and name not in _NO_LABELS}
    except OSError:
        return set()


def recognised(path: Path) -> str | None:
    """Why a path is a YOLO set, or None. Looks at a bounded number of entries; raises nothing.

    Label files must look like labels, and either have an image each or be described by a YAML file.
    """
    try:
        if not path.is_dir() and path.suffix.lower() not in (".yaml", ".yml", ".data"):
            return None
        root = path if path.is_dir() else path.parent
        files = list(_first_labels(root))
        looks = [(file, looks_like_labels(file)) for file in files]
        sure = [file for file, look in looks if look]
        if not sure or any(look is False for _, look in looks):
            return None
        config = find_config(path)
        named = config.file is not None and bool(config.splits)
        example = sure[0] if named else next((file for file in sure if _has_image(file)), None)
        if example is None:
            return None
        said = f" and {config.file.name}" if config.file is not None else ""
        return f"YOLO label files, such as {os.path.relpath(example, root)}{said}"
    except InputError as error:
        return f"YOLO label files ({error.cause})"
    except (OSError, ValueError):
        return None


def _first_labels(root: Path) -> Iterator[Path]:
    """Some text files that may be labels: in a folder called ``labels`` or beside an image of their name."""
    folders, most, left = _DETECTION
    waiting, looked = [(root, 0)], 0
    while waiting and looked < folders and left > 0:
        here, depth = waiting.pop(0)
        looked += 1
        here_left = 3
        try:
            with os.scandir(here) as entries:
                for _, entry in zip(range(most), entries, strict=False):
                    if entry.name.startswith("."):
                        continue
                    if not entry.name.lower().endswith(".txt"):
                        if depth < 4 and entry.is_dir():
                            waiting.append((Path(entry.path), depth + 1))
                        continue
                    file = Path(entry.path)
                    if here_left and left and entry.name.lower() not in _NO_LABELS and entry.is_file():
                        folders_of = {part.lower() for part in file.relative_to(root).parent.parts}
                        if folders_of & _LABEL_FOLDERS or here.name.lower() in _LABEL_FOLDERS or _has_image(file):
                            left, here_left = left - 1, here_left - 1
                            yield file
        except OSError:
            continue


def _has_image(label: Path) -> bool:
    """Whether an image of a label file's name lies beside it or where ``labels`` in its path is ``images``."""
    folders = [label.parent]
    parts = list(label.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place].lower() in _LABEL_FOLDERS:
            folders += [
                Path(*parts[:place], name, *parts[place + 1 : -1]) for name in ("images", "Images", "image", "")
            ]
            break
    endings = [*EXTENSIONS, *(ending.upper() for ending in EXTENSIONS)]
    return any((folder / f"{label.stem}{ending}").is_file() for folder in folders for ending in endings)
