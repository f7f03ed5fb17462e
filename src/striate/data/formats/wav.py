"""Reader of WAV recordings: class folders, or a folder of WAV files with ``labels.csv``.

- ``DATA/class/*.wav`` or ``DATA/{train,val,test}/class/*.wav``, as for images: a class is a folder.
- ``DATA/labels.csv`` (or ``metadata.csv``) with a column ``file`` (``filename``, ``path``, ...), a column ``label``
  (``class``, ``category``, ...), and optionally ``split`` and ``group``, over WAV files anywhere below ``DATA``.

With ``labelled`` False: every WAV file below a folder, or one file. The files keep their sampling rates: nothing is
resampled. Files of another rate, or another number of channels, than most are kept and listed as problems.
"""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from striate.core.errors import InputError
from striate.data.collection import ALL, SPLIT_NAMES, Array, Collection, splits_of
from striate.data.formats.columns import GROUP, LABEL, SPLIT
from striate.data.formats.filelists import (
    FILE,
    FileNames,
    files_below,
    first_below,
    is_missing,
    read_rows,
    split_called,
)
from striate.data.formats.labels import Labels, from_text
from striate.data.formats.wavfile import WavHeader, read_wav, read_wav_header
from striate.data.paths import shortened
from striate.data.problems import Problem
from striate.data.reader import Reader

ENDINGS = (".wav", ".wave")
_LISTS = ("labels.csv", "labels.tsv", "metadata.csv")
_LABEL = (*LABEL, "category", "class_name")
_LOOKED_AT = 20_000
"""How many headers are read when a set is opened."""


class WavFiles:
    """WAV files as samples: float32 (channels, frames), decoded when they are asked for."""

    def __init__(self, files: Sequence[Path], most_values: int) -> None:
        self.files = files
        self._most = most_values
        self._headers: dict[int, WavHeader] = {}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: int) -> Array:
        return read_wav(self.files[position], self._most)

    def header(self, position: int) -> WavHeader:
        """The header of a file, read once. Errors: ``InputError``."""
        found = self._headers.get(position)
        if found is None:
            found = self._headers[position] = read_wav_header(self.files[position])
        return found

    def size(self, position: int) -> tuple[int]:
        """The frames of a file. Errors: ``InputError``."""
        return (self.header(position).frames,)

    def headers(self) -> list[tuple[int, WavHeader]]:
        """(position, header) of up to 20,000 files, evenly spread, that can be read."""
        chosen = range(0, len(self.files), max(1, -(-len(self.files) // _LOOKED_AT)))
        with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) * 2)) as pool:
            return [found for found in pool.map(self._readable, chosen) if found is not None]

    def _readable(self, position: int) -> tuple[int, WavHeader] | None:
        try:
            return position, self.header(position)
        except InputError:
            return None  # the same error comes when it is decoded, and is listed then


def wav_form(files: WavFiles, names: Sequence[str]) -> tuple[str, list[Problem]]:
    """What the recordings have in common, in words, and a problem for each that has another rate, or another number of
    channels, than most."""
    headers = files.headers()
    if not headers:
        return "", []
    problems = []
    rates, channels = (Counter(getattr(one, key) for _, one in headers) for key in ("rate", "channels"))
    rate, count = rates.most_common(1)[0][0], channels.most_common(1)[0][0]
    for position, header in headers:
        if header.rate != rate:
            problems.append(Problem("mixed-rates", names[position], f"{header.rate} Hz, most have {rate}"))
        if header.channels != count:
            detail = f"{header.channels} channels, most have {count}"
            problems.append(Problem("mixed-channels", names[position], detail))
    seconds = [header.frames / header.rate for _, header in headers]
    said_rates, said_counts = shortened(sorted(rates)), shortened(sorted(channels))
    length = f"{min(seconds):.3g} to {max(seconds):.3g} s"
    return f"{said_rates} Hz, {said_counts} channel{'s' if said_counts != '1' else ''}, {length}", problems


