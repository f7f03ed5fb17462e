"""From the path of a data set to shards at their working size, split, with the preprocessing that brings them there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from striate.core.errors import InputError
from striate.core.spec import Spec
from striate.core.transform import CenterCrop, Compose, Crop, Normalise, Resize
from striate.data.cache import prepared
from striate.data.collection import ALL, ReaderOptions
from striate.data.paths import shortened
from striate.data.prepare import BUDGET_BYTES, prepare
from striate.data.reader import Reader, open_data
from striate.data.shards import Shards
from striate.data.split import make_split

SMALL_SIDE = 64
"""Images of one size up to this many pixels a side are taken as they are."""
WORKING_SIDE = 128
"""Shorter side to which other images are brought when no size is given."""
LOOKED_AT = 64
"""Images that are decoded to see which sizes there are; of signals every one is."""

Say = Callable[[str], None]
Show = Callable[[int, int, str], None]


class DataSettings(Spec):
    """Where the data is and how it is read. ``size`` is the working size in pixels (one number: of every side).

    ``validation`` is the share of the training samples that is held out where the data has no validation split;
    0 holds out none. ``normalise`` False gives the network the values as they are. ``split_seed`` draws the split.
    """

    path: str
    format: str | None = None
    options: ReaderOptions = ReaderOptions()
    size: PositiveInt | tuple[PositiveInt, ...] | None = None
    validation: float = Field(default=0.1, ge=0.0, lt=1.0)
    split_seed: int = 0
    normalise: bool = True
    cache: str | None = None


@dataclass(frozen=True)
class Source:
    """Prepared data: its shards, the samples of each split, and the whole preprocessing (working size, then scale)."""

    shards: Shards
    splits: dict[str, NDArray[np.int64]]
    preprocessing: Compose
    normalise: Normalise
    made_validation: bool

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their numbers."""
        return tuple(self.shards.classes)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a prepared sample, (C, *S)."""
        return self.shards.demand_one_shape()

    @property
    def fingerprint(self) -> str:
        """Digest of the data and its preparation."""
        return self.shards.fingerprint

    def class_counts(self, split: str) -> tuple[int, ...]:
        """How many samples of a split carry each class."""
        return self.shards.counts(self.splits[split])

    def split_record(self) -> dict[str, Any]:
        """Which samples are in which split, by name, and whether the validation split was made here."""
        names = self.shards.names
        return {
            "validation_made_here": self.made_validation,
            "splits": {split: [names[place] for place in places] for split, places in self.splits.items()},
        }


def prepare_data(
    settings: DataSettings,
    *,
    folder: Path | None = None,
    workers: int | None = None,
    budget_bytes: int = BUDGET_BYTES,
    say: Say = lambda line: None,
    show: Show = lambda done, total, seen: None,
) -> Shards:
    """Open a data set and bring it to its working size, into ``folder`` or the cache. Errors: ``InputError``."""
    reader = open_data(settings.path, settings.format, settings.options)
    say(reader.found)
    geometry = working_geometry(reader, settings.size)
    if folder is None:
        return prepared(reader, geometry, cache=Path(settings.cache) if settings.cache else None, say=say, show=show)
    return prepare(reader, folder, geometry, budget_bytes=budget_bytes, workers=workers, say=say, show=show)


def open_source(
    settings: DataSettings, *, say: Say = lambda line: None, show: Show = lambda done, total, seen: None
) -> Source:
    """Everything that training needs of a data set. Errors: ``InputError``, also for samples of several shapes and
    for a split without samples."""
    shards = prepare_data(settings, say=say, show=show)
    if shards.sample_shape is None:
        raise InputError(settings.path, "its samples have several shapes", "give a working size with --size")
    geometry = Compose.from_json(shards.preprocessing, str(shards.folder))
    splits, made = _splits(shards, settings, say)
    _demand_classes(shards, splits, settings, say)
    normalise = _normalise(shards, splits["train"]) if settings.normalise else Normalise()
    return Source(shards, splits, Compose(steps=(*geometry.steps, normalise)), normalise, made)


def working_geometry(reader: Reader, size: int | tuple[int, ...] | None) -> Compose:
    """The fixed transforms that bring every sample to one size.

    Signals keep their scale: shorter ones are filled with zeros at the end up to the longest (or to ``size``), longer
    ones cut. Images and volumes are resized by their shorter side, antialiased, and their middle is taken; small ones
    of one size stay as they are, and images of another size met in prediction are brought to it.
    """
    count = len(reader)
    sizes = _sizes(reader, np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(int)))
    axes = len(next(iter(sizes)))
    if axes == 1:
        sizes |= _sizes(reader, range(count))
    largest = tuple(max(size[axis] for size in sizes) for axis in range(axes))
    if axes == 1:
        length = largest if size is None else (size,) if isinstance(size, int) else size
        return Compose() if sizes == {length} else Compose(steps=(Crop(start=0, size=length),))
    same = len(sizes) == 1 and max(largest) <= SMALL_SIDE
    wanted = size if size is not None else largest if same else min(WORKING_SIDE, max(largest))
    box = (wanted,) * axes if isinstance(wanted, int) else wanted
    return Compose(steps=(Resize(size=box, keep="short"), CenterCrop(size=box)))


def _sizes(reader: Reader, places: Any) -> set[tuple[int, ...]]:
    """The sizes of those samples that can be read; preparing lists the others."""
    found, reason = set(), ""
    for place in places:
        try:
            found.add(reader.image(int(place)).shape[1:])
        except InputError as error:
            reason = reason or f"{reader.name(int(place))}: {error.cause}"
    if not found:
        cause = f"none of the {len(places)} samples looked at can be read (first: {reason})"
        raise InputError(reader.path, cause, "correct or replace the files")
    return found


def _splits(shards: Shards, settings: DataSettings, say: Say) -> tuple[dict[str, NDArray[np.int64]], bool]:
    """The splits of the data, with a validation split made from training where there is none."""
    splits = {name: np.asarray(places) for name, places in shards.splits.items() if len(places)}
    for name in shards.splits.keys() - splits.keys():
        say(f"split: no sample of {name} can be read; it is left out")
    training = splits.pop(ALL, None)
    if training is not None:
        splits["train"] = training
    if "train" not in splits:
        raise InputError(settings.path, f"no training samples (splits: {', '.join(splits)})", "add a split named train")
    if "val" in splits or not settings.validation:
        return splits, False
    pool = splits["train"]
    labels = np.zeros(len(pool), dtype=np.int64) if shards.labels is None else shards.labels[pool]
    groups = None if shards.groups is None else [shards.groups[place] for place in pool]
    made = make_split(labels, groups, settings.validation, settings.split_seed, shards.classes)
    for note in made.notes:
        say(f"split: {note}")
    splits["train"], splits["val"] = pool[made.train], pool[made.held]
    manner = "no group on both sides" if groups else "each class in proportion"
    say(f"split: {len(made.held)} of {len(pool)} training samples held out for validation ({manner})")
    return splits, True


def _demand_classes(shards: Shards, splits: dict[str, NDArray[np.int64]], settings: DataSettings, say: Say) -> None:
    """Say which classes a split lacks. Errors: ``InputError`` when training has fewer classes than are demanded."""
    if shards.labels is None:
        return
    for split, places in splits.items():
        counts = shards.counts(places)
        lacking = [name for name, count in zip(shards.classes, counts, strict=True) if not count]
        if split == "train" and len(counts) - len(lacking) < settings.options.minimum_classes:
            raise InputError(
                settings.path,
                f"its training samples lack {len(lacking)} of {len(counts)} classes ({shortened(lacking)})",
                "add training samples of another class",
            )
        if lacking:
            effect = "cannot be learned" if split == "train" else "cannot be measured there"
            say(f"split: {split} has no sample of {shortened(lacking)}: {effect}")


def _normalise(shards: Shards, places: NDArray[np.int64]) -> Normalise:
    """Scale to mean 0 and deviation 1 in each channel, over the training samples."""
    mean, std = shards.statistics(places)
    return Normalise(mean=mean, std=tuple(value if value > 1e-8 else 1.0 for value in std))
