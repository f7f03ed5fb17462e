"""A CSV file as numbers and text by the role of each column. See :mod:`striate.data.formats.tables` for the rules."""

import csv
import io
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from striate.core.disk import open_file
from striate.core.errors import InputError
from striate.data.collection import ReaderOptions
from striate.data.paths import shortened

LABEL = ("label", "class", "target", "y")
IDENTITY = ("id", "series", "sample", "series_id", "sample_id", "signal", "case")
TIME = ("time", "t", "step", "timestamp", "index", "tick")
SPLIT = ("split",)
GROUP = ("group",)
MISSING = {"", "na", "nan", "n/a", "null", "none", "?"}
_LOOKED_AT = 20
"""How many lines decide which columns are text."""


@dataclass
class Columns:
    """Which column has which role (positions from 0). ``said`` is that in words, ``label_name`` what it is called."""

    names: list[str]
    delimiter: str
    label: int | None = None
    identity: int | None = None
    time: int | None = None
    split: int | None = None
    group: int | None = None
    values: list[int] = field(default_factory=list)
    label_name: str | None = None
    is_long: bool = False
    said: str = ""


@dataclass
class Table:
    """A table read whole: ``values`` float32 (rows, value columns), NaN where missing; the line of every row; texts."""

    file: Path
    columns: Columns
    values: NDArray[np.float32]
    lines: list[int]
    labels: list[str] | None
    ids: list[str] | None
    times: list[str] | None
    splits: list[str] | None
    groups: list[str] | None


def read_table(file: Path, options: ReaderOptions, like: Columns | None = None) -> Table:
    """Read a CSV file; ``like`` gives the label column's name of another file of the same set.

    Errors: ``InputError`` naming the line: a wrong number of cells, text for a number, no rows, no label column.
    """
    with csv_text(file) as (text, delimiter):
        return _read(file, csv.reader(text, delimiter=delimiter), delimiter, options, like)


@contextmanager
def csv_text(file: Path) -> Iterator[tuple[io.TextIOWrapper, str]]:
    """The text of a CSV file, and the comma, tab or semicolon of which its first line has most.

    Errors: ``InputError``, also for what the csv module raises inside.
    """
    with open_file(file) as (raw, size):
        if not size:
            raise InputError(file, "it is empty (0 bytes)", "give a table with a header and rows")
        text = io.TextIOWrapper(io.BufferedReader(cast(Any, raw), 1 << 20), "utf-8-sig", "surrogateescape", newline="")
        first = text.readline(1 << 20)
        if "\0" in first:
            raise InputError(file, "it is not UTF-8 text", "save it as CSV in UTF-8")
        text.seek(0)
        try:
            yield text, max(",\t;", key=first.count)
        except csv.Error as error:
            raise InputError(file, f"it is no CSV table ({error})", "check its quotation marks") from None


def _read(file: Path, reader: Any, delimiter: str, options: ReaderOptions, like: Columns | None) -> Table:
    rows = ((reader.line_num, cells) for cells in reader if cells and any(cell.strip() for cell in cells))
    start = [row for _, row in zip(range(_LOOKED_AT), rows, strict=False)]
    names = _header(start, options)
    width = len(start[0][1]) if start else 0
    body = start if names is None else start[1:]
    if not body:
        raise InputError(file, "the table has no rows", "give a line for every signal")
    columns = Columns(names or [str(number + 1) for number in range(width)], delimiter)
    assign(columns, [cells for _, cells in body if len(cells) == width], options, like, file)
    return _fill(file, columns, _joined(body, rows), len(options.ignored_columns))


def _joined(
    start: list[tuple[int, list[str]]], rest: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, list[str]]]:
    yield from start
    yield from rest


def _fill(file: Path, columns: Columns, rows: Iterator[tuple[int, list[str]]], ignored: int) -> Table:
    numbers, lines = array("d"), list[int]()
    width = len(columns.names)
    texts: dict[str, tuple[int, list[str]]] = {
        role: (position, [])
        for role in ("label", "identity", "time", "split", "group")
        if (position := getattr(columns, role)) is not None
    }
    first, last = columns.values[0], columns.values[-1]
    block = slice(first, last + 1) if last - first + 1 == len(columns.values) else None
    for line, cells in rows:
        if len(cells) != width:
            raise InputError(
                f"{file}:{line}",
                f"{len(cells)} cells where the first line has {width}",
                "give every row the same columns",
            )
        chosen = cells[block] if block else [cells[position] for position in columns.values]
        try:
            if "_" in "".join(chosen):  # Python reads 1_000 as a number, a table does not mean it
                raise ValueError
            numbers.extend(map(float, chosen))
        except ValueError:
            del numbers[len(lines) * len(columns.values) :]  # what was read of this row before it failed
            numbers.extend(_carefully(file, line, chosen, columns))
        lines.append(line)
        for position, cell_texts in texts.values():
            cell_texts.append(cells[position].strip())
    with np.errstate(over="ignore"):
        values = np.frombuffer(numbers, dtype=np.float64).reshape(len(lines), -1).astype(np.float32)
    labels = texts["label"][1] if "label" in texts else None
    ids = texts["identity"][1] if "identity" in texts else None
    columns.is_long = ids is not None and (columns.time is not None or len(set(ids)) < len(ids))
    columns.said = in_words(columns, ignored)
    return Table(
        file=file,
        columns=columns,
        values=values,
        lines=lines,
        labels=None if labels is None else ["" if label.lower() in MISSING else label for label in labels],
        ids=ids,
        times=texts["time"][1] if "time" in texts else None,
        splits=texts["split"][1] if "split" in texts else None,
        groups=texts["group"][1] if "group" in texts else None,
    )


