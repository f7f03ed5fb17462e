"""Files that say what the values of masks mean: names alone, numbers with names, or colours with names.

Read, by their names, beside the masks' folders: ``class_dict.csv`` (name, r, g, b), ``labelmap.txt`` (``name r g b``,
or ``name:r,g,b:parts:actions``), ``label_colors.txt`` and ``colors.txt`` (colour and name, either first), and
``classes.txt`` and its like (one name a line, or a number and a name). A line that fits none of these is reported,
never passed over.
"""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from striate.core.disk import open_file
from striate.core.errors import InputError
from striate.data.problems import Problem

COLOUR_FILES = ("class_dict.csv", "classes.csv", "labelmap.txt", "label_colors.txt", "colors.txt", "colours.txt")
NAME_FILES = ("classes.txt", "codes.txt", "class_names.txt", "names.txt", "labels.txt")
VOID_NAMES = {"void", "unlabelled", "unlabeled", "ignore", "ignored", "ignored region", "out of roi"}
"""Names (compared in lower case) of what is no class but "not known"."""
_MOST_BYTES = 4 * 1024 * 1024
_MOST_CLASSES = 65_535
_COLOUR = r"(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})"
_NAME_FIRST = re.compile(rf"^(?P<name>[^:,;\t]*?[^\s:,;])\s*[\s:,;]\s*{_COLOUR}\s*(?:[:,;].*)?$")
_COLOUR_FIRST = re.compile(rf"^\s*{_COLOUR}[\s,:;]+(?P<name>\S.*?)\s*$")
_NUMBERED = re.compile(r"^\s*(\d{1,5})(?:\s*[:,;=\t]\s*|\s+)(\S.*?)\s*$")


@dataclass(frozen=True)
class ClassTable:
    """Names of the values of masks: ``names`` by value, or, where ``coloured``, by 65536 R + 256 G + B.

    ``rows`` are the names by row number where a file gives colours: what index masks beside it count. ``void`` are the
    values that are no class. ``source`` is the file; ``problems`` its lines that make no sense.
    """

    names: Mapping[int, str]
    coloured: bool = False
    rows: Mapping[int, str] = field(default_factory=dict)
    source: Path | None = None
    problems: Sequence[Problem] = ()

    @property
    def void(self) -> frozenset[int]:
        """The values whose name says that they are no class."""
        return voids(self.names)


def voids(names: Mapping[int, str]) -> frozenset[int]:
    """The values that are named as no class. Where 255 or 65535 is, only that: another may be a class so called."""
    found = frozenset(value for value, name in names.items() if name.strip().lower() in VOID_NAMES)
    return found & {255, 65535} or found


def find_table(folders: Sequence[Path], base: Path) -> ClassTable | None:
    """The table in the first of the folders that has one; files with colours come before files of names.

    ``base`` is what problems name files from. Errors: ``InputError`` for a file that cannot be read as one.
    """
    for names in (COLOUR_FILES, NAME_FILES):
        for folder in folders:
            for name in names:
                path = folder / name
                try:
                    if not path.is_file():
                        continue
                except (OSError, ValueError):
                    continue
                return read_table(path, base)
    return None


def read_table(path: Path, base: Path) -> ClassTable:
    """The table in a file. Errors: ``InputError`` for a file too large, without any class, or of contradictions."""
    lines = _lines(path)
    if path.name.lower() in COLOUR_FILES:
        return _colours(lines, path, base)
    while lines and not lines[-1].strip():
        lines.pop()
    numbered = [_NUMBERED.match(line) for line in lines]
    names = {int(match[1]): match[2] for match in numbered if match}
    if len(names) < len(lines) or _twice(names):
        # "1 euro, 2 euro" are names as a whole
        names = {row: line.strip() for row, line in enumerate(lines)}
    blank = [row for row, name in names.items() if not name]
    if blank:
        raise InputError(path, f"line {blank[0] + 1} is empty, and lines count as classes", "remove the empty lines")
    _demand_distinct(names, path)
    return ClassTable(names, source=path)


def table_of(names: Mapping[Any, Any], source: Path) -> ClassTable:
    """The table that a mapping (number to name) of a YAML file holds. Errors: ``InputError`` for anything else."""
    found = {}
    for number, name in names.items():
        whole = int(number) if isinstance(number, str) and number.isdecimal() else number
        if isinstance(whole, bool) or not isinstance(whole, int) or not 0 <= whole <= _MOST_CLASSES:
            raise InputError(source, f"the class number {number!r} is no whole number", "write classes as 0: name")
        if not isinstance(name, str | int | float):
            raise InputError(source, f"class {number} has no name", "write classes as 0: name")
        found[whole] = str(name)
    _demand_distinct(found, source)
    return ClassTable(found, source=source)


def _lines(path: Path) -> list[str]:
    with open_file(path) as (file, size):
        if size > _MOST_BYTES:
            raise InputError(path, f"{size:,} bytes are no list of classes", "remove it, or give the right file")
        text = file.readall() or b""
    lines = text.decode("utf-8-sig", "surrogateescape").split("\n")
    return [line.removesuffix("\r") for line in lines]


def _colours(lines: list[str], path: Path, base: Path) -> ClassTable:
    names: dict[int, str] = {}
    rows: dict[int, str] = {}
    problems = []
    for place, line in enumerate(lines):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _COLOUR_FIRST.match(line) or _NAME_FIRST.match(line)
        parts = [int(match[number]) for number in _groups(match)] if match else []
        if match is None or max(parts) > 255:
            if place or any(character.isdigit() for character in line):
                where = f"{os.path.relpath(path, base)}:{place + 1}"
                problems.append(Problem("annotation-malformed", where, f"{line[:60]!r} is no name with a colour"))
            continue
        packed = (parts[0] << 16) | (parts[1] << 8) | parts[2]
        if packed in names:
            raise InputError(f"{path}:{place + 1}", f"the colour {parts} comes twice", "give each class its colour")
        names[packed] = rows[len(rows)] = match["name"].strip().strip("\"'")
    if not names:
        raise InputError(path, "no line holds a name and a colour", "write lines such as 'road,128,64,128'")
    _demand_distinct(names, path)
    return ClassTable(names, coloured=True, rows=rows, source=path, problems=problems)


def _groups(match: re.Match[str]) -> tuple[int, int, int]:
    """The numbers of the three groups of a colour: the name is one more group, before or after them."""
    return (2, 3, 4) if match.re is _NAME_FIRST else (1, 2, 3)


def _demand_distinct(names: Mapping[int, str], path: Path) -> None:
    if not names or len(names) > _MOST_CLASSES:
        raise InputError(path, f"{len(names)} classes", f"name 1 to {_MOST_CLASSES:,}")
    twice = _twice(names)
    if twice:
        raise InputError(path, f"the name {min(twice)!r} comes twice", "give each class a name of its own")


def _twice(names: Mapping[int, str]) -> list[str]:
    """Names that several values have; void may have as many values as it likes."""
    void = voids(names)
    counts = Counter(name for value, name in names.items() if value not in void)
    return [name for name, times in counts.items() if times > 1]
