"""The reader contract: how the labelled samples of a folder or file are found, whatever their format.

A format is one file with one :class:`Reader`: it says by looking whether a path is of its format
(:meth:`Reader.detect`) and lists what is there (:meth:`Reader.collect`). :func:`open_data` asks every reader there is.
Opening lists and checks; samples are decoded one at a time by :meth:`Reader.read`, which several threads may call.
"""

import inspect
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

import striate.data.formats
from striate.core.errors import InputError
from striate.core.spec import discover
from striate.data.collection import ALL, Array, Collection, ReaderOptions
from striate.data.fingerprint import combined, of_files
from striate.data.imagefiles import ImageFiles
from striate.data.images import Blob, ImageHeader
from striate.data.paths import kind_of, said, shortened, visible
from striate.data.problems import Problem

if TYPE_CHECKING:
    from striate.core.sample import Sample, Target

_formats: dict[str, type["Reader"]] = {}


class Reader(ABC):
    """A data set opened for reading.

    Attributes: ``format``, ``found`` (what was found and why it is taken for this format), ``classes``, ``target`` (the
    name of the sample's target), ``multi_label`` (several classes a sample, or a pixel), ``labels``, ``splits`` (name
    to positions; ``all`` where there are none), ``skipped``, ``problems``, ``settled`` (the options with what was found
    out put in). Errors of construction: ``InputError`` naming what cannot be used.

    ``certainty`` orders formats that fit the same path: 0 for those that need nothing but files of a kind, 1 for those
    with a form of their own, 2 for those recognised by annotations that only they have. The most certain is taken.
    ``listed`` False keeps a reader that no path is of out of the formats.
    """

    format: ClassVar[str]
    certainty: ClassVar[int] = 1
    listed: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if inspect.isabstract(cls) or not cls.listed:
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
        self.multi_label = collection.multi_label or (collection.labels is not None and collection.labels.ndim == 2)
        self.skipped: list[tuple[str, str]] = list(collection.skipped)
        self.problems: list[Problem] = list(collection.problems)
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
        """A sample with its targets. Safe to call from several threads. Errors: ``InputError`` if it is unreadable.

        ``original`` is its size as annotated; an image decoded smaller has its targets moved with it.
        """
        import torch

        from striate.core.sample import Mask, Sample
        from striate.core.transform import Resize

        image, size = self.pixels(position)
        if not image.transpose(
            *range(1, image.ndim), 0
        ).flags.c_contiguous:  # interleaved pixels are resized fastest as they are
            image = np.ascontiguousarray(image)
        tensor = torch.from_numpy(image if image.flags.writeable else image.copy())
        targets, shape = self.targets(position), tuple(image.shape[1:])
        if size != shape:
            by = Resize(size=shape).map(size)
            # a mask of another size than its image stays as it is: what prepares the sample sees that, and says so
            targets = {
                name: one if isinstance(one, Mask) and tuple(one.values.shape) != size else one.move(by)
                for name, one in targets.items()
            }
        return Sample(tensor, targets, self.name(position), self.group(position), size)

    @final
    def pixels(self, position: int) -> tuple[Array, tuple[int, ...]]:
        """:meth:`image`, and the spatial size as annotated, which is larger where the image was decoded smaller.
        Errors: ``InputError``."""
        image, sizes = self.image(position), self._collection.sizes
        return image, tuple(image.shape[1:]) if sizes is None else sizes(position)

    @final
    def size(self, position: int) -> tuple[int, ...]:
        """The spatial size of a sample as annotated, without decoding it where the format can tell. Errors:
        ``InputError``."""
        if self._collection.sizes is None:
            return tuple(self.image(position).shape[1:])
        return self._collection.sizes(position)

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
    def label_values(self, positions: Sequence[int]) -> NDArray[Any] | None:
        """What the labels of samples are as arrays, where a label is all they have: int64 (n,), float32 (n, K) where
        each may have several of K, or None for no labels. Errors: ``ValueError`` where targets are more than that."""
        if not self.plain:
            raise ValueError("the samples have targets other than labels")
        if self.labels is None:
            return None
        return np.asarray(self.labels[list(positions)]).astype(np.float32 if self.multi_label else np.int64)

    @property
    def plain(self) -> bool:
        """Whether all that samples have for targets is a label, or nothing."""
        return self._collection.targets is None

    @property
    def image_dtype(self) -> str:
        """The numeric type of the samples: uint8, uint16 or float32. Errors: ``InputError`` when none can be read."""
        for position in range(len(self)):
            try:
                return str(self.image(position).dtype)
            except InputError:
                continue
        raise InputError(self.path, "none of its samples can be read", "correct the data")

    @final
    def source_file(self, position: int) -> Path | None:
        """The image file that is this sample, or None where it is a part of a larger file or was generated."""
        images = self._collection.images
        source = images.files[position] if isinstance(images, ImageFiles) else None
        return None if source is None or isinstance(source, Blob) else Path(source)

    @final
    def header(self, position: int) -> ImageHeader | None:
        """What the header of a sample's image says, without decoding it; None where it is no image file. Errors:
        ``InputError``."""
        images = self._collection.images
        return images.header(position) if isinstance(images, ImageFiles) else None

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
        # one class is enough to find or to outline: what is no object is the other
        needed = min(self.options.minimum_classes, 1) if self.target != "label" else self.options.minimum_classes
        if self.options.multi_label and self.target != "label" and not self.multi_label:
            cause = f"several classes a pixel were asked for (multi_label), and its target, {self.target}, has one each"
            fix = "read it with --target mask" if self.target != "mask" else "leave that out, or give a mask a class"
            raise InputError(self.path, cause, fix)
        if len(self.classes) < needed:
            raise InputError(
                self.path,
                f"{len(self.classes)} class found ({shortened(self.classes)}), at least "
                f"{needed} are needed to tell apart",
                "add samples of another class",
            )


def readers() -> dict[str, type[Reader]]:
    """Every reader there is, by the name of its format."""
    discover(striate.data.formats)
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
        if os.path.lexists(place):  # the words of generated sets are no paths
            _demand_path(place)
        return known[format](place, options)
    found = {name: reason for name, cls in known.items() if (reason := cls.detect(place)) is not None}
    most = max((known[name].certainty for name in found), default=0)
    found = {name: reason for name, reason in found.items() if known[name].certainty == most}
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
        "put the images of each class into a folder of its own, or see docs/data.md for the layout of each format",
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