def _carefully(file: Path, line: int, cells: list[str], columns: Columns) -> list[float]:
    """A row in which a cell is missing or is no number."""
    found = []
    for position, cell in zip(columns.values, cells, strict=True):
        if cell.strip().lower() in MISSING:
            found.append(float("nan"))
        elif _is_number(cell):
            found.append(float(cell))
        else:
            raise InputError(
                f"{file}:{line}",
                f"{cell.strip()[:40]!r} in column {columns.names[position]!r} is no number",
                "correct it, or name the column in ignored_columns (or label_column, if it is the label)",
            )
    return found


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _header(start: list[tuple[int, list[str]]], options: ReaderOptions) -> list[str] | None:
    """The names in the first line, or None when it is already a row of values."""
    if not start:
        return None
    names = [cell.strip() for cell in start[0][1]]
    known = {*LABEL, *IDENTITY, *TIME, *SPLIT, *GROUP} | {
        name.lower()
        for name in (
            options.label_column,
            options.id_column,
            options.time_column,
            options.split_column,
            options.group_column,
        )
        if name is not None and not name.isdecimal()
    }
    text = [name for name in names if name.lower() not in MISSING and not _is_number(name)]
    return names if any(name.lower() in known for name in names) or 2 * len(text) >= len(names) > 0 else None


def assign(columns: Columns, rows: list[list[str]], options: ReaderOptions, like: Columns | None, file: Path) -> None:
    """Give every column its role. Errors: ``InputError`` for named columns that are not there, or no label column."""
    names = [name.lower() for name in columns.names]
    ignored = {_position(columns.names, name, "ignored_columns", file) for name in options.ignored_columns}
    taken = set(ignored)

    def find(known: tuple[str, ...], given: str | None, what: str) -> int | None:
        if given is not None:
            found: int | None = _position(columns.names, given, what, file)
        else:
            found = next(
                (names.index(name) for name in known if name in names and names.index(name) not in taken), None
            )
        if found is not None:
            taken.add(found)
        return found

    columns.identity = find(IDENTITY, options.id_column, "id_column")
    columns.split = find(SPLIT, options.split_column, "split_column")
    columns.group = find(GROUP, options.group_column, "group_column")
    label = like.label_name if like is not None else options.label_column
    if label is not None and not options.labelled and label.lower() not in names and not label.isdecimal():
        label = None  # what is to be predicted need not be there
    if like is not None and label is not None and label.lower() not in names:
        columns.label = None
    else:
        # y beside x is a coordinate
        known = LABEL if not {"x", "z"} & set(names) else LABEL[:-1]
        columns.label = find(known, label, "label_column")
    # only a table with ids has times: a column called t or index is a value otherwise
    columns.time = find(TIME, options.time_column, "time_column") if columns.identity is not None else None
    free = [position for position in range(len(names)) if position not in taken]
    if columns.label is None and like is None:
        text = [
            p for p in free if any(row[p].strip().lower() not in MISSING and not _is_number(row[p]) for row in rows)
        ]
        ends = [p for p in (free[-1:] + free[:1]) if p in text]
        if ends:
            columns.label = ends[0]
        elif options.labelled:
            raise InputError(
                file,
                f"no column is called {', '.join(LABEL)}, and neither the last nor the first is text "
                f"(columns: {shortened(columns.names)})",
                "name the column of labels with label_column",
            )
    columns.label_name = None if columns.label is None else columns.names[columns.label]
    columns.values = [position for position in free if position != columns.label]
    if not columns.values:
        raise InputError(
            file, f"no column of values (columns: {shortened(columns.names)})", "add the values of the signals"
        )


def _position(names: list[str], given: str, what: str, file: Path) -> int:
    lower = [name.lower() for name in names]
    if given.lower() in lower:
        return lower.index(given.lower())
    if given.isdecimal() and 1 <= int(given) <= len(names):
        return int(given) - 1
    raise InputError(file, f"{what}: there is no column {given!r} (columns: {shortened(names)})", "correct the name")


def in_words(columns: Columns, ignored: int) -> str:
    """Which column was taken for what, for the line that says what was found."""
    label = f"labels in column {columns.label_name!r}" if columns.label is not None else "no labels"
    if columns.is_long:
        assert columns.identity is not None
        channels = shortened([columns.names[position] for position in columns.values])
        time = f" in order of {columns.names[columns.time]!r}" if columns.time is not None else ""
        form = f"long format by {columns.names[columns.identity]!r}{time}, {len(columns.values)} channels ({channels})"
    else:
        form = f"one row a signal of {len(columns.values)} values"
    return f"{form}, {label}" + (f", {ignored} columns ignored" if ignored else "")
