"""Reader of NumPy files: an NPZ, a folder of NPY files, or one NPY beside its labels.

Names of arrays: samples are ``images``, ``x``, ``data``, ``signals``, ``samples`` or ``volumes``; labels are
``labels``, ``label``, ``y``, ``targets`` or ``target``; both with the name of a split before or after (``x_train``,
``test_labels``). ``x`` beside ``x_test`` is the training split. Optional: ``classes`` (or ``class_names``), one name a
class, and ``groups`` or ``group``, ``split`` or ``splits``, one value a sample. Case does not matter.

Labels are whole numbers, text, one row of 0 and 1 a sample (several ones: several labels) or truth values.
uint8 and uint16 are kept; truth values become 0 and 255, everything else float32.

The axes, when ``layout`` does not name them (N first; C channels, L length, D H W space), with "few" meaning 1 to 4:

- 2 dimensions: NL.
- 3: the last few, not the middle: NLC. The middle few, not the last: NCL. Else whole numbers of 8 or 16 bits, or equal
  last dimensions: NHW. Else, when one is at least twice the other, the smaller is the channels: NCL or NLC. Else NHW.
- 4: the last few, not the second: NHWC. The second few, not the last: NCHW. All three equal: NDHW. Else it is asked.
- 5: the second few, not the last: NCDHW; the last few, not the second: NDHWC. Else it is asked.
"""

import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from striate.core.disk import open_file
from striate.core.errors import InputError
from striate.data.collection import SPLIT_NAMES, Array, Collection, Layout, splits_of
from striate.data.formats.labels import Labels, read_labels
from striate.data.npy import read_array, read_npy
from striate.data.paths import shortened
from striate.data.reader import Reader

SAMPLES = ("images", "x", "data", "signals", "samples", "volumes")
LABELS = ("labels", "label", "y", "targets", "target")
_OTHERS = {"classes": ("classes", "class_names"), "groups": ("groups", "group"), "splits": ("splits", "split")}
_MOST_DEFLATED = 1040
"""Deflate cannot expand by more than about 1032; a claim beyond is false."""
FEW = range(1, 5)


@dataclass(frozen=True)
class _Found:
    """One array by its role: ``samples``, ``labels`` or another, and the split its name says."""

    name: str
    role: str
    split: str | None


class ArrayReader(Reader):
    """NPZ and NPY files."""

    format = "arrays"
    certainty = 0

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """By the extension, or by the names of the NPY files in a folder."""
        try:
            if path.is_file():
                return f"a {path.suffix[1:].upper()} file" if path.suffix.lower() in (".npz", ".npy") else None
            names = [entry.name for entry in os.scandir(path)] if path.is_dir() else []
        except (OSError, ValueError):
            return None
        stems = [name[:-4] for name in names if name.lower().endswith(".npy")]
        if any(_role(stem).role == "samples" for stem in stems):
            return "a folder of NPY files"
        return "a folder with one NPZ file" if _packed(names) is not None else None

    def collect(self) -> Collection:
        """Read the headers, then the arrays. Errors: ``InputError``, before anything large is allocated."""
        arrays, sources = _load(self.path)
        found = {name: _role(name) for name in arrays}
        samples = {one.split: arrays[name] for name, one in found.items() if one.role == "samples"}
        labels = {one.split: arrays[name] for name, one in found.items() if one.role == "labels"}
        others = {one.role: arrays[name] for name, one in found.items() if one.role in _OTHERS}
        unknown = [name for name, one in found.items() if one.role == "unknown"]
        _demand_once(self.path, found)
        if not samples:
            samples = _only(self.path, arrays, labels, unknown)
        return collected(
            self.path,
            samples,
            labels if self.options.labelled else {},
            layout=self.options.layout,
            multi_label=self.options.multi_label,
            others=others,
            sources=sources,
            skipped=[(name, "an array whose name says neither samples nor labels") for name in unknown],
        )


