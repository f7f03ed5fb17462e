"""Lists of samples beside their folders: ``train.txt``, ``val.txt``, ``test.txt``, one image a line.

A line is a path inside the data set, optionally with the number or name of its class behind it. What a list names and
is not there, names twice, or gives another class than its folder, is a problem; so is an image that no list names.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from striate.core.disk import open_file
from striate.core.errors import InputError
from striate.data.collection import SPLIT_NAMES
from striate.data.paths import shortened, visible
from striate.data.problems import Problem

MOST_BYTES = 256 * 1024 * 1024
"""Of a list of text; longer ones are refused before they are read."""
_ORDER = ("train", "val", "test")


@dataclass
class Listed:
    """What lists say: the split of each image that one names (by its name inside the set), the class numbers they give
    by class, the names of the list files, and what is wrong."""

    split_of: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    lists: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without the space around them; names of files may be any bytes.

    Errors: ``InputError`` when it cannot be read, is too long, or holds zero bytes, as no text does.
    """
    with open_file(path) as (file, size):
        if size > MOST_BYTES:
            raise InputError(path, f"a list of {size:,} bytes, more than {MOST_BYTES:,}", "divide the data")
        data = file.readall() or b""
    if b"\0" in data:
        raise InputError(path, "it is no text", "save it as UTF-8 text")
    return [line.strip() for line in os.fsdecode(data.removeprefix(b"\xef\xbb\xbf")).splitlines()]


def find_lists(folder: Path) -> dict[str, Path]:
    """The list files of a folder by split: text files with the name of a split, where training is among them.

    Errors: ``InputError`` when two lists are of the same split.
    """
    found: dict[str, Path] = {}
    for entry in visible(folder):
        stem, extension = os.path.splitext(entry.name)
        split = SPLIT_NAMES.get(stem.lower())
        if extension.lower() != ".txt" or split is None or not entry.is_file():
            continue
        if split in found:
            raise InputError(folder, f"two lists of one split ({found[split].name}, {entry.name})", "join them")
        found[split] = Path(entry.path)
    return {split: found[split] for split in _ORDER if split in found} if "train" in found else {}


def read_lists(lists: Mapping[str, Path], names: Sequence[str], class_of: Mapping[str, str]) -> Listed:
    """What the lists say of the images ``names``, whose classes their folders tell.

    Errors: ``InputError`` when a list cannot be read, or names no image at all.
    """
    found = Listed(lists=list(lists.values()))
    stems = _unique_stems(names)
    stated: list[tuple[str, str, str]] = []  # (class of the folder, class stated, file:line)
    for split, path in lists.items():
        hits, first = 0, ""
        for number, line in enumerate(read_lines(path), start=1):
            if not line or line.startswith("#"):
                continue
            name, label = _entry(line, class_of, stems)
            first = first or line
            place = f"{path.name}:{number}"
            if name is None:
                found.problems.append(Problem("listed-missing", place, f"{line!r} is no image that is read here"))
                continue
            hits += 1
            _listed(found, name, split, place)
            if label:
                stated.append((class_of[name], label, place))
        if first and not hits:
            raise InputError(
                path,
                f"none of its lines names an image here (the first: {first[:80]!r})",
                f"write paths as seen from {path.parent.name}, such as {next(iter(names), 'cat/1.jpg')!r}, "
                "or move the list away",
            )
    _compare(found, stated, set(class_of.values()))
    found.problems += [
        Problem("not-in-a-split", name, f"in none of {shortened([path.name for path in found.lists])}; left out")
        for name in names
        if name not in found.split_of
    ]
    return found


def _listed(found: Listed, name: str, split: str, place: str) -> None:
    before = found.split_of.get(name)
    found.split_of.setdefault(name, split)
    if before is not None:
        code = "duplicate" if before == split else "listed-twice"
        found.problems.append(Problem(code, name, f"{place} lists it again; it stays in {before}"))


def _entry(line: str, class_of: Mapping[str, str], stems: Mapping[str, str]) -> tuple[str | None, str]:
    """The image that a line names (None: none), and the class behind it (empty: none)."""
    parts = line.rsplit(None, 1)
    for path, label in ((line, ""), (parts[0], parts[1] if len(parts) > 1 else "")):
        plain = os.path.normpath(path.strip("'\",").replace("\\", "/"))
        name = plain if plain in class_of else stems.get(plain)
        if name is not None:
            return name, label
    return None, ""


def _unique_stems(names: Sequence[str]) -> dict[str, str]:
    """Names by what they are without their extension, where that is unique: some lists leave it away."""
    counts = Counter(os.path.splitext(name)[0] for name in names)
    return {stem: name for name in names if counts[stem := os.path.splitext(name)[0]] == 1}


def _compare(found: Listed, stated: Sequence[tuple[str, str, str]], classes: set[str]) -> None:
    """Whether the classes stated are those of the folders: by name, or by one number for each class."""
    votes = Counter((folder, label) for folder, label, _ in stated if _whole(label) and label not in classes)
    number: dict[str, int] = {}
    for (folder, label), _ in votes.most_common():
        if folder not in number and int(label) not in number.values():
            number[folder] = int(label)
    for folder, label, place in stated:
        agreed = label == folder if label in classes or not _whole(label) else number.get(folder) == int(label)
        if not agreed:
            known = f"{folder} (number {number[folder]})" if folder in number else folder
            detail = f"the list says {label!r}, the folder {known}; the folder is taken"
            found.problems.append(Problem("twice-labelled", place, detail))
    if set(number) == classes:
        found.numbers = number


def _whole(label: str) -> bool:
    return label.isascii() and label.isdecimal() and len(label) < 10
