"""The reader contract: how the labelled samples of a folder or file are found, whatever their format.

A format is one file with one :class:`Reader`: it says by looking whether a path is of its format
(:meth:`Reader.detect`) and lists what is there (:meth:`Reader.collect`). :func:`open_data` asks every reader there is.
Opening lists and checks; samples are decoded one at a time by :meth:`Reader.read`, which several threads may call.
"""

import inspect
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, final

import numpy as np
from numpy.typing import NDArray

import striate.data
from striate.core.errors import InputError
from striate.core.spec import Spec, discover
from striate.data.fingerprint import combined, of_files

if TYPE_CHECKING:
    from striate.core.sample import Sample, Target

SPLIT_NAMES: dict[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What splits are called in folders, files and columns (compared in lower case), and what they are called here."""

ALL = "all"
"""The one split of a data set that comes without any."""

Array = NDArray[Any]
Layout = Literal["NL", "NCL", "NLC", "NHW", "NCHW", "NHWC", "NDHW", "NCDHW", "NDHWC"]


class ReaderOptions(Spec):
    """What a reader may be told instead of finding out. The defaults find out, and say what they found.

    ``labelled`` False reads what has no labels (to predict on); ``minimum_classes`` is how many classes must be there.
    ``layout`` names the axes of arrays, N first. ``colour`` and ``bits`` are what images are brought to (``as found``
    and 0: what the set holds); ``background`` is what transparency is laid over, ``maximum_pixels`` the most an image
    may have. The columns are names in the header of a table, or positions counted from 1; an ignored column is not
    read. ``multi_label`` says whether a sample may carry several labels (None: found out).
    """

    labelled: bool = True
    minimum_classes: int = 2
    classes: tuple[str, ...] = ()
    multi_label: bool | None = None
    layout: Layout | None = None
    colour: Literal["as found", "grey", "rgb", "rgba"] = "as found"
    bits: Literal[0, 8, 16] = 0
    background: tuple[int, int, int] = (255, 255, 255)
    maximum_pixels: int = 64_000_000
    label_column: str | None = None
    id_column: str | None = None
    time_column: str | None = None
    split_column: str | None = None
    group_column: str | None = None
    ignored_columns: tuple[str, ...] = ()


class Arrays(Protocol):
    """Samples by position, each of shape (channels, *spatial), of type uint8, uint16 or float32."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Array: ...


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Everything a reader found, before any sample is decoded. n samples, K classes.

    ``labels``: int64 (n,) with -1 for none, or bool (n, K) where a sample may carry several, or None for no labels.
    ``splits``: positions (int64) of the samples of each split. ``groups``: samples of one group stay on one side of a
    split. ``skipped``: (name, reason) of what was there and is not among the samples. ``targets`` gives the targets of
    a sample where they are more than a label. ``note`` is what is to be known about a sample that has been read.
    ``sources`` are the files whose change makes this other data. ``settled`` are the options that were found out, by
    which other files can be read in the same way.
    """

    images: Arrays
    found: str
    names: Sequence[str]
    labels: Array | None = None
    classes: tuple[str, ...] = ()
    splits: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    groups: Sequence[str | None] | None = None
    skipped: Sequence[tuple[str, str]] = ()
    target: str = "label"
    targets: "Callable[[int], dict[str, Target]] | None" = None
    note: Callable[[int], str | None] | None = None
    sources: Sequence[Path] = ()
    settled: Mapping[str, Any] = field(default_factory=dict)


_formats: dict[str, type["Reader"]] = {}


class Reader(ABC):
    """A data set opened for reading.

    Attributes: ``format``, ``found`` (what was found and why it is taken for this format), ``classes``, ``target`` (the
    name of the sample's target), ``multi_label``, ``labels``, ``splits`` (name to positions; ``all`` where there are
    none), ``skipped``, ``settled`` (the options with what was found out put in). Errors of construction: ``InputError``
    naming what cannot be used.
    """

    format: ClassVar[str]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if inspect.isabstract(cls):
            return
        other = _formats.get(cls.format)
        if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"the format {cls.format!r} of {cls.__qualname__} is taken by {other.__qualname__}")
        _formats[cls.format] = cls

    @classmethod
    @abstractmethod
    def detect(cls, path: Path) -> str | None:
        """Why the path is of this format, or None. Looks at names and first bytes only; raises nothing."""

    @abstractmethod
    def collect(self) -> Collection:
        """List the samples at ``self.path`` as ``self.options`` say. Errors: ``InputError``."""

    def __init__(self, path: Path, options: ReaderOptions | None = None) -> None:
        self.path = Path(path)
        self.options = options or ReaderOptions()
        collection = self.collect()
        self._collection = collection
        self.found = collection.found
        self.target = collection.target
        self.labels = collection.labels
        self.classes = self._renamed(collection.classes)
        self.multi_label = collection.labels is not None and collection.labels.ndim == 2
        self.skipped: list[tuple[str, str]] = list(collection.skipped)
        self.splits: dict[str, NDArray[np.int64]] = dict(collection.splits) or {ALL: np.arange(len(collection.images))}
        several = {} if collection.labels is None else {"multi_label": self.multi_label}
        self.settled = self.options.replace(**{**several, **collection.settled})
        self._demand_samples()
        self._digest = self._digested(collection)

    @final
    def __len__(self) -> int:
        return len(self._collection.images)

    @final
    def image(self, position: int) -> Array:
        """The values of a sample as found: (channels, *spatial), uint8, uint16 or float32. Errors: ``InputError``."""
        return self._collection.images[position]

    @final
    def read(self, position: int) -> "Sample":
        """A sample with its targets. Safe to call from several threads. Errors: ``InputError`` if it is unreadable."""
        import torch

        from striate.core.sample import Sample

        image = np.ascontiguousarray(self.image(position))
        tensor = torch.from_numpy(image if image.flags.writeable else image.copy())
        return Sample(tensor, self.targets(position), self.name(position), self.group(position))

    @final
    def targets(self, position: int) -> "dict[str, Target]":
        """The targets of a sample by name: a ``Label`` called ``label``, unless the format says more."""
        if self._collection.targets is not None:
            return self._collection.targets(position)
        if self.labels is None:
            return {}
        import torch

        from striate.core.sample import Label

        if self.multi_label:
            return {"label": Label(tags=torch.from_numpy(self.labels[position].astype(np.float32)))}
        return {"label": Label(index=int(self.labels[position]))}

    @final
    def name(self, position: int) -> str:
        """The name of a sample: its path inside the data set, or its number or id."""
        return self._collection.names[position]

    @final
    def label(self, position: int) -> int | None:
        """The class of a sample, without decoding it; None where it has none or may have several."""
        if self.labels is None or self.multi_label or self.labels[position] < 0:
            return None
        return int(self.labels[position])

    @final
    def group(self, position: int) -> str | None:
        """The group of a sample, or None."""
        return None if self._collection.groups is None else self._collection.groups[position]

    @final
    def note(self, position: int) -> str | None:
        """What is to be known of a sample that has been read, such as that it was the first frame of several."""
        return None if self._collection.note is None else self._collection.note(position)

    @final
    def fingerprint(self) -> str:
        """A digest that changes when the data or the options change, and not with the place of the data. It is that of
        the moment of opening."""
        return self._digest

    def _digested(self, collection: Collection) -> str:
        try:
            files = of_files(collection.sources, self.path if self.path.is_dir() else self.path.parent)
        except OSError as error:
            raise InputError(
                error.filename or self.path, said(error), "leave the data alone while it is read"
            ) from None
        # As they settled, so that data read as a model's data was read is found to be the same data.
        options = self.settled.replace(minimum_classes=0, classes=()).to_json()
        return combined(self.format, options, list(self.classes), len(self), files)

    def _renamed(self, classes: tuple[str, ...]) -> tuple[str, ...]:
        names = self.options.classes
        if names and len(names) != len(classes):
            raise InputError(
                self.path,
                f"{len(names)} class names were given for {len(classes)} classes ({shortened(classes)})",
                "give one name for each class, in this order",
            )
        return names or classes

    def _demand_samples(self) -> None:
        fix = "see the README for the formats that are read"
        if not len(self):
            reasons = f" ({len(self.skipped)} skipped; first: {': '.join(self.skipped[0])})" if self.skipped else ""
            raise InputError(self.path, f"no sample was found{reasons}", fix)
        if not self.options.labelled:
            return
        if self.labels is None and self._collection.targets is None:
            raise InputError(self.path, "the samples have no labels", fix)
        if len(self.classes) < self.options.minimum_classes:
            raise InputError(
                self.path,
                f"{len(self.classes)} class found ({shortened(self.classes)}), at least "
                f"{self.options.minimum_classes} are needed to tell apart",
                "add samples of another class",
            )


def readers() -> dict[str, type[Reader]]:
    """Every reader there is, by the name of its format."""
    discover(striate.data)
    return dict(sorted(_formats.items()))


def open_data(path: str | os.PathLike[str], format: str | None = None, options: ReaderOptions | None = None) -> Reader:
    """Open a data set: a path, or the word that names a generated set. ``format`` settles what cannot be told.

    Errors: ``InputError`` when there is nothing, when no format or more than one fits, or when the format finds fault.
    """
    known = readers()
    place = Path(path)
    if format is not None:
        if format not in known:
            raise InputError(f"format {format!r}", "there is no such format", f"use one of: {', '.join(known)}")
        return known[format](place, options)
    found = {name: reason for name, cls in known.items() if (reason := cls.detect(place)) is not None}
    if len(found) == 1:
        return known[next(iter(found))](place, options)
    if found:
        ways = "; ".join(f"{name}: {reason}" for name, reason in found.items())
        raise InputError(place, f"it can be read in several ways ({ways})", "choose one with --format")
    _demand_path(place)
    content = "an empty folder" if place.is_dir() and not any(visible(place)) else "a folder" if place.is_dir() else ""
    raise InputError(
        place,
        f"{content or 'a file'} in which no known format was recognised (known: {', '.join(known)})",
        "put the images of each class into a folder of its own, or give CSV, NPZ, NPY or IDX files",
    )


def _demand_path(path: Path) -> None:
    """Errors: ``InputError`` unless there is a folder or a regular file that can be read."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(path, said(error), "check the path of the data") from None
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise InputError(path, f"it is {kind_of(mode)}, not a file or folder", "give a file or folder")
    if not os.access(path, os.R_OK):
        raise InputError(path, "permission to read it is denied", "change its permissions")


def visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder in order of name, but for hidden ones and what operating systems strew about.

    Errors: ``OSError``.
    """
    litter = {"thumbs.db", "desktop.ini", "__macosx"}
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: natural(entry.name))
    return (entry for entry in listed if not entry.name.startswith(".") and entry.name.lower() not in litter)


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which 'class10' comes after 'class9'."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts)


def splits_of(names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """The positions of each split, given the split of every sample (``train``, ``val``, ``test`` or ``all``)."""
    found = np.array(names)
    return {name: np.flatnonzero(found == name) for name in ("train", "val", "test", ALL) if (found == name).any()}


def shortened(names: Sequence[object], most: int = 5) -> str:
    """A few of the names, and how many more there are."""
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def kind_of(mode: int) -> str:
    """What a file of this mode is, in words, where it is no regular file."""
    tests = {
        "a folder": stat.S_ISDIR,
        "a FIFO": stat.S_ISFIFO,
        "a socket": stat.S_ISSOCK,
        "a device": _is_device,
    }
    return next((words for words, test in tests.items() if test(mode)), "a special file")


def _is_device(mode: int) -> bool:
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def said(error: Exception) -> str:
    """The cause of an operating system's error in plain words."""
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    if isinstance(error, PermissionError):
        return "permission to read it is denied"
    if "symbolic link" in str(error).lower() or "symlink loop" in str(error).lower():
        return "it is a symbolic link that leads back to itself"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
