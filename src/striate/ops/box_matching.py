"""Which detection found which box: greedy matching of a whole data set at many thresholds at once.

The rule is that of the COCO evaluation (Lin et al. 2014, arXiv 1405.0312, and its published scorer): within an image
and a class, detections take turns by falling score; each takes the free box it overlaps most, if at least the
threshold; only when there is none may it take an ignored box (a crowd, which any number of detections may take, or a
box outside the range of sizes), and then it counts neither for nor against.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from striate.ops.box_sets import Flags, Floats, FoundBoxes, Ints, TrueBoxes, content

Bits = npt.NDArray[np.uint64]
Range = tuple[float, float]

EVERYTHING: Range = (-np.inf, np.inf)
BLOCK = 1 << 20
"""How many pairs of boxes are compared at once: what bounds the memory."""


@final
@dataclass(frozen=True, eq=False)
class Matching:
    """What became of n detections and m boxes at T thresholds and R ranges of sizes.

    ``matched`` and ``ignored`` (n,) hold a bit for every threshold t and range r, number r T + t: has a box; counts
    neither for nor against. ``partner`` (n,) is the matched box at the first threshold and range, or -1. ``rank`` (n,)
    is the place by score within image and class, from 0; detections from place ``most`` on are unmatched and ignored.
    """

    matched: Bits
    ignored: Bits
    partner: Ints
    rank: Ints
    combinations: int

    @property
    def right(self) -> Bits:
        """Bits (n,): a true positive."""
        return self.matched & ~self.ignored

    @property
    def counted(self) -> Bits:
        """Bits (n,): a true or a false positive."""
        return ~self.ignored

    def table(self, bits: Bits) -> npt.NDArray[np.uint8]:
        """Bits (n,) as 0 and 1, (n, R T)."""
        octets = np.ascontiguousarray(bits.astype("<u8")).view(np.uint8).reshape(-1, 8)
        return np.unpackbits(octets, axis=1, count=self.combinations, bitorder="little")

    def first(self, bits: Bits) -> Flags:
        """Truth values (n,) at the first threshold and range."""
        return (bits & np.uint64(1)).astype(bool)


def match(
    found: FoundBoxes,
    truth: TrueBoxes,
    thresholds: Sequence[float],
    ranges: Sequence[Range] = (EVERYTHING,),
    most: int | None = None,
) -> Matching:
    """Match at every threshold of intersection over union (rising) and in every range (low, high) of sizes.

    ``most`` limits the detections of a class in an image. An unmatched detection outside a range is ignored in it.
    Errors: ``ValueError`` for thresholds that are not rising within (0, 1], or more than 64 combinations.
    """
    levels = np.minimum(np.asarray(thresholds, dtype=np.float64), 1 - 1e-10)
    if not len(levels) or levels[0] <= 0 or max(thresholds) > 1 or (np.diff(levels) <= 0).any():
        raise ValueError(f"thresholds rise within (0, 1], {list(thresholds)} came")
    steps, combinations = len(levels), len(levels) * len(ranges)
    if not 1 <= combinations <= 64:
        raise ValueError(f"{steps} thresholds in {len(ranges)} ranges came; 1 to 64 combinations are possible")
    # detections and boxes in order of class, image, falling score: everything below works on these orders
    images = int(max(found.images.max(initial=0), truth.images.max(initial=0))) + 1
    keys = found.classes * images + found.images
    order = np.lexsort((-found.scores, keys))
    keys = keys[order]
    true_keys = truth.classes * images + truth.images
    true_order = np.argsort(true_keys, kind="stable")
    rank = np.arange(len(keys)) - np.searchsorted(keys, keys, side="left")
    kept = np.ones(len(keys), dtype=bool) if most is None else rank < most
    seen, there = found.take(order), truth.take(true_order)

    full = np.uint64((1 << combinations) - 1)
    own = np.uint64((1 << steps) - 1)
    outside = _outside(content(seen.bounds), ranges, own, steps)
    unwanted = _outside(there.areas, ranges, own, steps)
    unwanted[there.ignored] = full

    left, right, overlap = overlapping(
        seen, there, levels[0], keys, true_keys[true_order], only=kept, crowds=there.ignored
    )
    passed = (np.uint64(1) << np.searchsorted(levels, overlap, side="right").astype(np.uint64)) - np.uint64(1)
    repeat = np.uint64(sum(1 << (place * steps) for place in range(len(ranges))))
    turns = _turns(keys, left, right, overlap, passed * repeat, unwanted)
    free, resting, partner = _take_turns(turns, full, len(seen), there.ignored)
    ignored = resting | (free & outside)
    ignored[~kept] = full
    free[~kept] = full

    def back(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        result = np.empty_like(values)
        result[order] = values
        return result

    mates = np.where(partner >= 0, true_order[partner] if len(true_order) else -1, -1)
    return Matching(
        back(~free & full).astype(np.uint64),
        back(ignored).astype(np.uint64),
        back(mates).astype(np.int64),
        back(rank).astype(np.int64),
        combinations,
    )


def overlapping(
    found: FoundBoxes,
    truth: TrueBoxes,
    least: float,
    keys: Ints,
    true_keys: Ints,
    only: Flags | None = None,
    crowds: Flags | None = None,
) -> tuple[Ints, Ints, Floats]:
    """Pairs (detection, box) of equal key that overlap by ``least`` > 0 or more: two indices (p,) and overlaps (p,).

    Both sides are sorted by their key. Overlap is the intersection over the union, or, with a box of ``crowds``, over
    the detection's own content. ``only`` says which detections take part.
    """
    true_sizes, sizes = content(truth.bounds), content(found.bounds)
    marks = np.zeros(len(truth), dtype=bool) if crowds is None else crowds
    axes = found.bounds.shape[1] // 2
    mine, theirs = np.ascontiguousarray(found.bounds.T), np.ascontiguousarray(truth.bounds.T)
    parts: list[tuple[Ints, Ints, Floats]] = []
    for left, right in _pairs(keys, true_keys, only):
        shared = np.ones(len(left))
        for axis in range(axes):
            high = np.minimum(mine[axes + axis][left], theirs[axes + axis][right])
            side = high - np.maximum(mine[axis][left], theirs[axis][right])
            shared *= np.maximum(side, 0)
        some = np.flatnonzero(shared > 0)
        left, right, shared = left[some], right[some], shared[some]
        own = sizes[left]
        overlap = shared / np.where(marks[right], own, own + true_sizes[right] - shared)
        enough = overlap >= least
        parts.append((left[enough], right[enough], overlap[enough]))
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    lefts, rights, overlaps = zip(*parts, strict=True)
    return np.concatenate(lefts), np.concatenate(rights), np.concatenate(overlaps)


def _pairs(keys: Ints, true_keys: Ints, only: Flags | None) -> Iterator[tuple[Ints, Ints]]:
    """Every pair of entries with equal keys, as index arrays of about BLOCK entries."""
    start = np.searchsorted(true_keys, keys, side="left")
    counts = np.searchsorted(true_keys, keys, side="right") - start
    if only is not None:
        counts = np.where(only, counts, 0)
    with_any = np.flatnonzero(counts)
    before = np.concatenate(([0], np.cumsum(counts[with_any])))
    place = 0
    while place < len(with_any):
        end = max(int(np.searchsorted(before, before[place] + BLOCK, side="right")) - 1, place + 1)
        chosen = with_any[place:end]
        many = counts[chosen]
        within = np.arange(int(many.sum())) - np.repeat(before[place:end] - before[place], many)
        yield np.repeat(chosen, many), within + np.repeat(start[chosen], many)
        place = end


def _outside(sizes: Floats, ranges: Sequence[Range], own: np.uint64, steps: int) -> Bits:
    """Bits (n,) of the ranges that a size is outside of."""
    bits = np.zeros(len(sizes), dtype=np.uint64)
    for place, (low, high) in enumerate(ranges):
        bits[(sizes < low) | (sizes > high)] |= own << np.uint64(place * steps)
    return bits


@dataclass(frozen=True, eq=False)
class _Turns:
    """Chances to match, in the order in which they come: ``ends`` divides them into rounds, in each of which an image
    and class has one chance at most, so that a round is done at once. ``second``: with an ignored box."""

    left: Ints
    right: Ints
    bits: Bits
    second: Flags
    ends: Ints


def _turns(keys: Ints, left: Ints, right: Ints, overlap: Floats, passed: Bits, unwanted: Bits) -> _Turns:
    """Each detection tries the wanted boxes, then the ignored ones; the most overlapping first, of equals the last."""
    wanted, rest = passed & ~unwanted[right], passed & unwanted[right]
    one, two = np.flatnonzero(wanted), np.flatnonzero(rest)
    pair = np.concatenate((one, two))
    bits = np.concatenate((wanted[one], rest[two]))
    second = np.repeat([False, True], [len(one), len(two)])
    order = np.lexsort((-right[pair], -overlap[pair], second, left[pair]))
    pair, bits, second = pair[order], bits[order], second[order]
    owner = keys[left[pair]]
    turn = np.arange(len(pair)) - np.searchsorted(owner, owner, side="left")
    order = np.argsort(turn, kind="stable")
    ends = np.cumsum(np.bincount(turn)) if len(turn) else np.zeros(0, np.int64)
    return _Turns(left[pair[order]], right[pair[order]], bits[order], second[order], ends)


def _take_turns(turns: _Turns, full: np.uint64, count: int, crowds: Flags) -> tuple[Bits, Bits, Ints]:
    """Bits (n,) still unmatched, bits (n,) matched to an ignored box, and the partner (n,) at bit 0."""
    free = np.full(count, full, dtype=np.uint64)
    resting = np.zeros(count, dtype=np.uint64)
    taken = np.zeros(len(crowds), dtype=np.uint64)
    partner = np.full(count, -1, dtype=np.int64)
    lasting = np.where(crowds, np.uint64(0), full)
    start = 0
    for end in turns.ends.tolist():
        left, right = turns.left[start:end], turns.right[start:end]
        before, used = free[left], taken[right]
        take = turns.bits[start:end] & before & ~used
        free[left] = before & ~take
        taken[right] = used | (take & lasting[right])
        second = turns.second[start:end]
        resting[left[second]] |= take[second]
        first = (take & np.uint64(1)).astype(bool)
        partner[left[first]] = right[first]
        start = end
    return free, resting, partner
