"""Reader of volumes: multi-page TIFF stacks in class folders, or folders of stacks beside folders of mask stacks.

A class is a folder, inside folders of splits or not; masks pair with their volumes and mean what masks of images do
(:mod:`striate.data.formats.maskpairs`, :mod:`striate.data.formats.masksettle`). Not datumaro: its multi-frame images
are pictures over time, without masks in three axes. Not supervision: it knows two axes only. tifffile decodes, as it
does in most tools (:mod:`striate.data.formats.stacks`).
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from striate.core.errors import InputError
from striate.data.collection import ALL, Collection, ReaderOptions, splits_of
from striate.data.formats.maskfiles import RawMask, whole_numbers
from striate.data.formats.masklists import by_lists
from striate.data.formats.maskpairs import Pairs, demand_pairs, find_pairs, folders_in, images_below, split_named
from striate.data.formats.masks import (
    class_table,
    described,
    look_at,
    names_of,
    orphans,
    settled,
    target_of,
    targets_of,
)
from striate.data.formats.masksettle import Evidence, settle
from striate.data.formats.stacks import Depth, Stacks, demand_tifffile, read_header, read_stack
from striate.data.formats.tiffs import EXTENSIONS, is_stack
from striate.data.imagefiles import LOOKED_AT
from striate.data.paths import natural, said
from striate.data.reader import Reader

if TYPE_CHECKING:
    from striate.core.sample import Target

_MOST_FOR_DETECTION = 2_000
_TRIED = 3


@dataclass
class _Found:
    """The stacks of class folders: files, their splits and classes, and what is none."""

    files: list[Path] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)


@final
class VolumeReader(Reader):
    """TIFF stacks (1, D, H, W), with a class each, or with masks (D, H, W)."""

    format = "tiff volumes"
    certainty = 2

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """TIFF files with several pages of one size, by their headers: in class folders, or paired with masks."""
        try:
            if not path.is_dir():
                return None
            paired = find_pairs(path, most=_MOST_FOR_DETECTION)
            if paired is not None:
                stacks = [is_stack(image) and is_stack(mask) for _, image, mask in paired.pairs[:_TRIED]]
                return f"TIFF stacks with masks ({paired.layout.said})" if stacks and all(stacks) else None
            found = [file for files in images_below(path, _MOST_FOR_DETECTION, []).values() for file in files]
            tiffs = [file for file in found if file.suffix.lower() in EXTENSIONS]
            if not tiffs or 2 * len(tiffs) < len(found) or not all(map(is_stack, tiffs[:_TRIED])):
                return None
        except (OSError, ValueError, InputError):
            return None
        return f"TIFF files of several pages, such as {os.path.relpath(tiffs[0], path)}"

    def collect(self) -> Collection:
        """List the stacks, settle by their headers what type all are read as, and pair them with classes or masks."""
        demand_tifffile(self.path)
        try:
            if self.path.is_dir() and (self.options.images is not None or find_pairs(self.path) is not None):
                return self._with_masks(demand_pairs(self.path, self.options.images))
            return self._with_classes()
        except OSError as error:
            raise InputError(error.filename or self.path, said(error), "check the path of the data") from None

    def unknown_values(self, position: int) -> dict[int, int]:
        """Values of a sample's mask that are neither a class nor void, with their voxels. Errors: ``InputError``."""
        if self.target == "label" or not self.options.labelled:
            return {}
        return self._form.unknown(self._raw(self._masks[position]))

    def _with_classes(self) -> Collection:
        found = _class_folders(self.path) if self.options.labelled else _all_stacks(self.path)
        classes = tuple(sorted(set(found.classes), key=natural))
        number = {name: place for place, name in enumerate(classes)}
        stacks = self._stacks(found.files)
        parts = splits_of(found.splits)
        counted = ", ".join(f"{len(rows)} {name}" for name, rows in parts.items() if name != ALL)
        shape = f" in {len(classes)} class folders" if classes else ""
        return Collection(
            images=stacks,
            found=f"{len(found.files)} TIFF stacks{shape}{f' ({counted})' if counted else ''}, {stacks.form}",
            names=names_of(found.files, self.path if self.path.is_dir() else self.path.parent),
            labels=np.array([number[name] for name in found.classes], dtype=np.int64) if classes else None,
            classes=classes,
            splits=parts,
            skipped=[(os.path.relpath(path, self.path), reason) for path, reason in found.skipped],
            settled=_settled(stacks),
            sizes=stacks.size,
            sources=found.files,
        )

    def _with_masks(self, found: Pairs) -> Collection:
        problems = orphans(found, self.path)
        skipped = [(os.path.relpath(path, self.path), reason) for path, reason in found.skipped]
        if not self.options.labelled:
            files = [image for _, image, _ in found.pairs] + [image for _, image in found.lone_images]
            stacks = self._stacks(files)
            return Collection(
                images=stacks,
                found=f"{len(files)} TIFF stacks ({found.layout.said}; masks are not read), {stacks.form}",
                names=names_of(files, self.path),
                splits=splits_of([one[0] for one in found.pairs] + [one[0] for one in found.lone_images]),
                skipped=skipped,
                settled=_settled(stacks),
                sizes=stacks.size,
                sources=files,
            )
        if target_of(self.options) not in ("mask", "boxes"):
            raise InputError(self.path, f"masks have no {self.options.target}", "choose the target mask, or boxes")
        pairs, lists = by_lists(found, self.path, problems)
        if found.layers:
            cause = f"{found.layout.said}, and of volumes only one mask a stack is read"
            raise InputError(self.path, cause, "write the classes into one mask, a number each")
        masks = [mask for _, _, mask in pairs]
        table = class_table(found, self.path)
        form, doubts = settle(Evidence(look_at(masks, self._raw), table, False, masks[0].parent), self.options)
        self._form, self._masks = form, masks
        stacks = self._stacks([image for _, image, _ in pairs])
        tables = [one for one in (table.source if table else None, found.layout.source, *lists) if one is not None]
        target = target_of(self.options)
        return Collection(
            images=stacks,
            found=described(
                pairs, form.classes, f"{found.layout.said}, {form.said}", stacks.form, target, "TIFF stacks"
            ),
            names=names_of(stacks.files, self.path),
            classes=form.classes,
            splits=splits_of([split for split, _, _ in pairs]),
            skipped=skipped,
            target=target,
            targets=self._targets,
            settled={**_settled(stacks), **settled(form, self.options)},
            sizes=stacks.size,
            sources=[*stacks.files, *masks, *dict.fromkeys(tables)],
            problems=problems + doubts,
        )

    def _targets(self, position: int) -> "dict[str, Target]":
        return targets_of(self._form, self._raw(self._masks[position]), target_of(self.options))

    def _raw(self, path: Path) -> RawMask:
        values = read_stack(path, self.options.maximum_pixels)
        if values.dtype == np.bool_:
            values = values.astype(np.uint8)
        elif values.dtype not in (np.uint8, np.uint16):
            values = whole_numbers(values, path)
        return RawMask(values)

    def _stacks(self, files: list[Path]) -> Stacks:
        return Stacks(files, _depth(files, self.options), self.options.maximum_pixels)


