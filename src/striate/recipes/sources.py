"""From the path of a data set to shards at their working size, split, with the preprocessing that brings them there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from striate.core import bitsets
from striate.core.errors import InputError
from striate.core.sample import Boxes, Mask
from striate.core.spec import Spec
from striate.core.transform import Compose, Normalise
from striate.data.cache import prepared
from striate.data.collection import ALL, ReaderOptions
from striate.data.paths import shortened
from striate.data.prepare import BUDGET_BYTES, prepare
from striate.data.reader import Reader, open_data
from striate.data.shards import Shards
from striate.data.split import make_split
from striate.recipes.geometry import Geometry, working_geometry

MOST_SIDE = 1024
"""Any size: a fit brings every size onto one canvas."""

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
    """Prepared data: its shards, the samples of each split, the whole preprocessing (what was stored, its fit onto the
    canvas, then scale), and the fit alone (None where what is stored has the canvas's size)."""

    shards: Shards
    splits: dict[str, NDArray[np.int64]]
    preprocessing: Compose
    fit: Compose | None
    normalise: Normalise
    made_validation: bool

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their numbers."""
        return tuple(self.shards.classes)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of what the network sees, (C, *S)."""
        if self.fit is None:
            return self.shards.demand_one_shape()
        schema = self.shards.schema
        return (schema.channels, *self.fit.output_size((MOST_SIDE,) * schema.axes))

    @property
    def fingerprint(self) -> str:
        """Digest of the data and its preparation."""
        return self.shards.fingerprint

    def class_counts(self, split: str) -> tuple[int, ...]:
        """How many samples (or boxes, or pixels of masks) of a split have each class."""
        if self.shards.labels is not None:
            return self.shards.counts(self.splits[split])
        totals = np.zeros(len(self.classes), dtype=np.int64)
        for target in self.shards.targets(self.splits[split]).get(self.shards.target, ()):
            totals += _occurrences(target, len(self.classes), self.shards.multi_label)
        return tuple(totals.tolist())

    @property
    def ignore(self) -> int | None:
        """The value of mask pixels that do not count; None where the target is no mask."""
        found = self.shards.targets(self.splits["train"][:1]).get(self.shards.target, ())
        return next((one.ignore for one in found if isinstance(one, Mask)), None)

    def split_record(self) -> dict[str, Any]:
        """Which samples are in which split, by name, and whether the validation split was made here."""
        names = self.shards.names
        return {
            "validation_made_here": self.made_validation,
            "splits": {split: [names[place] for place in places] for split, places in self.splits.items()},
        }


@dataclass(frozen=True)
class Opened:
    """A data set found and looked at, and the geometry that brings it to its working size; nothing is prepared yet."""

    reader: Reader
    geometry: Geometry


def open_for(settings: DataSettings, *, say: Say = lambda line: None) -> Opened:
    """Open a data set and decide its working size. Errors: ``InputError``."""
    reader = open_data(settings.path, settings.format, settings.options)
    say(reader.found)
    geometry = working_geometry(reader, settings.size)
    if geometry.decode_at_least and not settings.options.decode_at_least:
        options = settings.options.replace(decode_at_least=geometry.decode_at_least)
        reader = open_data(settings.path, reader.format, options)
    return Opened(reader, geometry)


def prepare_data(
    settings: DataSettings,
    *,
    opened: Opened | None = None,
    folder: Path | None = None,
    workers: int | None = None,
    budget_bytes: int = BUDGET_BYTES,
    say: Say = lambda line: None,
    show: Show = lambda done, total, seen: None,
) -> Shards:
    """Bring a data set (opened already or not) to its working size, into ``folder`` or the cache. Errors:
    ``InputError``."""
    found = opened or open_for(settings, say=say)
    reader, store = found.reader, found.geometry.store
    if folder is None:
        return prepared(reader, store, cache=Path(settings.cache) if settings.cache else None, say=say, show=show)
    return prepare(reader, folder, store, budget_bytes=budget_bytes, workers=workers, say=say, show=show)


def open_source(
    settings: DataSettings,
    *,
    opened: Opened | None = None,
    say: Say = lambda line: None,
    show: Show = lambda done, total, seen: None,
) -> Source:
    """Everything that training needs of a data set. Errors: ``InputError``, also for a split without samples."""
    found = opened or open_for(settings, say=say)
    shards = prepare_data(settings, opened=found, say=say, show=show)
    fit = found.geometry.fit
    if shards.sample_shape is None and not fit.steps:
        raise InputError(settings.path, "its samples have several shapes", "give a working size with --size")
    store = Compose.from_json(shards.preprocessing, str(shards.folder))
    splits, made = _splits(shards, settings, say)
    _demand_classes(shards, splits, settings, say)
    normalise = _normalise(shards, splits["train"]) if settings.normalise else Normalise()
    whole = Compose(steps=(*store.steps, *fit.steps, normalise))
    return Source(shards, splits, whole, fit if fit.steps else None, normalise, made)


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
    labels = _alike(shards, pool) if shards.labels is None else shards.labels[pool]
    groups = None if shards.groups is None else [shards.groups[place] for place in pool]
    made = make_split(labels, groups, settings.validation, settings.split_seed, shards.classes)
    for note in made.notes:
        say(f"split: {note}")
    splits["train"], splits["val"] = pool[made.train], pool[made.held]
    manner = "no group on both sides" if groups else "each class in proportion"
    say(f"split: {len(made.held)} of {len(pool)} training samples held out for validation ({manner})")
    return splits, True


def _alike(shards: Shards, pool: NDArray[np.int64]) -> NDArray[Any]:
    """By what samples without a label are divided in proportion: for boxes the classes that are there, bool (n, K)."""
    if shards.target != "boxes":
        return np.zeros(len(pool), dtype=np.int64)
    found = [_occurrences(target, len(shards.classes)) > 0 for target in shards.targets(pool)["boxes"]]
    return np.array(found).reshape(len(pool), len(shards.classes))


def _occurrences(target: object, classes: int, several: bool = False) -> NDArray[np.int64]:
    """How often each class is among boxes, or among the pixels of a mask of class numbers, or of bit sets."""
    if isinstance(target, Boxes):
        return np.bincount(target.classes.numpy(), minlength=classes)
    if isinstance(target, Mask) and several:
        return bitsets.counts(target.values.numpy(), classes)
    if isinstance(target, Mask):
        values = target.values.numpy().astype(np.int64).ravel()
        return np.bincount(values[(values >= 0) & (values < classes) & (values != target.ignore)], minlength=classes)
    return np.zeros(classes, dtype=np.int64)


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
