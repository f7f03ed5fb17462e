"""A validation split made where none is given: stratified by class, and grouped where groups are known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import InputError
from striate.core.random import permutation


@dataclass(frozen=True)
class Split:
    """Positions (int64, ascending) kept for training and held out, and what is to be said about the split."""

    train: NDArray[np.int64]
    held: NDArray[np.int64]
    notes: tuple[str, ...] = ()


def make_split(
    labels: NDArray[np.integer] | NDArray[np.bool_],
    groups: Sequence[str | None] | None = None,
    fraction: float = 0.1,
    seed: int = 0,
    classes: Sequence[str] = (),
) -> Split:
    """Hold out about ``fraction`` of the samples, at random, in the same shares of classes.

    ``labels``: (n,) class numbers, or (n, K) truth values (several labels: samples are alike when their labels are).
    ``groups``: samples of one group stay together. A class with one sample, or in one group, stays in training, noted.
    Errors: ``InputError`` when the fraction is not between 0 and 1, or nothing or everything would be held out.
    """
    if not 0 < fraction < 1:
        raise InputError("validation fraction", f"{fraction} is not between 0 and 1", "give a number such as 0.1")
    strata, names = _strata(np.asarray(labels), classes)
    if groups is not None and len(set(groups)) < 2:
        raise InputError("validation split", "all samples are of one group", "give a validation split, or no groups")
    held = _grouped(strata, groups, fraction, seed) if groups is not None else _single(strata, fraction, seed)
    if not held.any() or held.all():
        raise InputError(
            "validation split",
            f"{fraction:g} of {len(held)} samples in {len(names)} classes leaves a side empty",
            "add samples, or give a validation split",
        )
    missing = [names[stratum] for stratum in np.unique(strata).tolist() if not held[strata == stratum].any()]
    why = "in too few groups" if groups is not None else "with a single sample"
    notes = [f"not in the validation split, {why}: {', '.join(missing)}"] if missing else []
    return Split(np.flatnonzero(~held), np.flatnonzero(held), tuple(notes))


def missing_classes(labels: NDArray[np.integer] | NDArray[np.bool_], classes: Sequence[str]) -> list[str]:
    """The names of the classes that none of these samples has."""
    values = np.asarray(labels)
    seen = set(np.flatnonzero(values.any(axis=0)) if values.ndim == 2 else np.unique(values))
    return [name for number, name in enumerate(classes) if number not in seen]


def _strata(
    labels: NDArray[np.integer] | NDArray[np.bool_], classes: Sequence[str]
) -> tuple[NDArray[np.int64], list[str]]:
    """A number for each sample, equal for samples that are alike, and what each number is called."""
    if labels.ndim == 1:
        size = max(int(labels.max(initial=-1)) + 1, len(classes), 1)
        names = [classes[i] if i < len(classes) else str(i) for i in range(size)]
        return labels.astype(np.int64), names
    rows, strata, counts = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
    # combinations seen once are one stratum, or all of them would stay in training
    rare = counts == 1
    number = np.where(rare, rare.argmax() if rare.any() else 0, np.arange(len(rows)))
    names = [
        "+".join(classes[i] if i < len(classes) else str(i) for i in np.flatnonzero(row).tolist()) or "none"
        for row in rows
    ]
    return number[strata.reshape(-1)].astype(np.int64), names


def _single(strata: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.bool_]:
    order = permutation(seed, "split", 0, len(strata))
    held = np.zeros(len(strata), dtype=bool)
    owed = 0.0  # what rounding has held back so far, so that many small classes add up to the fraction
    for stratum in np.unique(strata):
        members = order[strata[order] == stratum]
        wanted = fraction * len(members) + owed
        count = int(np.clip(np.floor(wanted + 0.5), min(1, len(members) - 1), len(members) - 1))
        owed = float(np.clip(wanted - count, -0.5, 0.5))
        held[members[:count]] = True
    return held


def _grouped(strata: NDArray[np.int64], groups: Sequence[str | None], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Groups, the largest first and otherwise in random order, are held out when that brings the classes' counts closer
    to their goal; a sample without a group is a group of its own."""
    names = [f"group {name}" if name is not None else f"sample {row}" for row, name in enumerate(groups)]
    _, number = np.unique(names, return_inverse=True)
    _, stratum = np.unique(strata, return_inverse=True)
    counts = np.zeros((number.max() + 1, stratum.max() + 1))
    np.add.at(counts, (number, stratum), 1)
    order = permutation(seed, "split/groups", 0, len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    goal = fraction * counts.sum(axis=0)
    now = np.zeros_like(goal)
    held = np.zeros(len(counts), dtype=bool)
    for group in order:
        leaves_all = ((counts.sum(axis=0) > now + counts[group]) | (counts[group] == 0)).all()
        if leaves_all and np.abs(goal - now - counts[group]).sum() < np.abs(goal - now).sum():
            held[group] = True
            now += counts[group]
    for group in order[::-1] if not held.any() else ():  # no group fits the goal: the smallest that leaves every class
        if ((counts.sum(axis=0) > counts[group]) | (counts[group] == 0)).all():
            held[group] = True
            break
    return np.asarray(held[number])
