"""What a reader is told and what it gives: options, splits, and everything found before a sample is decoded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from striate.core.spec import Spec
from striate.data.problems import Problem

if TYPE_CHECKING:
    from striate.core.sample import Target

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
    read. ``multi_label`` says whether a sample, or a pixel of a mask, may carry several labels (None: found out).

    ``target`` chooses what is to be learned where a set offers several: labels, boxes, masks or keypoints. ``images``
    is the folder of the images where labels lie elsewhere. Of masks, ``void`` is the value that means unknown and
    ``border`` the width in pixels of the class that instance masks get between touching objects (0: none).
    ``box_origin`` is the coordinate of the first pixel in VOC files, 0 or 1. ``decode_at_least``: a JPEG may be decoded
    at 1/2, 1/4 or 1/8 of its size as long as its shorter side keeps this many pixels (0: always whole).
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
    target: Literal["label", "boxes", "mask", "keypoints"] | None = None
    images: str | None = None
    void: int | None = None
    border: int = 0
    box_origin: Literal[0, 1] | None = None
    decode_at_least: int = 0


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

    ``target`` is what is learned: ``label``, ``boxes``, ``mask`` or ``keypoints``; ``targets`` then gives a target of
    that name, of the kind of that name (boxes as annotated, wrong ones included: preparing drops and lists them).
    ``multi_label`` says that the values of masks are bit sets of classes (:mod:`striate.core.bitsets`).
    ``sizes`` is the spatial size of a sample as annotated, found without decoding it; where an image is decoded smaller
    than that, targets are moved with it. ``problems`` are all annotations and files that were left out or are in doubt.
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
    multi_label: bool = False
    targets: "Callable[[int], dict[str, Target]] | None" = None
    note: Callable[[int], str | None] | None = None
    sources: Sequence[Path] = ()
    settled: Mapping[str, Any] = field(default_factory=dict)
    sizes: Callable[[int], tuple[int, ...]] | None = None
    problems: Sequence[Problem] = ()


def splits_of(names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """The positions of each split, given the split of every sample (``train``, ``val``, ``test`` or ``all``)."""
    found = np.array(names)
    return {name: np.flatnonzero(found == name) for name in ("train", "val", "test", ALL) if (found == name).any()}
