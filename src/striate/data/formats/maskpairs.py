"""Which mask belongs to which image: found by how the folders are laid out and what the files are called.

Layouts, tried in this order, in a folder or in the only folder inside it: a YAML file that names the folders of each
split (``train: {images: ..., masks: ...}``); ``images`` beside ``masks`` (and other words for both), with folders of
splits inside or around them; ``train`` beside ``trainannot`` (``train_masks``, ...); masks beside their images with an
ending (``x.png``, ``x_mask.png``). Files pair by their names without extension, but for one common beginning or ending.
Every class may have masks of its own (:mod:`striate.data.formats.masklayers`).
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from striate.core.errors import InputError
from striate.data.collection import ALL, SPLIT_NAMES
from striate.data.formats.folders import EXTENSIONS
from striate.data.formats.masklayers import Key, find_layers
from striate.data.formats.siblings import find_folder
from striate.data.formats.yaml_safe import read_yaml
from striate.data.paths import kind_of, said, visible

IMAGE_WORDS = ("images", "image", "imgs", "img", "jpegimages", "pictures", "photos", "inputs", "input", "raw")
MASK_WORDS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "annots", "annot", "gt", "segmentationclass"),
    *("ground_truth", "groundtruth", "segmentations", "segmentation", "seg", "instances"),
)
_BESIDE = ("annot", "annots", "masks", "mask", "labels", "label", "annotations", "annotation", "gt")
_WORDS = ("mask", "masks", "label", "labels", "L", "gt", "annot", "instance", "instances", "seg")
_ENDINGS = tuple(mark + word for mark in ("_", "-", ".") for word in _WORDS)
_IMAGE_ENDINGS = ("_image", "_img", "_im", "_raw", "_orig", "_sat", "-image", "-img")
_TRIED = 500


@dataclass(frozen=True)
class Block:
    """One folder of images with its folder of masks (None: there is none; the same: masks lie beside their images)."""

    split: str
    images: Path
    masks: Path | None


@dataclass(frozen=True)
class Layout:
    """Where images and masks lie, in words too; what a YAML file said of classes; whether it is SegNet's layout;
    which folder is ``missing``, in words; which folders of images are ``borrowed`` from another set."""

    blocks: tuple[Block, ...]
    said: str
    segnet: bool = False
    classes: Mapping[Any, Any] | None = None
    source: Path | None = None
    missing: str = ""
    borrowed: frozenset[Path] = frozenset()


@dataclass
class Pairs:
    """The pairs (split, image, mask) of a layout in order, what has no partner, and (path, reason) of what is no file
    that can be used. ``twice``: (mask, the mask of the same name that is used). ``layers``: where every class has masks
    of its own, those of each image by class; the pair then has the first of them."""

    layout: Layout
    pairs: list[tuple[str, Path, Path]] = field(default_factory=list)
    lone_images: list[tuple[str, Path]] = field(default_factory=list)
    lone_masks: list[Path] = field(default_factory=list)
    twice: list[tuple[Path, Path]] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    layers: dict[Path, dict[str, Path]] = field(default_factory=dict)

    @property
    def used(self) -> int:
        """How many masks have an image."""
        return sum(map(len, self.layers.values())) or len(self.pairs)

    @property
    def likely(self) -> bool:
        """Whether most masks have an image, so that this is no accident of names."""
        return self.used > len(self.lone_masks)


def find_pairs(path: Path, images: str | None = None, most: int | None = None) -> Pairs | None:
    """The pairs below a folder, or None where no layout is known or most masks of each have no image.

    ``images`` is the folder of the images where they lie elsewhere; ``most`` the number of entries of a folder that are
    looked at. Errors: ``InputError`` for a YAML file that cannot be read; ``OSError``.
    """
    for layout in _layouts(path, images, most):
        found = Pairs(layout)
        for block in layout.blocks:
            _pair(block, found, most)
        layered = _layered(layout, most) if found.lone_masks else None
        if layered and layered.used > found.used and len(layered.lone_masks) < len(found.lone_masks):
            return layered
        if found.likely or layout.missing:
            return found
    return None


def split_named(name: str) -> str | None:
    """The split that a folder's name means (``train2017`` is train), or None."""
    return SPLIT_NAMES.get(name.lower().rstrip("0123456789"))


