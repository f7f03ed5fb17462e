"""Reader of WebDataset shards: tars in which the files of one sample have one name and different endings.

One tar, a folder of tars, folders ``train``, ``val`` and ``test`` of tars, or ``train-{000000..000123}.tar``. The key
of a sample is the name of a member up to the first dot of its last part; what follows says what the member is:

- ``.jpg``, ``.jpeg``, ``.png``, ``.webp``: the image (``.npy``: the signal or array);
- ``.cls``: its class, a number or a name; else ``.json`` with ``label``, ``class`` or ``cls``; else ``.txt``.

``classes.txt`` or ``classnames.txt`` beside the tars names the classes by number, one a line. The split of a tar is a
word of its name, or its folder. Tars are never extracted: see :mod:`striate.data.formats.tarindex`. Compressed tars are
refused, because one sample of them cannot be read without all before it.
"""

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import InputError
from striate.data.collection import ALL, Array, Collection, Layout, splits_of
from striate.data.formats.arrays import collected, find_layout
from striate.data.formats.folders import first_images
from striate.data.formats.splitlists import read_lines
from striate.data.formats.tarfiles import PACKED, RANGE, Tar, find_tars
from striate.data.formats.tarindex import Member, TarImages, index_tar, read_member, reading
from striate.data.formats.tarlabels import LABELS, Value, numbered, read_names, read_value
from striate.data.imagefiles import image_files
from striate.data.npy import read_array
from striate.data.problems import Problem
from striate.data.reader import Reader

IMAGES = ("jpg", "jpeg", "png", "webp")
SIGNAL = "npy"
CLASS_LISTS = ("classes.txt", "classnames.txt")
_PEEKED = 32


@dataclass(frozen=True, slots=True)
class _Item:
    """A sample: which tar it is in, its member and name, its class as stated (None: none)."""

    tar: int
    member: Member
    name: str
    value: Value | None


@dataclass
class _Found:
    """The samples of all tars, and what was left out. ``unread``: the first and the number of members by ending."""

    items: list[_Item] = field(default_factory=list)
    unread: dict[str, tuple[str, int]] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, code: str, name: str, detail: str) -> None:
        self.problems.append(Problem(code, name, detail))