@dataclass
class _Listed:
    """The samples of a set, and what is wrong with its list."""

    files: list[Path] = field(default_factory=list)
    labels: list[str] | None = None
    splits: list[str] = field(default_factory=list)
    groups: list[str | None] | None = None
    skipped: list[tuple[str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)
    said: str = ""


class WavReader(Reader):
    """Recordings in WAV files."""

    format = "wav"
    certainty = 0

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """WAV files inside a folder, or one WAV file."""
        try:
            if path.is_file():
                return "a WAV file" if path.suffix.lower() in ENDINGS else None
            example = first_below(path, ENDINGS) if path.is_dir() else None
        except (OSError, ValueError):
            return None
        return None if example is None else f"a folder with WAV files, such as {example.relative_to(path)}"

    def collect(self) -> Collection:
        """List the files and read their headers. Errors: ``InputError``."""
        found = self._listed()
        base = self.path if self.path.is_dir() else self.path.parent
        names = [os.path.relpath(file, base) for file in found.files]
        files = WavFiles(found.files, self.options.maximum_pixels)
        form, problems = wav_form(files, names)
        labels = from_text(found.labels, None, self.path) if found.labels else Labels()
        splits = splits_of(found.splits) if found.splits else {}
        counted = ", ".join(f"{len(rows)} {name}" for name, rows in splits.items() if name != ALL)
        classes = f" of {len(labels.classes)} classes" if found.labels else ""
        return Collection(
            images=files,
            found=f"{len(names)} WAV files{classes}{f' ({counted})' if counted else ''}{found.said}, {form}",
            names=names,
            labels=labels.values,
            classes=labels.classes,
            splits=splits,
            groups=found.groups,
            skipped=found.skipped,
            problems=[*found.problems, *problems],
            sizes=files.size,
            sources=[*found.files, *found.sources],
        )

    def _listed(self) -> _Listed:
        if not self.path.is_dir():
            return _Listed([self.path], splits=[ALL])
        below = files_below(self.path, ENDINGS, "WAV file")
        lists = [self.path / name for name in _LISTS if (self.path / name).is_file()]
        below.others = [other for other in below.others if other[0] != (lists[0].name if lists else None)]
        if not self.options.labelled:
            return _Listed(below.files, splits=[ALL] * len(below.files), skipped=below.others)
        found = self._by_list(lists[0], below.files) if lists else _by_folders(self.path, below.files)
        found.skipped += below.others
        return found

    def _by_list(self, file: Path, files: Sequence[Path]) -> _Listed:
        """The files that a table names, in its order."""
        table, options = read_rows(file), self.options
        at_file, at_label = table.column(FILE), table.column(_LABEL, options.label_column)
        at_split, at_group = table.column(SPLIT, options.split_column), table.column(GROUP, options.group_column)
        if at_file is None or at_label is None:
            missing, known = ("files", FILE) if at_file is None else ("labels", _LABEL)
            cause = f"no column of {missing} is called {shortened(known)} (columns: {shortened(table.names)})"
            raise InputError(file, cause, "name the columns file and label")
        labels: list[str] = []
        found = _Listed(labels=labels, sources=[file], said=f", labels in {file.name}")
        found.problems += [Problem("annotation-malformed", f"{file.name}:{line}", why) for line, why in table.malformed]
        known_files, taken = FileNames(files, self.path), dict[int, str]()
        groups: list[str | None] = []
        for line, cells in table.rows:
            position, label = known_files.find(cells[at_file]), cells[at_label]
            place = f"{file.name}:{line}"
            if position is None:
                detail = f"there is no WAV file {cells[at_file]!r}, or more than one"
                found.problems.append(Problem("label-without-image", place, detail))
            elif position in taken:
                detail = f"{cells[at_file]!r} is {label!r} here, and {taken[position]!r} before: that is kept"
                found.problems.append(Problem("twice-labelled", place, detail))
            elif is_missing(label):
                taken[position] = label
                found.problems.append(Problem("image-without-label", place, f"{cells[at_file]!r} has an empty label"))
            else:
                taken[position] = label
                found.files.append(files[position])
                labels.append(label)
                split = cells[at_split] if at_split is not None else ""
                found.splits.append(split_called(split, file, line) if split else ALL)
                groups.append((cells[at_group] or None) if at_group is not None else None)
        found.groups = groups if any(groups) else None
        left = [one for position, one in enumerate(files) if position not in taken]
        names = [os.path.relpath(one, self.path) for one in left]
        found.problems += [Problem("image-without-label", name, f"{file.name} does not name it") for name in names]
        if len(set(found.splits)) > 1 and ALL in found.splits:
            raise InputError(file, "some rows have a split, others have none", "fill the column in, or remove it")
        return found


def _by_folders(base: Path, files: Sequence[Path]) -> _Listed:
    """Class folders, inside folders of splits where all folders are such."""
    parts = [Path(os.path.relpath(file, base)).parts for file in files]
    tops = sorted({one[0] for one in parts if len(one) > 1})
    splits = [name for name in tops if name.lower() in SPLIT_NAMES]
    others = [name for name in tops if name not in splits]
    divided = bool(splits) and (not others or any(SPLIT_NAMES[name.lower()] == "train" for name in splits))
    if divided and others:
        cause = f"beside {shortened(splits)} there are other folders with WAV files ({shortened(others)})"
        raise InputError(base, cause, "move them away, or give the folder that has only classes in it")
    labels: list[str] = []
    found = _Listed(labels=labels, said=", a folder a class")
    for file, one in zip(files, parts, strict=True):
        if len(one) < 2 + divided:
            found.skipped.append((os.path.join(*one), "it lies outside the class folders"))
            continue
        found.files.append(file)
        labels.append(one[1 if divided else 0])
        found.splits.append(SPLIT_NAMES[one[0].lower()] if divided else ALL)
    return found