def collected(
    where: Path,
    samples: Mapping[str | None, Array],
    labels: Mapping[str | None, Array],
    *,
    layout: Layout | None = None,
    multi_label: bool | None = None,
    others: Mapping[str, Array] | None = None,
    sources: Sequence[Path] = (),
    skipped: Sequence[tuple[str, str]] = (),
) -> Collection:
    """A collection of arrays in memory, by split (None: without). Errors: ``InputError`` where they do not fit."""
    others = others or {}
    arrays, answers = _named(samples, where), _named(labels, where)
    if answers and set(answers) != set(arrays):
        raise InputError(
            where,
            f"samples of {shortened(list(arrays))}, labels of {shortened(list(answers))}",
            "give both for every split",
        )
    for split, array in answers.items():
        if array.ndim == 0 or len(array) != len(arrays[split]):
            raise InputError(
                where,
                f"{len(arrays[split])} samples, labels of shape {array.shape} ({split})",
                "give one label a sample",
            )
    first = next(iter(arrays.values()))
    layout = layout or find_layout(first.shape, first.dtype, where)
    parts = [_Stack(array, layout, where) for array in arrays.values()]
    read = (
        read_labels([answers[split] for split in arrays], others.get("classes"), multi_label, where)
        if answers
        else Labels()
    )
    count = sum(map(len, parts))
    split_of = [split for split, part in zip(arrays, parts, strict=True) for _ in range(len(part))]
    if "splits" in others and list(arrays) == ["all"]:
        split_of = [_split_name(value, where) for value in _one_each(others["splits"], count, "split", where)]
    groups = _one_each(others["groups"], count, "group", where) if "groups" in others else None
    shape = " x ".join(map(str, first.shape[1:]))
    return Collection(
        images=_Parts(parts),
        found=f"{count} samples of {shape} read as {layout}, {first.dtype}",
        names=_Numbers(split_of),
        labels=read.values,
        classes=read.classes,
        splits=splits_of(split_of),
        groups=groups,
        skipped=list(skipped),
        sources=sources,
        settled={"layout": layout},
    )


class _Numbers(Sequence[str]):
    """Names of samples that have none: the split and the number in it, made when asked for."""

    def __init__(self, split_of: list[str]) -> None:
        self.split_of = split_of
        counts = dict.fromkeys(split_of, -1)
        self.number = []
        for split in split_of:
            counts[split] += 1
            self.number.append(counts[split])

    def __len__(self) -> int:
        return len(self.split_of)

    def __getitem__(self, position: Any) -> Any:
        split = self.split_of[position]
        return f"{'' if split == 'all' else split + '/'}{self.number[position]}"


class _Stack:
    """Samples in one array, brought to (channels, *spatial) one at a time."""

    def __init__(self, array: Array, layout: Layout, where: Path) -> None:
        if array.ndim != len(layout):
            raise InputError(
                where,
                f"an array of {array.ndim} dimensions, {array.shape}, for the layout {layout}",
                "name as many axes as there are",
            )
        if 0 in array.shape[1:]:
            raise InputError(where, f"samples without any value, shape {array.shape}", "remove the array")
        if array.dtype.kind not in "biuf":
            raise InputError(where, f"samples of type {array.dtype}", "save them as whole numbers or floats")
        axes = layout[1:]
        self.array = array
        self.order = None if "C" not in axes else (axes.index("C"), *(i for i, a in enumerate(axes) if a != "C"))

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, position: int) -> Array:
        sample: Array = self.array[position]
        sample = sample[None] if self.order is None else sample.transpose(self.order)
        if sample.dtype.kind == "b":
            return sample.astype(np.uint8) * np.uint8(255)
        if sample.dtype.kind == "u" and sample.dtype.itemsize <= 2:
            return np.ascontiguousarray(sample, dtype=sample.dtype.newbyteorder("="))
        with np.errstate(over="ignore"):  # what overflows is not finite, and is skipped for it when prepared
            return np.ascontiguousarray(sample, dtype=np.float32)


class _Parts:
    """The samples of several stacks, one after the other."""

    def __init__(self, parts: list[_Stack]) -> None:
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, position: int) -> Array:
        which = int(np.searchsorted(self.ends, position, side="right"))
        return self.parts[which][position - (int(self.ends[which - 1]) if which else 0)]


def find_layout(shape: tuple[int, ...], dtype: np.dtype[Any], where: object) -> Layout:
    """The axes of an array by the rules of the module's documentation. Errors: ``InputError`` when they cannot tell."""
    rest = shape[1:]
    if len(rest) == 1:
        return "NL"
    if len(rest) == 2:
        middle, last = rest
        if last in FEW and middle not in FEW:
            return "NLC"
        if middle in FEW and last not in FEW:
            return "NCL"
        whole = dtype.kind in "bu" and dtype.itemsize <= 2
        if whole or middle == last or max(rest) < 2 * min(rest):
            return "NHW"
        return "NCL" if middle < last else "NLC"
    if len(rest) in (3, 4):
        channels_first, channels_last = rest[0] in FEW, rest[-1] in FEW
        if channels_last and not channels_first:
            return "NHWC" if len(rest) == 3 else "NDHWC"
        if channels_first and not channels_last:
            return "NCHW" if len(rest) == 3 else "NCDHW"
        if len(rest) == 3 and len(set(rest)) == 1:
            return "NDHW"
        choices = "NCHW, NHWC or NDHW" if len(rest) == 3 else "NCDHW or NDHWC"
        raise InputError(
            where, f"the shape {shape} does not tell which axis is the channels", f"set layout to {choices}"
        )
    raise InputError(
        where, f"samples in an array of {len(shape)} dimensions, {shape}", "give 2 to 5 dimensions, N first"
    )


