"""Reader of CSV tables of signals: one row a signal, or long format with several rows a signal.

The first line names the columns. Without names (a first line of which less than half is text, and none of the names
below) the columns are called 1, 2, 3, ...; divided by commas, tabs or semicolons, whichever the first line has most of.
A folder with ``train.csv`` and ``test.csv`` (and ``val.csv``) is read as splits.

- label: the column ``label``, ``class``, ``target`` or ``y``; else the last column if it is text, else the first if it
  is; several labels in a cell are divided by ``;`` or ``|``;
- ``split`` (train, val, test) and ``group``, optional;
- long format: a column ``id``, ``series``, ``sample``, ``series_id``, ``sample_id``, ``signal`` or ``case`` whose
  values repeat, or that stands beside a column of time (``time``, ``t``, ``step``, ``timestamp``, ``index``, ``tick``);
  the other columns are channels, rows are put in order of time; signals may differ in length;
- otherwise one row is one signal of one channel, and the columns are its values in order.

A row with the wrong number of cells, or with text for a number, is an error that names the line. A signal with a
missing value (empty, NA, NaN, null, none, ?) or without a label is skipped and listed.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import InputError
from striate.data.collection import SPLIT_NAMES, Array, Collection, splits_of
from striate.data.formats.columns import Columns, Table, read_table
from striate.data.formats.labels import from_text
from striate.data.paths import shortened
from striate.data.reader import Reader

_EXTENSIONS = (".csv", ".tsv")


class TableReader(Reader):
    """CSV and TSV files."""

    format = "table"
    certainty = 0

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """By the extension."""
        try:
            if path.is_file():
                return f"a {path.suffix[1:].upper()} file" if path.suffix.lower() in _EXTENSIONS else None
            files = _split_files(path) if path.is_dir() else []
        except (OSError, ValueError):
            return None
        return f"a folder with {' and '.join(file.name for _, file in files)}" if files else None

    def collect(self) -> Collection:
        """Read every line. Errors: ``InputError`` naming the line."""
        options = self.options
        files = _split_files(self.path) if self.path.is_dir() else [("all", self.path)]
        tables: list[tuple[str, Table]] = []
        skipped: list[tuple[str, str]] = []
        first: Columns | None = None
        for split, file in files:
            table = read_table(file, options, like=first)
            first = first or table.columns
            if options.labelled and table.columns.label is None:
                skipped.append((file.name, f"it has no column {first.label_name!r} of labels"))
                continue
            tables.append((split, table))
        assert first is not None
        signals: list[Array] = []
        rows: list[tuple[str, str, str, str | None]] = []  # name, label, split, group
        for split, table in tables:
            series = series_of(table, options.labelled, skipped, self.path)
            for values, name, label, own, group in series:
                signals.append(values)
                rows.append((name, label, split_name(own, table.file) if own else split, group))
        if any(row[2] == "all" for row in rows) and any(row[2] != "all" for row in rows):
            name = next(row[0] for row in rows if row[2] == "all")
            raise InputError(self.path, f"{name} has no split, others have", "fill the column in, or remove it")
        separator = separator_of([row[1] for row in rows], options.multi_label, first.delimiter)
        read = from_text([row[1] for row in rows], separator, self.path) if options.labelled and rows else None
        return Collection(
            images=signals,
            found=f"{len(signals)} signals, {first.said}"
            + (f", several labels divided by {separator!r}" if separator else ""),
            names=[row[0] for row in rows],
            labels=read.values if read else None,
            classes=read.classes if read else (),
            splits=splits_of([row[2] for row in rows]) if rows else {},
            groups=[row[3] for row in rows] if any(row[3] for row in rows) else None,
            skipped=skipped,
            sources=[file for _, file in files],
            settled={} if first.label_name is None else {"label_column": first.label_name},
        )


def _split_files(folder: Path) -> list[tuple[str, Path]]:
    found: dict[str, Path] = {}
    for name in sorted(os.listdir(folder)):
        stem, extension = os.path.splitext(name.lower())
        if extension in _EXTENSIONS and stem in SPLIT_NAMES:
            found.setdefault(SPLIT_NAMES[stem], folder / name)
    return [(split, found[split]) for split in ("train", "val", "test") if split in found]


def split_name(value: str, file: Path) -> str:
    """The split that a cell names. Errors: ``InputError`` for an unknown word."""
    if value.lower() not in SPLIT_NAMES:
        raise InputError(file, f"the split {value!r} is unknown", "use train, val and test")
    return SPLIT_NAMES[value.lower()]


Series = tuple[Array, str, str, str | None, str | None]


def series_of(table: Table, labelled: bool, skipped: list[tuple[str, str]], base: Path) -> list[Series]:
    """The signals of a table: values (channels, length), name, label, split, group; what cannot be used is listed."""
    prefix = f"{table.file.name}: " if base.is_dir() else ""
    finite: list[bool] = np.asarray(np.isfinite(table.values).all(axis=1)).tolist()
    found = []
    for name, rows in _rows_by_name(table):
        where = f"{prefix}{name}"
        label = _only(table.labels, rows, table, "label") if labelled else ""
        bad = next((row for row in rows if not finite[row]), None)
        if bad is not None:
            column = table.columns.values[int(np.flatnonzero(~np.isfinite(table.values[bad]))[0])]
            name_of = table.columns.names[column]
            skipped.append((where, f"line {table.lines[bad]}: no finite number in column {name_of!r}"))
        elif labelled and not label:
            skipped.append((where, f"line {table.lines[rows[0]]}: no label"))
        else:
            one = table.values[rows[0] : rows[0] + 1]
            signal = np.ascontiguousarray(table.values[rows].T) if table.columns.is_long else one
            split = _only(table.splits, rows, table, "split")
            found.append((signal, where, label or "", split, _only(table.groups, rows, table, "group")))
    return found


def _rows_by_name(table: Table) -> list[tuple[str, list[int]]]:
    """The rows of each signal in order of time, and its name."""
    ids = table.ids
    if not table.columns.is_long:
        return [(ids[row] if ids else f"line {table.lines[row]}", [row]) for row in range(len(table.lines))]
    assert ids is not None
    number: dict[str, int] = {}
    of_row = np.array([number.setdefault(name, len(number)) for name in ids], dtype=np.int64)
    order = np.argsort(of_row, kind="stable")
    ends = np.cumsum(np.bincount(of_row, minlength=len(number)))
    times = _times(table)
    found = []
    for name, rows in zip(number, np.split(order, ends[:-1]), strict=True):
        if times is not None:
            rows = rows[np.argsort(times[rows], kind="stable")]
            same = np.flatnonzero(times[rows][1:] == times[rows][:-1])
            if len(same):
                lines = sorted((table.lines[rows[same[0]]], table.lines[rows[same[0] + 1]]))
                raise InputError(
                    f"{table.file}:{lines[1]}",
                    f"the same time as line {lines[0]} for {name!r}",
                    "give every row of a signal its own time",
                )
        found.append((name, rows.tolist()))
    return found


def _times(table: Table) -> NDArray[Any] | None:
    """Times as numbers where all are; else as text, whose order is that of ISO dates."""
    if table.times is None:
        return None
    try:
        return np.array([float(value) for value in table.times])
    except ValueError:
        return np.array(table.times)


def _only(column: Sequence[str] | None, rows: Sequence[int], table: Table, what: str) -> str | None:
    """What the rows of one signal have in a column: all the same, or empty."""
    if column is None:
        return None
    if len(rows) == 1:
        return column[rows[0]] or None
    seen: dict[str, int] = {}
    for row in rows:
        if column[row]:
            seen.setdefault(column[row], row)
    if len(seen) > 1:
        one, other = list(seen)[:2]
        raise InputError(
            f"{table.file}:{table.lines[seen[other]]}",
            f"the {what} {other!r}, where line {table.lines[seen[one]]} of the same signal has {one!r}",
            f"give a signal one {what}",
        )
    return next(iter(seen), None)


def separator_of(labels: list[str], multi_label: bool | None, delimiter: str) -> str | None:
    """What divides several labels in a cell, or None where there is one."""
    if multi_label is False:
        return None
    used = [mark for mark in ";|" if mark != delimiter and any(mark in label for label in labels)]
    if len(used) > 1:
        raise InputError("labels", f"they are divided by ';' and by '|' ({shortened(labels, 2)})", "use one of them")
    return used[0] if used else "|" if multi_label else None
