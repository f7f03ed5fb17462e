"""Lists of files in a CSV table (a file, and what is said of it), and the files in a folder that they name."""

import csv
import os
from collections.abc import Collection as Container
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from striate.core.errors import InputError
from striate.data.collection import SPLIT_NAMES
from striate.data.formats.columns import MISSING, csv_text
from striate.data.paths import kind_of, said, shortened, visible

FILE = ("file", "filename", "file_name", "path", "filepath", "recording", "audio", "wav", "name", "fname")
"""What a column of file names is called."""


@dataclass(frozen=True)
class Rows:
    """A table as text: the names of the columns, and (line, cells) of every row. ``malformed``: (line, what is wrong)
    of rows with another number of cells, which are left out."""

    file: Path
    names: list[str]
    rows: list[tuple[int, list[str]]]
    malformed: list[tuple[int, str]]

    def column(self, known: Sequence[str], given: str | None = None) -> int | None:
        """The position of the first of the ``known`` names that there is, or of the ``given`` one.

        Errors: ``InputError`` when the given one is missing.
        """
        return column_of(self.names, known, given, self.file)


@contextmanager
def csv_rows(file: Path) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """(line, cells without blanks around) of a CSV file's rows that hold something, divided by commas, tabs or
    semicolons, whichever the first line has most of. Errors: ``InputError``."""
    with csv_text(file) as (text, delimiter):
        reader = csv.reader(text, delimiter=delimiter)
        yield ((reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(map(str.strip, cells)))


def read_rows(file: Path) -> Rows:
    """A table whose first line names the columns. Errors: ``InputError``."""
    with csv_rows(file) as rows:
        _, names = next(rows, (0, []))
        found = Rows(file, names, [], [])
        for line, cells in rows:
            if len(cells) == len(names):
                found.rows.append((line, cells))
            else:
                found.malformed.append((line, f"{len(cells)} cells where the first line has {len(names)}"))
    return found


def header_of(file: Path) -> list[str]:
    """The cells of the first line; empty where it cannot be read as CSV."""
    try:
        with csv_rows(file) as rows:
            return next(rows, (0, []))[1]
    except InputError:
        return []


def column_of(names: Sequence[str], known: Sequence[str], given: str | None, where: object) -> int | None:
    """As :meth:`Rows.column`, over the names of columns."""
    lower = [name.lower() for name in names]
    if given is None:
        return next((lower.index(name) for name in known if name in lower), None)
    if given.lower() in lower:
        return lower.index(given.lower())
    if given.isdecimal() and 1 <= int(given) <= len(names):
        return int(given) - 1
    raise InputError(where, f"there is no column {given!r} (columns: {shortened(names)})", "correct the name")


@dataclass
class Found:
    """The ``files`` below a folder that have one of the endings, and (name, reason) of everything else."""

    files: list[Path] = field(default_factory=list)
    others: list[tuple[str, str]] = field(default_factory=list)


def files_below(base: Path, endings: Container[str], what: str) -> Found:
    """The files below a folder in order of name. A folder is entered once, so that a loop of links ends."""
    found, entered, waiting = Found(), set[tuple[int, int]](), [base]
    while waiting:
        here, inside = waiting.pop(), []
        try:
            status = here.stat()
            if (status.st_dev, status.st_ino) in entered:
                found.others.append((os.path.relpath(here, base), "a link to a folder that is read anyway"))
                continue
            entered.add((status.st_dev, status.st_ino))
            for entry in visible(here):
                if entry.is_dir():
                    inside.append(Path(entry.path))
                elif (reason := _why_not(entry, endings, what)) is None:
                    found.files.append(Path(entry.path))
                else:
                    found.others.append((os.path.relpath(entry.path, base), reason))
        except OSError as error:
            found.others.append((os.path.relpath(here, base), said(error)))
        waiting += reversed(inside)
    return found


def _why_not(entry: "os.DirEntry[str]", endings: Container[str], what: str) -> str | None:
    try:
        if not entry.is_file():
            return f"it is {kind_of(entry.stat().st_mode)}, not a file"
    except OSError as error:
        return said(error)
    return None if os.path.splitext(entry.name)[1].lower() in endings else f"it is no {what}"


def first_below(base: Path, endings: Container[str], most: int = 2_000) -> Path | None:
    """A file with one of the endings within three levels of a folder, looking at up to ``most`` entries."""
    waiting, left = [(base, 0)], most
    while waiting:
        here, depth = waiting.pop(0)
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        return None
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        waiting += [(Path(entry.path), depth + 1)] * (depth < 3)
                    elif os.path.splitext(entry.name)[1].lower() in endings and entry.is_file():
                        return Path(entry.path)
        except OSError:
            continue
    return None


class FileNames:
    """Finds the files that a list names: by their path inside the folder, with or without the ending, with folders of
    another machine before it, or by the bare name where only one file has it."""

    def __init__(self, files: Sequence[Path], base: Path) -> None:
        self._paths: dict[str, int] = {}
        self._bare: dict[str, int | None] = {}
        for position, file in enumerate(files):
            relative = Path(os.path.relpath(file, base)).as_posix()
            for name in (relative, os.path.splitext(relative)[0]):
                self._paths.setdefault(name, position)
            for name in {file.name, file.stem}:
                self._bare[name] = None if name in self._bare else position

    def find(self, name: str) -> int | None:
        """The position of the file, or None where there is none, or several that could be meant."""
        parts = os.path.normpath(name.replace("\\", "/")).split("/")
        for start in range(len(parts)):
            found = self._paths.get("/".join(parts[start:]))
            if found is not None:
                return found
        return self._bare.get(parts[0]) if len(parts) == 1 else None


def split_called(text: str, file: Path, line: int) -> str:
    """A split by what it is called. Errors: ``InputError``."""
    found = SPLIT_NAMES.get(text.lower())
    if found is None:
        raise InputError(f"{file}:{line}", f"the split {text!r} is unknown", "use train, val and test")
    return found


def is_missing(text: str) -> bool:
    """Whether a cell says that there is no value."""
    return text.lower() in MISSING
