"""One file of the UCR/UEA archive: a ``.ts`` file with its header, or whitespace, tab or comma text without one.

Why no library: aeon and sktime read .ts, but stop at the first fault, which they name by case and not by line, put NaN
where ``?`` stands without saying where, and need pandas and scikit-learn, which nothing else here does. What is needed
is one float parse a value, and a message for each line that does not fit.

Lines are read one at a time as bytes, so that comments and names of any encoding pass; memory is that of the values.
"""

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from striate.core.disk import open_file
from striate.core.errors import InputError
from striate.data.collection import Array
from striate.data.formats.columns import MISSING
from striate.data.paths import shortened
from striate.data.problems import Problem

_LONGEST = 1 << 28
"""A line of more bytes than this is no signal."""
_WRITTEN_AS_FRACTION = re.compile(r"[+-]?[0-9]+\.[0-9]*(e[+-]?[0-9]+)?", re.IGNORECASE)
_TRUE = {"true": True, "false": False}


@dataclass
class SignalFile:
    """What one file holds: ``signals`` float32 (channels, length), their labels ('' for none) and lines.

    ``classes`` are those declared, in that order (empty: none were); ``skipped`` and ``problems`` name the line.
    """

    file: Path
    signals: list[Array] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    skipped: list[tuple[str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, line: int, signal: Array, label: str) -> None:
        """One more signal."""
        self.signals.append(signal)
        self.labels.append(label)
        self.lines.append(line)

    def skip(self, line: int, reason: str) -> None:
        """List a line that is no sample."""
        self.skipped.append((f"{self.file.name}:{line}", reason))

    def fault(self, line: int, detail: str, code: str = "annotation-malformed") -> None:
        """List what is wrong with a line."""
        self.problems.append(Problem(code, f"{self.file.name}:{line}", detail))


@dataclass
class _Header:
    """The declarations of a .ts file; None where it makes none."""

    labelled: bool | None = None
    classes: tuple[str, ...] = ()
    dimensions: int | None = None
    equal: bool | None = None
    length: int | None = None


def read_ts(file: Path, labelled: bool = True) -> SignalFile:
    """A ``.ts`` file. With ``labelled`` False it needs no labels.

    Errors: ``InputError`` for timestamps, a regression target, no ``@data``, no class labels where they are needed.
    """
    with _lines(file) as lines:
        header = _header(file, lines)
        if header.labelled is False and labelled:
            raise InputError(file, "it declares @classLabel false: its signals have no class", "give one with classes")
        if header.labelled is None and labelled:
            raise InputError(file, "it has no line @classLabel", "declare '@classLabel true' and the classes")
        return _signals(SignalFile(file, classes=header.classes), header, lines, labelled)


def read_text(file: Path, label_first: bool = True) -> SignalFile:
    """Text: one row a signal of one channel, its label first (unless ``label_first`` is False), then its values.

    Divided by commas, else tabs, else any blanks. Missing values (NaN, ?, empty) at the end are what fills a shorter
    signal up; anywhere else the signal is skipped. Where more than half of the rows have the same number of cells, rows
    of another are malformed; where no number holds the half, the signals differ in length.
    """
    found = SignalFile(file)
    cells_of: list[int] = []
    with _lines(file) as lines:
        for number, line in lines:
            cells = _cells(line)
            if not cells:
                continue
            label = class_name(_text(cells.pop(0))) if label_first else ""
            values = _numbers(cells, found, number)
            if values is None:
                continue
            given = np.flatnonzero(~np.isnan(values))
            ends = int(given[-1]) + 1 if len(given) else 0
            if label_first and label.lower() in MISSING:
                found.skip(number, "no label")
            elif not ends:
                found.skip(number, "no value")
            elif len(given) < ends:
                missing = int(np.flatnonzero(np.isnan(values[:ends]))[0])
                found.fault(number, f"value {missing + 1} is missing, before the end", "not-finite")
            else:
                found.add(number, values[None, :ends].copy() if ends < len(values) else values[None], label)
                cells_of.append(len(values))
    return _of_one_width(found, cells_of)


def class_name(text: str) -> str:
    """A class as it is called: ``1.0000000e+00`` is the class ``1``, everything else stays as it is written."""
    if _WRITTEN_AS_FRACTION.fullmatch(text):
        number = float(text)
        if abs(number) < 1e15 and number == int(number):
            return str(int(number))
    return text


def is_ts(start: bytes) -> bool:
    """Whether a file that begins with these bytes is a ``.ts`` file (and no video and no program)."""
    found = re.search(rb"^\s*@(problemname|timestamps|univariate|classlabel|dimensions?)\b", start, re.I | re.M)
    return start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"#", b"@") and found is not None


