"""Files of which each is one signal: WAV, NPY, or CSV with a row a sample.

An NPY file is (length,), or has two dimensions, of which the smaller is the channels (or as ``layout`` says: NCL or
NLC). In a CSV file the columns are channels, but for time (``time``, ``t``, ``timestamp``, ``seconds``, ...), labels
(``label``, ``class``, ``target``, ``state``, ``activity``, and ``y`` where it is not the only one or beside x), ids,
splits and groups, the ignored ones, and those of text. All CSV files of a set have the same columns.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import InputError
from striate.data.collection import Array, ReaderOptions
from striate.data.formats.columns import LABEL, TIME
from striate.data.formats.filelists import column_of, csv_rows, is_missing
from striate.data.formats.wav import ENDINGS, WavFiles
from striate.data.npy import read_npy
from striate.data.paths import shortened

KINDS = {"WAV": ENDINGS, "NPY": (".npy",), "CSV": (".csv", ".tsv")}
"""The kinds of signal files and how they end, the kind that is taken first where there are several."""

_TIME = (*TIME, "seconds", "timestamps", "datetime", "date")
_LABEL = (*LABEL, "state", "activity")
_NO_CHANNEL = ("id", "series_id", "sample_id", "split", "group")
_LOOKED_AT = 20


@dataclass(frozen=True)
class Channels:
    """The columns of a CSV file of one signal: their names (none: the first line is values already) and roles."""

    names: tuple[str, ...]
    has_header: bool
    values: tuple[int, ...]
    time: int | None
    label: int | None

    @property
    def said(self) -> str:
        """The channels, and what is not read, in words."""
        channels = [self.names[position] for position in self.values]
        read = {*self.values, self.time, self.label}
        left = [name for position, name in enumerate(self.names) if position not in read]
        return f"channels {shortened(channels)}" + (f" (not read: {shortened(left)})" if left else "")


def find_channels(file: Path, options: ReaderOptions) -> Channels:
    """The roles of the columns by the first lines. Errors: ``InputError``."""
    with csv_rows(file) as rows:
        start = [cells for _, (_, cells) in zip(range(_LOOKED_AT + 1), rows, strict=False)]
    first = start[0] if start else []
    text = [cell for cell in first if not is_missing(cell) and not _is_number(cell)]
    has_header = bool(text)
    names = tuple(first) if has_header else tuple(str(number + 1) for number in range(len(first)))
    body = [cells for cells in start[has_header:] if len(cells) == len(names)]
    lower = [name.lower() for name in names]
    time = column_of(names, _TIME, options.time_column, file)
    given = options.label_column
    if given is not None and not options.labelled and given.lower() not in lower:
        given = None  # what is to be predicted need not be there
    # y beside x is a coordinate
    known = tuple(name for name in _LABEL if name != "y" or not {"x", "z"} & set(lower))
    label = column_of(names, known, given, file)
    ignored = {column_of(names, (), name, file) for name in options.ignored_columns}
    free = [p for p, name in enumerate(lower) if p != time and p not in ignored and name not in _NO_CHANNEL]
    numbers = [p for p in free if all(is_missing(cells[p]) or _is_number(cells[p]) for cells in body)]
    if numbers == [label] and given is None:
        label = None  # the only column of numbers is the signal, whatever it is called
    values = [p for p in numbers if p != label]
    if not values:
        raise InputError(file, f"no column of values (columns: {shortened(names)})", "give a column a channel")
    return Channels(names, has_header, tuple(values), time, label)


def column_texts(file: Path, channels: Channels, position: int) -> list[str]:
    """One column of a CSV file as text, a cell a sample. Errors: ``InputError``."""
    return [cells[position] for _, cells in _rows(file, channels)]


def _rows(file: Path, channels: Channels) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of every sample. Errors: ``InputError`` for other columns, or another number of cells."""
    with csv_rows(file) as rows:
        if channels.has_header:
            _, names = next(rows, (0, []))
            if tuple(names) != channels.names:
                cause = f"the columns {shortened(names)}, where other files have {shortened(channels.names)}"
                raise InputError(file, cause, "give all files the same columns")
        for line, cells in rows:
            if len(cells) != len(channels.names):
                cause = f"{len(cells)} cells where {len(channels.names)} were expected"
                raise InputError(f"{file}:{line}", cause, "give every row the same columns")
            yield line, cells