def _layouts(path: Path, images: str | None, most: int | None) -> Iterator[Layout]:
    here = path
    for _ in range(3):
        folders = folders_in(here)
        if images is not None:
            yield from _elsewhere(here, folders, Path(images))
            return
        yield from _by_yaml(here, most)
        yield from _by_words(here, folders)
        yield from _beside_splits(here, folders)
        yield from _one_folder(here, folders)
        if len(folders) != 1:
            return
        here = next(iter(folders.values()))


def folders_in(folder: Path) -> dict[str, Path]:
    """The folders inside a folder by name, in natural order. Errors: ``OSError``."""
    found = {}
    for entry in visible(folder):
        if _is_folder(entry):
            found[entry.name] = Path(entry.path)
    return found


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _elsewhere(here: Path, folders: Mapping[str, Path], images: Path) -> Iterator[Layout]:
    for masks in (*_worded(folders, MASK_WORDS), here):
        blocks = _with_splits(images, masks)
        yield Layout(blocks, f"masks in {masks.name}, images in {images}")


def _by_yaml(here: Path, most: int | None) -> Iterator[Layout]:
    files = [Path(entry.path) for entry in visible(here) if entry.name.lower().endswith((".yaml", ".yml"))]
    for file in files[:8]:
        try:
            content = read_yaml(file)
        except InputError:
            if most is None:  # when only looking, a broken file must not hide folders that tell enough
                raise
            continue
        if not isinstance(content, dict):
            continue
        blocks, missing, told, borrowed = [], "", [], set[Path]()
        for key, value in content.items():
            split = split_named(key) if isinstance(key, str) else None
            if split is None or not isinstance(value, dict):
                continue
            image_folder, mask_folder = value.get("images"), value.get("masks")
            if not isinstance(image_folder, str) or not isinstance(mask_folder, str):
                continue
            masks = Path(os.path.normpath(here / mask_folder))
            stems = {stem for _, stem in images_below(masks, most, [])} if masks.is_dir() else set()
            where = find_folder(here, image_folder, stems)
            if not stems or where is None:
                missing = f"the folder {image_folder if stems else mask_folder} that {file.name} names is not there"
                continue
            blocks.append(Block(split, where[0], masks))
            if where[1] != "as named":
                told.append(where[1])
                borrowed.add(where[0])
        if blocks or missing:
            moved = f", images found {told[0]}" if told else ""
            classes = content.get("classes", content.get("names"))
            names = dict(enumerate(classes)) if isinstance(classes, list) else classes
            names = names if isinstance(names, dict) and names else None
            yield Layout(
                tuple(blocks), f"folders of {file.name}{moved}", False, names, file, missing, frozenset(borrowed)
            )


def _by_words(here: Path, folders: Mapping[str, Path]) -> Iterator[Layout]:
    for images in _worded(folders, IMAGE_WORDS):
        for masks in _worded(folders, MASK_WORDS):
            yield Layout(_with_splits(images, masks), f"{images.name} + {masks.name}")
    splits = [(split, path) for name, path in folders.items() if (split := split_named(name)) is not None]
    blocks, said_of = [], ""
    for split, folder in splits:
        inside = folders_in(folder)
        image_folders, mask_folders = _worded(inside, IMAGE_WORDS), _worded(inside, MASK_WORDS)
        if image_folders:
            inner = mask_folders[0] if mask_folders else None
            blocks.append(Block(split, image_folders[0], inner))
            said_of = said_of or (f"{folder.name}/{image_folders[0].name} + {inner.name}" if inner else "")
    if said_of:
        yield Layout(tuple(blocks), said_of)


def _worded(folders: Mapping[str, Path], words: tuple[str, ...]) -> list[Path]:
    by_word = {name.lower(): path for name, path in folders.items()}
    return [by_word[word] for word in words if word in by_word]