def is_text(start: bytes, whole: bool) -> bool:
    """Whether a file that begins with these bytes (``whole``: that has no others) is rows of numbers: of up to 20
    lines more than half have a whole number first and at least two values."""
    lines = [line for line in start.splitlines() if line.strip()]
    if not whole and len(lines) > 1:
        lines.pop()  # it may be cut
    elif not whole and lines:
        lines = [b" ".join(_cells(lines[0])[:-1])]
    looked_at = lines[:20]
    return b"\0" not in start and sum(map(_is_row, looked_at)) * 2 > len(looked_at)


def _is_row(line: bytes) -> bool:
    try:
        first, *values = (float("nan") if cell.strip().lower() in _MISSING else float(cell) for cell in _cells(line))
    except ValueError:
        return False
    return len(values) >= 2 and first == round(first, 0) and b"_" not in line


_MISSING = {text.encode() for text in MISSING}


@contextmanager
def _lines(file: Path) -> Iterator[Iterator[tuple[int, bytes]]]:
    """The lines with something on them, counted from 1. Errors: ``InputError``."""
    with open_file(file) as (raw, _):
        stream = io.BufferedReader(cast(Any, raw), 1 << 20)
        yield _numbered(stream, file)


def _numbered(stream: io.BufferedReader, file: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := stream.readline(_LONGEST):
        number += 1
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
            _demand_text(line, file)
        if len(line) == _LONGEST and not line.endswith(b"\n"):
            raise InputError(f"{file}:{number}", f"a line of more than {_LONGEST:,} bytes", "write one line a signal")
        if line := line.strip():
            yield number, line


def _demand_text(line: bytes, file: Path) -> None:
    """Errors: ``InputError`` for a first line of another encoding, or of a file that is all one line."""
    if line.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in line:
        raise InputError(file, "it is not UTF-8 text", "save it as UTF-8")
    if b"\r" in line.rstrip():
        raise InputError(file, "its lines end with a carriage return alone", "save it with ordinary line ends")


def _header(file: Path, lines: Iterator[tuple[int, bytes]]) -> _Header:
    """Read up to and with ``@data``."""
    header = _Header()
    for number, line in lines:
        if line.startswith(b"#"):
            continue
        if not line.startswith(b"@"):
            raise InputError(f"{file}:{number}", "values before a line @data", "write @data before the first signal")
        tag, *words = _text(line[1:]).split()
        tag = tag.lower()
        if tag == "data":
            return header
        flag = _TRUE.get(words[0].lower()) if words else None
        if tag == "timestamps" and flag:
            raise InputError(f"{file}:{number}", "its values have timestamps", "write equally spaced values alone")
        if tag == "targetlabel" and flag:
            raise InputError(f"{file}:{number}", "its target is a number (regression)", "give a set with @classLabel")
        if tag == "classlabel":
            header.labelled, header.classes = flag, tuple(dict.fromkeys(map(class_name, words[1:])))
        elif tag == "univariate" and flag and header.dimensions is None:
            header.dimensions = 1
        elif tag in ("dimensions", "dimension"):
            header.dimensions = _count(file, number, tag, words)
        elif tag == "equallength":
            header.equal = flag
        elif tag == "serieslength":
            header.length = _count(file, number, tag, words)
    raise InputError(file, "it has no line @data", "give a whole .ts file: its header, @data, then a line a signal")


def _count(file: Path, number: int, tag: str, words: list[str]) -> int | None:
    """A declared number; 0 declares nothing."""
    if len(words) != 1 or not words[0].isdecimal():
        raise InputError(f"{file}:{number}", f"@{tag} declares {' '.join(words)[:40]!r}", "declare a whole number")
    return int(words[0]) or None


def _signals(found: SignalFile, header: _Header, lines: Iterator[tuple[int, bytes]], labelled: bool) -> SignalFile:
    for number, line in lines:
        if line.startswith((b"#", b"@")):
            continue
        parts = line.split(b":")
        label = class_name(_text(parts.pop())) if header.labelled else ""
        if not parts:
            found.fault(number, "values and a class divided by ':' were expected")
        elif labelled and label.lower() in MISSING and label not in header.classes:
            found.skip(number, "no label")
        elif labelled and header.classes and label not in header.classes:
            detail = f"the class {label[:40]!r}; declared are {shortened(header.classes)}"
            found.fault(number, detail, "class-undeclared")
        else:
            channels = [_numbers(part.split(b","), found, number) for part in parts]
            _take(found, number, channels, label)
    _judge_dimensions(found, header.dimensions)
    _judge_lengths(found, header)
    return found


def _take(found: SignalFile, number: int, channels: list[Array | None], label: str) -> None:
    """Add the signal of a line, or list why it cannot be one."""
    values = [channel for channel in channels if channel is not None]
    if len(values) < len(channels):
        return
    lengths = {len(channel) for channel in values}
    if len(lengths) > 1:
        found.fault(number, f"its dimensions have different lengths ({shortened(sorted(lengths))})")
        return
    signal = np.stack(values)
    missing = np.argwhere(np.isnan(signal))
    if len(missing):
        row, column = missing[0]
        found.fault(number, f"value {column + 1} of dimension {row + 1} is missing", "not-finite")
    else:
        found.add(number, signal, label)


def _judge_dimensions(found: SignalFile, declared: int | None) -> None:
    """Leave out signals with another number of dimensions than the rest, or than declared."""
    counts = Counter(len(signal) for signal in found.signals)
    if not counts:
        return
    most = max(counts, key=lambda count: (counts[count], count == declared, -count))
    if declared is not None and most != declared:
        detail = f"{declared} dimensions are declared, {counts[most]} of {len(found.signals)} signals have {most}"
        found.problems.append(Problem("size-declared-wrong", found.file.name, detail))
    _keep(
        found, lambda at: len(found.signals[at]) == most, lambda at: f"{len(found.signals[at])} dimensions, not {most}"
    )


def _judge_lengths(found: SignalFile, header: _Header) -> None:
    """One problem where lengths are not as declared; the signals are kept."""
    lengths = [signal.shape[1] for signal in found.signals]
    if not lengths or header.equal is False or (header.length is None and header.equal is None):
        return
    expected = header.length or Counter(lengths).most_common(1)[0][0]
    odd = [at for at, length in enumerate(lengths) if length != expected]
    if odd:
        said = f"length {expected} is declared" if header.length else "equal lengths are declared"
        detail = f"{said}, {len(odd)} of {len(lengths)} signals have another; this one {lengths[odd[0]]}"
        found.fault(found.lines[odd[0]], detail, "size-declared-wrong")


def _of_one_width(found: SignalFile, cells: list[int]) -> SignalFile:
    """Rows of another number of cells than more than half of the rows have are damaged."""
    most, count = Counter(cells).most_common(1)[0] if cells else (0, 0)
    if 2 * count > len(cells):
        _keep(found, lambda at: cells[at] == most, lambda at: f"{cells[at]} values where most rows have {most}")
    return found


def _keep(found: SignalFile, fits: Callable[[int], bool], detail: Callable[[int], str]) -> None:
    """Keep the signals that fit; the others are faults."""
    kept = [at for at in range(len(found.signals)) if fits(at)]
    if len(kept) == len(found.signals):
        return
    for at in sorted(set(range(len(found.signals))) - set(kept)):
        found.fault(found.lines[at], detail(at))
    found.signals = [found.signals[at] for at in kept]
    found.labels = [found.labels[at] for at in kept]
    found.lines = [found.lines[at] for at in kept]


def _cells(line: bytes) -> list[bytes]:
    """The cells of a row; blanks divide where neither commas nor tabs do."""
    mark = b"," if b"," in line else b"\t" if b"\t" in line.strip() else None
    return line.split() if mark is None else line.strip(b" \r\n").split(mark)


def _numbers(cells: list[bytes], found: SignalFile, number: int) -> Array | None:
    """float32 (length,), NaN where a value is missing; None, and a fault, where a cell is no number."""
    try:
        with np.errstate(over="ignore"):
            values = np.fromiter(map(float, cells), np.float32, len(cells))
        if b"_" not in b"".join(cells):  # Python reads 1_000 as a number, a file does not mean it
            return values
    except ValueError:
        pass
    numbers = []
    for at, cell in enumerate(cells):
        try:
            if b"_" in cell:
                raise ValueError
            numbers.append(float("nan") if cell.strip().lower() in _MISSING else float(cell))
        except ValueError:
            found.fault(number, f"value {at + 1}, {_text(cell)[:40]!r}, is no number")
            return None
    return np.array(numbers, np.float32)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape").strip()
