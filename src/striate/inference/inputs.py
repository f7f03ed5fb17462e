"""What a prediction is asked for: files, folders, globs, NPZ and CSV, read in order without their labels."""

import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from striate.core.errors import InputError
from striate.core.sample import Sample
from striate.data.collection import ReaderOptions
from striate.data.reader import Reader, open_data


class Inputs:
    """The samples of several sources. While they are read, ``skipped`` grows by (name, reason) of what cannot be,
    and ``expected`` is how many there will be as far as is known: a source not yet opened counts for one. A source
    that shows no format is read in the ``format`` given, if it can be (signals without the labels that told it)."""

    def __init__(self, sources: Sequence[str], options: ReaderOptions, format: str | None = None) -> None:
        self.paths = [path for source in sources for path in _matches(source)]
        self.options = options
        self.format = format
        self.skipped: list[tuple[str, str]] = []
        self.expected = len(self.paths)

    def skip(self, name: str, reason: str) -> None:
        """Note what cannot be used."""
        self.skipped.append((name, reason))

    def _opened(self, path: str) -> Reader:
        try:
            return open_data(path, options=self.options)
        except InputError:
            if self.format is not None:
                with suppress(InputError):
                    return open_data(path, self.format, self.options)
            raise

    def __iter__(self) -> Iterator[Sample]:
        self.skipped, self.expected = [], len(self.paths)
        for path in self.paths:
            try:
                reader = self._opened(path)
            except InputError as error:
                self.skip(error.where, error.cause)
                continue
            self.expected += len(reader) - 1
            self.skipped += [(os.path.join(path, name), reason) for name, reason in reader.skipped]
            for position in range(len(reader)):
                name = _full_name(path, reader.name(position))
                try:
                    sample = reader.read(position)
                except InputError as error:
                    self.skip(name, error.cause)
                    continue
                yield Sample(sample.image, {}, name, sample.group, sample.original)


def unlabelled(options: ReaderOptions) -> ReaderOptions:
    """The options a model's data was read with, for data that has no labels; columns named then are not demanded."""
    return options.replace(labelled=False, minimum_classes=0, classes=(), multi_label=None)


def _matches(source: str) -> list[str]:
    """The path itself, or what a glob matches, in order of name. Errors: ``InputError`` when there is nothing."""
    if os.path.lexists(source) or not glob.has_magic(source):
        if not os.path.lexists(source):
            raise InputError(source, "it does not exist", "name a file, a folder or a glob")
        return [source]
    found = sorted(glob.glob(source, recursive=True))
    if not found:
        raise InputError(source, "nothing matches this glob", "check the pattern")
    return found


def _full_name(path: str, name: str) -> str:
    """The path of the file for samples that are files, ``table.csv:row`` for those inside one."""
    if os.path.isdir(path):
        return os.path.join(path, name)
    return path if Path(path).name == name else f"{path}:{name}"