def _read_csv(file: Path, channels: Channels) -> Array:
    """float32 (channels, length), NaN where a value is missing. Errors: ``InputError`` naming the line."""
    values: list[list[float]] = []
    for line, cells in _rows(file, channels):
        chosen = [cells[position] for position in channels.values]
        wrong = next((cell for cell in chosen if not is_missing(cell) and not _is_number(cell)), None)
        if wrong is not None:
            raise InputError(f"{file}:{line}", f"{wrong[:40]!r} is no number", "correct it, or ignore the column")
        values.append([float("nan") if is_missing(cell) else float(cell) for cell in chosen])
    if not values:
        raise InputError(file, "it has no rows", "give a row a sample, or remove it")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(np.array(values, dtype=np.float64).T.astype(np.float32))


def _read_npy(file: Path, layout: str | None) -> Array:
    """float32 (channels, length). Errors: ``InputError``."""
    array = read_npy(file)
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or not array.size:
        cause = f"an array of shape {array.shape}, {array.dtype}"
        raise InputError(file, cause, "give numbers of shape (length,), (channels, length) or (length, channels)")
    if array.ndim == 1:
        array = array[None]
    elif layout == "NLC" or (layout != "NCL" and array.shape[0] > array.shape[1]):
        array = array.T
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


class SignalFiles:
    """Files of one kind as samples: float32 (channels, length), read when they are asked for."""

    def __init__(self, files: Sequence[Path], kind: str, options: ReaderOptions) -> None:
        self.files = files
        self.kind = kind
        self.options = options
        self.wav = WavFiles(files, options.maximum_pixels) if kind == "WAV" else None
        self.channels = find_channels(files[0], options) if kind == "CSV" and files else None
        self._clocks: dict[int, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: int) -> Array:
        if self.wav is not None:
            return self.wav[position]
        if self.channels is not None:
            return _read_csv(self.files[position], self.channels)
        return _read_npy(self.files[position], self.options.layout)

    def clock(self, position: int) -> tuple[float, float]:
        """Samples a second, and the second at which the signal begins, by its header or its column of time.

        Errors: ``InputError`` where the file says neither.
        """
        if self.wav is not None:
            return float(self.wav.header(position).rate), 0.0
        found = self._clocks.get(position)
        if found is None:
            found = self._clocks[position] = self._clock_of(self.files[position])
        return found

    def _clock_of(self, file: Path) -> tuple[float, float]:
        fix = "give a column rate (samples a second) beside the events, or positions in samples"
        if self.channels is None or self.channels.time is None:
            raise InputError(file, "events in seconds, and the signal does not say its sampling rate", fix)
        cells = column_texts(file, self.channels, self.channels.time)
        if len(cells) < 2 or not _is_number(cells[0]) or not _is_number(cells[-1]):
            raise InputError(file, "events in seconds, and its times are no numbers", fix)
        start, end = float(cells[0]), float(cells[-1])
        if not np.isfinite(end - start) or end <= start:
            raise InputError(file, f"its times go from {start:g} to {end:g}", "put the rows in order of time")
        return (len(cells) - 1) / (end - start), start


def endings_of(kind: str) -> tuple[str, ...]:
    """How files of a kind end."""
    return KINDS[kind]


def kind_of_file(name: str) -> str | None:
    """The kind of a signal file by its name, or None."""
    ending = os.path.splitext(name)[1].lower()
    return next((kind for kind, endings in KINDS.items() if ending in endings), None)


def number(text: str) -> float | None:
    """A finite number, or None."""
    if not _is_number(text):
        return None
    value = float(text)
    return value if np.isfinite(value) else None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def as_mask(names: Sequence[str], numbers: dict[str, int], ignore: int) -> NDArray[np.integer]:
    """Class names, one a sample, as class numbers (length,); what has no number is ``ignore``."""
    values = [numbers.get(name, ignore) for name in names]
    return np.array(values, dtype=np.uint8 if ignore == 255 else np.int32)