def _with_splits(images: Path, masks: Path) -> tuple[Block, ...]:
    """A block for each folder of a split inside both, else one block."""
    inner, outer = folders_in(images), folders_in(masks)
    by_split = {split: path for name, path in outer.items() if (split := split_named(name)) is not None}
    named = [(split, path) for name, path in inner.items() if (split := split_named(name)) is not None]
    if not by_split or not any(split in by_split for split, _ in named):
        return (Block(ALL, images, masks),)
    return tuple(Block(split, path, outer.get(path.name) or by_split.get(split)) for split, path in named)


def _beside_splits(here: Path, folders: Mapping[str, Path]) -> Iterator[Layout]:
    lower = {name.lower(): path for name, path in folders.items()}
    blocks, told, segnet = [], "", True
    for name, path in folders.items():
        split = split_named(name)
        if split is None:
            continue
        spelled = (name.lower() + mark + word for word in _BESIDE for mark in ("", "_", "-"))
        masks = next((lower[one] for one in spelled if one in lower), None)
        blocks.append(Block(split, path, masks))
        told = told or (f"{name} + {masks.name}" if masks else "")
        segnet &= masks is None or masks.name.lower() == name.lower() + "annot"
    if told:
        yield Layout(tuple(blocks), told, segnet)


def _one_folder(here: Path, folders: Mapping[str, Path]) -> Iterator[Layout]:
    splits = [(split, path) for name, path in folders.items() if (split := split_named(name)) is not None]
    if any(split == "train" for split, _ in splits):
        yield Layout(tuple(Block(split, path, path) for split, path in splits), "masks beside their images")
        return
    for folder in (here, *_worded(folders, IMAGE_WORDS)):
        yield Layout((Block(ALL, folder, folder),), "masks beside their images")


def images_below(folder: Path, most: int | None, skipped: list[tuple[Path, str]]) -> dict[Key, list[Path]]:
    """Files named like images below a folder, by key, in order of name, each folder entered once.

    What is none is added to ``skipped``, with its reason; of each folder ``most`` entries are looked at (None: all, and
    files must not be empty).
    """
    found: dict[Key, list[Path]] = {}
    entered: set[tuple[int, int]] = set()
    waiting, left = [folder], most
    while waiting:
        here = waiting.pop()
        try:
            status = here.stat()
            if (status.st_dev, status.st_ino) in entered:
                skipped.append((here, "a link to a folder that is read anyway"))
                continue
            entered.add((status.st_dev, status.st_ino))
            inside = []
            for entry in _entries(here, left):
                left = None if left is None else left - 1
                if _is_folder(entry):
                    inside.append(Path(entry.path))
                elif (reason := _why_not(entry, most is None)) is None:
                    key = (os.path.relpath(here, folder), os.path.splitext(entry.name)[0])
                    found.setdefault(key, []).append(Path(entry.path))
                elif reason:
                    skipped.append((Path(entry.path), reason))
        except OSError as error:
            skipped.append((here, said(error)))
            continue
        waiting += reversed(inside)
    return found


def _entries(folder: Path, most: int | None) -> Iterator["os.DirEntry[str]"]:
    if most is None:
        yield from visible(folder)
        return
    with os.scandir(folder) as entries:
        for _, entry in zip(range(most), entries, strict=False):
            if not entry.name.startswith("."):
                yield entry


def _why_not(entry: "os.DirEntry[str]", carefully: bool) -> str | None:
    """Why an entry is no image (empty: it is of another kind, and not worth a word); None where it is one by name."""
    if os.path.splitext(entry.name)[1].lower() not in EXTENSIONS:
        return "" if entry.name.lower().endswith((".txt", ".csv", ".md", ".json", ".yaml", ".yml")) else "no image"
    try:
        if entry.is_file():
            return "it is empty (0 bytes)" if carefully and not entry.stat().st_size else None
        return f"it is {kind_of(entry.stat().st_mode)}, not a file"
    except OSError as error:
        return said(error)


def _pair(block: Block, found: Pairs, most: int | None) -> None:
    images = images_below(block.images, most, found.skipped)
    if block.masks == block.images:
        images, masks = _divided(images)
    else:
        masks = {} if block.masks is None else images_below(block.masks, most, found.skipped)
    named = _matched(images, masks)
    used = set()
    for key, files in images.items():
        mask = named.get(key)
        if mask is None:
            found.lone_images += [(block.split, file) for file in files]
            continue
        used.add(mask)
        first, *others = masks[mask]
        found.pairs.append((block.split, files[0], first))
        found.lone_images += [(block.split, file) for file in files[1:]]
        found.twice += [(other, first) for other in others]
    found.lone_masks += [file for key, files in masks.items() if key not in used for file in files]


