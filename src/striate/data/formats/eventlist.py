"""Tables of events in signals: which column is what, in which unit times are, which events belong to which signal."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from striate.core.errors import InputError
from striate.data.collection import ALL, ReaderOptions
from striate.data.formats.columns import GROUP, SPLIT
from striate.data.formats.filelists import FILE, FileNames, Rows, is_missing, read_rows, split_called
from striate.data.formats.signalfiles import SignalFiles, number
from striate.data.problems import Problem

if TYPE_CHECKING:
    from striate.core.sample import Boxes

_FILE = (*FILE, "signal", "begin_file")
_CLASS = ("class", "label", "event", "event_label", "category", "type", "annotation", "description", "tag")
_RATE = ("rate", "sampling_rate", "sample_rate", "samplerate", "fs")
_IGNORED = ("ignored", "ignore", "difficult", "crowd", "iscrowd")
_START = ("start", "begin", "onset", "start_time", "begin_time", "onset_time", "t_start")
_END = ("end", "stop", "offset", "end_time", "stop_time", "offset_time", "t_end")
_DURATION = ("duration", "dur")
_UNITS = {
    "seconds": ("s", "sec", "secs", "second", "seconds"),
    "milliseconds": ("ms", "millis", "milliseconds"),
    "samples": ("sample", "samples", "index", "idx", "frame", "frames"),
}
_IN_SECONDS = ("onset", "offset", "onset_time", "offset_time")
_NO_CLASS = "event"


@dataclass(frozen=True)
class Event:
    """One row: where it stands, the file it names, its class, and its times as written."""

    place: str
    file: str
    label: str
    start: float
    end: float
    rate: float | None
    ignored: bool


@dataclass
class EventList:
    """The events of a set. ``unit`` is None until it is settled where no column says it.

    ``named``: (place, file, split, group) of every row, also of those that say that nothing is there.
    """

    events: list[Event] = field(default_factory=list)
    named: list[tuple[str, str, str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unit: str | None = None
    split_of: dict[int, str] = field(default_factory=dict)
    _names: Sequence[str] = ()
    _group_of: dict[int, str] = field(default_factory=dict)
    _rows_of: dict[int, list[int]] = field(default_factory=dict)
    _met: set[int] = field(default_factory=set)

    def assign(self, names: Sequence[str]) -> None:
        """Find the signal of every row by its path inside the set; rows of files that are not there become problems."""
        index = FileNames([Path(name) for name in names], Path())
        position_of: dict[str, int | None] = {}
        self._names = names
        for place, file, split, group in self.named:
            position = position_of.setdefault(file, index.find(file))
            if position is None:
                detail = f"there is no signal {file!r}, or more than one"
                self.problems.append(Problem("label-without-image", place, detail))
                continue
            self._met.add(position)
            if split != ALL and self.split_of.setdefault(position, split) != split:
                detail = f"{place} puts it into {split}, rows before into {self.split_of[position]}: that is kept"
                self.problems.append(Problem("listed-twice", names[position], detail))
            if group and self._group_of.setdefault(position, group) != group:
                detail = f"the group {group!r} for {file!r}, {self._group_of[position]!r} before: that is kept"
                self.problems.append(Problem("annotation-malformed", place, detail))
        self.events = [event for event in self.events if position_of[event.file] is not None]
        for row, event in enumerate(self.events):
            position = position_of[event.file]
            assert position is not None
            self._rows_of.setdefault(position, []).append(row)

    def unnamed(self) -> list[str]:
        """The names of the signals that no row names."""
        return [name for position, name in enumerate(self._names) if position not in self._met]

    def groups_of(self, count: int) -> list[str | None] | None:
        """The group of each of ``count`` signals, or None where there are none."""
        return [self._group_of.get(position) for position in range(count)] if self._group_of else None

    def settle_unit(self, kind: str) -> str:
        """Settle in which unit times are, for signals of a kind; returns it with the reason."""
        if self.unit is not None:
            return f"times in {self.unit} by the name of their columns"
        fractions = any(event.start % 1 or event.end % 1 for event in self.events)
        self.unit = "seconds" if kind == "WAV" and fractions else "samples"
        if kind != "WAV":
            return "times in samples, as the columns name no unit"
        return f"times in {self.unit}, as {'some' if fractions else 'none'} of them are fractions"

    def boxes(self, position: int, classes: Sequence[int], signals: SignalFiles) -> "Boxes":
        """The intervals of a signal in samples, as annotated; ``classes`` is the class number of every event.

        Errors: ``InputError`` when times are in seconds and the signal does not tell its sampling rate.
        """
        import torch

        from striate.core.sample import Boxes

        rows = self._rows_of.get(position, [])
        bounds = np.array([self._in_samples(self.events[row], position, signals) for row in rows]).reshape(-1, 2)
        ignored = torch.tensor([self.events[row].ignored for row in rows], dtype=torch.bool)
        return Boxes.from_bounds(
            torch.from_numpy(bounds), torch.tensor([classes[row] for row in rows], dtype=torch.int64), ignored
        )

    def _in_samples(self, event: Event, position: int, signals: SignalFiles) -> tuple[float, float]:
        if self.unit == "samples":
            return event.start, event.end
        scale = 1.0 if self.unit == "seconds" else 1e-3
        if signals.wav is None and event.rate is not None:
            rate, begin = event.rate, 0.0
        else:
            rate, begin = signals.clock(position)
        return (event.start * scale - begin) * rate, (event.end * scale - begin) * rate


def is_event_list(header: Sequence[str]) -> bool:
    """Whether a table with these columns is one of events: a file, a start, and an end or a duration."""
    names = {_plain(name) for name in header}
    return (
        bool(names & set(_FILE))
        and any(_unit_of(name, _START) for name in names)
        and any(_unit_of(name, _END + _DURATION) for name in names)
    )


def read_events(tables: Sequence[tuple[str, Path]], options: ReaderOptions) -> EventList:
    """The events of tables, each with its split. Errors: ``InputError``."""
    found = EventList()
    units: dict[str, Path] = {}
    for split, file in tables:
        unit = _read(found, read_rows(file), split, options)
        units.setdefault(unit or "", file)
    if len(units) > 1:
        said = " and ".join(f"{file.name} in {unit or 'no unit'}" for unit, file in units.items())
        raise InputError(tables[0][1], f"times in different units ({said})", "name the columns of all tables alike")
    found.unit = next(iter(units)) or None
    splits = {split for _, _, split, _ in found.named}
    if ALL in splits and len(splits) > 1:
        place = next(place for place, _, split, _ in found.named if split == ALL)
        raise InputError(place, "it has no split, other rows have", "fill the column in, or remove it")
    return found


def _read(found: EventList, table: Rows, split: str, options: ReaderOptions) -> str | None:
    """Add the rows of one table; returns the unit that its columns name."""
    names = [_plain(name) for name in table.names]
    at_file, at_class = _first(names, _FILE), table.column(_CLASS, options.label_column)
    start, end, duration = (_timed(names, stems) for stems in (_START, _END, _DURATION))
    last = end or duration
    if at_file is None or start is None or last is None:
        raise InputError(table.file, "no columns of file, start and end", "name the columns file, start, end and class")
    units = {unit for unit in (start[1], last[1]) if unit != "none"}
    if len(units) > 1:
        raise InputError(table.file, f"start and end in different units ({', '.join(sorted(units))})", "use one unit")
    at_split, at_group = table.column(SPLIT, options.split_column), table.column(GROUP, options.group_column)
    at_rate, at_ignored = _first(names, _RATE), _first(names, _IGNORED)
    for line, why in table.malformed:
        found.problems.append(Problem("annotation-malformed", f"{table.file.name}:{line}", why))
    for line, cells in table.rows:
        place = f"{table.file.name}:{line}"
        own = cells[at_split] if at_split is not None else ""
        group = cells[at_group] if at_group is not None else ""
        row_split = split_called(own, table.file, line) if own else split
        found.named.append((place, cells[at_file], row_split, group))
        label = cells[at_class] if at_class is not None else _NO_CLASS
        if is_missing(cells[start[0]]) and is_missing(cells[last[0]]):
            continue  # nothing is in this signal
        first, second = number(cells[start[0]]), number(cells[last[0]])
        if first is None or second is None:
            detail = f"start {cells[start[0]][:20]!r} and end {cells[last[0]][:20]!r} are no two numbers"
            found.problems.append(Problem("annotation-malformed", place, detail))
        elif is_missing(label):
            found.problems.append(Problem("annotation-malformed", place, "an event without a class"))
        else:
            rate = number(cells[at_rate]) if at_rate is not None else None
            ignored = at_ignored is not None and cells[at_ignored].lower() in ("1", "true", "yes")
            until = second if end is not None else first + second
            found.events.append(Event(place, cells[at_file], label, first, until, rate, ignored))
    return next(iter(units), None)


def _plain(name: str) -> str:
    """A column's name in small letters with ``_`` for everything else: ``Begin Time (s)`` is ``begin_time_s``."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _first(names: Sequence[str], known: Sequence[str]) -> int | None:
    return next((names.index(name) for name in known if name in names), None)


def _timed(names: Sequence[str], stems: Sequence[str]) -> tuple[int, str] | None:
    """The position of a column of times and its unit (``none`` where its name has none)."""
    return next(((at, unit) for at, name in enumerate(names) if (unit := _unit_of(name, stems))), None)


def _unit_of(name: str, stems: Sequence[str]) -> str | None:
    """The unit that a column's name says, ``none``, or None where it is no column of such times."""
    if name in stems:
        return "seconds" if name in _IN_SECONDS else "none"
    head, _, tail = name.rpartition("_")
    return next((unit for unit, words in _UNITS.items() if tail in words), None) if head in stems else None
