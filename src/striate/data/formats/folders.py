"""Reader of image folders: ``DATA/class/*``, or ``DATA/{train,val,test}/class/*``.

A class is a folder; what lies in folders inside it belongs to it. Hidden files are passed over; whatever else is no
readable image is listed as skipped with its reason. All images of a set are brought to one form (see
:mod:`striate.data.imagefiles`); a later image that does not fit is skipped.

Beside class folders there may be lists of the splits (see :mod:`striate.data.formats.splitlists`), and ``classes.txt``,
the names of the classes in order, one a line; without it, and without numbers in the lists, classes are in natural
order.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from striate.core.errors import InputError
from striate.data.collection import SPLIT_NAMES, Collection, splits_of
from striate.data.formats.splitlists import Listed, find_lists, read_lines, read_lists
from striate.data.imagefiles import image_files
from striate.data.images import SNIFFED, is_image, why_not_image
from striate.data.paths import kind_of, natural, said, shortened, visible
from striate.data.reader import Reader

EXTENSIONS = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"}
CLASS_LIST = "classes.txt"
"""The names of the classes in order, beside the class folders or the folders of the splits."""
_MOST_FOR_DETECTION = 2_000


@dataclass
class Walk:
    """What a walk through a folder met: ``files``, ``skipped`` (name, reason), and the folders entered (device and
    inode), each of them once, so that a loop of links ends."""

    files: list[Path] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    entered: set[tuple[int, int]] = field(default_factory=set)


class FolderReader(Reader):
    """Class folders of images. With ``labelled`` False: every image below a folder, or one image file."""

    format = "image folder"
    certainty = 0

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """Images inside a folder, with folders for classes or without."""
        try:
            if not path.is_dir():
                return "an image file" if path.suffix.lower() in EXTENSIONS and path.is_file() else None
            example = next(first_images(path), None)
        except (OSError, ValueError):
            return None
        return None if example is None else f"a folder with images, such as {example.relative_to(path)}"

    def collect(self) -> Collection:
        """Walk the folder, look at the headers, and list what is there."""
        walk = Walk()
        for above in (self.path.resolve(), *self.path.resolve().parents):
            enter(above, self.path, walk)
        if not self.path.is_dir():
            return self._collected([self.path], ["all"], None, walk)
        if not self.options.labelled:
            descend(self.path, self.path, walk)
            return self._collected(walk.files, ["all"] * len(walk.files), None, walk)
        splits = _split_folders(self.path, walk)
        files, split_of, class_of = [], [], []
        found_folders = [(split, entry) for split, folder in splits for entry in _folders(folder, self.path, walk)]
        # every class is entered as itself before any is read: a link inside one class must not lead into another
        kept = [(split, entry) for split, entry in found_folders if enter(Path(entry.path), self.path, walk)]
        for split, entry in kept:
            start = len(walk.files)
            descend(Path(entry.path), self.path, walk)
            found = walk.files[start:]
            if not found:
                walk.skipped.append((relative(Path(entry.path), self.path), "a class folder without any image"))
            files += found
            split_of += [split] * len(found)
            class_of += [entry.name] * len(found)
        if not files and any(not entry.is_dir() for entry in visible(self.path)):
            raise InputError(
                self.path,
                "it holds files but no class folders with images",
                "put the images of each class into a folder",
            )
        lists = find_lists(self.path) if files and [name for name, _ in splits] == ["all"] else {}
        if not lists:
            return self._collected(files, split_of, class_of, walk)
        names = [relative(path, self.path) for path in files]
        listed = read_lists(lists, names, dict(zip(names, class_of, strict=True)))
        used = {path.name for path in listed.lists}
        walk.skipped[:] = [(name, reason) for name, reason in walk.skipped if name not in used]
        rows = [at for at, name in enumerate(names) if name in listed.split_of]
        split_of = [listed.split_of[names[at]] for at in rows]
        return self._collected([files[at] for at in rows], split_of, [class_of[at] for at in rows], walk, listed)

    def _collected(
        self,
        files: list[Path],
        splits: list[str],
        class_of: list[str] | None,
        walk: Walk,
        listed: Listed | None = None,
    ) -> Collection:
        listed = listed or Listed()
        classes, order = _ordered_classes(self.path, set(class_of or ()), listed, walk)
        number = {name: index for index, name in enumerate(classes)}
        images = image_files(files, self.options)
        base = self.path if self.path.is_dir() else self.path.parent
        parts = splits_of(splits)
        counted = ", ".join(f"{len(rows)} {name}" for name, rows in parts.items() if name != "all")
        counted += f" by {shortened([path.name for path in listed.lists])}" if listed.lists else ""
        form = f", {images.form}" if files else ""
        shape = f" in {len(classes)} class folders" if class_of else ""
        return Collection(
            images=images,
            found=f"{len(files)} images{shape}{order}{f' ({counted})' if counted else ''}{form}",
            names=[relative(path, base) for path in files],
            labels=None if class_of is None else np.array([number[name] for name in class_of], dtype=np.int64),
            classes=classes,
            splits=parts,
            skipped=walk.skipped,
            note=images.note,
            settled=images.settled,
            sizes=images.size,
            sources=[*files, *listed.lists, *([self.path / CLASS_LIST] if CLASS_LIST in order else [])],
            problems=listed.problems,
        )


def _ordered_classes(path: Path, used: set[str], listed: Listed, walk: Walk) -> tuple[tuple[str, ...], str]:
    """The classes in order, and in words where that is not the natural one."""
    beside = path / CLASS_LIST
    if used and beside.is_file():
        names = [name for name in read_lines(beside) if name]
        if used <= set(names) and len(set(names)) == len(names):
            walk.skipped[:] = [(name, reason) for name, reason in walk.skipped if name != CLASS_LIST]
            return tuple(names), f" in the order of {CLASS_LIST}"
    if listed.numbers and used <= listed.numbers.keys():
        return tuple(sorted(used, key=lambda name: listed.numbers[name])), " in the order of the lists' numbers"
    return tuple(sorted(used, key=natural)), ""


def _split_folders(path: Path, walk: Walk) -> list[tuple[str, Path]]:
    """(split, folder) pairs: the folders of splits where all have such names, else the folder itself."""
    folders = [entry for entry in visible(path) if is_folder(entry)]
    splits = [entry for entry in folders if entry.name.lower() in SPLIT_NAMES]
    trained = any(SPLIT_NAMES[entry.name.lower()] == "train" for entry in splits)
    others = [entry for entry in folders if entry not in splits]
    if not splits or (others and not trained):
        return [("all", path)]
    if others and any(next(first_images(Path(entry.path)), None) for entry in others):
        raise InputError(
            path,
            f"beside {shortened([entry.name for entry in splits])} there are other folders with images "
            f"({shortened([entry.name for entry in others])}): which are classes and which are splits is not clear",
            "move them away, or give the folder that has only classes in it",
        )
    names = [SPLIT_NAMES[entry.name.lower()] for entry in splits]
    if len(set(names)) < len(names):
        raise InputError(path, f"two folders are the same split ({shortened([s.name for s in splits])})", "join them")
    for entry in visible(path):
        if entry not in splits and not any(entry.name == split.name for split in splits):
            walk.skipped.append((entry.name, "it lies outside the splits"))
    return [(name, Path(entry.path)) for name, entry in zip(names, splits, strict=True)]


def _folders(folder: Path, base: Path, walk: Walk) -> Iterator[os.DirEntry[str]]:
    """The folders inside a folder; files are listed as skipped."""
    for entry in visible(folder):
        if is_folder(entry):
            yield entry
        else:
            walk.skipped.append((relative(Path(entry.path), base), "it lies outside the class folders"))


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one; False where that cannot be told."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def enter(folder: Path, base: Path, walk: Walk) -> bool:
    """Whether a folder is met for the first time; else it is listed as skipped."""
    try:
        status = folder.stat()
    except OSError as error:
        walk.skipped.append((relative(folder, base), said(error)))
        return False
    if (status.st_dev, status.st_ino) in walk.entered:
        walk.skipped.append(
            (relative(folder, base), "a link to a folder that is read anyway, or that this one lies in")
        )
        return False
    walk.entered.add((status.st_dev, status.st_ino))
    return True


def descend(folder: Path, base: Path, walk: Walk) -> None:
    """Collect the images below a folder in order of name. A list, no recursion: depth cannot exhaust the stack."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            entries = list(visible(here))
        except OSError as error:
            walk.skipped.append((relative(here, base), said(error)))
            continue
        inside = []
        for entry in entries:
            if is_folder(entry):
                if enter(Path(entry.path), base, walk):
                    inside.append(Path(entry.path))
            elif (reason := _why_not(entry)) is None:
                walk.files.append(Path(entry.path))
            else:
                walk.skipped.append((relative(Path(entry.path), base), reason))
        waiting += reversed(inside)


def _why_not(entry: os.DirEntry[str]) -> str | None:
    """Why an entry is no image, judged by its status, name and, where the name says nothing, its first bytes."""
    try:
        status = entry.stat()
        if not stat.S_ISREG(status.st_mode):
            return f"it is {kind_of(status.st_mode)}, not a file"
        if not status.st_size:
            return "it is empty (0 bytes)"
        if os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
            return None
        with open(entry.path, "rb") as file:
            first = file.read(SNIFFED)
        return None if is_image(first) else why_not_image(first)
    except OSError as error:
        return said(error)


def first_images(folder: Path) -> Iterator[Path]:
    """Files named like images within three levels of a folder, looking at a bounded number of entries."""
    waiting, left = [(folder, 0)], _MOST_FOR_DETECTION
    while waiting and left > 0:
        here, depth = waiting.pop(0)
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    left -= 1
                    if entry.name.startswith(".") or left < 0:
                        continue
                    if is_folder(entry):
                        if depth < 3:
                            waiting.append((Path(entry.path), depth + 1))
                    elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
                        yield Path(entry.path)
                        break
        except OSError:
            continue


def relative(path: Path, base: Path) -> str:
    """The name of a file inside the data set."""
    return os.path.relpath(path, base)
