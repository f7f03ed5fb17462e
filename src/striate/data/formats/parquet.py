"""Reader of Parquet files of signals: wide (a row a signal), long (several rows a signal), or with columns of lists.

Needs pyarrow (``pip install striate[tables]``), the one library that reads every encoding of the format and says what
is wrong with a file; it is imported when a file is read. What each column is follows the rules of
:mod:`striate.data.formats.tables`. A column of lists of numbers is one channel of signals, which may differ in length;
several such columns are as many channels, and lists in lists are channels of values. Then columns of single numbers are
not read, and that is said. A folder with ``train.parquet`` and ``test.parquet`` (or ``train-00000-of-00002.parquet``,
...) is read as splits. The index that pandas adds is passed over.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.disk import open_file
from striate.core.errors import InputError
from striate.data.collection import ALL, SPLIT_NAMES, Array, Collection, ReaderOptions, splits_of
from striate.data.formats.columns import MISSING, Columns, Table, assign, in_words
from striate.data.formats.labels import from_text
from striate.data.formats.tables import Series, separator_of, series_of, split_name
from striate.data.npy import demand_memory
from striate.data.paths import shortened, visible
from striate.data.problems import Problem
from striate.data.reader import Reader

_EXTENSIONS = (".parquet", ".pq")
_PART = re.compile(rf"^({'|'.join(SPLIT_NAMES)})([-_.][0-9]+([-_.]of[-_.][0-9]+)?)?$", re.IGNORECASE)
_PANDAS_INDEX = re.compile(r"^__index_level_[0-9]+__$")
_LOOKED_AT = 20


class ParquetReader(Reader):
    """Parquet files."""

    format = "parquet"

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """By the extension."""
        try:
            if path.is_file():
                return "a Parquet file" if path.suffix.lower() in _EXTENSIONS else None
            files = _files(path) if path.is_dir() else []
        except (OSError, ValueError):
            return None
        return f"a folder with {shortened([file.name for _, file in files], 2)}" if files else None

    def collect(self) -> Collection:
        """Read every row. Errors: ``InputError``, also where pyarrow is missing."""
        options = self.options
        files = _files(self.path) if self.path.is_dir() else [(ALL, self.path)]
        skipped: list[tuple[str, str]] = []
        problems: list[Problem] = []
        first: Columns | None = None
        found: list[tuple[str, Path, Series]] = []
        for split, file in files:
            part = _read(file, options, first)
            first = first or part.columns
            if options.labelled and part.columns.label is None:
                skipped.append((file.name, f"it has no column {first.label_name!r} of labels"))
                continue
            base = self.path if self.path.is_dir() else file
            found += [(split, file, one) for one in part.series(options.labelled, skipped, problems, base)]
        if first is None:
            raise InputError(self.path, "it has no Parquet files", "give train.parquet, ..., or a file")
        labels = [one[2] for _, _, one in found]
        split_of = [split_name(one[3], file) if one[3] else split for split, file, one in found]
        if ALL in split_of and set(split_of) != {ALL}:
            name = found[split_of.index(ALL)][2][1]
            raise InputError(self.path, f"{name} has no split, others have", "fill the column in, or remove it")
        separator = separator_of(labels, options.multi_label, "")
        read = from_text(labels, separator, self.path) if options.labelled and found else None
        groups = [one[4] for _, _, one in found]
        return Collection(
            images=[one[0] for _, _, one in found],
            found=f"{len(found)} signals in Parquet, {first.said}"
            + (f", several labels divided by {separator!r}" if separator else ""),
            names=[one[1] for _, _, one in found],
            labels=read.values if read else None,
            classes=read.classes if read else (),
            splits=splits_of(split_of) if found else {},
            groups=groups if any(groups) else None,
            skipped=skipped,
            problems=problems,
            sources=[file for _, file in files],
            settled={} if first.label_name is None else {"label_column": first.label_name},
        )


@dataclass
class _Part:
    """One file: its table, and, where columns are lists, the lists (rows of channels) that are the signals."""

    table: Table
    lists: list[list[NDArray[Any] | None]] | None

    @property
    def columns(self) -> Columns:
        return self.table.columns

    def series(
        self, labelled: bool, skipped: list[tuple[str, str]], problems: list[Problem], base: Path
    ) -> list[Series]:
        """The signals; what cannot be one is listed, by its row counted from 1."""
        if self.lists is None:
            left: list[tuple[str, str]] = []
            found = series_of(self.table, labelled, left, base)
            skipped += [(name, re.sub(r"^line (?=[0-9]+:)", "row ", reason)) for name, reason in left]
            return found
        found, table = [], self.table
        prefix = f"{table.file.name}: " if base.is_dir() else ""
        for row, (number, channels) in enumerate(zip(table.lines, self.lists, strict=True)):
            name = f"{prefix}{table.ids[row] if table.ids else f'row {number}'}"
            label = table.labels[row] if labelled and table.labels else ""
            given = [channel for channel in channels if channel is not None and channel.size]
            shapes = {channel.shape[-1] for channel in given}
            if len(given) < len(channels):
                skipped.append((name, f"row {number}: an empty list"))
            elif len(shapes) > 1 or any(channel.dtype == object for channel in given):
                detail = "its channels have different lengths"
                problems.append(Problem("annotation-malformed", f"{table.file.name}:{number}", detail))
            elif not all(np.isfinite(channel).all() for channel in given):
                skipped.append((name, f"row {number}: a value is missing or not finite"))
            elif labelled and not label:
                skipped.append((name, f"row {number}: no label"))
            else:
                signal: Array = np.concatenate([np.atleast_2d(channel) for channel in given])
                split = (table.splits[row] or None) if table.splits else None
                found.append((signal, name, label, split, (table.groups[row] or None) if table.groups else None))
        return found


def _files(folder: Path) -> list[tuple[str, Path]]:
    """The files of each split, in order."""
    found: list[tuple[str, Path]] = []
    for entry in visible(folder):
        path = Path(entry.path)
        match = _PART.match(path.stem)
        if match and path.suffix.lower() in _EXTENSIONS:
            found.append((SPLIT_NAMES[match[1].lower()], path))
    return [one for split in ("train", "val", "test") for one in found if one[0] == split]


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """The open Parquet file. Errors: ``InputError``, also for what pyarrow finds fault with inside the ``with``."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(file, "Parquet needs pyarrow", "pip install striate[tables]") from None
    with open_file(file) as (raw, _):
        try:
            yield pyarrow.parquet.ParquetFile(raw)
        except (pyarrow.ArrowException, OSError, OverflowError, UnicodeDecodeError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # it is the disk's error, and no fault of the file
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(file, f"it cannot be read as Parquet of numbers ({said})", "save it again") from None


def _read(file: Path, options: ReaderOptions, like: Columns | None) -> _Part:
    with _opened(file) as opened:
        schema = opened.schema_arrow
        names = [name for name in schema.names if not _PANDAS_INDEX.match(name)]
        if len(set(names)) < len(names):
            raise InputError(file, "two columns have the same name", "rename one")
        rows, groups = opened.metadata.num_rows, opened.metadata.num_row_groups
        if not rows:
            raise InputError(file, "the table has no rows", "give a row for every signal")
        per_group = [opened.metadata.row_group(group) for group in range(groups)]
        values = sum(one.column(at).num_values for one in per_group for at in range(one.num_columns))
        demand_memory(8 * max(values, rows), file)
        listed = [at for at, name in enumerate(names) if _is_list(schema.field(name).type)]
        columns = Columns(_shadowed(names, listed, options), "")
        start = opened.read_row_group(0, columns=names).slice(0, _LOOKED_AT)
        assign(columns, _cells(start), options, like, file)
        columns.names = names
        listed = [at for at in columns.values if at in listed]
        _demand_numbers(file, schema, names, listed or columns.values)
        roles = ("label", "identity", "time", "split", "group")
        texts: dict[str, list[str]] = {role: [] for role in roles if getattr(columns, role) is not None}
        lists: list[list[NDArray[Any] | None]] = []
        numbers = np.empty((0 if listed else rows, len(columns.values)), dtype=np.float32)
        done = 0
        for group in range(groups):
            read = opened.read_row_group(group, columns=names)
            for role, cells in texts.items():
                cells += _texts(read.column(names[getattr(columns, role)]))
            if listed:
                by_column = [_lists(read.column(names[at]), options.layout == "NLC") for at in listed]
                lists += [list(row) for row in zip(*by_column, strict=True)]
            else:
                for place, at in enumerate(columns.values):
                    numbers[done : done + read.num_rows, place] = _floats(read.column(names[at]))
            done += read.num_rows
    return _Part(_table(file, columns, numbers, texts, done, options, listed), lists if listed else None)


def _shadowed(names: Sequence[str], listed: Sequence[int], options: ReaderOptions) -> list[str]:
    """The names of columns, of which those of lists have none that would make them ids or labels."""
    ignored = {name.lower() for name in options.ignored_columns}
    return [f"{name} (list)" if at in listed and name.lower() not in ignored else name for at, name in enumerate(names)]


def _table(
    file: Path,
    columns: Columns,
    values: NDArray[np.float32],
    texts: dict[str, list[str]],
    rows: int,
    options: ReaderOptions,
    listed: Sequence[int],
) -> Table:
    """The table as one of CSV would be, so that the same rules make signals of it; lines are rows counted from 1."""
    ids = texts.get("identity")
    columns.is_long = not listed and ids is not None and ("time" in texts or len(set(ids)) < len(ids))
    if listed:
        other = [columns.names[at] for at in columns.values if at not in listed]
        channels = shortened([columns.names[at] for at in listed])
        columns.values = list(listed)
        label = f"labels in column {columns.label_name!r}" if columns.label is not None else "no labels"
        columns.said = f"a list a row ({channels}), {label}" + (f", not read: {shortened(other)}" if other else "")
    else:
        columns.said = in_words(columns, len(options.ignored_columns))
    labels = texts.get("label")
    return Table(
        file=file,
        columns=columns,
        values=values,
        lines=list(range(1, rows + 1)),
        labels=None if labels is None else ["" if label.lower() in MISSING else label for label in labels],
        ids=ids if ids is not None else [f"row {row}" for row in range(1, rows + 1)],
        times=texts.get("time"),
        splits=texts.get("split"),
        groups=texts.get("group"),
    )


def _cells(start: Any) -> list[list[str]]:
    """The first rows as text, by which columns of text are told; what is neither text nor number counts as a number."""
    by_column = [
        [value or "" for value in _texts(column)] if _is_text(column.type) else ["0"] * start.num_rows
        for column in start.columns
    ]
    return [list(row) for row in zip(*by_column, strict=True)]


def _demand_numbers(file: Path, schema: Any, names: Sequence[str], positions: Sequence[int]) -> None:
    from pyarrow import types

    for at in positions:
        kind = schema.field(names[at]).type
        plain = kind.value_type if types.is_dictionary(kind) else kind
        number = types.is_integer(plain) or types.is_floating(plain) or types.is_decimal(plain)
        if not (number or types.is_boolean(plain) or _is_text(kind) or _is_list(kind)):
            cause = f"the column {names[at]!r} of type {kind} is no number"
            raise InputError(file, cause, "name it in ignored_columns, or save numbers")


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    plain = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(plain) or types.is_large_string(plain))