class WebDatasetReader(Reader):
    """Tars of samples, read in place. With ``labelled`` False members that say the class are passed over."""

    format = "webdataset"

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """Tars whose first members are images or arrays, and no folders of images beside them."""
        try:
            if RANGE.search(path.name) and not path.exists():
                return "a numbered range of tars" if path.name.endswith(".tar") else None
            tars = find_tars(path, [])
            if not tars or (path.is_dir() and _images_beside(path)):
                return None
            if tars[0].path.name.lower().endswith(PACKED):
                return "a compressed tar"
            endings = {_divided(one.name)[1] for one in index_tar(tars[0].path, _PEEKED).members}
        except (OSError, ValueError, RuntimeError, InputError):
            return None
        found = sorted(ending for ending in endings if _last(ending) in (*IMAGES, SIGNAL))
        return f"a tar of samples (.{', .'.join(found)})" if found else None

    def collect(self) -> Collection:
        """Read the headers of every tar, and the members that say classes. Errors: ``InputError`` naming the tar."""
        found = _Found()
        tars = find_tars(self.path, found.problems)
        if not tars:
            raise InputError(self.path, "there is no tar", "give a tar, or a folder of tars")
        base = self.path if self.path.is_dir() else self.path.parent
        for number, tar in enumerate(tars):
            _read_tar(found, number, tar, os.path.relpath(tar.path, base), self.options.labelled)
        for ending, (first, count) in found.unread.items():
            found.skipped.append((first, f"members .{ending} are not read ({count} of them)"))
        if not self.options.labelled:
            return self._collected(found, tars, found.items, None, (), None)
        beside = _class_list(base, tars)
        given = None if beside is None else read_names(read_lines(beside), beside)
        items = _with_class(found, tars, self.path)
        rows, classes = numbered([item.value for item in items if item.value is not None], given, self.path)
        for item, row in zip(items, rows.tolist(), strict=True):
            if row < 0:
                known = f"one of the {len(classes)} in {beside.name}" if beside else "a class: it is under zero"
                found.problem("class-undeclared", item.name, f"{item.value!r} is not {known}; left out")
        kept = np.flatnonzero(rows >= 0)
        return self._collected(found, tars, [items[at] for at in kept], rows[kept], classes, beside)

    def _collected(
        self,
        found: _Found,
        tars: Sequence[Tar],
        items: Sequence[_Item],
        labels: NDArray[np.int64] | None,
        classes: tuple[str, ...],
        beside: Path | None,
    ) -> Collection:
        paths = [tar.path for tar in tars]
        endings = {_last(_divided(item.member.name)[1]) == SIGNAL for item in items}
        if len(endings) > 1:
            raise InputError(self.path, "some samples are images and some arrays (.npy)", "put them into two sets")
        splits = [tars[item.tar].split for item in items]
        parts = splits_of(splits)
        counted = ", ".join(f"{len(rows)} {name}" for name, rows in parts.items() if name != ALL)
        of = "" if labels is None else f" of {len(classes)} classes{f' (named by {beside.name})' if beside else ''}"
        where = f"in {len(tars)} tar{'s' if len(tars) > 1 else ''}, WebDataset (members .{_endings(items)} under keys)"
        said = f"{of}{f' ({counted})' if counted else ''} {where}"
        names, sources = [item.name for item in items], [*paths, *([beside] if beside else [])]
        if endings == {True}:
            arrays = TarArrays([(paths[item.tar], item.member) for item in items], self.options.layout)
            return Collection(
                images=arrays,
                found=f"{len(items)} arrays{said}, read as {arrays.layout}",
                names=names,
                labels=labels,
                classes=classes,
                splits=parts,
                skipped=found.skipped,
                sources=sources,
                settled={"layout": arrays.layout},
                problems=found.problems,
            )
        files = TarImages(paths, [item.tar for item in items], [item.member for item in items])
        images = image_files(files, self.options)
        return Collection(
            images=images,
            found=f"{len(items)} images{said}{f', {images.form}' if items else ''}",
            names=names,
            labels=labels,
            classes=classes,
            splits=parts,
            skipped=found.skipped,
            note=images.note,
            sizes=images.size,
            settled=images.settled,
            sources=sources,
            problems=found.problems,
        )


class TarArrays:
    """NPY members of tars as samples (channels, *spatial), each read when it is asked for.

    ``layout`` is the one given, or that of the first. Errors: ``InputError`` naming the member.
    """

    def __init__(self, places: Sequence[tuple[Path, Member]], layout: Layout | None) -> None:
        self._places = places
        self.layout = layout or self._found_layout()

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, position: int) -> Array:
        array = self._array(position)
        sample: Array = collected(self._places[position][0], {None: array[None]}, {}, layout=self.layout).images[0]
        return sample

    def _array(self, position: int) -> Array:
        path, member = self._places[position]
        return read_array(io.BytesIO(read_member(path, member)), member.size, f"{path}: {member.name}")

    def _found_layout(self) -> Layout:
        first = self._array(0)
        return find_layout((1, *first.shape), first.dtype, f"{self._places[0][0]}: {self._places[0][1].name}")