def _role(name: str) -> _Found:
    """What an array's name says."""
    parts = name.lower().replace("-", "_").split("_")
    split = None
    for position in (0, -1):
        if len(parts) > 1 and split is None and parts[position] in SPLIT_NAMES:
            split = SPLIT_NAMES[parts.pop(position)]
    rest = "_".join(parts)
    if rest in SAMPLES or rest in LABELS:
        return _Found(name, "samples" if rest in SAMPLES else "labels", split)
    return _Found(
        name, next((role for role, names in _OTHERS.items() if rest in names and not split), "unknown"), split
    )


def _demand_once(where: Path, found: Mapping[str, _Found]) -> None:
    seen: dict[tuple[str, str | None], str] = {}
    for name, one in found.items():
        other = seen.setdefault((one.role, one.split), name)
        if one.role != "unknown" and other != name:
            raise InputError(where, f"both {other!r} and {name!r} hold {one.role}", "remove or rename one")


def _only(
    where: Path, arrays: Mapping[str, Array], labels: Mapping[str | None, Array], unknown: list[str]
) -> dict[str | None, Array]:
    """The samples where no name says so: the only array of two or more dimensions that has no other role."""
    candidates = [name for name in unknown if arrays[name].ndim >= 2]
    if len(candidates) != 1:
        raise InputError(
            where,
            f"no array is called {', '.join(SAMPLES)}; there are: {shortened(list(arrays)) or 'none'}",
            "rename the array of samples",
        )
    unknown.remove(candidates[0])
    return {next(iter(labels), None): arrays[candidates[0]]}


def _named(parts: Mapping[str | None, Array], where: Path) -> dict[str, Array]:
    """Splits by their names in order: what has no split is training where others have one, else ``all``."""
    if None in parts and "train" in parts:
        raise InputError(where, "arrays of a training split and arrays of no split", "name the split of every array")
    rest = "train" if len(parts) > 1 else "all"
    named = {split or rest: array for split, array in parts.items()}
    return {name: named[name] for name in ("train", "val", "test", "all") if name in named}


def _one_each(values: Array, count: int, what: str, where: Path) -> list[str]:
    if values.shape != (count,):
        raise InputError(where, f"{count} samples, but the {what} array has the shape {values.shape}", "give one each")
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values.tolist()]


def _split_name(value: str, where: Path) -> str:
    if value.lower() not in SPLIT_NAMES:
        raise InputError(where, f"the split {value!r} is unknown", "use train, val and test")
    return SPLIT_NAMES[value.lower()]


def _load(path: Path) -> tuple[dict[str, Array], list[Path]]:
    if path.is_dir():
        packed = _packed(os.listdir(path))
        if packed is not None:
            return _load_npz(path / packed), [path / packed]
        files = sorted(path.glob("*.npy"))
        return {file.stem: read_npy(file) for file in files}, files
    if path.suffix.lower() == ".npy":
        role = _role(path.stem)
        beside = [file for file in sorted(path.parent.glob("*.npy")) if file != path]
        labels = [file for file in beside if _role(file.stem) == _Found(file.stem, "labels", role.split)]
        files = [path, *labels[:1]]
        return {("images" if file == path else file.stem): read_npy(file) for file in files}, files
    return _load_npz(path), [path]


def _packed(names: Iterable[str]) -> str | None:
    """The one NPZ file among these names, where there is one and no NPY file."""
    found = [name for name in names if name.lower().endswith((".npz", ".npy"))]
    return found[0] if len(found) == 1 and found[0].lower().endswith(".npz") else None


def _load_npz(path: Path) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    with open_file(path) as (file, size):
        try:
            with zipfile.ZipFile(file) as archive:
                members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
                for info in members:
                    _demand_possible(info, size, path)
                for info in members:
                    with archive.open(info) as member:
                        arrays[info.filename[:-4]] = read_array(member, info.file_size, f"{path}: {info.filename}")
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise InputError(path, f"it is no NPZ file, or a damaged one ({error})", "save it again") from None
    return arrays


def _demand_possible(info: zipfile.ZipInfo, size: int, path: Path) -> None:
    if info.compress_size > size or info.file_size > _MOST_DEFLATED * max(info.compress_size, 16):
        raise InputError(
            path,
            f"{info.filename!r} claims {info.file_size:,} bytes, which its {info.compress_size:,} cannot hold",
            "save it again",
        )
