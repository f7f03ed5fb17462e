"""What samples show only beside one another: copies, near copies, mixed sizes, channels, depths and lengths."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.data.doctor.alike import alike
from striate.data.doctor.diagnosis import Fault
from striate.data.doctor.look import Seen
from striate.data.reader import Reader

PROPORTIONS = 2.0
"""How much wider the widest image is than the narrowest, in proportion, before it is said."""


class Compared(NamedTuple):
    """``copies``: groups of positions of samples that are the same. ``faults``: what they and near copies mean."""

    copies: tuple[tuple[int, ...], ...]
    faults: tuple[Fault, ...]


def compared(reader: Reader, seen: Sequence[Seen], split_of: NDArray[np.int64]) -> Compared:
    """Copies and near copies among the samples. ``split_of`` is the number of each sample's split."""
    groups: dict[bytes, list[int]] = {}
    by_position = {one.position: one for one in seen}
    for one in seen:
        if one.digest:
            groups.setdefault(one.digest, []).append(one.position)
    copies = tuple(tuple(group) for group in groups.values() if len(group) > 1)
    faults = [fault for group in copies for fault in _copies(reader, group, by_position, split_of)]
    faults += _near(reader, [by_position[group[0]] for group in groups.values()], groups, split_of)
    return Compared(copies, tuple(faults))


def _copies(
    reader: Reader, group: tuple[int, ...], seen: dict[int, Seen], split_of: NDArray[np.int64]
) -> Iterator[Fault]:
    """Every sample after the first, once: labelled otherwise, in another split, or merely there again."""
    parts = _part_names(reader)
    for position in group[1:]:
        other = next((p for p in group if p < position and split_of[p] != split_of[position]), group[0])
        names = reader.name(position), reader.name(other)
        detail = f"the same as {names[1]}"
        unlike = next((p for p in group if p < position and seen[p].target != seen[position].target), None)
        if split_of[other] != split_of[position]:
            where = f"{parts[split_of[position]]} and {parts[split_of[other]]}"
            yield Fault("leak", names[0], f"{detail} ({where})", (position, other))
        elif unlike is None:
            yield Fault("duplicate", names[0], detail, (position, other))
        if unlike is not None:
            words = f"the same as {reader.name(unlike)}, labelled {_labels(reader, position, unlike)}"
            yield Fault("duplicate-labels-differ", names[0], words, (position, unlike))


def _labels(reader: Reader, first: int, second: int) -> str:
    labels = reader.label(first), reader.label(second)
    if labels[0] is None or labels[1] is None or labels[0] == labels[1]:
        return "otherwise"
    return f"{reader.classes[labels[0]]} here, {reader.classes[labels[1]]} there"


def _near(
    reader: Reader, firsts: list[Seen], groups: dict[bytes, list[int]], split_of: NDArray[np.int64]
) -> Iterator[Fault]:
    """Every sample that is nearly another one, once, with the nearest: with one of another split where there is any."""
    printed = [(one.position, one.print) for one in firsts if one.print is not None]
    pairs = alike([one for _, one in printed])
    positions = np.array([position for position, _ in printed], dtype=np.int64)
    parts, best = _part_names(reader), dict[int, tuple[bool, float, int]]()
    for a, b, strength in zip(positions[pairs.first], positions[pairs.second], pairs.correlation, strict=True):
        apart = bool(split_of[a] != split_of[b])
        # of a pair in two splits the sample that is measured with is at fault, not the one that is learned from
        here, there = (int(a), int(b)) if (split_of[a], a) > (split_of[b], b) else (int(b), int(a))
        if (apart, strength) > best.get(here, (False, 0.0, -1))[:2]:
            best[here] = (apart, float(strength), there)
    for here, (apart, strength, there) in sorted(best.items()):
        where = f", {parts[split_of[here]]} and {parts[split_of[there]]}" if apart else ""
        detail = f"nearly {reader.name(there)} ({100 * strength:.1f} % alike{where})"
        yield Fault("near-leak" if apart else "near-duplicate", reader.name(here), detail, (here, there))
    if not pairs.complete:
        yield Fault("near-duplicate", "", "so many images are alike that not all pairs were compared")


def _part_names(reader: Reader) -> list[str]:
    return [*reader.splits, "no split"]


def split_numbers(reader: Reader) -> NDArray[np.int64]:
    """The number of the split of each sample (n,), in the order of ``reader.splits``; one more for those in none."""
    found = np.full(len(reader), len(reader.splits), dtype=np.int64)
    for number, positions in enumerate(reader.splits.values()):
        found[positions] = number
    return found


def mixed(reader: Reader, seen: Sequence[Seen]) -> Iterator[Fault]:
    """What is not the same throughout the set."""
    sized = [one for one in seen if one.size]
    if len({len(one.size) for one in sized}) == 1:
        axes = len(sized[0].size)
        code = "mixed-lengths" if axes == 1 else "mixed-sizes"
        yield from _minority(reader, sized, code, lambda one: one.size, "long" if axes == 1 else "")
        if axes == 2:
            yield from _proportions(reader, sized)
    headed = [one for one in seen if one.header is not None]
    yield from _others(reader, headed, "mixed-channels", _colour)
    yield from _others(reader, headed, "mixed-bits", _bits)


def _colour(one: Seen) -> str:
    assert one.header is not None
    return "colour" if one.header.colour else "grey"


def _bits(one: Seen) -> str:
    assert one.header is not None
    return f"{one.header.bits} bits"


def _minority(
    reader: Reader, seen: Sequence[Seen], code: str, of: Callable[[Seen], tuple[int, ...]], unit: str
) -> Iterator[Fault]:
    """One fault for each size but for sets of one size: the frequent sizes first, each with an example."""
    counts = Counter(of(one) for one in seen)
    if len(counts) < 2:
        return
    example = {of(one): one for one in reversed(seen)}
    for size, count in counts.most_common():
        one, words = example[size], " x ".join(map(str, reversed(size)))
        said = f"{words} {unit}".strip()
        yield Fault(code, reader.name(one.position), f"{said}: {count:,} samples", (one.position,))


def _others(reader: Reader, seen: Sequence[Seen], code: str, of: Callable[[Seen], Hashable]) -> Iterator[Fault]:
    """A fault for every sample that is not as most are."""
    counts = Counter(of(one) for one in seen)
    if len(counts) < 2:
        return
    most = counts.most_common(1)[0]
    for one in seen:
        if of(one) != most[0]:
            detail = f"{of(one)}, where {most[1]:,} of {len(seen):,} are {most[0]}"
            yield Fault(code, reader.name(one.position), detail, (one.position,))


def _proportions(reader: Reader, seen: Sequence[Seen]) -> Iterator[Fault]:
    shares = [one.size[1] / max(one.size[0], 1) for one in seen]
    wide, narrow = int(np.argmax(shares)), int(np.argmin(shares))
    if shares[wide] > PROPORTIONS * shares[narrow]:
        for number, what in ((wide, "widest"), (narrow, "narrowest")):
            one = seen[number]
            size = " x ".join(map(str, reversed(one.size)))
            yield Fault("mixed-proportions", reader.name(one.position), f"the {what}: {size}", (one.position,))