def _read_tar(found: _Found, number: int, tar: Tar, name: str, labelled: bool) -> None:
    """Add the samples of one tar, in the order of their keys."""
    index = index_tar(tar.path)
    found.skipped += [(f"{name}: {member}", reason) for member, reason in index.skipped]
    if not index.ended:
        found.problem("truncated", name, "it has no mark of its end: it may have been cut between two samples")
    keys: dict[str, dict[str, Member]] = {}
    for member in index.members:
        key, ending = _divided(member.name)
        if not ending or not key or key.endswith("/"):
            found.skipped.append((f"{name}: {member.name}", "its name has no key and ending, as in 0001.jpg"))
        elif ending in keys.setdefault(key, {}):
            found.problem("duplicate", f"{name}: {member.name}", "the name comes twice in the tar; the first is taken")
        else:
            keys[key][ending] = member
    with reading(tar.path) as read:
        for key, parts in keys.items():
            _read_sample(found, number, f"{name}/{key}", parts, read if labelled else None)


def _read_sample(
    found: _Found, number: int, name: str, parts: dict[str, Member], read: Callable[[Member], bytes] | None
) -> None:
    """Add the sample of one key. ``read`` reads its label, which is passed over where it is None."""
    choices = sorted((ending for ending in parts if _last(ending) in (*IMAGES, SIGNAL)), key=_rank)
    for ending in parts:
        if ending not in LABELS and ending not in choices[:1]:
            first, count = found.unread.get(ending, (f"{name}.{ending}", 0))
            found.unread[ending] = (first, count + 1)
    if not choices:
        if any(ending in LABELS for ending in parts):
            found.problem("label-without-image", name, f"only .{', .'.join(parts)}")
        return
    value = None
    if read is not None:
        try:
            value = read_value(read, parts)
        except ValueError as error:
            found.problem("label-unreadable", name, f"{error}; left out")
            return
    member = parts[choices[0]]
    found.items.append(_Item(number, member, f"{name}.{choices[0]}", value))


def _with_class(found: _Found, tars: Sequence[Tar], where: Path) -> list[_Item]:
    """The samples whose class is stated. A split without any class (a test set kept secret) is left out whole.

    Errors: ``InputError`` when no sample states one.
    """
    kept = [item for item in found.items if item.value is not None]
    if not kept and found.items:
        raise InputError(
            where,
            f"none of its {len(found.items)} samples has a class (.{', .'.join(LABELS)})",
            "add the number of its class to each as .cls",
        )
    known = {tars[item.tar].split for item in kept}
    without = [item for item in found.items if item.value is None]
    for split in dict.fromkeys(tars[item.tar].split for item in without):
        names = [item.name for item in without if tars[item.tar].split == split]
        if split in known:
            found.problems += [Problem("image-without-label", name, "left out") for name in names]
        else:
            found.skipped.append((split, f"a split of {len(names)} samples without classes"))
    return kept


def _class_list(base: Path, tars: Sequence[Tar]) -> Path | None:
    """The file that names the classes, beside the tars or their folders. Errors: ``InputError`` when there are two."""
    folders = dict.fromkeys([base, *(tar.path.parent for tar in tars)])
    found = [folder / name for folder in folders for name in CLASS_LISTS if (folder / name).is_file()]
    if len(found) > 1:
        raise InputError(found[1], f"the classes are named in {found[0].name} too", "keep one of the two")
    return found[0] if found else None


def _divided(name: str) -> tuple[str, str]:
    """Key and ending of a member: divided at the first dot of the last part."""
    folder, slash, last = name.rpartition("/")
    stem, _, ending = last.partition(".")
    return f"{folder}{slash}{stem}", ending.lower()


def _last(ending: str) -> str:
    return ending.rpartition(".")[2]


def _rank(ending: str) -> tuple[int, int]:
    """Which of several images is the sample's: one with a plain ending before ``image.png`` before ``seg.png``."""
    order = (*IMAGES, SIGNAL)
    return (0 if ending in order else 1 if ending.startswith(("image.", "img.", "input.")) else 2), order.index(
        _last(ending)
    )


def _endings(items: Sequence[_Item]) -> str:
    return ", .".join(sorted({_divided(item.member.name)[1] for item in items[:1000]}))


def _images_beside(path: Path) -> bool:
    """Whether a folder has images that are files of their own: then tars in it are something else."""
    return next(first_images(path), None) is not None
