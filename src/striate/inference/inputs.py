"""What a prediction is asked for: files, folders, globs, NPZ, CSV and videos, read in order without their labels.

A file of several frames (video, animated GIF, WebP or PNG, TIFF of several pages) is a sample a frame where the model
takes images, and is called ``clip.mp4:12`` then. Where it takes volumes, a TIFF of several pages is one.
"""

import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from striate.core.errors import InputError
from striate.core.sample import Sample
from striate.data.collection import ReaderOptions
from striate.data.formats.folders import EXTENSIONS
from striate.data.formats.tiffs import is_stack
from striate.data.imagefiles import rules_of
from striate.data.images import ImageRules, in_form
from striate.data.paths import natural
from striate.data.reader import Reader, open_data
from striate.inference.frames import frame_count, frames
from striate.inference.video import is_video, video_frames

_STACKS, _IMAGES = "tiff volumes", "image folder"
_COLOURS = {1: "grey", 3: "rgb", 4: "rgba"}


class Inputs:
    """The samples of several sources, for a model that takes ``shape`` (C, *S).

    While they are read, ``skipped`` grows by (name, reason) of what cannot be, sources that do not exist first, and
    ``expected`` is how many there will be as far as is known: a source not yet opened counts for one. A source that
    shows no format is read in the ``format`` given, if it can be (signals without the labels that told it). Of files of
    several frames every ``every``-th is read. ``timed`` says that there are videos, whose samples have a ``time``.
    """

    def __init__(
        self,
        sources: Sequence[str],
        options: ReaderOptions,
        format: str | None = None,
        shape: Sequence[int] = (3, 1, 1),
        every: int = 1,
    ) -> None:
        self.options = options
        self.format = format
        self.shape = tuple(shape)
        self.axes = len(shape) - 1
        self.every = every
        self.paths: list[str] = []
        self.skipped: list[tuple[str, str]] = []
        for source in sources:
            try:
                self.paths += _matches(source)
            except InputError as error:
                self.skip(error.where, error.cause)
        self._missing = list(self.skipped)
        self._videos = {path: _videos(path, deep=self.axes == 2) for path in self.paths}
        self._colour = _COLOURS.get(shape[0], "rgb") if options.colour == "as found" else options.colour
        self.timed = self.axes == 2 and any(self._videos.values())
        self.expected = len(self.paths)

    def skip(self, name: str, reason: str) -> None:
        """Note what cannot be used."""
        self.skipped.append((name, reason))

    def __iter__(self) -> Iterator[Sample]:
        self.skipped, self.expected = list(self._missing), len(self.paths)
        for path in self.paths:
            videos = self._videos[path]
            if videos != [path]:
                yield from self._read(path, videos)
                self.expected += len(videos)
            for video in videos:
                yield from self._video(video)

    def _opened(self, path: str) -> Reader:
        if self.axes == 3 and is_stack(path):
            return open_data(path, _STACKS, self.options)
        try:
            reader = open_data(path, options=self.options)
        except InputError:
            if self.format is not None:
                with suppress(InputError):
                    return open_data(path, self.format, self.options)
            raise
        return open_data(path, _IMAGES, self.options) if reader.format == _STACKS and self.axes == 2 else reader

    def _read(self, path: str, videos: list[str]) -> Iterator[Sample]:
        try:
            reader = self._opened(path)
        except InputError as error:
            if not videos:
                self.skip(error.where, error.cause)
            return
        self.expected += len(reader) - 1
        left_out = [(os.path.join(path, name), reason) for name, reason in reader.skipped]
        self.skipped += [(name, reason) for name, reason in left_out if name not in videos]
        rules = rules_of(reader.settled)
        for position in range(len(reader)):
            name = _full_name(path, reader.name(position))
            file = reader.source_file(position) if self.axes == 2 else None
            count = 1 if file is None else frame_count(file, rules)
            if file is not None and count > 1:
                self.expected += -(-count // self.every) - 1
                yield from self._frames(file, name, rules)
                continue
            try:
                sample = reader.read(position)
            except InputError as error:
                self.skip(name, error.cause)
                continue
            yield Sample(sample.image, {}, name, sample.group, sample.original)

    def _frames(self, file: Path, name: str, rules: ImageRules) -> Iterator[Sample]:
        following = 0
        try:
            for number, values in frames(file, rules, self.every):
                following = number + self.every
                yield Sample(_tensor(values), {}, f"{name}:{number}")
        except InputError as error:
            self.skip(f"{name}:{following}", error.cause)

    def _video(self, path: str) -> Iterator[Sample]:
        if self.axes != 2 or _COLOURS.get(self.shape[0]) != self._colour:
            self.skip(path, f"it is a video, and the model takes samples of {'x'.join(map(str, self.shape))}")
            return
        rules, before, count = rules_of(self.options.replace(colour=self._colour)), self.expected - 1, 0

        def told(frames: int) -> None:
            self.expected = before + -(-frames // self.every)

        try:
            for frame in video_frames(path, rules.maximum_pixels, self.every, self.skip, told):
                count += 1
                if before + count > self.expected:  # the header told of fewer, or of none
                    self.expected = before + 2 * count
                values = in_form(frame.picture, rules, path)
                yield Sample(_tensor(values), {}, f"{path}:{frame.number}", time=frame.time)
        except InputError as error:
            self.skip(error.where, error.cause)
        self.expected = before + count


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


def _videos(path: str, *, deep: bool) -> list[str]:
    """The path itself where it is a video, or those below a folder (``deep``), in natural order."""
    if not os.path.isdir(path):
        return [path] if is_video(path) else []
    found: list[str] = []
    for folder, inside, names in os.walk(path) if deep else ():
        inside[:] = sorted((name for name in inside if not name.startswith(".")), key=natural)
        others = [name for name in names if name[0] != "." and os.path.splitext(name)[1].lower() not in EXTENSIONS]
        found += [place for name in sorted(others, key=natural) if is_video(place := os.path.join(folder, name))]
    return found


def _tensor(values: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(values if values.flags.writeable else values.copy())


def _full_name(path: str, name: str) -> str:
    """The path of the file for samples that are files, ``table.csv:row`` for those inside one."""
    if os.path.isdir(path):
        return os.path.join(path, name)
    return path if Path(path).name == name else f"{path}:{name}"
