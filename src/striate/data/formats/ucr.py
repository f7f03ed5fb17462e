"""Reader of the UCR/UEA archive's form: ``NAME_TRAIN.ts`` and ``NAME_TEST.ts``, or the same as whitespace text.

``DATA`` is the folder with both, or one of them, beside which the other is found (not when predicting, where no label
is needed: then the file given is all that is read). A file without such a name is one set without splits.

- ``.ts``: the header says how many dimensions (channels) and which classes there are, in which order; a signal a line,
  dimensions divided by ``:``, values by commas, the class last. Signals may differ in length. Timestamps and regression
  targets are refused.
- text (``.txt``, ``.tsv`` or no extension; blanks, tabs or commas): a signal of one channel a row, its class first;
  missing values at the end fill a shorter signal up.

A class written ``1.0000000e+00`` is the class 1. A signal with a missing value (``?``, NaN) or without a label is
left out and listed; a line with the wrong number of dimensions, an undeclared class or text for a number is left out
and listed as a problem, both with file and line.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from striate.core.disk import open_file
from striate.core.errors import InputError
from striate.data.collection import ALL, SPLIT_NAMES, Collection, splits_of
from striate.data.formats.labels import Labels, from_text
from striate.data.formats.tsfile import SignalFile, is_text, is_ts, read_text, read_ts
from striate.data.paths import shortened, visible
from striate.data.reader import Reader

_NAME = re.compile(rf"^(?:(.*)[_-])?({'|'.join(SPLIT_NAMES)})$", re.IGNORECASE)
_EXTENSIONS = (".ts", ".txt", ".tsv", "")
_LOOKED_AT = 1 << 16
"""How many bytes decide what a file is."""
_MOST_LOOKED_INTO = 50


class UcrReader(Reader):
    """Files of the UCR/UEA time series archive."""

    format = "ucr"
    certainty = 2

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """By names that end in _TRAIN or _TEST, and by the first bytes."""
        try:
            if path.is_dir():
                names = [entry.name for entry in os.scandir(path)]
                fitting = [name for name in sorted(names) if _split(name)][:_MOST_LOOKED_INTO]
                example = next((name for name in fitting if _form(path / name)), None)
                return None if example is None else f"a folder with {example}"
            if not path.is_file() or (path.suffix.lower() == ".tsv" and not _split(path.name)):
                return None
            form = _form(path)
        except (OSError, ValueError, InputError):
            return None
        return None if form is None else f"{form}, a signal a line"

    def collect(self) -> Collection:
        """Read every line of every file. Errors: ``InputError``."""
        labelled = self.options.labelled
        listed, skipped = _files(self.path, alone=not labelled)
        parts = [(split, _read(file, labelled)) for split, file in listed]
        found = [part for _, part in parts]
        channels = {part.signals[0].shape[0]: part.file.name for part in found if part.signals}
        if len(channels) > 1:
            said = " and ".join(f"{name} {count}" for count, name in channels.items())
            raise InputError(self.path, f"the files have different numbers of dimensions ({said})", "give one set")
        signals = [signal for part in found for signal in part.signals]
        labels = _labels(found, self.path) if labelled and signals else Labels()
        split_of = [split for split, part in parts for _ in part.signals]
        counted = ", ".join(f"{len(part.signals)} {split}" for split, part in parts if split != ALL)
        count = next(iter(channels), 0)
        lengths = sorted({signal.shape[1] for signal in signals}) or [0]
        length = f"{lengths[0]} to {lengths[-1]}" if len(lengths) > 1 else str(lengths[0])
        return Collection(
            images=signals,
            found=f"{len(signals)} signals of {count} channel{'s' * (count != 1)}, length {length}"
            f"{f' ({counted})' if counted else ''}, {f'{len(labels.classes)} classes, ' if labelled else ''}"
            f"{_form(listed[0][1]) or 'rows of values'} ({' and '.join(file.name for _, file in listed)})",
            names=[f"{part.file.name}:{line}" for part in found for line in part.lines],
            labels=labels.values,
            classes=labels.classes,
            splits=splits_of(split_of) if split_of else {},
            skipped=[*skipped, *(one for part in found for one in part.skipped)],
            problems=[problem for part in found for problem in part.problems],
            sources=[file for _, file in listed],
        )


def _split(name: str) -> tuple[str, str, str] | None:
    """What a file name says: the name of the set, the split, the extension."""
    stem, extension = os.path.splitext(name)
    match = _NAME.match(stem)
    if match is None or extension.lower() not in _EXTENSIONS:
        return None
    return match[1] or "", SPLIT_NAMES[match[2].lower()], extension.lower()


def _form(file: Path) -> str | None:
    """What a file is by its extension and first bytes, in words; None where it is neither form. Errors:
    ``InputError`` when it cannot be read, or is no ordinary file."""
    extension = file.suffix.lower()
    if extension not in _EXTENSIONS:
        return None
    with open_file(file) as (raw, size):
        start = raw.read(_LOOKED_AT)
    if extension == ".ts":
        return "the UCR/UEA archive's .ts" if is_ts(start) else None
    return "rows of a class and its values" if is_text(start, len(start) == size) else None


def _files(path: Path, alone: bool) -> tuple[list[tuple[str, Path]], list[tuple[str, str]]]:
    """The file of each split, in order of the splits; and what else lies in the folder. Errors: ``InputError``."""
    folder, given = (path, None) if path.is_dir() else (path.parent, _split(path.name))
    if not path.is_dir() and (given is None or alone):
        return [(given[1] if given else ALL, path)], []
    entries = list(visible(folder))
    fitting = [(said, folder / entry.name) for entry in entries if (said := _split(entry.name)) and _fits(entry.path)]
    if given is not None:
        found = {said[1]: file for said, file in fitting if (said[0], said[2]) == (given[0], given[2])}
        return _in_order({**found, given[1]: path}), []
    names = sorted({said[0] for said, _ in fitting})
    if len(names) > 1:
        raise InputError(path, f"files of several sets ({shortened(names)})", "give one file of the set that is meant")
    extensions = {said[2] for said, _ in fitting}
    # the most splits; the form with a header where two have as many
    best = max(extensions, key=lambda one: (sum(s[2] == one for s, _ in fitting), -_EXTENSIONS.index(one)), default="")
    chosen: dict[str, Path] = {}
    for said, file in fitting:
        if said[2] == best:
            chosen.setdefault(said[1], file)
    if not chosen:
        raise InputError(path, "no file called NAME_TRAIN or NAME_TEST holds signals", "give the file itself")
    skipped = [(entry.name, _why(folder / entry.name, best)) for entry in entries]
    return _in_order(chosen), [(name, why) for name, why in skipped if folder / name not in chosen.values()]


def _fits(path: str) -> bool:
    try:
        return _form(Path(path)) is not None
    except InputError:
        return False


def _why(file: Path, best: str) -> str:
    """Why a file of the folder is not read."""
    said = _split(file.name)
    if file.is_dir():
        return "a folder"
    if said is None:
        return "it is not called _TRAIN or _TEST: a description, no data"
    if not _fits(str(file)):
        return "its lines are no signals"
    return "another file of the same split" if said[2] == best else f"the {best} files hold the same"


def _in_order(chosen: dict[str, Path]) -> list[tuple[str, Path]]:
    return [(split, chosen[split]) for split in ("train", "val", "test") if split in chosen]


def _read(file: Path, labelled: bool) -> SignalFile:
    if file.suffix.lower() == ".ts":
        return read_ts(file, labelled)
    # rows to predict on may come without a class: then the first cells are measurements
    return read_text(file, label_first=labelled or _split(file.name) is not None or _form(file) is not None)


def _labels(parts: Sequence[SignalFile], where: Path) -> Labels:
    """Class numbers in the order of declaration; without one, in natural order."""
    names = [label for part in parts for label in part.labels]
    declared = tuple(dict.fromkeys(name for part in parts for name in part.classes))
    if not declared:
        return from_text(names, None, where)
    classes = tuple(dict.fromkeys((*declared, *names)))
    number = {name: index for index, name in enumerate(classes)}
    return Labels(np.array([number[name] for name in names], dtype=np.int64), classes)