def _layered(layout: Layout, most: int | None) -> Pairs | None:
    """The pairs of a layout in which every class has masks of its own, or None where it has not."""
    found, told = Pairs(layout), ""
    for block in layout.blocks:
        if block.masks is None or block.masks == block.images:
            return None
        images, masks = (images_below(folder, most, found.skipped) for folder in (block.images, block.masks))
        layers = find_layers(images, masks, _matched, frozenset(_WORDS))
        if layers is None:
            return None
        told = layers.said
        found.lone_masks += layers.lone
        found.twice += layers.twice
        named = [split_named(folder.split(os.sep)[0]) for folder, _ in images]
        inside = block.split == ALL and None not in named  # images/train/1.png with masks/disc/train/1.png
        for (key, files), split in zip(images.items(), named, strict=True):
            split = split if inside and split is not None else block.split
            own = layers.masks.get(key)
            found.lone_images += [(split, file) for file in (files[1:] if own else files)]
            if own:
                found.pairs.append((split, files[0], next(iter(own.values()))))
                found.layers[files[0]] = own
    if {split_named(name) for own in found.layers.values() for name in own} != {None}:
        return None  # folders of splits, not of classes
    found.layout = replace(layout, said=f"{layout.said}, {told}")
    return found if found.likely else None


def _divided(files: dict[Key, list[Path]]) -> tuple[dict[Key, list[Path]], dict[Key, list[Path]]]:
    """Images and masks of one folder: masks have the most frequent of the known endings."""
    counts = Counter(
        end for folder, stem in files for end in _ENDINGS if stem.endswith(end) and (folder, stem[: -len(end)]) in files
    )
    if not counts:
        return files, {}
    end = counts.most_common(1)[0][0]
    masks = {key: paths for key, paths in files.items() if key[1].endswith(end)}
    return {key: paths for key, paths in files.items() if key not in masks}, masks


def _matched(images: Mapping[Key, Any], masks: Mapping[Key, Any]) -> dict[Key, Key]:
    """The mask of each image that has one, by the beginning or ending that lets most of them pair."""
    best = {key: key for key in images if key in masks}
    for end in ("", *(end for end in _IMAGE_ENDINGS if 2 * sum(key[1].endswith(end) for key in images) > len(images))):
        plain = {(folder, stem[: len(stem) - len(end)]): (folder, stem) for folder, stem in images}
        for before, after in (("", ""), *_affixes(plain, masks)):
            pairs = {
                image: mask
                for (folder, stem), image in plain.items()
                if (mask := (folder, before + stem + after)) in masks
            }
            best = pairs if len(pairs) > len(best) else best
    return best


def _affixes(images: Mapping[Key, Key], masks: Mapping[Key, Any]) -> list[tuple[str, str]]:
    """The (beginning, ending) that some masks have beyond the name of an image, the three most frequent."""
    counts: Counter[tuple[str, str]] = Counter()
    for folder, stem in list(masks)[:: max(1, len(masks) // _TRIED)]:
        for cut in range(1, len(stem)):
            if (folder, stem[:cut]) in images and not stem[cut].isdigit():
                counts["", stem[cut:]] += 1
            if (folder, stem[cut:]) in images and not stem[cut - 1].isdigit():
                counts[stem[:cut], ""] += 1
    return [affix for affix, _ in counts.most_common(3)]


def demand_pairs(path: Path, images: str | None) -> Pairs:
    """As :func:`find_pairs` of everything there is. Errors: ``InputError`` where there is no pair."""
    try:
        found = find_pairs(path, images)
    except OSError as error:
        raise InputError(error.filename or path, said(error), "check the path of the data") from None
    if found is None or not found.pairs:
        raise InputError(
            path,
            (found.layout.missing if found else "") or "no folder of images with a folder of masks for them was found",
            "put them into images and masks under the same names, or name the folder of the images (option images)",
        )
    return found