def _is_list(kind: Any) -> bool:
    """Whether a type is lists of numbers, or lists of such lists."""
    from pyarrow import types

    for _ in range(2):
        if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
            return False
        kind = kind.value_type
        if types.is_integer(kind) or types.is_floating(kind):
            return True
    return False


def _texts(column: Any) -> list[str]:
    """A column as text; empty for what is missing."""
    import pyarrow

    return [value.strip() if value is not None else "" for value in column.cast(pyarrow.string()).to_pylist()]


def _floats(column: Any) -> NDArray[Any]:
    """A column as float32, NaN for what is missing."""
    import pyarrow
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    found: NDArray[Any] = column.cast(pyarrow.float32(), safe=False).to_numpy()
    return found


def _lists(column: Any, channels_last: bool) -> list[NDArray[Any] | None]:
    """A column of lists: (length,) or (channels, length) a row, of type object where its lists have different lengths;
    None where the list is missing."""
    found: list[NDArray[Any] | None] = []
    for chunk in column.chunks:
        inner = _rows_of(chunk)
        if inner is not None:
            found += inner
            continue
        lists = _rows_of(chunk.flatten()) or []
        start = 0
        for count in _lengths(chunk):
            rows = lists[start : start + (count or 0)]
            start += count or 0
            given = [row for row in rows if row is not None]
            if count is None:
                found.append(None)
            elif len(given) < len(rows) or len({len(row) for row in given}) > 1:
                found.append(np.empty(max(1, len(rows)), dtype=object))
            else:
                stacked = np.stack(given) if given else np.empty((0, 0), dtype=np.float32)
                found.append(np.ascontiguousarray(stacked.T) if channels_last else stacked)
    return found


def _rows_of(chunk: Any) -> list[NDArray[Any] | None] | None:
    """Lists of numbers as float32 arrays; None where they are lists of lists."""
    import pyarrow
    from pyarrow import types

    inner = chunk.flatten()
    if not (types.is_integer(inner.type) or types.is_floating(inner.type)):
        return None
    values = inner.cast(pyarrow.float32(), safe=False).to_numpy(zero_copy_only=False)
    found: list[NDArray[Any] | None] = []
    start = 0
    for count in _lengths(chunk):
        found.append(None if count is None else values[start : start + count])
        start += count or 0
    return found


def _lengths(chunk: Any) -> list[int | None]:
    import pyarrow.compute

    lengths: list[int | None] = pyarrow.compute.list_value_length(chunk).to_pylist()
    return lengths
