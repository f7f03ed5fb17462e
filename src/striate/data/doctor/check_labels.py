"""What the classes, splits and groups of a set show: counts, and what is wrong with them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.data.collection import ALL
from striate.data.doctor.check_masks import is_background
from striate.data.doctor.diagnosis import Fault
from striate.data.doctor.look import Seen
from striate.data.paths import shortened
from striate.data.problems import Problem
from striate.data.reader import Reader

RARE = 10
"""Samples (or boxes) of a class under which it is rare."""
UNEQUAL = 10.0
"""How many times as many samples or boxes the largest class has as the smallest before it is said."""
UNEQUAL_PIXELS = 100.0
"""The same of pixels: outlines of objects are never as large as what is behind them."""
SMALL = 20
"""Samples in a split under which it is too small to measure with."""

Counts = dict[str, dict[str, list[int]]]


class _Unit(NamedTuple):
    """What classes are counted in: its key in the counts, in words, and the ratio from which on it is unequal."""

    key: str
    words: str
    unequal: float


def counted(reader: Reader, seen: Sequence[Seen]) -> Counts:
    """For each split how many ``samples`` show each class, and how many ``boxes`` or ``pixels`` there are."""
    size, by_position = len(reader.classes), {one.position: one for one in seen}
    counts: Counts = {}
    for name, positions in reader.splits.items():
        some = [by_position[position] for position in positions.tolist() if position in by_position]
        counts[name] = found = {}
        if reader.labels is not None:
            found["samples"] = _label_counts(reader.labels[positions], size)
        boxed = [one.classes for one in some if one.classes is not None]
        if boxed:
            found["samples"] = _summed([np.unique(classes) for classes in boxed], size)
            found["boxes"] = _summed(boxed, size)
        masked = [one.pixels for one in some if one.pixels is not None]
        if masked:
            found["samples"] = np.sum([pixels > 0 for pixels in masked], axis=0).tolist()
            found["pixels"] = np.sum(masked, axis=0).tolist()
    return counts


def _label_counts(labels: NDArray[np.generic], size: int) -> list[int]:
    if labels.ndim == 2:
        return [int(count) for count in labels.astype(bool).sum(axis=0)]
    known = labels[labels.astype(np.int64) >= 0].astype(np.int64)
    return [int(count) for count in np.bincount(known, minlength=size)[:size]]


def _summed(numbers: Sequence[NDArray[np.int64]], size: int) -> list[int]:
    joined = np.concatenate(numbers)
    joined = joined[(joined >= 0) & (joined < size)]
    return [int(count) for count in np.bincount(joined, minlength=size)]


def label_faults(reader: Reader, counts: Counts, problems: Sequence[Problem], *, complete: bool) -> Iterator[Fault]:
    """What is wrong with classes, splits and groups. ``complete``: the counts are of all samples."""
    yield from _alike(reader.classes)
    yield from _splits(reader)
    yield from _groups(reader)
    unit = _unit(counts)
    if unit is None or not complete or not reader.classes:
        return
    total = np.sum([one[unit.key] for one in counts.values() if unit.key in one], axis=0)
    yield from _unused(reader.classes, total, problems)
    yield from _unequal(reader.classes, counts, unit)
    yield from _missing(reader.classes, counts, unit)


def _unit(counts: Counts) -> _Unit | None:
    units = (
        _Unit("boxes", "boxes", UNEQUAL),
        _Unit("pixels", "pixels", UNEQUAL_PIXELS),
        _Unit("samples", "samples", UNEQUAL),
    )
    return next((unit for unit in units if any(unit.key in one for one in counts.values())), None)


def _alike(classes: Sequence[str]) -> Iterator[Fault]:
    forms: dict[str, str] = {}
    for name in classes:
        form = re.sub(r"[\s_\-.]+", "", name.casefold())
        if form and form in forms:
            yield Fault("class-names-alike", "", f"{forms[form]!r} and {name!r}")
        forms.setdefault(form, name)


def _splits(reader: Reader) -> Iterator[Fault]:
    sizes = {name: len(positions) for name, positions in reader.splits.items()}
    if sizes and "val" not in sizes and reader.options.labelled:
        words = "there are no splits" if set(sizes) == {ALL} else f"there are {' and '.join(sizes)}"
        yield Fault("no-validation", "", words)
    for name in ("val", "test"):
        if name in sizes and sizes[name] < SMALL:
            yield Fault("split-small", "", f"{name} has {sizes[name]} of {len(reader)} samples")


def _groups(reader: Reader) -> Iterator[Fault]:
    where: dict[str, dict[str, int]] = {}
    for split, positions in reader.splits.items():
        for position in positions.tolist():
            group = reader.group(position)
            if group is not None:
                where.setdefault(group, {}).setdefault(split, position)
    for group, found in where.items():
        if len(found) > 1:
            samples = tuple(found.values())
            detail = f"group {group} is in {' and '.join(found)}"
            yield Fault("group-split", reader.name(samples[0]), detail, samples)


def _unused(classes: Sequence[str], total: NDArray[np.int64], problems: Sequence[Problem]) -> Iterator[Fault]:
    unused = [number for number, count in enumerate(total.tolist()) if not count]
    beyond = str(len(classes))
    strange = [one for one in problems if one.code in ("class-undeclared", "mask-values")]
    shifted = [one for one in strange if beyond in re.findall(r"-?\d+", one.detail)]
    if 0 in unused and shifted and len(classes) > 1:
        detail = (
            f"id {beyond} is used, 0 is not, and {len(classes)} classes are declared: ids seem to be counted from 1"
        )
        yield Fault("class-offset", shifted[0].file, detail)
    for number in unused:
        yield Fault("class-unused", "", f"class {number}, {classes[number]}")


def _unequal(classes: Sequence[str], counts: Counts, unit: _Unit) -> Iterator[Fault]:
    name = "train" if "train" in counts else next(iter(counts))
    used = [(count, label) for label, count in enumerate(counts[name].get(unit.key, ())) if count]
    if len(used) < 2:
        return
    where = "" if name == ALL else f" in {name}"
    if unit.key != "pixels":
        for count, label in used:
            if count < RARE:
                what = unit.words if count > 1 else {"boxes": "box"}.get(unit.words, unit.words.removesuffix("s"))
                yield Fault("class-rare", "", f"{classes[label]}: {count} {what}{where}")
    if unit.key == "pixels" and is_background(classes):
        used = [one for one in used if one[1] != 0]
    (low, rarest), (high, commonest) = min(used), max(used)
    if high > unit.unequal * low and len(used) > 1:
        detail = (
            f"{classes[commonest]} has {high:,} {unit.words}{where}, {classes[rarest]} {low:,}: {high / low:.0f} to 1"
        )
        yield Fault("imbalance", "", detail)


def _missing(classes: Sequence[str], counts: Mapping[str, Mapping[str, Sequence[int]]], unit: _Unit) -> Iterator[Fault]:
    if "train" not in counts:
        return
    trained = counts["train"].get(unit.key, [0] * len(classes))
    for split in (name for name in ("val", "test") if name in counts):
        tested = counts[split].get(unit.key, [0] * len(classes))
        pairs = list(zip(classes, trained, tested, strict=True))
        lacking = [name for name, here, there in pairs if here and not there]
        if lacking:
            yield Fault("class-missing-in-split", "", f"{split} lacks {len(lacking)}: {shortened(lacking)}")
        untrained = [name for name, here, there in pairs if there and not here]
        for name in untrained:
            yield Fault("class-never-trained", "", f"{name} is in {split} only")