def _depth(files: list[Path], options: ReaderOptions) -> Depth:
    """The bits that hold the values of all: of up to 20,000 headers, evenly spread, the most."""
    if options.bits:
        return options.bits

    def one(path: Path) -> Depth | None:
        try:
            return read_header(path, options.maximum_pixels).depth
        except InputError:
            return None  # the same error comes when it is decoded, and is listed then

    step = max(1, -(-len(files) // LOOKED_AT))
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) * 2)) as pool:
        return max((depth for depth in pool.map(one, files[::step]) if depth is not None), default=8)


def _settled(stacks: Stacks) -> dict[str, object]:
    """The options by which other stacks are brought to the same type (floats have none: they stay what they are)."""
    return {} if stacks.depth == 32 else {"bits": stacks.depth}


def _class_folders(path: Path) -> _Found:
    found = _Found()
    if not path.is_dir():
        raise InputError(path, "one file has no class folders", "give a folder with a folder for each class")
    inside = folders_in(path)
    splits = [(split, folder) for name, folder in inside.items() if (split := split_named(name)) is not None]
    if len(splits) < len(inside):
        splits = [(ALL, path)]
    for split, folder in splits:
        for name, class_folder in folders_in(folder).items():
            files = _stacks_below(class_folder, found.skipped)
            found.files += files
            found.splits += [split] * len(files)
            found.classes += [name] * len(files)
            if not files:
                found.skipped.append((class_folder, "a class folder without any TIFF stack"))
    return found


def _all_stacks(path: Path) -> _Found:
    found = _Found()
    found.files = _stacks_below(path, found.skipped) if path.is_dir() else [path]
    found.splits = [ALL] * len(found.files)
    return found


def _stacks_below(folder: Path, skipped: list[tuple[Path, str]]) -> list[Path]:
    files = [file for several in images_below(folder, None, skipped).values() for file in several]
    skipped += [(file, "no TIFF") for file in files if file.suffix.lower() not in EXTENSIONS]
    return [file for file in files if file.suffix.lower() in EXTENSIONS]
