"""Reader of signals labelled in time: intervals (target ``boxes``), or a class for every sample (target ``mask``).

Intervals: a CSV table with a column ``file``, ``start``, ``end`` (or ``duration``) and ``class`` (without it there is
one class, ``event``), optionally ``split``, ``group``, ``rate`` and ``ignored``, over signals each in a file of its own
(see :mod:`striate.data.formats.signalfiles`) beside it or below ``images``. ``train.csv`` and ``test.csv`` of this form
are splits; so are folders of such names. An interval [start, end) is in samples, sample i covering [i, i + 1), however
it is annotated:

- columns that say so are in seconds (``start_s``, ``start_seconds``, ``onset`` and ``offset``, ...), milliseconds
  (``start_ms``) or samples (``start_sample``, ...); ``onset`` and a ``duration`` without a unit go together;
- else ``start`` and ``end`` are seconds where the signals are WAV and any of them is a fraction, and samples otherwise.

Seconds are counted from the first value of a CSV signal's column of time; an NPY signal needs the column ``rate``.
A row with neither start nor end says that nothing is in a signal; a signal that no row names is kept and listed.

Samples: a folder of CSV signals that have a column of time and one of labels. ``-1`` and empty cells are unknown.
Where cells hold several labels (``walk|talk``, or divided by ``;``) masks are bit sets; an empty cell is then a sample
of no class, and ``-1`` alone unknown.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from striate.core.bitsets import form_of
from striate.core.errors import InputError
from striate.data.collection import ALL, SPLIT_NAMES, Collection, ReaderOptions, splits_of
from striate.data.formats.eventlist import is_event_list, read_events
from striate.data.formats.filelists import Found, files_below, first_below, header_of, is_missing
from striate.data.formats.labels import from_text
from striate.data.formats.signalfiles import KINDS, SignalFiles, as_mask, column_texts, find_channels, kind_of_file
from striate.data.formats.tables import separator_of
from striate.data.formats.wav import wav_form
from striate.data.paths import shortened, visible
from striate.data.problems import Problem
from striate.data.reader import Reader

if TYPE_CHECKING:
    from striate.core.sample import Target

_TABLES = (".csv", ".tsv")
_MOST_LOOKED_INTO = 50
_UNKNOWN = "-1"


class EventReader(Reader):
    """Signals with intervals, or with a label for every sample."""

    format = "events"
    certainty = 2

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """By the names of columns in the first line of a CSV file, and signals beside it."""
        try:
            if path.is_file():
                known = path.suffix.lower() in _TABLES and is_event_list(header_of(path))
                return "a table of events: file, start, end" if known else None
            if not path.is_dir():
                return None
            lists = _lists(path)
            if lists:
                return f"events in {lists[0].name}"
            return _labelled_signals(path)
        except (OSError, ValueError, InputError):
            return None

    def collect(self) -> Collection:
        """Read the annotations; signals are read when they are asked for. Errors: ``InputError``."""
        lists = [self.path] if self.path.is_file() and is_event_list(header_of(self.path)) else []
        if self.path.is_dir():
            lists = _lists(self.path)
        if lists and self.options.target != "mask" and self.options.labelled:
            if self.options.target not in (None, "boxes"):
                raise InputError(self.path, f"intervals are no {self.options.target}", "use the target boxes")
            return self._intervals(lists)
        return self._samples(lists)

    def _intervals(self, lists: list[Path]) -> Collection:
        base = self._folder()
        events = read_events(_by_split(self.path, lists), self.options)
        below, kind = _signals(base, lists, [event.file for event in events.events])
        names = [os.path.relpath(file, base) for file in below.files]
        signals = SignalFiles(below.files, kind, self.options)
        events.assign(names)
        form, problems = wav_form(signals.wav, names) if signals.wav is not None else ("", [])
        if signals.channels is not None:
            form = signals.channels.said
        seconds = events.settle_unit(kind)
        bare = [Problem("image-without-label", name, "no row names it") for name in events.unnamed()]
        splits, outside = _splits(names, events.split_of)
        read = from_text([event.label for event in events.events], None, lists[0]) if events.events else None
        numbers = [] if read is None or read.values is None else read.values.tolist()

        def targets(position: int) -> "dict[str, Target]":
            return {"boxes": events.boxes(position, numbers, signals)}

        return Collection(
            images=signals,
            found=f"{len(names)} {kind} signals with {len(numbers)} events of {len(read.classes) if read else 0} "
            f"classes{_counted(splits)}, {' and '.join(file.name for file in lists)}: {seconds}{form and f', {form}'}",
            names=names,
            classes=read.classes if read else (),
            splits=splits,
            groups=events.groups_of(len(names)),
            skipped=below.others,
            problems=[*events.problems, *bare, *outside, *problems],
            target="boxes",
            targets=targets,
            sizes=signals.wav.size if signals.wav is not None else None,
            sources=[*below.files, *lists],
        )

    def _samples(self, lists: Sequence[Path]) -> Collection:
        """Signals in CSV files with a column of labels (or, to predict on, any signals)."""
        if self.path.is_dir() or lists:
            below, kind = _signals(self._folder(), lists, [], "CSV" if self.options.labelled else None)
        else:
            below, kind = Found([self.path]), kind_of_file(self.path.name) or "CSV"
        base = self._folder()
        names = [os.path.relpath(file, base) for file in below.files]
        signals = SignalFiles(below.files, kind, self.options)
        splits, outside = _splits(names, {})
        if not self.options.labelled:
            return Collection(
                images=signals,
                found=f"{len(names)} {kind} signals",
                names=names,
                splits=splits,
                skipped=below.others,
                problems=outside,
                sources=below.files,
            )
        if signals.channels is None or signals.channels.label is None:
            raise InputError(self.path, "the signals have no column of labels", "name it with label_column")
        if self.options.target not in (None, "mask"):
            raise InputError(self.path, f"labels of samples are no {self.options.target}", "use the target mask")
        label = signals.channels.names[signals.channels.label]
        masks, classes, ignore, several = self._masks(signals)
        form = "labels (several divided by | or ;, empty: none, -1: unknown)" if several else "a label"

        def targets(position: int) -> "dict[str, Target]":
            import torch

            from striate.core.sample import Mask

            found = masks[position]
            if isinstance(found, InputError):
                raise found
            return {"mask": Mask(torch.from_numpy(found), ignore)}

        return Collection(
            images=signals,
            found=f"{len(names)} CSV signals with {form} for every sample in column {label!r}"
            f"{'' if several else ' (empty and -1: unknown)'}, {len(classes)} classes{_counted(splits)}, "
            f"{signals.channels.said}",
            names=names,
            classes=classes,
            splits=splits,
            skipped=below.others,
            problems=outside,
            target="mask",
            multi_label=several,
            targets=targets,
            sources=below.files,
            settled={"label_column": label, "multi_label": several},
        )

    def _masks(self, signals: SignalFiles) -> tuple[list[NDArray[np.integer] | InputError], tuple[str, ...], int, bool]:
        """The class numbers, or bit sets, of every file (or why it cannot be read), the classes, the number that is
        unknown, and whether they are bit sets."""
        channels = signals.channels
        assert channels is not None and channels.label is not None
        texts: list[tuple[NDArray[np.int64], list[str]] | InputError] = []
        for file in signals.files:
            try:
                cells = column_texts(file, channels, channels.label)
            except InputError as error:
                texts.append(error)
                continue
            number: dict[str, int] = {}
            where = np.array([number.setdefault(cell, len(number)) for cell in cells], dtype=np.int64)
            texts.append((where, list(number)))
        unknown = {_UNKNOWN, "-1.0", str(self.options.void)}
        listed = {name for one in texts if not isinstance(one, InputError) for name in one[1]}
        known = sorted(name for name in listed if name not in unknown and not is_missing(name))
        separator = separator_of(known, self.options.multi_label, "")
        if separator is not None:
            tags = from_text(known, separator, self.path)
            kind, ignore = form_of(len(tags.classes), self.path)
            sets = (
                {}
                if tags.values is None
                else {
                    name: sum(1 << int(number) for number in np.flatnonzero(row))
                    for name, row in zip(known, tags.values, strict=True)
                }
            )
            sets |= {name: 0 for name in listed if name not in unknown and is_missing(name)}
            found = [
                one
                if isinstance(one, InputError)
                else np.array([sets.get(name, ignore) for name in one[1]], dtype=kind)[one[0]]
                for one in texts
            ]
            return found, tags.classes, ignore, True
        read = from_text(known, None, self.path)
        numbers = {} if read.values is None else dict(zip(known, read.values.tolist(), strict=True))
        ignore = 255 if len(read.classes) <= 255 else -1
        masks = [one if isinstance(one, InputError) else as_mask(one[1], numbers, ignore)[one[0]] for one in texts]
        return masks, read.classes, ignore, False

    def _folder(self) -> Path:
        """Where the signals are."""
        base = self.path if self.path.is_dir() else self.path.parent
        return base if self.options.images is None else base / self.options.images


def _lists(folder: Path) -> list[Path]:
    """The tables of events in a folder itself."""
    tables = [Path(entry.path) for entry in visible(folder) if os.path.splitext(entry.name)[1].lower() in _TABLES]
    return [table for table in tables[:_MOST_LOOKED_INTO] if is_event_list(header_of(table))]


def _labelled_signals(folder: Path) -> str | None:
    """Why a folder is one of signals with a label for every sample: its first CSV file has time and labels."""
    names = [os.path.splitext(entry.name.lower()) for entry in visible(folder)]
    if any(ending in _TABLES and stem in SPLIT_NAMES for stem, ending in names):
        return None
    file = first_below(folder, _TABLES)
    header = [] if file is None else header_of(file)
    if file is None or not header:
        return None
    channels = find_channels(file, ReaderOptions())
    if channels.time is None or channels.label is None:
        return None
    return f"signals with time and labels, such as {file.relative_to(folder)}"


def _by_split(path: Path, lists: list[Path]) -> list[tuple[str, Path]]:
    """Tables of events by the splits that their names say."""
    if len(lists) == 1:
        return [(SPLIT_NAMES.get(lists[0].stem.lower(), ALL), lists[0])]
    if any(file.stem.lower() not in SPLIT_NAMES for file in lists):
        names = shortened([file.name for file in lists])
        raise InputError(
            path, f"several tables of events ({names})", "give the one that is meant, or call them train.csv, ..."
        )
    return [(SPLIT_NAMES[file.stem.lower()], file) for file in lists]


def _signals(base: Path, lists: Sequence[Path], named: Sequence[str], kind: str | None = None) -> tuple[Found, str]:
    """The signal files below a folder, all of one kind: that which the rows name, else the first there is."""
    found = files_below(base, [end for ends in KINDS.values() for end in ends], "signal (WAV, NPY or CSV)")
    files = [file for file in found.files if file not in lists]
    of_kind: dict[str, list[Path]] = {}
    for file in files:
        of_kind.setdefault(str(kind_of_file(file.name)), []).append(file)
    kinds = [one for name in named if (one := kind_of_file(name)) in of_kind]
    chosen = kind or max(KINDS, key=lambda one: (kinds.count(one), one in of_kind))
    if chosen not in of_kind:
        raise InputError(base, f"no signal ({kind or 'WAV, NPY or CSV'} files) was found", "say where, with images")
    others = [
        (os.path.relpath(file, base), f"no {chosen} file, as the signals are")
        for one, rest in of_kind.items()
        if one != chosen
        for file in rest
    ]
    return Found(of_kind[chosen], [*found.others, *others]), chosen


def _splits(names: Sequence[str], given: Mapping[int, str]) -> tuple[dict[str, NDArray[np.int64]], list[Problem]]:
    """The splits: those given, else by the first folder of each path; and a problem for each signal in none."""
    tops = [SPLIT_NAMES.get(PurePath(name).parts[0].lower()) for name in names]
    if None in tops and "train" not in tops:
        tops = [None] * len(names)
    split_of = [given.get(position, top) for position, top in enumerate(tops)]
    if not any(split_of):
        return splits_of([ALL] * len(names)), []
    outside = [name for name, split in zip(names, split_of, strict=True) if split is None]
    return splits_of([split or "" for split in split_of]), [Problem("not-in-a-split", name) for name in outside]


def _counted(splits: Mapping[str, NDArray[np.int64]]) -> str:
    counted = ", ".join(f"{len(rows)} {name}" for name, rows in splits.items() if name != ALL)
    return f" ({counted})" if counted else ""
