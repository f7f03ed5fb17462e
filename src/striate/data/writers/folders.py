"""Writes a labelled set as class folders of images: ``{split}/{class}/{file}``, or ``{class}/{file}`` without splits.

Files are copied byte for byte where samples are files. ``classes.txt`` is written where the names of the folders do not
tell the order of the classes, or a class has no image.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from striate.core.errors import InputError
from striate.data.collection import ALL, SPLIT_NAMES, Array
from striate.data.formats.folders import CLASS_LIST
from striate.data.images import encode_png
from striate.data.paths import natural, shortened
from striate.data.reader import Reader


class _Unreadable(Exception):
    """A sample that cannot be decoded, told from whatever else is wrong: it alone is left out."""


def write(reader: Reader, folder: Path, say: Callable[[str], None]) -> list[str]:
    """Write the set into ``folder``, which is there and empty; returns what could not be held, a line each.

    Errors: ``InputError`` for samples that are no images or have several labels, and for class names that cannot be
    names of folders; ``OSError`` when the disk is full.
    """
    labels = _demand_labels(reader)
    _demand_names(reader)
    lost: Counter[str] = Counter()
    taken: set[Path] = set()
    unreadable: list[str] = []
    for split, places in reader.splits.items():
        top = folder if split == ALL else folder / split
        for position in places.tolist():
            if labels[position] < 0:
                lost["samples without a class: class folders have no place for them"] += 1
                continue
            into = top / reader.classes[labels[position]]
            into.mkdir(parents=True, exist_ok=True)
            try:
                _write_image(reader, position, into, taken)
            except _Unreadable as error:
                unreadable.append(str(error))
    outside = len(reader) - sum(map(len, reader.splits.values()))
    if outside:
        lost["samples of no split: class folders have no place for them"] += outside
    grouped = sum(reader.group(position) is not None for position in range(len(reader)))
    if grouped:
        lost["samples with a group: class folders do not tell groups"] += grouped
    used = {reader.classes[label] for label in labels if label >= 0}
    if tuple(sorted(used, key=natural)) != reader.classes:
        (folder / CLASS_LIST).write_text("".join(f"{name}\n" for name in reader.classes), encoding="utf-8")
        say(f"the order of the classes is in {CLASS_LIST}")
    lines = [f"{count} {what}" for what, count in lost.items()]
    if unreadable:
        lines.append(f"{len(unreadable)} samples cannot be read, left out: {shortened(unreadable, 3)}")
    return lines


def write_png(path: Path, values: Array) -> None:
    """Write the values of an image (C, H, W) without loss: uint8 of 1, 3 or 4 channels or uint16 of one as PNG.

    Errors: ``InputError`` for other forms.
    """
    if values.ndim != 3:
        raise InputError(path, f"the sample has the shape {values.shape} and is no image", "convert sets of images")
    if values.dtype == np.uint8 and len(values) in (1, 3):
        path.write_bytes(encode_png(values))
    elif values.dtype == np.uint8 and len(values) == 4:
        Image.fromarray(np.ascontiguousarray(values.transpose(1, 2, 0))).save(path, "PNG")
    elif values.dtype == np.uint16 and len(values) == 1:
        Image.fromarray(np.ascontiguousarray(values[0])).save(path, "PNG")
    else:
        raise InputError(
            path,
            f"PNG cannot hold {len(values)} channels of {values.dtype}",
            "read the set with bits = 8 (or colour = grey)",
        )


def _demand_labels(reader: Reader) -> list[int]:
    if reader.target != "label" or reader.labels is None:
        raise InputError(
            reader.path,
            f"its samples are labelled by {reader.target}, and class folders hold one class a sample",
            "choose another format with --to",
        )
    if reader.multi_label:
        raise InputError(
            reader.path, "its samples may have several classes, and class folders hold one", "choose one for each"
        )
    return [int(label) for label in reader.labels.tolist()]


def _demand_names(reader: Reader) -> None:
    """Errors: ``InputError`` for a class name that is none of a folder, or that would be taken for a split."""
    fix = "rename the class (the option classes)"
    for name in reader.classes:
        if not name or "/" in name or "\0" in name or name.startswith(".") or name != name.strip() or "\n" in name:
            raise InputError(reader.path, f"the class {name!r} cannot be the name of a folder", fix)
        if len(os.fsencode(name)) > 255:
            raise InputError(reader.path, f"the class {name[:40]!r}... is too long for the name of a folder", fix)
    if any(SPLIT_NAMES.get(name.lower()) == "train" for name in reader.classes):
        raise InputError(reader.path, "a class called train would be taken for a split", fix)
    alike = [name for name, count in Counter(name.lower() for name in reader.classes).items() if count > 1]
    if alike:
        raise InputError(
            reader.path, f"classes that differ only in case ({alike[0]!r}) are one folder on some disks", fix
        )


def _write_image(reader: Reader, position: int, into: Path, taken: set[Path]) -> None:
    source = reader.source_file(position)
    name = os.path.basename(reader.name(position))
    stem, extension = os.path.splitext(name if source is None else source.name)
    target = into / f"{stem}{extension if source is not None else '.png'}"
    number = 2
    while target in taken or target.name.startswith("."):
        target = into / f"{stem.lstrip('.')}-{number}{target.suffix}"
        number += 1
    taken.add(target)
    if source is None:
        try:
            values = reader.image(position)
        except InputError as error:
            raise _Unreadable(f"{reader.name(position)} ({error.cause})") from None
        write_png(target, values)
    else:
        shutil.copyfile(source, target)
