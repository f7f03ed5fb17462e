"""Reader of images with masks: a class, or an object, for every pixel (see :mod:`striate.data.formats.maskpairs` for
layouts,
:mod:`striate.data.formats.masksettle` for what values mean).

Not datumaro: of such folders it reads only those with its own ``dataset_meta.json`` or CamVid's ``label_colors.txt``,
leaves images without a mask unmentioned, and brings some forty packages. Not supervision: it reads masks only out of
COCO, YOLO and VOC files. Decoding is Pillow, which both use too.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from striate.core.errors import InputError
from striate.data.collection import ALL, Collection, ReaderOptions, splits_of
from striate.data.formats.maskbits import LayeredMasks, open_layers
from striate.data.formats.maskclasses import ClassTable, find_table, table_of
from striate.data.formats.maskfiles import RawMask, read_mask
from striate.data.formats.maskkinds import LOOKED_AT, Look, MaskForm, look
from striate.data.formats.masklists import by_lists
from striate.data.formats.maskpairs import Pairs, demand_pairs, find_pairs
from striate.data.formats.masksettle import Evidence, settle
from striate.data.formats.tiffs import is_stack
from striate.data.imagefiles import image_files
from striate.data.problems import Problem
from striate.data.reader import Reader

if TYPE_CHECKING:
    from striate.core.sample import Target

_MOST_FOR_DETECTION = 50_000
_LOSSY = {".jpg", ".jpeg", ".jpe", ".jfif"}
_FEW = 32


@final
class MaskReader(Reader):
    """Images with masks in files of their own. ``target``: ``mask``, or ``boxes`` around the objects of instances."""

    format = "masks"
    certainty = 2

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """Folders of images and masks whose names pair, where a mask of three holds few values or large areas, or a
        file names classes."""
        try:
            if not path.is_dir() or _has_voc_boxes(path):
                return None
            found = find_pairs(path, most=_MOST_FOR_DETECTION)
            if found is None:
                return None
            if not found.pairs:
                return f"{found.layout.said}, but {found.layout.missing}"
            _, image, _ = found.pairs[0]
            if is_stack(image):
                return None
            spread = found.pairs[:: max(1, len(found.pairs) // 2)]
            if not any(_looks_like_mask(mask) for _, _, mask in spread[:3]) and class_table(found, path) is None:
                return None
        except (OSError, ValueError, InputError):
            return None
        return f"images with masks of the same names ({found.layout.said})"

    def collect(self) -> Collection:
        """Pair the files, look at up to 64 masks to settle what their values mean, and list what is there."""
        found = demand_pairs(self.path, self.options.images)
        if not self.options.labelled:
            return self._unlabelled(found)
        _demand_target(self.path, self.options)
        problems = orphans(found, self.path)
        pairs, lists = by_lists(found, self.path, problems)
        self._layers: LayeredMasks | None = None
        if found.layers:
            return self._layered(found, pairs, lists, problems)
        pairs = without_few_lossy(pairs, self.path, problems)
        masks = [mask for _, _, mask in pairs]
        table = class_table(found, self.path)
        evidence = Evidence(look_at(masks, self._raw), table, found.layout.segnet, masks[0].parent)
        form, doubts = settle(evidence, self.options)
        self._form, self._masks = form, masks
        problems += doubts + lossy(masks, self.path)
        images = image_files([image for _, image, _ in pairs], self.options)
        splits = splits_of([split for split, _, _ in pairs])
        tables = [one for one in (table.source if table else None, found.layout.source, *lists) if one is not None]
        return Collection(
            images=images,
            found=described(
                pairs, form.classes, f"{found.layout.said}, {form.said}", images.form, target_of(self.options)
            ),
            names=names_of([image for _, image, _ in pairs], self.path),
            classes=form.classes,
            splits=splits,
            skipped=[(os.path.relpath(path, self.path), reason) for path, reason in found.skipped],
            target=target_of(self.options),
            targets=self._targets,
            note=images.note,
            settled={**images.settled, **settled(form, self.options)},
            sizes=images.size,
            sources=[*(image for _, image, _ in pairs), *masks, *dict.fromkeys(tables)],
            problems=problems,
        )

    def unknown_values(self, position: int) -> dict[int, int]:
        """Values of a sample's mask file that are neither a class nor void (a colour as 0xRRGGBB), with their pixels.

        In the sample they are void. Errors: ``InputError`` when the mask cannot be read.
        """
        if not self.options.labelled:
            return {}
        if self._layers is not None:
            return self._layers.unknown(position)
        return self._form.unknown(self._raw(self._masks[position]))

    def _layered(
        self, found: Pairs, pairs: list[tuple[str, Path, Path]], lists: list[Path], problems: list[Problem]
    ) -> Collection:
        """What is there where every class has masks of its own."""
        layers = [found.layers[image] for _, image, _ in pairs]
        files = [file for one in layers for file in one.values()]
        table = class_table(found, self.path)
        masks = open_layers(layers, look_at(files, self._raw), table, self.options, self._raw)
        self._layers = masks
        images = image_files([image for _, image, _ in pairs], self.options)
        tables = [one for one in (table.source if table else None, *lists) if one is not None]
        said, splits = f"{found.layout.said}: {masks.said}", splits_of([split for split, _, _ in pairs])
        void = {"void": min(masks.form.void)} if masks.form.void else {}
        return Collection(
            images=images,
            found=described(pairs, masks.classes, said, images.form, "mask"),
            names=names_of([image for _, image, _ in pairs], self.path),
            classes=masks.classes,
            splits=splits,
            skipped=[(os.path.relpath(path, self.path), reason) for path, reason in found.skipped],
            target="mask",
            multi_label=masks.several,
            targets=masks.targets,
            note=images.note,
            settled={**images.settled, **void, "target": "mask", "multi_label": masks.several},
            sizes=images.size,
            sources=[*(image for _, image, _ in pairs), *files, *dict.fromkeys(tables)],
            problems=problems + lossy(files, self.path),
        )

    def _targets(self, position: int) -> "dict[str, Target]":
        return targets_of(self._form, self._raw(self._masks[position]), target_of(self.options))

    def _raw(self, path: Path) -> RawMask:
        return read_mask(path, self.options.maximum_pixels)

    def _unlabelled(self, found: Pairs) -> Collection:
        files = [image for _, image, _ in found.pairs] + [image for _, image in found.lone_images]
        splits = [split for split, _, _ in found.pairs] + [split for split, _ in found.lone_images]
        images = image_files(files, self.options)
        return Collection(
            images=images,
            found=f"{len(files)} images ({found.layout.said}; masks are not read), {images.form}",
            names=names_of(files, self.path),
            splits=splits_of(splits),
            skipped=[(os.path.relpath(path, self.path), reason) for path, reason in found.skipped],
            note=images.note,
            settled=images.settled,
            sizes=images.size,
            sources=files,
        )


def targets_of(form: MaskForm, raw: RawMask, target: str) -> "dict[str, Target]":
    """The target of a mask: ``mask`` with its class numbers, of the size it has, or ``boxes`` around its objects."""
    import torch

    from striate.core.sample import Boxes, Mask

    if target == "mask":
        return {"mask": Mask(torch.from_numpy(np.ascontiguousarray(form.numbered(raw))), form.ignore)}
    bounds = torch.from_numpy(form.objects(raw))
    return {"boxes": Boxes.from_bounds(bounds, torch.zeros(len(bounds), dtype=torch.int64))}


def target_of(options: ReaderOptions) -> str:
    """What is to be learned: ``mask``, unless boxes are asked for."""
    return options.target or "mask"


def _demand_target(path: Path, options: ReaderOptions) -> None:
    if target_of(options) not in ("mask", "boxes"):
        raise InputError(path, f"masks have no {options.target}", "choose the target mask, or boxes of instances")


def look_at(masks: Sequence[Path], read: Callable[[Path], RawMask]) -> list[Look]:
    """Looks at up to 64 of the masks, evenly spread. One that cannot be read is met again when it is a sample."""
    step = -(-len(masks) // LOOKED_AT)

    def one(path: Path) -> Look | None:
        try:
            return look(read(path))
        except InputError:
            return None

    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) * 2)) as pool:
        return [found for found in pool.map(one, masks[:: max(1, step)]) if found is not None]


def class_table(found: Pairs, base: Path) -> ClassTable | None:
    """The classes that a YAML file or a file beside the masks names, or None. Errors: ``InputError``."""
    layout = found.layout
    if layout.classes is not None and layout.source is not None:
        return table_of(layout.classes, layout.source)
    folders = [
        folder for block in layout.blocks if block.masks is not None for folder in (block.masks, *block.masks.parents)
    ]
    top = base.absolute()
    inside = [folder for folder in folders if top == folder.absolute() or top in folder.absolute().parents]
    return find_table(list(dict.fromkeys([base, *inside])), base)


def orphans(found: Pairs, base: Path) -> list[Problem]:
    """Images without a mask, masks without an image, and masks of one name, as problems."""
    shown = found.layout.said

    def name(path: Path) -> str:
        return os.path.relpath(path, base)

    own = [image for _, image in found.lone_images if image.parent not in found.layout.borrowed]
    images = [Problem("image-without-label", name(image), f"no mask has its name ({shown})") for image in own]
    for folder in found.layout.borrowed:  # what another set's images lack is one remark, and no fault of theirs
        count = sum(image.parent == folder for _, image in found.lone_images)
        if count:
            images.append(Problem("image-without-label", name(folder), f"{count} images of that set have no mask here"))
    masks = [
        Problem("label-without-image", name(mask), f"no image has its name ({shown})") for mask in found.lone_masks
    ]
    twice = [Problem("twice-labelled", name(mask), f"{name(first)} is used") for mask, first in found.twice]
    missing = [Problem("label-without-image", name(found.layout.source or base), found.layout.missing)]
    return images + masks + twice + (missing if found.layout.missing else [])


def without_few_lossy(
    pairs: list[tuple[str, Path, Path]], base: Path, problems: list[Problem]
) -> list[tuple[str, Path, Path]]:
    """The pairs without those whose mask is a JPEG, where that is the exception: each is then a problem."""
    few = [pair for pair in pairs if pair[2].suffix.lower() in _LOSSY]
    if not few or 2 * len(few) >= len(pairs):
        return pairs
    detail = "left out: most masks are no JPEG, which changes class numbers"
    problems += [Problem("mask-lossy", os.path.relpath(mask, base), detail) for _, _, mask in few]
    return [pair for pair in pairs if pair not in few]


def lossy(masks: Sequence[Path], base: Path) -> list[Problem]:
    """A problem for each mask that is a JPEG by its name."""
    found = [mask for mask in masks if mask.suffix.lower() in _LOSSY]
    return [
        Problem("mask-lossy", os.path.relpath(mask, base), "values below 128 are read as 0, others as 255")
        for mask in found
    ]


def described(
    pairs: Sequence[tuple[str, Path, Path]],
    names: Sequence[str],
    said: str,
    images: str,
    target: str,
    what: str = "images",
) -> str:
    """What was found, in one line; ``said`` is how the files lie and what their values mean."""
    parts = splits_of([split for split, _, _ in pairs])
    counted = ", ".join(f"{len(rows)} {name}" for name, rows in parts.items() if name != ALL)
    classes = f"{len(names)} {'class' if len(names) == 1 else 'classes'}"
    label = f"masks of {classes}" if target == "mask" else "a box around each object"
    return f"{len(pairs)} {what} with {label}{f' ({counted})' if counted else ''}, {said}, {images}"


def settled(form: MaskForm, options: ReaderOptions) -> dict[str, object]:
    """The options by which other masks are read in the same way."""
    void = {"void": min(form.void)} if len(form.void) == 1 else {}
    return {**void, "border": form.border, "target": target_of(options)}


def names_of(files: Sequence[Path], base: Path) -> list[str]:
    """What samples are called: the path inside the data set, or of one that lies elsewhere its folder and name."""
    names = [os.path.relpath(file, base) for file in files]
    return [
        os.path.join(file.parent.name, file.name) if name.startswith("..") else name
        for name, file in zip(names, files, strict=True)
    ]


def _has_voc_boxes(path: Path) -> bool:
    """Whether there are Pascal VOC's annotations of boxes beside the masks: then the set is that format's."""
    with os.scandir(path) as entries:
        folder = next((Path(one.path) for one in entries if one.name.lower() == "annotations" and one.is_dir()), None)
    if folder is None:
        return False
    with os.scandir(folder) as entries:
        return any(one.name.lower().endswith(".xml") for _, one in zip(range(200), entries, strict=False))


def _looks_like_mask(path: Path) -> bool:
    """Few values, or large areas of one value: what is no photo."""
    try:
        raw = read_mask(path, 16_000_000)
    except InputError:
        return False
    found = look(raw)
    if len(found.colours) <= _FEW or raw.palette is not None or (found.lossy and found.two_valued):
        return True
    codes = raw.codes("colour") if raw.coloured else raw.values
    return bool((codes[:, 1:] == codes[:, :-1]).mean() >= 0.7)
